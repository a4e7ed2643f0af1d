"""Union-find with refinement over axis expressions.

Every claim "these two axes are the same" shrinks the set of permutations that leave the function
unchanged. The solver keeps the largest set that it can express as independent permutations of
atoms, and refines atoms into products and concats as reshapes and slices demand:

- `split` reads an axis as `(head tail)`; `cut` reads it as `(left + right)`;
- `unify` makes two axes equal: products refine by common divisors, concats at the union of
  their boundaries, and `((a + b) c) == ((a c) + (b c))`, for the leading factor only;
- what cannot be refined is pinned, with the reason. The solver never guesses: every step only
  takes freedom away, so a step too many costs freedom, never correctness.

Marks: a *pinned* atom is taken whole; an *anchored* atom may be selected from, not permuted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from wsel_graph.axes.expr import (
    UNIT,
    Atom,
    Axis,
    Concat,
    Product,
    atoms,
    children,
    concat,
    fixed,
    product,
    substitute,
)
from wsel_graph.errors import AxisConflictError

# A leading atom up to this size may be unrolled into its positions when a cut falls inside one of them.
UNROLL_LIMIT = 64


class _Misfit(Exception):
    """Two structures that no refinement makes equal; handled inside the solver by pinning."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Why an atom is pinned or anchored: a reason word, and the graph node that says so."""

    reason: str
    node: str


@dataclass(frozen=True, slots=True)
class Tie:
    """One recorded step: two axes are the same, or one is refined into the other; and the node that says so."""

    left: Axis
    right: Axis
    node: str


