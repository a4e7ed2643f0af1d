"""Names, where structure leaves a choice: equal ones decide between components with the same neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wsel_graph.matching.components import UNORDERED, Edge, Node
from wsel_graph.matching.orders import nodes_in_another_order, nodes_of_exchanged_parts
from wsel_graph.matching.parts import PartUses, part_uses, same_parts
from wsel_graph.matching.sides import Piece, Side
from wsel_graph.matching.structure import Structure
from wsel_graph.matching.tables import tables_in_another_order


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
        if len(ours.shape) == len(theirs.shape) and _same_use(own[name], holders.get(other, [])):
            dims = tuple(range(len(ours.shape)))
            found[name] = Piece(Side(name, dims), Side(other, dims))
    return found


def named_in_another_order(
    student: Structure, teacher: Structure, named: Mapping[str, Piece], pairs: Mapping[int, int]
) -> set[str]:
    """Of tensors that names pair, those whose components lay parts together in another order in the two models."""
    new: dict[int, int] = {}
    for name, piece in named.items():
        new |= dict(zip(_nodes(student, name), _nodes(teacher, piece.teacher.tensor), strict=True))
    both = {**pairs, **new}
    wrong = nodes_in_another_order(student.components, teacher.components, both)
    wrong |= nodes_of_exchanged_parts(student.components, teacher.components, both)
    wrong |= tables_in_another_order((student.graph, student.components), (teacher.graph, teacher.components), new)
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


def unreached_names(student: Structure, teacher: Structure) -> list[str]:
    """A note where the student's forward pass leaves out what the teacher's uses under the same name: an expert."""
    ours, theirs = _aliases(student), _aliases(teacher)
    held = {tensor for node in teacher.components.nodes for tensor in node.tensors}
    used = {name for tensor in held for name in theirs[tensor]}
    left = [name for name in student.components.unused if not used.isdisjoint(ours[name])]
    if not left:
        return []
    hint = ": give more example inputs, so that both models reach all their experts"
    return [
        f"{len(left)} {'tensor' if len(left) == 1 else 'tensors'} that the teacher uses under the same name keep the "
        f"student's values, because its forward pass does not reach them on the example inputs, such as {left[0]}"
        + (hint if student.graph.captured.rung == "real" else "")
    ]


def _aliases(structure: Structure) -> dict[str, tuple[str, ...]]:
    """All names of every tensor, by its first."""
    return {state.name: state.names for state in structure.graph.captured.states}


def _names(structure: Structure) -> dict[str, set[str]]:
    """All names of every tensor, without numbers, by its first name."""
    return {name: set(map(without_numbers, aliases)) for name, aliases in _aliases(structure).items()}


def without_numbers(name: str) -> str:
    """A tensor's name with `#` for the numbers of blocks.

    >>> without_numbers("encoder.layer.11.fc1.weight")
    'encoder.layer.#.fc1.weight'
    """
    return ".".join("#" if part.isdigit() else part for part in name.split("."))


def _nodes(structure: Structure, tensor: str) -> list[int]:
    return [number for number, node in enumerate(structure.components.nodes) if tensor in node.tensors]


Use = tuple[tuple[object, ...], list[PartUses]]
"""How a component holds a tensor, and where parts of what it gives go, and of what the joins that read it give."""


def _same_use(ours: Sequence[Use], theirs: Sequence[Use]) -> bool:
    """Whether two tensors are used alike; parts that only one model has (of four experts, not two) are not compared."""
    if [use for use, _ in ours] != [use for use, _ in theirs]:
        return False
    pairs = [pair for (_, one), (_, other) in zip(ours, theirs, strict=True) for pair in zip(one, other, strict=False)]
    return all(not one or not other or same_parts(one, other) for one, other in pairs)


def _holders(structure: Structure) -> dict[str, list[Use]]:
    """How each tensor is used: label, slot, dims and number of parts of every component that holds it, what is next to
    it, components that only rescale passed over, and which input it reads."""
    found: dict[str, list[Use]] = {}
    nodes, consumers = structure.components.nodes, structure.components.consumers

    def before(number: int) -> list[str]:
        sources = [edge.source for edge in nodes[number].inputs]
        return sorted({label for n in sources for label in (before(n) if nodes[n].light else [nodes[n].label])})

    def after(number: int) -> list[str]:
        uses = [(reader, place(nodes[reader], edge)) for reader, edge in consumers[number]]
        return sorted({word for n, at in uses for word in (after(n) if nodes[n].light else [nodes[n].label + at])})

    def place(node: Node, edge: Edge) -> str:
        ordered = not node.slots and node.label not in UNORDERED
        bent = " act" if "act" in edge.tags else ""
        return f" {node.inputs.index(edge)}{bent}" if ordered else bent

    for number, node in enumerate(nodes):
        parts = [part_uses(structure.components, n) for n in (number, *(reader for reader, _ in consumers[number]))]
        for name, slot in node.slots:
            use = (node.label, name, slot.dims, node.part[1], before(number), after(number), node.reads)
            found.setdefault(slot.tensor, []).append((use, parts))
    return found
