"""The mean of a few numbers with its 95 % interval, without a statistics package."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Mean, and half the width of its interval by Student's t; infinite for a single value.

    >>> mean, half = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    >>> mean, round(half, 4)
    (3.0, 1.9632)
    """
    if not values:
        raise ValueError("the mean of no values was asked for")
    if len(values) == 1:
        return values[0], math.inf
    spread = stdev(values) / math.sqrt(len(values))
    return fmean(values), t_quantile(len(values) - 1, level) * spread


def t_quantile(freedom: int, level: float = 0.95) -> float:
    """The t within which a share `level` of Student's distribution lies, on both sides of zero.

    >>> round(t_quantile(4), 4)
    2.7764
    """
    if freedom < 1 or not 0 < level < 1:
        raise ValueError(f"no t distribution with freedom={freedom!r}, level={level!r}")
    low, high = 0.0, math.pi / 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _share_within(middle, freedom) < level else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _share_within(angle: float, freedom: int) -> float:
    """Share of the distribution within +-t, where `angle` is atan(t / sqrt(freedom)).

    Reference:
        Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    sine, cosine = math.sin(angle), math.cos(angle)
    term, total = (cosine, 0.0) if freedom % 2 else (1.0, 0.0)
    for power in range(1 if freedom % 2 else 0, freedom - 1, 2):
        total += term
        term *= cosine**2 * (power + 1) / (power + 2)
    return 2 / math.pi * (angle + sine * total) if freedom % 2 else sine * total