@dataclass(slots=True)
class AxisSolver:
    """The mutable state of one propagation: bindings, marks and the recorded ties."""

    node: str = ""
    pinned: dict[Atom, Mark] = field(default_factory=dict)
    anchored: dict[Atom, Mark] = field(default_factory=dict)
    ties: list[Tie] = field(default_factory=list)
    _bound: dict[Atom, Axis] = field(default_factory=dict)

    # -- making and reading axes

    def fresh(self, size: int, *, pinned: str | None = None, anchored: str | None = None) -> Axis:
        """A new axis of `size`: an atom, marked as asked; sizes 0 and 1 have none."""
        if size <= 1:
            return fixed(size)
        atom = Atom(size)
        if pinned is not None:
            self.pinned[atom] = Mark(pinned, self.node)
        if anchored is not None:
            self.anchored[atom] = Mark(anchored, self.node)
        return atom

    def resolve(self, axis: Axis) -> Axis:
        """The axis in terms of unbound atoms only."""
        bound = [atom for atom in atoms(axis) if atom in self._bound]
        if not bound:
            return axis
        self._compress(bound)
        return substitute(axis, self._bound)

    def _compress(self, stack: list[Atom]) -> None:
        """Bind every atom of the stack, and those below, to unbound atoms; innermost first.

        A loop, not a recursion: one axis taken apart by a thousand slices nests a thousand bindings.
        """
        done: set[Atom] = set()
        while stack:
            atom = stack[-1]
            below = [inner for inner in atoms(self._bound[atom]) if inner in self._bound]
            if todo := [inner for inner in below if inner not in done]:
                stack.extend(todo)
                continue
            if below:
                self._bound[atom] = substitute(self._bound[atom], self._bound)
            done.add(stack.pop())

    def is_pinned(self, axis: Axis) -> bool:
        """Whether every atom of the axis is pinned (true for an axis without atoms)."""
        return all(atom in self.pinned for atom in atoms(self.resolve(axis)))

    # -- marks

    def pin(self, axis: Axis, reason: str) -> None:
        """Take every atom of the axis whole from now on. The first reason given is kept."""
        mark = Mark(reason, self.node)
        for atom in atoms(self.resolve(axis)):
            self.pinned.setdefault(atom, mark)

    def anchor(self, axis: Axis, reason: str) -> None:
        """Forbid exact permutation of every atom of the axis. The first reason given is kept."""
        mark = Mark(reason, self.node)
        for atom in atoms(self.resolve(axis)):
            self.anchored.setdefault(atom, mark)

    def _bind(self, atom: Atom, axis: Axis) -> None:
        self._bound[atom] = axis
        if not isinstance(axis, Atom):
            self.ties.append(Tie(atom, axis, self.node))
        for marks in (self.pinned, self.anchored):
            if (mark := marks.pop(atom, None)) is not None:
                for inner in atoms(axis):
                    marks.setdefault(inner, mark)

    def _fresh_like(self, axis: Axis, size: int) -> Axis:
        """A pinned axis of `size` standing for positions of the pinned `axis`."""
        reason = next((self.pinned[a].reason for a in atoms(axis) if a in self.pinned), "opaque")
        return self.fresh(size, pinned=reason)

    # -- refinement

    def split(self, axis: Axis, tail: int) -> tuple[Axis, Axis]:
        """Read the axis as `(head tail)` with a tail of the given size; pins it when that cannot be.

        Raises:
            AxisConflictError: If `tail` does not divide the size of the axis.
        """
        axis = self.resolve(axis)
        if tail < 1 or axis.size % tail:
            raise AxisConflictError(f"an axis of size {axis.size} has no row-major factor of size {tail}")
        try:
            return self._split(axis, tail)
        except _Misfit:
            self.pin(axis, "opaque")
            return self._fresh_like(axis, axis.size // tail), self._fresh_like(axis, tail)

    def _split(self, axis: Axis, tail: int) -> tuple[Axis, Axis]:
        axis = self.resolve(axis)
        if tail == 1:
            return axis, UNIT
        if tail == axis.size:
            return UNIT, axis
        if axis.size % tail:
            raise _Misfit
        if isinstance(axis, Atom):
            pair = Atom(axis.size // tail), Atom(tail)
            self._bind(axis, product(*pair))
            return pair
        if _has_no_atom(axis):
            return fixed(axis.size // tail), fixed(tail)
        return self._split_product(axis, tail) if isinstance(axis, Product) else self._split_concat(axis, tail)

    def _split_product(self, axis: Product, tail: int) -> tuple[Axis, Axis]:
        done = 1
        for i in reversed(range(len(axis.factors))):
            factor = axis.factors[i]
            if done * factor.size >= tail:
                if tail % done:
                    raise _Misfit
                head, inner = self._split(factor, tail // done)
                return product(*axis.factors[:i], head), product(inner, *axis.factors[i + 1 :])
            done *= factor.size
        raise _Misfit

    def _split_concat(self, axis: Concat, tail: int) -> tuple[Axis, Axis]:
        if any(part.size % tail for part in axis.parts):
            raise _Misfit
        pairs = [self._split(part, tail) for part in axis.parts]
        for _, other in pairs[1:]:
            self._merge(pairs[0][1], other)
        return concat(*(head for head, _ in pairs)), pairs[0][1]

    def cut(self, axis: Axis, offset: int) -> tuple[Axis, Axis]:
        """Read the axis as `(left + right)` with `offset` positions on the left; pins it when that cannot be."""
        axis = self.resolve(axis)
        try:
            return self._cut(axis, offset)
        except _Misfit:
            self.pin(axis, "opaque")
            return self._fresh_like(axis, offset), self._fresh_like(axis, axis.size - offset)

    def _cut(self, axis: Axis, offset: int) -> tuple[Axis, Axis]:
        axis = self.resolve(axis)
        if offset == 0:
            return concat(), axis
        if offset == axis.size:
            return axis, concat()
        if isinstance(axis, Atom):
            return self._cut_atom(axis, offset)
        if isinstance(axis, Concat):
            return self._cut_parts(axis.parts, offset)
        lead, rest = axis.factors[0], product(*axis.factors[1:])
        if offset % rest.size == 0:
            left, right = self._cut(lead, offset // rest.size)
            return product(left, rest), product(right, rest)
        if isinstance(lead, Atom):
            if lead.size > UNROLL_LIMIT:
                raise _Misfit
            self._fix(lead)
            lead = fixed(lead.size)
        return self._cut_parts(_distribute(lead, [rest]).parts, offset)

    def _cut_atom(self, atom: Atom, offset: int) -> tuple[Axis, Axis]:
        if atom in self.pinned:  # no freedom to track: do not grow one part per slice taken
            return self._fresh_like(atom, offset), self._fresh_like(atom, atom.size - offset)
        left, right = self.fresh(offset), self.fresh(atom.size - offset)
        self._bind(atom, concat(left, right))
        return left, right

    def _cut_parts(self, parts: Sequence[Axis], offset: int) -> tuple[Axis, Axis]:
        i = 0
        while offset > parts[i].size:
            offset -= parts[i].size
            i += 1
        left, right = self._cut(parts[i], offset)
        return concat(*parts[:i], left), concat(right, *parts[i + 1 :])

    def _fix(self, axis: Axis) -> None:
        """Let no position of the axis be exchanged for another. A pinned atom stays: it has a reason to show."""
        for atom in dict.fromkeys(atoms(axis)):
            if atom not in self.pinned:
                self._bind(atom, fixed(atom.size))

    # -- unification

    def unify(self, left: Axis, right: Axis) -> None:
        """Make two axes the same; pins both when no refinement can.

        Raises:
            AxisConflictError: If the sizes differ.
        """
        if left.size != right.size:
            raise AxisConflictError(
                f"{self.node or 'unify'}: an axis of size {left.size} cannot equal one of size {right.size}"
            )
        if left is right or left.size == 1:
            return
        self.ties.append(Tie(left, right, self.node))
        try:
            self._merge(left, right)
        except _Misfit:
            self.pin(left, "opaque")
            self.pin(right, "opaque")

    def _merge(self, left: Axis, right: Axis) -> None:
        left, right = self.resolve(left), self.resolve(right)
        if left == right:
            return
        if isinstance(left, Atom) and isinstance(right, Atom):
            older, newer = sorted((left, right), key=lambda atom: atom.serial)
            self._bind(newer, older)
        elif _has_no_atom(right):
            self._fix(left)
        elif _has_no_atom(left):
            self._fix(right)
        elif isinstance(left, Atom):
            self._bind(left, right)
        elif isinstance(right, Atom):
            self._bind(right, left)
        elif self.is_pinned(left) or self.is_pinned(right):
            self._merge_pinned(left, right)
        elif isinstance(left, Concat):
            self._merge_concat(left, right)
        elif isinstance(right, Concat):
            self._merge_concat(right, left)
        else:
            self._merge_product(left, right)

    def _merge_pinned(self, left: Axis, right: Axis) -> None:
        """One side has no freedom left, so neither has the other; keep the pinned side's reason."""
        for axis, other in ((left, right), (right, left)):
            if self.is_pinned(axis):
                reason = next((self.pinned[a].reason for a in atoms(axis)), "opaque")
                self.pin(other, reason)

    def _merge_concat(self, left: Concat, right: Axis) -> None:
        waiting = [right]  # what is left of `right`, the next piece last
        for part in left.parts:
            taken: list[Axis] = []
            missing = part.size
            while missing:
                piece = self.resolve(waiting.pop())
                if isinstance(piece, Concat):
                    waiting.extend(reversed(piece.parts))
                    continue
                if piece.size > missing:
                    piece, rest = self._cut(piece, missing)
                    waiting.append(rest)
                taken.append(piece)
                missing -= piece.size
            self._merge(part, concat(*taken))

    def _merge_product(self, left: Axis, right: Axis) -> None:
        x, y = list(children(left)), list(children(right))
        while x and y:
            f, g = self.resolve(x[0]), self.resolve(y[0])
            if f.size == g.size:
                self._merge(f, g)
                x, y = x[1:], y[1:]
            elif isinstance(f, Concat):
                self._merge_concat(_distribute(f, x[1:]), product(*y))
                x, y = [], []
            elif isinstance(g, Concat):
                self._merge_concat(_distribute(g, y[1:]), product(*x))
                x, y = [], []
            elif (common := math.gcd(f.size, g.size)) == 1:
                x, y = self._pin_unaligned(x, y)
            else:
                (f_head, f_tail), (g_head, g_tail) = (self._split(a, a.size // common) for a in (f, g))
                self._merge(f_head, g_head)
                x, y = _prepend(f_tail, x[1:]), _prepend(g_tail, y[1:])

    def _pin_unaligned(self, x: list[Axis], y: list[Axis]) -> tuple[list[Axis], list[Axis]]:
        """Pin the shortest leading runs of factors that have equal products; return what is left."""
        i, j = 1, 1
        while (p := math.prod(a.size for a in x[:i])) != (q := math.prod(a.size for a in y[:j])):
            i, j = (i + 1, j) if p < q else (i, j + 1)
        for axis in (*x[:i], *y[:j]):
            self.pin(axis, "opaque")
        return x[i:], y[j:]

    # -- reshape

    def reshape(self, axes: Sequence[Axis], sizes: Sequence[int]) -> list[Axis]:
        """The axes of a contiguous reshape of a tensor with `axes` to `sizes` (row-major).

        Input and output dims are grouped by equal running products; each group's inputs are
        multiplied and split into its outputs.
        """
        if 0 in sizes:
            return [self.fresh(size, pinned="opaque") for size in sizes]
        ins = [axis for axis in axes if axis.size != 1]
        outs = [size for size in sizes if size != 1]
        pieces: list[Axis] = []
        while ins:
            i, j = _equal_prefix([a.size for a in ins], outs)
            pieces.extend(self._peel(product(*ins[:i]), outs[:j]))
            ins, outs = ins[i:], outs[j:]
        remaining = iter(pieces)
        return [UNIT if size == 1 else next(remaining) for size in sizes]

    def _peel(self, axis: Axis, sizes: Sequence[int]) -> list[Axis]:
        pieces: list[Axis] = []
        for size in sizes[:-1]:
            head, axis = self.split(axis, axis.size // size)
            pieces.append(head)
        return [*pieces, axis]


def _has_no_atom(axis: Axis) -> bool:
    return next(atoms(axis), None) is None


def _distribute(lead: Axis, rest: Sequence[Axis]) -> Concat:
    """`((a + b) c)` as `((a c) + (b c))`."""
    parts = tuple(product(part, *rest) for part in children(lead))
    return Concat(parts, sum(part.size for part in parts))


def _prepend(axis: Axis, rest: list[Axis]) -> list[Axis]:
    """A factor list with `axis` in front: the factors of a product one by one, nothing for a unit."""
    return [*(axis.factors if isinstance(axis, Product) else (axis,)), *rest]


def _equal_prefix(x: Sequence[int], y: Sequence[int]) -> tuple[int, int]:
    """The shortest prefix lengths (at least 1) of two size lists with equal products."""
    i = j = 1
    p, q = x[0], y[0]
    while p != q:
        if p < q:
            p *= x[i]
            i += 1
        else:
            q *= y[j]
            j += 1
    return i, j
