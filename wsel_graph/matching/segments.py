"""Cut a component graph into segments, and fold runs of repeated ones into stages.

A segment lies between two places where only one activation is alive: a residual block, or a single component. Where
a long-lived activation hides such places (what a decoder reads from its encoder, the skip of a U-Net), the segment
is cut again with that activation set aside.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from wsel_graph.axes import Atom
from wsel_graph.matching.components import ROOTS, ComponentGraph
from wsel_graph.matching.signature import Part, digest


@dataclass(frozen=True)
class Segment:
    """Nodes between two places where one activation is alive, in order of execution.

    Attributes:
        kind: Hash of its structure.
        coarse: The same without norms, scales and shifts.
        compound: More than one node besides tables.
        light: Nothing but norms, scales and shifts.
        stream: Free axes of what it passes on: blocks of one residual stream have the same.
        level: How often the number of positions has halved since the first segment.
        chained: A convolution or a recurrent layer between others, neither first nor last: one of a run of them.
    """

    nodes: tuple[int, ...]
    kind: str
    coarse: str
    compound: bool
    light: bool
    stream: frozenset[Atom]
    level: int = 0
    chained: bool = False


@dataclass(frozen=True)
class Item:
    """A stage (several segments of one stream) or a single segment outside of stages."""

    segments: tuple[Segment, ...]
    stage: bool = False

    @cached_property
    def kinds(self) -> Counter[str]:
        """How often each coarse kind occurs."""
        return Counter(segment.coarse for segment in self.segments)

    @cached_property
    def exact(self) -> Counter[str]:
        """How often each kind occurs."""
        return Counter(segment.kind for segment in self.segments)

    @property
    def level(self) -> int:
        """Of its last segment."""
        return self.segments[-1].level

    @property
    def nodes(self) -> tuple[int, ...]:
        """All its nodes."""
        return tuple(node for segment in self.segments for node in segment.nodes)


Layer = tuple[Segment, ...]
"""The segments that make one block of a stage."""


def kinds_of(layer: Layer) -> tuple[str, ...]:
    """The kinds of a layer's segments."""
    return tuple(segment.kind for segment in layer)


def coarse_of(layer: Layer) -> tuple[str, ...]:
    """The same without norms, scales and shifts."""
    return tuple(segment.coarse for segment in layer)


LONGEST = 16
"""Most segments that make one layer."""

INPUT = -1
"""The model's input, which is alive as long as components read it directly."""


@dataclass(slots=True)
class _Cutter:
    graph: ComponentGraph
    last: dict[int, int] = field(init=False)  # the last reader of every node; what is only returned is not alive

    def __post_init__(self) -> None:
        uses = enumerate(self.graph.consumers)
        self.last = {number: max((reader for reader, _ in readers), default=-1) for number, readers in uses}
        roots = [n for n, node in enumerate(self.graph.nodes) if not node.inputs and node.label not in ROOTS]
        self.last[INPUT] = max(roots, default=-1)

    def cut(self, nodes: Sequence[int], alive: frozenset[int], aside: frozenset[int]) -> list[list[int]]:
        """Pieces of a run of nodes, cut where at most one activation is alive besides those set aside."""
        pieces: list[tuple[list[int], frozenset[int]]] = [([], alive)]
        now = set(alive)
        for number in nodes:
            pieces[-1][0].append(number)
            now = {n for n in now if self.last[n] > number}
            if self.last[number] > number and number not in aside:
                now.add(number)
            if len(now) <= 1 and now != pieces[-1][1]:  # a branch that ends here stays with what comes next
                pieces.append(([], frozenset(now)))
        result: list[list[int]] = []
        for piece, before in pieces:
            result.extend(self._again(piece, before, aside) if piece else [])
        return result

    def _again(self, piece: list[int], before: frozenset[int], aside: frozenset[int]) -> list[list[int]]:
        """Cut a piece again without what flows into it, when that shows several residual blocks."""
        if len(piece) < 4 or not before:
            return [piece]
        inner = self.cut(piece, frozenset(), aside | before)
        return inner if sum(map(self._is_residual, inner)) > 1 else [piece]

    def _is_residual(self, piece: list[int]) -> bool:
        """Whether something that flows in is read by several nodes, and a sum brings them together."""
        own = set(piece)
        summed = len(piece) > 1 and any(self.graph.nodes[number].label == "add" for number in piece)
        read = Counter(edge.source for n in piece for edge in self.graph.nodes[n].inputs if edge.source not in own)
        return summed and any(count > 1 for count in read.values())


