"""Single rows at the ends of an axis, such as the class token of a position table `(1 + (position1 position2))`."""

from __future__ import annotations

from dataclasses import dataclass

from wsel_graph.axes import UNIT, Axis, Concat, concat


@dataclass(frozen=True, slots=True)
class Rows:
    """An axis as single rows, a core, and single rows."""

    lead: int
    core: Axis
    trail: int


def rows(axis: Axis) -> Rows:
    """Split the single rows off both ends; an axis of nothing else is its own core.

    >>> from wsel_graph.axes import Atom
    >>> grid = Atom(4)
    >>> rows(concat(UNIT, UNIT, grid)) == Rows(2, grid, 0)
    True
    """
    parts = axis.parts if isinstance(axis, Concat) else (axis,)
    others = [number for number, part in enumerate(parts) if part != UNIT]
    if not others:
        return Rows(0, axis, 0)
    first, last = others[0], others[-1]
    return Rows(first, concat(*parts[first : last + 1]), len(parts) - 1 - last)
