"""Layer selection inside aligned stages, and the pairing of nodes inside paired layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from wsel_graph.matching.align import Alignment, align_items
from wsel_graph.matching.isomorphism import pair_nodes
from wsel_graph.matching.layers import LayerMethod, select_layers
from wsel_graph.matching.segments import Item, Segment, layer_length, layers
from wsel_graph.matching.structure import Structure, tensors_of
from wsel_graph.plan import LayerMap

Layer = tuple[Segment, ...]


@dataclass(slots=True)
class NodePairs:
    """Which teacher node stands for which student node, and why some student nodes have none."""

    pairs: dict[int, int] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    layers: list[LayerMap] = field(default_factory=list)


Methods = Callable[[str], LayerMethod]
"""The layer selection method for a student stage, by its name."""


def pair_structures(student: Structure, teacher: Structure, methods: Methods) -> NodePairs:
    """Pair what corresponds in two models by structure alone."""
    found = NodePairs()
    alignment = align_items(student.items, teacher.items)
    for ours, theirs in alignment.pairs:
        if student.items[ours].stage and teacher.items[theirs].stage:
            _pair_stages(student, ours, teacher, theirs, methods, found)
        else:
            _pair_parts(student, student.items[ours].nodes, teacher, teacher.items[theirs].nodes, found)
    _note_unaligned(student, teacher, alignment, found)
    return found


def _pair_parts(
    student: Structure, ours: Sequence[int], teacher: Structure, theirs: Sequence[int], found: NodePairs
) -> None:
    pairs = pair_nodes(student.components, ours, teacher.components, theirs)
    found.pairs |= pairs
    for node in ours:
        if node not in pairs:
            found.reasons[node] = "its block has it, the teacher's block has nothing that certainly corresponds"


# -- stages


def _pair_stages(
    student: Structure, ours: int, teacher: Structure, theirs: int, methods: Methods, found: NodePairs
) -> None:
    mine, other = student.items[ours], teacher.items[theirs]
    name = student.stage_names[ours]
    length = layer_length(mine, other)
    small, large = layers(mine, length), layers(other, length)
    partners = _partners(small, large, methods(name), name)
    for number, layer in enumerate(small):
        if (partner := partners.get(number)) is None:
            reason = f"the teacher's stage has no further block of this kind (block {number} of stage {name!r})"
            found.reasons |= {node: reason for segment in layer for node in segment.nodes}
        else:
            _pair_layers(student, layer, teacher, large[partner], found)
    found.layers.append(LayerMap(name, len(large), tuple(sorted(partners.items()))))


def _partners(small: Sequence[Layer], large: Sequence[Layer], method: LayerMethod, stage: str) -> dict[int, int]:
    """Teacher layer for student layer: among all layers when their kinds then agree, else among those of one kind."""
    plain = dict(enumerate(select_layers(method, len(large), len(small), stage)))
    if not isinstance(method, str) or _agree(small, large, plain) == len(small):
        return plain
    exact = {_kinds(layer) for layer in large}
    keys = [_kinds(layer) if _kinds(layer) in exact else _coarse(layer) for layer in small]
    partners: dict[int, int] = {}
    for key in dict.fromkeys(keys):
        mine = [i for i, own in enumerate(keys) if own == key]
        other = [i for i, layer in enumerate(large) if key in (_kinds(layer), _coarse(layer))]
        chosen = select_layers(method, len(other), len(mine), stage)
        partners |= {i: other[place] for i, place in zip(mine, chosen, strict=False)}
    return plain if len(partners) <= _agree(small, large, plain) else partners


def _agree(small: Sequence[Layer], large: Sequence[Layer], partners: dict[int, int]) -> int:
    """How many student layers have a partner of their own coarse kind."""
    return sum(_coarse(small[ours]) == _coarse(large[theirs]) for ours, theirs in partners.items())


def _kinds(layer: Layer) -> tuple[str, ...]:
    return tuple(segment.kind for segment in layer)


def _coarse(layer: Layer) -> tuple[str, ...]:
    return tuple(segment.coarse for segment in layer)


def _pair_layers(student: Structure, layer: Layer, teacher: Structure, partner: Layer, found: NodePairs) -> None:
    """Segment by segment where the kinds agree place by place, else as one part."""
    if _coarse(layer) == _coarse(partner):
        for ours, theirs in zip(layer, partner, strict=True):
            _pair_parts(student, ours.nodes, teacher, theirs.nodes, found)
        return
    mine = [node for segment in layer for node in segment.nodes]
    other = [node for segment in partner for node in segment.nodes]
    _pair_parts(student, mine, teacher, other, found)


# -- what has no partner


def _note_unaligned(student: Structure, teacher: Structure, alignment: Alignment, found: NodePairs) -> None:
    candidates = dict(alignment.ambiguous)
    aligned = {ours for ours, _ in alignment.pairs}
    for number, item in enumerate(student.items):
        if number in aligned:
            continue
        reason = "the teacher has no block of this structure here"
        if number in candidates:
            names = [_describe(teacher, teacher.items[other]) for other in candidates[number]]
            reason = f"several places of the teacher fit equally well: {', '.join(names)}"
        found.reasons |= dict.fromkeys(item.nodes, reason)


def _describe(structure: Structure, item: Item) -> str:
    names = tensors_of(structure.components, item.nodes)
    return names[0] if names else "a join without parameters"
