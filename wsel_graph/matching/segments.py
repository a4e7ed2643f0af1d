"""The segments of a component graph, and runs of repeated ones folded into stages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from wsel_graph.axes import Atom
from wsel_graph.matching.components import ComponentGraph
from wsel_graph.matching.cuts import cut
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
        sources: Nodes outside that it reads.
    """

    nodes: tuple[int, ...]
    kind: str
    coarse: str
    compound: bool
    light: bool
    stream: frozenset[Atom]
    level: int = 0
    chained: bool = False
    sources: frozenset[int] = frozenset()


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


def segments(graph: ComponentGraph, streams: Sequence[frozenset[Atom]], places: Sequence[int]) -> list[Segment]:
    """All segments in order of execution.

    Args:
        streams: For every node, the free atoms of what it passes on.
        places: For every node, at how many positions it passes on features; 0 where that cannot be told.
    """
    pieces = cut(graph, [n for n in range(len(graph.nodes)) if n not in graph.roots or not graph.consumers[n]])
    home = {number: place for place, piece in enumerate(pieces) for number in piece}
    for number in (n for n in reversed(range(len(graph.nodes))) if n not in home):
        home[number] = min(home[reader] for reader, _ in graph.consumers[number])
        pieces[home[number]].append(number)
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
    return max((number for number in piece if number not in graph.roots), default=max(piece))


def _segment(graph: ComponentGraph, piece: list[int], streams: Sequence[frozenset[Atom]], level: int) -> Segment:
    light = all(graph.nodes[n].light for n in piece)
    kind = Part(graph, piece).kind()
    coarse = digest("light", kind) if light else Part(graph, piece, coarse=True).kind()
    inner = set(piece) - graph.roots
    chained = len(piece) == 1 and _is_chained(graph, piece[0])
    stream = streams[last_of(graph, piece)]
    read = frozenset(edge.source for n in piece for edge in graph.nodes[n].inputs) - set(piece)
    return Segment(tuple(sorted(piece)), kind, coarse, len(inner) > 1, light, stream, level, chained, read)


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
        if stage and _continues(stage, segment):
            stage.append(segment)
            continue
        items.extend(_closed(stage))
        stage = []
        if segment.chained or (segment.compound and segment.stream):
            stage.append(segment)
        else:
            items.append(Item((segment,)))
    return [*items, *_closed(stage)]


def _continues(stage: Sequence[Segment], segment: Segment) -> bool:
    """Whether a segment goes on from the last one of a stage; a second sequence of the same features is another."""
    first = stage[0]
    if segment.sources.isdisjoint(stage[-1].nodes):
        return False
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


def with_last_norms(items: Sequence[Item], others: Sequence[Item]) -> list[Item]:
    """The items, stages with the norm behind them where stages of the same kinds of another model end with theirs.

    A norm behind a stage's only block may be that block's or the whole network's. More blocks tell.
    """
    ends = {_heavy(item): item.segments[-1].kind for item in others if item.stage and item.segments[-1].light}
    found: list[Item] = []
    for item in items:
        last = found[-1] if found else item
        norm = item.segments[0]
        behind = last.stage and not item.stage and norm.light and not last.segments[-1].light
        if behind and ends.get(_heavy(last)) == norm.kind and not norm.sources.isdisjoint(last.segments[-1].nodes):
            found[-1] = Item((*last.segments, norm), stage=True)
        else:
            found.append(item)
    return found


def _heavy(item: Item) -> frozenset[str]:
    return frozenset(segment.kind for segment in item.segments if not segment.light)
