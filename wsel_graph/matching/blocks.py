"""Layer selection inside aligned stages, and the pairing of nodes inside paired layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wsel_graph.errors import MatchError
from wsel_graph.matching.align import Alignment, align_items
from wsel_graph.matching.consistency import contradictions
from wsel_graph.matching.isomorphism import pair_nodes
from wsel_graph.matching.layering import Layering, agreeing, layer_length, layering, of_one_kind
from wsel_graph.matching.layers import MERGE, LayerMethod, select_layers
from wsel_graph.matching.merged_blocks import further_nodes, partner_runs
from wsel_graph.matching.orders import nodes_in_another_order, nodes_of_exchanged_parts
from wsel_graph.matching.segments import Item, Layer, coarse_of
from wsel_graph.matching.structure import Structure
from wsel_graph.matching.tables import tables_in_another_order
from wsel_graph.matching.wishes import Governing
from wsel_graph.plan import LayerMap
from wsel_graph.selection.model import Score

CONTRADICTION = (
    "its branch and the teacher's that comes in this order take part in other ways (another input, result or operand)"
)
ANOTHER_ORDER = (
    "parts of what it reads or gives (pooled in two ways, sines and cosines, several inputs, rows and columns) are "
    "laid together in another order than in the teacher: lay them out in the teacher's order"
)
EXCHANGED = (
    "parts of what is computed here (a value and its gate, queries and keys) go where other parts go in the teacher: "
    "take them in the teacher's order"
)
ANOTHER_ROW = (
    "its rows are read in another order than the teacher's (relative positions backwards, a grid by columns, other "
    "distances): look them up as the teacher does"
)
NO_BLOCK = "the teacher has no block of this structure here"


@dataclass(frozen=True, slots=True)
class PairedStage:
    """The blocks of an aligned stage in both models, each with its node numbers, and which fills which."""

    name: str
    student: tuple[tuple[int, ...], ...]
    teacher: tuple[tuple[int, ...], ...]
    partners: tuple[tuple[int, int], ...]  # (student, teacher); a student block with several is their average
    influence: tuple[float | None, ...] = ()  # of every teacher block, where it decided
    rule: str = ""  # where the layer rule that chose is written


@dataclass(slots=True)
class NodePairs:
    """Which teacher node stands for which student node, and why some student nodes have none."""

    pairs: dict[int, int] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    candidates: dict[int, tuple[int, ...]] = field(default_factory=dict)  # where several fit equally well
    also: dict[int, tuple[int, ...]] = field(default_factory=dict)  # further teacher nodes, to be averaged with it
    stages: list[PairedStage] = field(default_factory=list)

    @property
    def layers(self) -> tuple[LayerMap, ...]:
        """Which teacher blocks fill which student block."""
        return tuple(LayerMap(own.name, len(own.teacher), own.partners, own.influence, own.rule) for own in self.stages)


def pair_structures(governing: Governing) -> NodePairs:
    """Pair what corresponds in two models by structure, as far as the layer rules allow."""
    student, teacher, found = governing.student, governing.teacher, NodePairs()
    ignored = governing.ignored()
    hidden = {i for i, item in enumerate(teacher.items) if _all_ignored(teacher, item, ignored)}
    alignment = align_items(
        student.items, teacher.items, lambda ours, theirs: theirs not in hidden and governing.may_fill(ours, theirs)
    )
    for ours, theirs in alignment.pairs:
        if student.items[ours].stage and teacher.items[theirs].stage:
            _pair_stages(governing, ours, theirs, found)
        else:
            _pair_parts(student, student.items[ours].nodes, teacher, teacher.items[theirs].nodes, found)
    _note_unaligned(student, teacher, alignment, found)
    for node in contradictions(student.components, teacher.components, found.pairs) & found.pairs.keys():
        del found.pairs[node]
        found.reasons[node] = CONTRADICTION
    for nodes_of, reason in ((nodes_of_exchanged_parts, EXCHANGED), (nodes_in_another_order, ANOTHER_ORDER)):
        for node in nodes_of(student.components, teacher.components, found.pairs):
            if found.pairs.pop(node, None) is not None:
                found.reasons[node] = reason
    both = (student.graph, student.components), (teacher.graph, teacher.components)
    for node in tables_in_another_order(*both, found.pairs):
        del found.pairs[node]
        found.reasons[node] = ANOTHER_ROW
    for node, other in list(found.pairs.items()):
        if (hit := next((each for each in (other, *found.also.get(node, ())) if each in ignored), None)) is not None:
            found.reasons[node] = ignored[hit]
            del found.pairs[node]
    return found


def _all_ignored(teacher: Structure, item: Item, ignored: Mapping[int, str]) -> bool:
    held = [node for node in item.nodes if teacher.components.nodes[node].slots]
    return bool(held) and all(node in ignored for node in held)


def _pair_parts(
    student: Structure, ours: Sequence[int], teacher: Structure, theirs: Sequence[int], found: NodePairs
) -> None:
    pairs = pair_nodes(student.components, ours, teacher.components, theirs)
    found.pairs |= pairs
    for node in ours:
        if node not in pairs:
            found.reasons[node] = "its block has it, the teacher's block has nothing that certainly corresponds"


# -- stages


def _pair_stages(governing: Governing, ours: int, theirs: int, found: NodePairs) -> None:
    student, teacher = governing.student, governing.teacher
    mine, other = student.items[ours], teacher.items[theirs]
    name = student.stage_names[ours]
    method = governing.method(name)
    scored = isinstance(method, Score)  # what blocks change was measured for stages of nothing but layers
    cut = Layering(layer_length(mine, other)) if scored else layering(mine, other)
    small, large = cut.layers(mine), cut.layers(other)
    for segment, partner in zip(cut.ends(mine), cut.ends(other), strict=True):
        _pair_layers(student, (segment,), teacher, (partner,), found)
    influence = governing.influence(theirs, cut.length) if scored else None
    at = governing.layer_rule(name)
    try:
        runs = _runs(small, large, method, name, influence)
    except MatchError as error:
        raise (MatchError(f"{at}: {error}") if at else error) from None
    for number, layer in enumerate(small):
        if number not in runs:
            reason = f"the teacher's stage has no further block of this kind (block {number} of stage {name!r})"
            found.reasons |= {node: reason for segment in layer for node in segment.nodes}
            continue
        first, *others = runs[number]
        pairs = _pair_layers(student, layer, teacher, large[first], found)
        for block in others:
            again = _pair_layers(student, layer, teacher, large[block], NodePairs())
            further = further_nodes(teacher, (large[first], large[block]), (pairs, again), (first, block), name)
            found.also |= {node: (*found.also.get(node, ()), partner) for node, partner in further.items()}
    known = tuple(None if math.isinf(value) else value for value in influence or ())
    partners = tuple((ours, other) for ours in sorted(runs) for other in runs[ours])
    blocks = tuple(map(_nodes, small)), tuple(map(_nodes, large))
    found.stages.append(PairedStage(name, *blocks, partners, known, at))


def _runs(
    small: Sequence[Layer],
    large: Sequence[Layer],
    method: LayerMethod,
    stage: str,
    influence: Sequence[float] | None = None,
) -> dict[int, Sequence[int]]:
    """Teacher layers for student layer: several where they are averaged."""
    if method == MERGE:
        return partner_runs(small, large, stage)
    return {ours: [theirs] for ours, theirs in _partners(small, large, method, stage, influence).items()}


def _nodes(layer: Layer) -> tuple[int, ...]:
    return tuple(node for segment in layer for node in segment.nodes)


def _partners(
    small: Sequence[Layer],
    large: Sequence[Layer],
    method: LayerMethod,
    stage: str,
    influence: Sequence[float] | None = None,
) -> dict[int, int]:
    """Teacher layer for student layer: among all layers when their kinds then agree, else among those of one kind."""
    plain = dict(enumerate(select_layers(method, len(large), len(small), stage, influence)))
    agree = agreeing(small, large, plain)
    if not isinstance(method, (str, Score)) or agree == len(small):
        return plain
    partners: dict[int, int] = {}
    for mine, other in of_one_kind(small, large):
        own = None if influence is None else [influence[i] for i in other]
        chosen = select_layers(method, len(other), len(mine), stage, own)
        partners |= {i: other[place] for i, place in zip(mine, chosen, strict=False)}
    return plain if len(partners) <= agree else partners


def _pair_layers(
    student: Structure, layer: Layer, teacher: Structure, partner: Layer, found: NodePairs
) -> dict[int, int]:
    """Segment by segment where the kinds agree place by place, else as one part; gives what was paired."""
    own = NodePairs()
    if coarse_of(layer) == coarse_of(partner):
        for ours, theirs in zip(layer, partner, strict=True):
            _pair_parts(student, ours.nodes, teacher, theirs.nodes, own)
    else:
        _pair_parts(student, _nodes(layer), teacher, _nodes(partner), own)
    found.pairs |= own.pairs
    found.reasons |= own.reasons
    return own.pairs


# -- what has no partner


def _note_unaligned(student: Structure, teacher: Structure, alignment: Alignment, found: NodePairs) -> None:
    candidates = dict(alignment.ambiguous)
    aligned = {ours for ours, _ in alignment.pairs}
    for number, item in enumerate(student.items):
        if number in aligned:
            continue
        found.reasons |= dict.fromkeys(item.nodes, NO_BLOCK)
        for other in candidates.get(number, ()):
            pairs = pair_nodes(student.components, item.nodes, teacher.components, teacher.items[other].nodes)
            for node, partner in pairs.items():
                found.candidates[node] = (*found.candidates.get(node, ()), partner)
