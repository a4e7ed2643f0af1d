"""Line up a student axis with a teacher axis, atom by atom.

Equal structures pair part by part. Where the student lacks a factor because it has size 1 there (one head, one
group), the factor is found by order, fixed parts first, then roles.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wsel_graph.axes import UNIT, Atom, Axis, Concat, Product, atoms, children


@dataclass(frozen=True, slots=True)
class Leaf:
    """A student atom (or a unit) and the teacher atom (or a unit) at the same place."""

    student: Axis
    teacher: Axis


class Misaligned(Exception):
    """The two axes are built differently; carries both parts."""

    def __init__(self, student: Axis, teacher: Axis) -> None:
        super().__init__(student, teacher)
        self.student, self.teacher = student, teacher


Prefer = Callable[[Atom, Atom], bool]
"""Whether a student atom and a teacher atom are known to belong together."""


def align(student: Axis, teacher: Axis, prefer: Prefer) -> list[Leaf]:
    """Pair the atoms of two axes.

    Raises:
        Misaligned: If no order-preserving pairing exists.
    """
    if isinstance(student, Atom) and isinstance(teacher, Atom):
        return [Leaf(student, teacher)]
    if not any(True for _ in atoms(student)) and not any(True for _ in atoms(teacher)):
        if student.size != teacher.size:
            raise Misaligned(student, teacher)
        return []
    if isinstance(student, Concat) and isinstance(teacher, Concat) and len(student.parts) == len(teacher.parts):
        pairs = zip(student.parts, teacher.parts, strict=True)
        return [leaf for s, t in pairs for leaf in align(s, t, prefer)]
    return _align_factors(_factors(student), _factors(teacher), prefer)


def _factors(axis: Axis) -> Sequence[Axis]:
    return children(axis) if isinstance(axis, Product) else (axis,)


def _align_factors(student: Sequence[Axis], teacher: Sequence[Axis], prefer: Prefer) -> list[Leaf]:
    if len(student) == len(teacher):
        if len(student) == 1:
            raise Misaligned(student[0], teacher[0])
        pairs = zip(student, teacher, strict=True)
        return [leaf for s, t in pairs for leaf in align(s, t, prefer)]
    fewer, more = (student, teacher) if len(student) < len(teacher) else (teacher, student)
    flipped = len(student) > len(teacher)
    best: tuple[int, list[Leaf]] | None = None
    for places in itertools.combinations(range(len(more)), len(fewer)):
        rows = [(fewer[places.index(i)] if i in places else UNIT, factor) for i, factor in enumerate(more)]
        leaves = _try([(t, s) if flipped else (s, t) for s, t in rows], prefer)
        if leaves is None:
            continue
        score = sum(_known(leaf, prefer) for leaf in leaves)
        if best is None or score >= best[0]:  # of equals, the last: trailing factors vary fastest and stay
            best = (score, leaves)
    if best is None:
        raise Misaligned(_whole(student), _whole(teacher))
    return best[1]


def _whole(factors: Sequence[Axis]) -> Axis:
    return factors[0] if len(factors) == 1 else Product(tuple(factors), 0)


def _known(leaf: Leaf, prefer: Prefer) -> bool:
    return isinstance(leaf.student, Atom) and isinstance(leaf.teacher, Atom) and prefer(leaf.student, leaf.teacher)


def _try(rows: Sequence[tuple[Axis, Axis]], prefer: Prefer) -> list[Leaf] | None:
    leaves: list[Leaf] = []
    for s, t in rows:
        if UNIT in (s, t):
            other = t if s == UNIT else s
            if not isinstance(other, Atom):
                return None
            leaves.append(Leaf(s, t))
            continue
        try:
            leaves.extend(align(s, t, prefer))
        except Misaligned:
            return None
    return leaves
