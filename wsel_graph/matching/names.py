"""Names, where structure leaves a choice: equal ones decide between components with the same neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wsel_graph.matching.components import UNORDERED, Edge, Node
from wsel_graph.matching.orders import nodes_in_another_order
from wsel_graph.matching.sides import Piece, Side
from wsel_graph.matching.structure import Structure


def pieces_by_name(
    student: Structure, teacher: Structure, names: Iterable[str], taken: Iterable[str]
) -> dict[str, Piece]:
    """Pieces for tensors that structure left open, where an equal name and an equal use decide."""
    used = set(taken)
    found: dict[str, Piece] = {}
    holders = _holders(teacher)
    own = _holders(student)
    for name in names:
        if name not in teacher.graph.tensors or (other := teacher.graph.tensors[name].name) in used or name not in own:
            continue
        ours, theirs = student.graph.tensors[name], teacher.graph.tensors[other]
        if len(ours.shape) == len(theirs.shape) and own[name] == holders.get(other):
            dims = tuple(range(len(ours.shape)))
            found[name] = Piece(Side(name, dims), Side(other, dims))
    return found


def named_in_another_order(
    student: Structure, teacher: Structure, named: Mapping[str, Piece], pairs: Mapping[int, int]
) -> set[str]:
    """Of tensors that names pair, those whose components lay parts together in another order in the two models."""
    both = dict(pairs)
    for name, piece in named.items():
        both |= dict(zip(_nodes(student, name), _nodes(teacher, piece.teacher.tensor), strict=True))
    wrong = nodes_in_another_order(student.components, teacher.components, both)
    return {name for name in named if not wrong.isdisjoint(_nodes(student, name))}


def _nodes(structure: Structure, tensor: str) -> list[int]:
    return [number for number, node in enumerate(structure.components.nodes) if tensor in node.tensors]


def _holders(structure: Structure) -> dict[str, list[object]]:
    """How each tensor is used: label, slot and number of parts of every component that holds it, and what is next to
    it, components that only rescale passed over."""
    found: dict[str, list[object]] = {}
    nodes, consumers = structure.components.nodes, structure.components.consumers

    def before(number: int) -> list[str]:
        sources = [edge.source for edge in nodes[number].inputs]
        return sorted({label for n in sources for label in (before(n) if nodes[n].light else [nodes[n].label])})

    def after(number: int) -> list[str]:
        uses = [(reader, place(nodes[reader], edge)) for reader, edge in consumers[number]]
        return sorted({word for n, at in uses for word in (after(n) if nodes[n].light else [nodes[n].label + at])})

    def place(node: Node, edge: Edge) -> str:
        ordered = not node.slots and node.label not in UNORDERED
        return f" {node.inputs.index(edge)}" if ordered else ""

    for number, node in enumerate(nodes):
        for name, slot in node.slots:
            use = (node.label, name, node.part[1], before(number), after(number))
            found.setdefault(slot.tensor, []).append(use)
    return found
