"""Names, where structure leaves a choice: equal ones decide between components with the same neighbours."""

from __future__ import annotations

from collections.abc import Iterable

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


def _holders(structure: Structure) -> dict[str, list[object]]:
    """How each tensor is used: label, slot and number of parts of every component that holds it, and what is next to
    it, components that only rescale passed over."""
    found: dict[str, list[object]] = {}
    nodes, consumers = structure.components.nodes, structure.components.consumers

    def before(number: int) -> list[str]:
        sources = [edge.source for edge in nodes[number].inputs]
        return sorted({label for n in sources for label in (before(n) if nodes[n].light else [nodes[n].label])})

    def after(number: int) -> list[str]:
        readers = [reader for reader, _ in consumers[number]]
        return sorted({label for n in readers for label in (after(n) if nodes[n].light else [nodes[n].label])})

    for number, node in enumerate(nodes):
        for name, slot in node.slots:
            use = (node.label, name, node.part[1], before(number), after(number))
            found.setdefault(slot.tensor, []).append(use)
    return found
