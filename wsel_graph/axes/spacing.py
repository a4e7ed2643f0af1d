"""Evenly spaced elements of an axis (and blocks of a stage)."""

from __future__ import annotations

from collections.abc import Sequence


def evenly_spaced(total: int, count: int) -> Sequence[int]:
    """Every k-th when the sizes divide, else `round(linspace(0, total - 1, count))`, half to even.

    Args:
        total: Elements to choose from.
        count: Elements to take, at least 1 and at most `total`.
    Returns:
        Zero-based, strictly increasing.

    >>> list(evenly_spaced(8, 4)), list(evenly_spaced(5, 3)), list(evenly_spaced(7, 5))
    ([0, 2, 4, 6], [0, 2, 4], [0, 2, 3, 4, 6])
    """
    if count == 0:
        return range(0)
    if total % count == 0:
        return range(0, total, total // count)
    return [_round_half_even(i * (total - 1), count - 1) for i in range(count)]


def _round_half_even(numerator: int, denominator: int) -> int:
    """Exact `round(numerator / denominator)`, ties to the even neighbour."""
    quotient, remainder = divmod(numerator, denominator)
    if 2 * remainder == denominator:
        return quotient + quotient % 2
    return quotient + (2 * remainder > denominator)
