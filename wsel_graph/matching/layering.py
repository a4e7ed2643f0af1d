"""How many segments make a layer of a stage, and what stands before the first and after the last.

Attention and its feed-forward part are two segments of one layer. A stage may begin or end with segments of its own
kind: a first block without a norm, a final norm, a pooling block on the same stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wsel_graph.matching.segments import Item, Layer, coarse_of, kinds_of

LONGEST = 16
"""Most segments that make one layer."""

ENDS = 8
"""Most segments before the first and after the last layer, together."""


@dataclass(frozen=True, slots=True)
class Layering:
    """Segments of one layer, and how many segments stand before the first and after the last layer."""

    length: int
    lead: int = 0
    tail: int = 0

    def layers(self, stage: Item) -> list[Layer]:
        """A stage's segments, taken together layer by layer."""
        found = stage.segments[self.lead : len(stage.segments) - self.tail]
        return [tuple(found[i : i + self.length]) for i in range(0, len(found), self.length)]

    def ends(self, stage: Item) -> Layer:
        """The segments before the first layer, and those after the last."""
        return (*stage.segments[: self.lead], *stage.segments[len(stage.segments) - self.tail :])


def layering(student: Item, teacher: Item) -> Layering:
    """The layers of two stages that correspond; ends are told apart only where the whole stages show no layers."""
    whole = [_place_kinds(stage) for stage in (student, teacher)]
    length = _period(whole)
    if length > 1 or len(set().union(*whole)) == 1:
        return Layering(length)
    splits = [(lead, count - lead) for count in range(1, ENDS + 1) for lead in range(count, -1, -1)]
    splits = [(lead, tail) for lead, tail in splits if lead + tail < min(map(len, whole))]
    for period in (_exact, _period):
        for lead, tail in splits:
            inner = [kinds[lead : len(kinds) - tail] for kinds in whole]
            ends = [(*kinds[:lead], *kinds[len(kinds) - tail :]) for kinds in whole]
            if ends[0] != ends[1] or isinstance(inner[0][0], tuple):  # a norm belongs to what it stands behind
                continue
            own = period is _exact or set().union(*inner).isdisjoint(ends[0])
            if own and (length := period(inner)) > 1:
                return Layering(length, lead, tail)
    return Layering(1)


def layer_length(*stages: Item, longest: int = LONGEST) -> int:
    """How many segments make a layer, where the stages hold nothing but layers."""
    return _period([_place_kinds(stage) for stage in stages], longest)


def of_one_kind(small: Sequence[Layer], large: Sequence[Layer]) -> list[tuple[list[int], list[int]]]:
    """The student's layers of each kind, and the teacher's: of equal kinds, else of kinds that norms alone tell apart.

    Zero-based. A layer of nothing but norms is of one kind with another behind a layer of the same coarse kind.
    """
    ours, theirs = _keys(small), _keys(large)
    known = {exact for exact, _ in theirs}
    keys = [exact if exact in known else coarse for exact, coarse in ours]
    return [
        (
            [number for number, own in enumerate(keys) if own == key],
            [number for number, other in enumerate(theirs) if key in other],
        )
        for key in dict.fromkeys(keys)
    ]


def agreeing(small: Sequence[Layer], large: Sequence[Layer], partners: Mapping[int, int]) -> int:
    """How many student layers have a partner of their own coarse kind."""
    ours, theirs = _keys(small), _keys(large)
    return sum(ours[mine][1] == theirs[other][1] for mine, other in partners.items())


def _keys(layers: Sequence[Layer]) -> list[tuple[object, object]]:
    """The kinds of every layer and its coarse kinds; of norms with the coarse kinds of what they stand behind."""
    found: list[tuple[object, object]] = []
    for layer in layers:
        behind = (found[-1][1],) if found and all(segment.light for segment in layer) else ()
        found.append(((kinds_of(layer), *behind), (coarse_of(layer), *behind)))
    return found


def _period(sequences: Sequence[Sequence[object]], longest: int = LONGEST) -> int:
    """The longest period whose places never share a kind, else the shortest that repeats exactly, else 1.

    By the first, dense and sparse feed-forward parts that take turns are different kinds of the same place; by the
    second, the two halves of a feed-forward part around attention, or attention to another sequence, are places. The
    first needs two segments besides norms: one and its norm are a layer only where nothing longer repeats.
    """
    unit = max(sequences, key=len)
    distinct = next((n for n in reversed(_fits(sequences, longest)) if _places_differ(sequences, n)), 1)
    if sum(isinstance(kind, str) for kind in unit[:distinct]) > 1:
        return distinct
    exact = _exact(sequences, longest)
    return exact if exact > 1 else distinct


def _exact(sequences: Sequence[Sequence[object]], longest: int = LONGEST) -> int:
    """The shortest period above 1 that repeats exactly; 1 where none does."""
    unit = max(sequences, key=len)
    found = (
        n
        for n in _fits(sequences, longest)
        if all(kind == unit[i % n] for kinds in sequences for i, kind in enumerate(kinds))
    )
    return next(found, 1)


def _fits(sequences: Sequence[Sequence[object]], longest: int) -> list[int]:
    """Lengths above 1 that divide all sequences, and of which the longest holds two; none where all is of one kind."""
    if len(set().union(*sequences)) == 1:
        return []
    most = min(longest, max(map(len, sequences)) // 2)
    return [n for n in range(2, most + 1) if not any(len(kinds) % n for kinds in sequences)]


def _places_differ(sequences: Sequence[Sequence[object]], length: int) -> bool:
    places: list[set[object]] = [set() for _ in range(length)]
    for kinds in sequences:
        for i, kind in enumerate(kinds):
            places[i % length].add(kind)
    return sum(map(len, places)) == len(set().union(*places))


def _place_kinds(stage: Item) -> list[object]:
    """The coarse kind of every segment; of light ones, a pair with that of what they stand behind."""
    kinds: list[object] = []
    for segment in stage.segments:
        kinds.append((segment.coarse, kinds[-1] if kinds else None) if segment.light else segment.coarse)
    return kinds
