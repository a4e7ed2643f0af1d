"""Align the folded sequences of student and teacher: stage with stage, single component with single component."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from wsel_graph.matching.segments import Item

SAME_KIND, SAME_STRUCTURE, SAME_LABEL, SAME_NEIGHBOUR = 1000, 100, 2, 1
"""Worth of one node in a segment of the same coarse kind, of the same exact kind, of a node in stages of different
kinds, and of an equal neighbour item."""

ANOTHER_RESOLUTION = 1000
"""By how much a pair of items at different resolutions is worth less, where both models have both resolutions."""

NEIGHBOURS = 4
"""How many items before and after are compared."""

UNIT = NEIGHBOURS * 3
"""What one unit of worth counts: more than all equal neighbours of an item together, so that they only break ties."""


Mark: TypeAlias = tuple[object, ...]
"""What neighbours are compared by: not how many blocks a stage has."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """Pairs of item numbers in order, and for student items with several equally good partners, those partners."""

    pairs: tuple[tuple[int, int], ...]
    ambiguous: tuple[tuple[int, tuple[int, ...]], ...]


def worth(student: Item, teacher: Item) -> int:
    """How much of the student's item has a counterpart in the teacher's; 0 where nothing has."""
    if student.stage != teacher.stage and not (len(student.segments) == len(teacher.segments) == 1):
        return 0
    sizes = {segment.coarse: len(segment.nodes) for segment in student.segments}
    common = sum(sizes[kind] * count for kind, count in (student.kinds & teacher.kinds).items())
    exact = sum((student.exact & teacher.exact).values())
    if not common and student.stage and teacher.stage and student.level == teacher.level:
        return SAME_LABEL * min(len(student.nodes), len(teacher.nodes))
    return SAME_KIND * common + SAME_STRUCTURE * exact


def align_items(student: Sequence[Item], teacher: Sequence[Item], allowed: Callable[[int, int], bool]) -> Alignment:
    """The order-keeping pairing of the greatest worth; where several are equally good, what they disagree on.

    Args:
        allowed: Whether a teacher item may fill a student item, both by number.
    """
    table = _worths(student, teacher)
    for s, row in enumerate(table):
        row[:] = [value if value and allowed(s, t) else 0 for t, value in enumerate(row)]
    ahead = _best_from(table)
    early, late = (_walk(table, ahead, prefer_early=early) for early in (True, False))
    pairs: list[tuple[int, int]] = []
    ambiguous: list[tuple[int, tuple[int, ...]]] = []
    for number in sorted(early.keys() | late.keys()):
        one, other = early.get(number), late.get(number)
        if one is not None and one == other:
            pairs.append((number, one))
        else:
            ambiguous.append((number, _candidates(table[number], one, other)))
    return Alignment(tuple(pairs), tuple(ambiguous))


def _worths(student: Sequence[Item], teacher: Sequence[Item]) -> list[list[int]]:
    """The worth of every pair."""
    known: dict[tuple[object, object], int] = {}
    exact = [[_structure(item) for item in items] for items in (student, teacher)]
    marks: list[list[Mark]] = [[_mark(item) for item in items] for items in (student, teacher)]
    shared = {item.level for item in student} & {item.level for item in teacher}
    rows = []
    for s, item in enumerate(student):
        row = []
        for t, other in enumerate(teacher):
            key = (exact[0][s], exact[1][t])
            if key not in known:
                known[key] = worth(item, other)
            apart = item.level != other.level and not shared.isdisjoint((item.level, other.level))
            value = known[key] // (ANOTHER_RESOLUTION if apart else 1)
            row.append(value and UNIT * value + SAME_NEIGHBOUR * _neighbours(marks, s, t))
        rows.append(row)
    return rows


def _candidates(row: Sequence[int], one: int | None, other: int | None) -> tuple[int, ...]:
    """What lies between the earliest and the latest partner and is worth as much."""
    ends = [end for end in (one, other) if end is not None]
    least = min(row[end] for end in ends)
    return tuple(t for t in range(min(ends), max(ends) + 1) if row[t] >= least)


def _structure(item: Item) -> tuple[object, ...]:
    return item.stage, item.level, tuple(sorted(item.exact.items()))


def _mark(item: Item) -> Mark:
    return item.stage, item.level, frozenset(item.kinds)


def _neighbours(marks: list[list[Mark]], s: int, t: int) -> int:
    """How many items in a row are alike on both sides, before and after; the ends of the sequences are alike too."""
    return sum(_alike(marks, s, t, step) for step in (-1, 1))


def _alike(marks: list[list[Mark]], s: int, t: int, step: int) -> int:
    for distance in range(1, NEIGHBOURS + 1):
        ours, theirs = (_at(own, place + step * distance) for own, place in zip(marks, (s, t), strict=True))
        if ours != theirs:
            return distance - 1
        if ours is None:
            return NEIGHBOURS
    return NEIGHBOURS


def _at(marks: list[Mark], place: int) -> Mark | None:
    return marks[place] if 0 <= place < len(marks) else None


def _best_from(table: list[list[int]]) -> list[list[int]]:
    """`best[s][t]`: the greatest worth of the student's items from s on with the teacher's from t on."""
    rows, columns = len(table), len(table[0]) if table else 0
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    for s in range(rows - 1, -1, -1):
        own, below, worths = best[s], best[s + 1], table[s]
        for t in range(columns - 1, -1, -1):
            value = max(below[t], own[t + 1])
            if worths[t]:
                value = max(value, worths[t] + below[t + 1])
            own[t] = value
    return best


def _walk(table: list[list[int]], best: list[list[int]], *, prefer_early: bool) -> dict[int, int]:
    """One best alignment: with partners as early, or as late, as the worth allows."""
    found: dict[int, int] = {}
    s = t = 0
    while s < len(table) and t < len(table[0]):
        worth_here = table[s][t]
        taken = worth_here and worth_here + best[s + 1][t + 1] == best[s][t]
        if taken and (prefer_early or best[s][t + 1] < best[s][t]):
            found[s] = t
            s, t = s + 1, t + 1
        elif best[s][t + 1] == best[s][t]:
            t += 1
        else:
            s += 1
    return found
