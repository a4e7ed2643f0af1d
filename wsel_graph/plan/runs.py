"""Index lists that are regular piece by piece, as the ranges that they are made of.

Whole heads, or groups of channels, are a few ranges one after another: a plan file holds these, not every element.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

SHORTEST = 12
"""Lists below this length are written out: they are read more easily."""

LONGEST = 1 << 24
"""Elements that the runs of one list may stand for; no axis of a network is longer."""


def runs_of(items: Sequence[int]) -> Iterator[range]:
    """The ranges that make up a list, each as long as it can be, from the left.

    >>> list(runs_of((0, 1, 2, 3, 8, 10, 12, 5)))
    [range(0, 4), range(8, 14, 2), range(5, 6)]
    """
    start = 0
    while start < len(items):
        stop = start + 1
        step = items[stop] - items[start] if stop < len(items) else 1
        while step and stop < len(items) and items[stop] - items[stop - 1] == step:
            stop += 1
        if stop - start < 3:  # two elements are no pattern
            stop, step = start + 1, 1
        yield range(items[start], items[start] + step * (stop - start), step)
        start = stop


def as_runs(items: Sequence[object]) -> list[range] | None:
    """The runs of a long list of integers that take at most half of its place; None where they would not.

    >>> as_runs(tuple(range(8)) + tuple(range(32, 40)))
    [range(0, 8), range(32, 40)]
    >>> as_runs((0, 1, 2))
    """
    if not SHORTEST <= len(items) <= LONGEST:
        return None
    numbers = [item for item in items if type(item) is int]
    if len(numbers) < len(items):
        return None
    found: list[range] = []
    for run in runs_of(numbers):
        found.append(run)
        if 6 * len(found) > len(items):  # three numbers each
            return None
    return found


def from_runs(runs: Iterable[range]) -> tuple[int, ...] | None:
    """The list that runs stand for; None where it would be longer than any axis is.

    >>> from_runs([range(0, 3), range(8, 4, -2)])
    (0, 1, 2, 8, 6)
    """
    found: list[int] = []
    for run in runs:
        if _length(run) + len(found) > LONGEST:
            return None
        found.extend(run)
    return tuple(found)


def _length(run: range) -> int:
    """`len`, which overflows where the numbers are too large for the machine."""
    return max(0, (run.stop - run.start + run.step - (1 if run.step > 0 else -1)) // run.step)


def meet(first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether two index lists have an element in common; ranges are not written out.

    >>> meet(range(0, 100, 6), range(3, 100, 4)), meet(range(0, 100, 6), range(3, 100, 10)), meet(range(5), (7, 4))
    (False, False, True)
    """
    if isinstance(first, range) and isinstance(second, range):
        return _progressions_meet(first, second)
    short, long = sorted((first, second), key=lambda items: isinstance(items, range))
    own: Sequence[int] | frozenset[int] = long if isinstance(long, range) else frozenset(long)
    return any(item in own for item in short)


def _progressions_meet(first: range, second: range) -> bool:
    if not _length(first) or not _length(second):
        return False
    first, second = (run if run.step > 0 else run[::-1] for run in (first, second))
    common = math.gcd(first.step, second.step)
    apart, left = divmod(second.start - first.start, common)
    if left:
        return False
    # The elements of both are those congruent to `one` modulo `every` (Chinese remainders).
    other = second.step // common
    one = first.start + first.step * (apart * pow(first.step // common, -1, other) % other)
    every = first.step * other
    least = max(first.start, second.start)
    one += every * max(0, -((one - least) // every))
    return one <= min(first[-1], second[-1])
