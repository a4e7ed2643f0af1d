"""Names, where structure leaves a choice: equal ones decide between components with the same neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wsel_graph.matching.components import UNORDERED, Edge, Node
from wsel_graph.matching.orders import nodes_in_another_order
from wsel_graph.matching.parts import parts_shown
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


def crossed_names(pieces: Mapping[str, Sequence[Piece]], student: Structure, teacher: Structure) -> list[str]:
    """A note where structure pairs tensors of different names, and either model has tensors of both names.

    Block numbers are left out of what is compared. The pairing may be right all the same (what ends the last block of
    one model begins the next block of another), or show two parts that only names tell apart.

    Args:
        pieces: What fills every student tensor that no rule pairs.
    """
    ours, theirs = _names(student), _names(teacher)
    shared = set().union(*ours.values()) & set().union(*theirs.values())
    crossed = []
    for name, found in pieces.items():
        other = found[0].teacher.tensor
        apart = len(found) == 1 and ours[name].isdisjoint(theirs[other])
        if apart and not shared.isdisjoint(ours[name]) and not shared.isdisjoint(theirs[other]):
            crossed.append((name, other))
    if not crossed:
        return []
    name, other = crossed[0]
    return [
        f"structure pairs {len(crossed)} {'tensor' if len(crossed) == 1 else 'tensors'} with teacher tensors of other "
        f"names, though both models use either name: {name} is filled from {other}. If that is not meant, pair them in "
        f'a rule file, such as components: [{{pair: {{student: "{name}", teacher: ...}}}}]'
    ]


def _names(structure: Structure) -> dict[str, set[str]]:
    """All names of every tensor, without numbers, by its first name."""
    return {state.name: set(map(without_numbers, state.names)) for state in structure.graph.captured.states}


def without_numbers(name: str) -> str:
    """A tensor's name with `#` for the numbers of blocks.

    >>> without_numbers("encoder.layer.11.fc1.weight")
    'encoder.layer.#.fc1.weight'
    """
    return ".".join("#" if part.isdigit() else part for part in name.split("."))


def _nodes(structure: Structure, tensor: str) -> list[int]:
    return [number for number, node in enumerate(structure.components.nodes) if tensor in node.tensors]


def _holders(structure: Structure) -> dict[str, list[object]]:
    """How each tensor is used: label, slot and number of parts of every component that holds it, and what is next to
    it, components that only rescale passed over; and where its parts go, or those of what reads it."""
    found: dict[str, list[object]] = {}
    nodes, consumers = structure.components.nodes, structure.components.consumers

    def before(number: int) -> list[str]:
        sources = [edge.source for edge in nodes[number].inputs]
        return sorted({label for n in sources for label in (before(n) if nodes[n].light else [nodes[n].label])})

    def after(number: int) -> list[str]:
        uses = [(n, place(nodes[n], edge) + parts_shown(structure.components, n)) for n, edge in consumers[number]]
        return sorted({word for n, at in uses for word in (after(n) if nodes[n].light else [nodes[n].label + at])})

    def place(node: Node, edge: Edge) -> str:
        ordered = not node.slots and node.label not in UNORDERED
        return f" {node.inputs.index(edge)}" if ordered else ""

    for number, node in enumerate(nodes):
        own = parts_shown(structure.components, number)
        for name, slot in node.slots:
            use = (node.label, name, node.part[1], before(number), after(number), own)
            found.setdefault(slot.tensor, []).append(use)
    return found
