"""Line up a student axis with a teacher axis, atom by atom.

Equal structures pair part by part. Where one side lacks a factor because it has size 1 there (one head, one
group), the factor is found by order: parts that are known to belong together decide, and where nothing is
known the factors that vary fastest are paired, so that leading ones (heads, groups) are the ones reduced to one.
Pinned factors that one side sees as one run and the other as a grid of the same size correspond as wholes; so do
pinned leading factors and parts laid end to end, of which each corresponds to all that follows these factors.
So do parts that are built differently but have one size (all of the one is all of the other), where what they hang
together with allows it: positions that share an element of some atom on one side must do so on the other. The halves
of a rotary code do not correspond to its neighbouring pairs, nor gates laid end to end to gates laid in turn.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from wsel_graph.axes import UNIT, Atom, Axis, Concat, Product, atoms, children, fixed, product


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
Pinned = Callable[[Atom], bool]
"""Whether an atom of either model is pinned."""


def align(student: Axis, teacher: Axis, belong: Belong, pinned: Pinned) -> list[Leaf]:
    """Pair the atoms of two axes.

    Raises:
        Misaligned: If no order-preserving pairing exists.
    """
    return _Aligner(belong, pinned).align(student, teacher)


@dataclass(frozen=True, slots=True)
class _Aligner:
    belong: Belong
    pinned: Pinned

    def align(self, student: Axis, teacher: Axis) -> list[Leaf]:
        try:
            return self._parts(student, teacher)
        except Misaligned:
            if student.size != teacher.size or self._shared(student) != self._shared(teacher):
                raise
            return [Leaf(student, teacher)]

    def _parts(self, student: Axis, teacher: Axis) -> list[Leaf]:
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
            return self._all(student.parts, teacher.parts)
        if isinstance(student, Concat) and (cut := self._laid_out(teacher, len(student.parts))) is not None:
            return [Leaf(fixed(len(student.parts)), cut[0]), *self._all(student.parts, cut[1])]
        if isinstance(teacher, Concat) and (cut := self._laid_out(student, len(teacher.parts))) is not None:
            return [Leaf(cut[0], fixed(len(teacher.parts))), *self._all(cut[1], teacher.parts)]
        return self._products(_factors(student), _factors(teacher))

    def _laid_out(self, axis: Axis, count: int) -> tuple[Axis, list[Axis]] | None:
        """The pinned leading factors of an axis, of this size together, and that many times the others."""
        factors = _factors(axis)
        for stop in range(1, len(factors)):
            lead = product(*factors[:stop])
            if lead.size == count and all(map(self.pinned, atoms(lead))):
                return lead, [product(*factors[stop:])] * count
        return None

    def _all(self, student: Sequence[Axis], teacher: Sequence[Axis]) -> list[Leaf]:
        return [leaf for s, t in zip(student, teacher, strict=True) for leaf in self.align(s, t)]

    def _products(self, student: Sequence[Axis], teacher: Sequence[Axis]) -> list[Leaf]:
        fault = Misaligned(product(*student), product(*teacher))
        if len(student) == len(teacher) == 1:
            raise fault
        for (before, run, after), (others, grid, rest) in self._runs(student, teacher):
            with contextlib.suppress(Misaligned):
                return [*self._all(before, others), Leaf(run, grid), *self._all(after, rest)]
        length = max(len(student), len(teacher))
        found = []
        for s, t in itertools.product(_spread(student, length), _spread(teacher, length)):
            with contextlib.suppress(Misaligned):
                found.append(self._all(s, t))
        found = [leaves for leaves in found if not _missing_on_both(leaves)]
        if not found:
            raise fault
        return max(reversed(found), key=self._score)  # of equals, the last: trailing factors pair

    def _runs(self, student: Sequence[Axis], teacher: Sequence[Axis]) -> Iterator[tuple[_Cut, _Cut]]:
        """Where one pinned factor of one side stands against several pinned ones of the other, of the same size."""
        small, large = sorted((len(student), len(teacher)))
        for place in range(small if small < large else 0):
            cuts = _cut(student, place, large - small, large), _cut(teacher, place, large - small, large)
            run, grid = cuts[0][1], cuts[1][1]
            if run.size == grid.size and all(map(self.pinned, (*atoms(run), *atoms(grid)))):
                yield cuts

    def _score(self, leaves: Sequence[Leaf]) -> tuple[int, int]:
        """How good a pairing is: few parts that are only equal as wholes, then many parts that belong together."""
        paired = [leaf for leaf in leaves if not leaf.whole]
        return len(paired) - len(leaves), sum(self.belong(leaf.student, leaf.teacher) for leaf in paired)

    def _shared(self, axis: Axis) -> set[frozenset[int]]:
        """The sets of positions that share an element of an atom which is not pinned."""
        found: dict[tuple[Atom, int], set[int]] = {}
        for atom, element, position in _places(axis):
            if not self.pinned(atom):
                found.setdefault((atom, element), set()).add(position)
        return {frozenset(positions) for positions in found.values() if len(positions) > 1}


def _missing_on_both(leaves: Sequence[Leaf]) -> bool:
    """Whether each side has an atom that the other lacks: gates laid end to end do not correspond to gates in turn."""
    alone = [leaf for leaf in leaves if UNIT in (leaf.student, leaf.teacher) and not leaf.whole]
    return len({isinstance(leaf.student, Atom) for leaf in alone if leaf.student != leaf.teacher}) > 1


def _factors(axis: Axis) -> Sequence[Axis]:
    return children(axis) if isinstance(axis, Product) else (axis,)


def _places(axis: Axis) -> Iterator[tuple[Atom, int, int]]:
    """Every atom, each of its elements, and every position that stands for that element."""
    if isinstance(axis, Atom):
        yield from ((axis, element, element) for element in range(axis.size))
        return
    before, after = 1, axis.size
    offset = 0
    for child in children(axis):
        if isinstance(axis, Concat):
            yield from ((atom, element, offset + place) for atom, element, place in _places(child))
            offset += child.size
            continue
        after //= child.size
        for atom, element, place in _places(child):
            for outer, inner in itertools.product(range(before), range(after)):
                yield atom, element, (outer * child.size + place) * after + inner
        before *= child.size


_Cut = tuple[Sequence[Axis], Axis, Sequence[Axis]]


def _cut(factors: Sequence[Axis], place: int, spare: int, longest: int) -> _Cut:
    """The factors before a place, the one there (of the longest row as many more as are to spare), and the others."""
    stop = place + 1 + (spare if len(factors) == longest else 0)
    return factors[:place], product(*factors[place:stop]), factors[stop:]


def _spread(factors: Sequence[Axis], length: int) -> list[list[Axis]]:
    """Every way to put the factors, in order, into `length` places; the others hold a unit."""
    ways = []
    for places in itertools.combinations(range(length), len(factors)):
        row = [UNIT] * length
        for place, factor in zip(places, factors, strict=True):
            row[place] = factor
        ways.append(row)
    return ways
