"""Line up a student axis with a teacher axis, atom by atom.

Equal structures pair part by part. Where one side lacks a factor because it has size 1 there (one head, one
group), the factor is found by order: parts that are known to belong together decide, and where nothing is
known the factors that vary fastest are paired, so that leading ones (heads, groups) are the ones reduced to one.
Parts that are built differently but have one size correspond as wholes: all of the one is all of the other.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wsel_graph.axes import UNIT, Atom, Axis, Concat, Product, atoms, children, product


@dataclass(frozen=True, slots=True)
class Leaf:
    """A student atom (or a unit) and the teacher atom (or a unit) at the same place; or two parts taken whole."""

    student: Axis
    teacher: Axis

    @property
    def whole(self) -> bool:
        """Whether the two parts are built differently, so that they only correspond as wholes."""
        return not all(isinstance(axis, Atom) or axis == UNIT for axis in (self.student, self.teacher))


class Misaligned(Exception):
    """The two axes are built differently; carries both parts."""

    def __init__(self, student: Axis, teacher: Axis) -> None:
        super().__init__(student, teacher)
        self.student, self.teacher = student, teacher


Belong = Callable[[Axis, Axis], bool]
"""Whether a student part and a teacher part, atoms or units, are known to belong together."""


def align(student: Axis, teacher: Axis, belong: Belong) -> list[Leaf]:
    """Pair the atoms of two axes.

    Raises:
        Misaligned: If no order-preserving pairing exists.
    """
    try:
        return _align(student, teacher, belong)
    except Misaligned:
        if student.size != teacher.size:
            raise
        return [Leaf(student, teacher)]


def _align(student: Axis, teacher: Axis, belong: Belong) -> list[Leaf]:
    if isinstance(student, Atom) and isinstance(teacher, Atom):
        return [Leaf(student, teacher)]
    if next(atoms(student), None) is None and next(atoms(teacher), None) is None:
        if student.size != teacher.size:
            raise Misaligned(student, teacher)
        return []
    if UNIT in (student, teacher) and not isinstance(other := teacher if student == UNIT else student, Product):
        if isinstance(other, Concat):
            raise Misaligned(student, teacher)
        return [Leaf(student, teacher)]
    if isinstance(student, Concat) and isinstance(teacher, Concat) and len(student.parts) == len(teacher.parts):
        return _align_all(student.parts, teacher.parts, belong)
    return _align_factors(_factors(student), _factors(teacher), belong)


def _align_all(student: Sequence[Axis], teacher: Sequence[Axis], belong: Belong) -> list[Leaf]:
    return [leaf for s, t in zip(student, teacher, strict=True) for leaf in align(s, t, belong)]


def _factors(axis: Axis) -> Sequence[Axis]:
    return children(axis) if isinstance(axis, Product) else (axis,)


def _align_factors(student: Sequence[Axis], teacher: Sequence[Axis], belong: Belong) -> list[Leaf]:
    fault = Misaligned(product(*student), product(*teacher))
    if len(student) == len(teacher) == 1:
        raise fault
    length = max(len(student), len(teacher))
    found = []
    for s, t in itertools.product(_spread(student, length), _spread(teacher, length)):
        with contextlib.suppress(Misaligned):
            found.append(_align_all(s, t, belong))
    if not found:
        raise fault
    return max(reversed(found), key=lambda leaves: _score(leaves, belong))  # of equals, the last: trailing factors pair


def _score(leaves: Sequence[Leaf], belong: Belong) -> tuple[int, int]:
    """How good a pairing is: few parts that are only equal as wholes, then many parts that belong together."""
    paired = [leaf for leaf in leaves if not leaf.whole]
    return len(paired) - len(leaves), sum(belong(leaf.student, leaf.teacher) for leaf in paired)


def _spread(factors: Sequence[Axis], length: int) -> list[list[Axis]]:
    """Every way to put the factors, in order, into `length` places; the others hold a unit."""
    ways = []
    for places in itertools.combinations(range(length), len(factors)):
        row = [UNIT] * length
        for place, factor in zip(places, factors, strict=True):
            row[place] = factor
        ways.append(row)
    return ways