def segments(graph: ComponentGraph, streams: Sequence[frozenset[Atom]], places: Sequence[int]) -> list[Segment]:
    """All segments in order of execution.

    Args:
        streams: For every node, the free atoms of what it passes on.
        places: For every node, at how many positions it passes on features; 0 where that cannot be told.
    """
    inner = [n for n, node in enumerate(graph.nodes) if node.label not in ROOTS or not graph.consumers[n]]
    pieces = _Cutter(graph).cut(inner, frozenset({INPUT}), frozenset())
    home = {number: place for place, piece in enumerate(pieces) for number in piece}
    for number in (n for n in range(len(graph.nodes)) if n not in home):
        if readers := [home[reader] for reader, _ in graph.consumers[number] if reader in home]:
            pieces[min(readers)].append(number)
    levels = _levels([places[last_of(graph, piece)] for piece in pieces])
    return [_segment(graph, piece, streams, level) for piece, level in zip(pieces, levels, strict=True)]


def _levels(places: Sequence[int]) -> list[int]:
    """How often the number of positions has halved since the first that is known."""
    first = next((count for count in places if count), 1)
    found: list[int] = []
    for count in places:
        found.append(round(math.log2(max(1.0, first / count))) if count else (found[-1] if found else 0))
    return found


def last_of(graph: ComponentGraph, piece: Sequence[int]) -> int:
    """The node that passes on the result of a piece."""
    return max((number for number in piece if graph.nodes[number].label not in ROOTS), default=max(piece))


def _segment(graph: ComponentGraph, piece: list[int], streams: Sequence[frozenset[Atom]], level: int) -> Segment:
    light = all(graph.nodes[n].light for n in piece)
    kind = Part(graph, piece).kind()
    coarse = digest("light", kind) if light else Part(graph, piece, coarse=True).kind()
    inner = [n for n in piece if graph.nodes[n].label not in ROOTS]
    chained = len(piece) == 1 and _is_chained(graph, piece[0])
    stream = streams[last_of(graph, piece)]
    return Segment(tuple(sorted(piece)), kind, coarse, len(inner) > 1, light, stream, level, chained)


def _is_chained(graph: ComponentGraph, number: int) -> bool:
    node = graph.nodes[number]
    last = any(edge.source == number for edge in graph.results)
    return (node.label == "conv" or node.label.startswith("recurrent")) and bool(node.inputs) and not last


def fold(found: Sequence[Segment]) -> list[Item]:
    """Gather repeated segments into stages: blocks of one residual stream, or a chain at one resolution.

    Light segments belong to the stage that they stand in.
    """
    items: list[Item] = []
    stage: list[Segment] = []
    for segment in found:
        if stage and _continues(stage[0], segment):
            stage.append(segment)
            continue
        items.extend(_closed(stage))
        stage = []
        if segment.chained or (segment.compound and segment.stream):
            stage.append(segment)
        else:
            items.append(Item((segment,)))
    return [*items, *_closed(stage)]


def _continues(first: Segment, segment: Segment) -> bool:
    if first.chained:
        return (segment.chained or segment.light) and segment.level == first.level
    return (segment.compound or segment.light) and segment.stream == first.stream


def _closed(stage: list[Segment]) -> list[Item]:
    """A stage of blocks ends with a light segment only where such stand between its blocks too (norms after sums)."""
    last = max((i for i, segment in enumerate(stage) if not segment.light), default=-1)
    if last < 0:
        return [Item((segment,)) for segment in stage]
    if stage[0].chained:
        last = len(stage) - 1
    elif any(segment.light for segment in stage[:last]):
        last += 1
    rest = [Item((segment,)) for segment in stage[last + 1 :]]
    return [Item(tuple(stage[: last + 1]), stage=True), *rest]


def layer_length(*stages: Item, longest: int = LONGEST) -> int:
    """How many segments make a layer: the longest period whose places never share a kind.

    Attention and its feed-forward part are two segments of one layer; dense and sparse feed-forward parts that
    take turns are different kinds of the same place.
    """
    most = max(len(stage.segments) for stage in stages)
    for length in range(min(longest, most // 2), 1, -1):
        if any(len(stage.segments) % length for stage in stages):
            continue
        places: list[set[object]] = [set() for _ in range(length)]
        for stage in stages:
            for i, kind in enumerate(_place_kinds(stage.segments)):
                places[i % length].add(kind)
        if sum(map(len, places)) == len(set().union(*places)):
            return length
    return 1


def _place_kinds(found: Iterable[Segment]) -> list[object]:
    kinds: list[object] = []
    for segment in found:
        kinds.append((segment.coarse, kinds[-1] if kinds else None) if segment.light else segment.coarse)
    return kinds


def layers(stage: Item, length: int) -> list[Layer]:
    """A stage's segments, taken together layer by layer."""
    found = stage.segments
    return [tuple(found[i : i + length]) for i in range(0, len(found), length)]
