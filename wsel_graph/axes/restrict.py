"""The part of an axis that lies on given positions."""

from __future__ import annotations

from collections.abc import Sequence

from wsel_graph.axes.expr import EMPTY, Atom, Axis, Concat, concat, product


def restrict(axis: Axis, rows: Sequence[int]) -> Axis | None:
    """The axis that the given positions make up, in order; None when they cut an atom or form no grid.

    Args:
        rows: Zero-based positions, ascending.

    >>> h, d = Atom(2), Atom(4)
    >>> restrict(concat(h, d), range(2, 6)) is d
    True
    >>> fused = product(concat(product(), product(), product()), h, d)
    >>> restrict(fused, range(8, 16)) == product(h, d)
    True
    >>> restrict(d, [0, 1]) is None
    True
    """
    if len(rows) == axis.size:
        return axis
    if not rows:
        return EMPTY
    if isinstance(axis, Atom):
        return None
    if isinstance(axis, Concat):
        return _restrict_concat(axis, rows)
    found: list[Axis] = []
    count = 1
    size = axis.size
    for factor in axis.factors:
        size //= factor.size
        own = sorted({row // size % factor.size for row in rows})
        count *= len(own)
        part = restrict(factor, own)
        if part is None:
            return None
        found.append(part)
    return product(*found) if count == len(rows) else None


def _restrict_concat(axis: Concat, rows: Sequence[int]) -> Axis | None:
    found: list[Axis] = []
    offset = place = 0
    for part in axis.parts:
        end = place
        while end < len(rows) and rows[end] < offset + part.size:
            end += 1
        inner = restrict(part, [row - offset for row in rows[place:end]])
        if inner is None:
            return None
        found.append(inner)
        offset, place = offset + part.size, end
    return concat(*found)
