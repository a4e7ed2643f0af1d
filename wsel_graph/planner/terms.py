"""What a value is in a normalisation that is written out: `factor * x^power * (Q + extra)^exponent`.

`Q` is the sum of squares of `x` over the elements that are selected from, averaged over all other dims that are
reduced. So `mean(x^2)` over C selected elements is `Q / C`, and `x * rsqrt(mean(x^2) + eps)` is
`sqrt(C) * x * (Q + C * eps)^(-1/2)`: the one form of every normalisation by size, however it is written.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum of squares: of what, over which of its dims."""

    base: Hashable
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Term:
    """`factor * x^power * (Q + extra)^exponent`.

    Attributes:
        base: What `x` is: a graph node, or what is left of one once its mean is subtracted.
        total: What `Q` is; None where the exponent is 0.
        gain: Node of the parameter that it was multiplied by, once it was normalised.
    """

    base: Hashable
    factor: float = 1.0
    power: int = 1
    exponent: float = 0.0
    total: Sum | None = None
    extra: float = 0.0
    gain: Hashable = None

    @property
    def plain(self) -> bool:
        """Whether it is `x` times a number."""
        return self.power == 1 and self.exponent == 0

    @property
    def statistic(self) -> bool:
        """Whether it is made of the sum of squares alone."""
        return self.power == 0 and self.exponent != 0

    @property
    def normalised(self) -> bool:
        """Whether it is `x` over the root of its sum of squares."""
        return self.power == 1 and self.exponent == -0.5


@dataclass(frozen=True, slots=True)
class Centre:
    """The mean of `factor * x` over some dims, as it is subtracted."""

    base: Hashable
    factor: float
    dims: tuple[int, ...]


def times(one: Term, other: Term) -> Term | None:
    """The product, where it has the form; None where not.

    >>> root = Term("x", 2.0, 0, -0.5, Sum("x", (1,)), 0.1)
    >>> times(Term("x", 3.0), root)
    Term(base='x', factor=6.0, power=1, exponent=-0.5, total=Sum(base='x', dims=(1,)), extra=0.1, gain=None)
    """
    if one.base != other.base or one.gain is not None or other.gain is not None:
        return None
    if one.total is not None and other.total is not None and (one.total, one.extra) != (other.total, other.extra):
        return None
    source = one if one.total is not None else other
    return replace(
        source,
        factor=one.factor * other.factor,
        power=one.power + other.power,
        exponent=one.exponent + other.exponent,
    )


def raised(term: Term, exponent: float) -> Term | None:
    """A power of a term: whole ones of `x`, any of a positive statistic."""
    if term.gain is not None:
        return None
    if term.plain and exponent == 2:
        return replace(term, factor=term.factor**2, power=2)
    if term.statistic and term.factor > 0:
        return replace(term, factor=term.factor**exponent, exponent=term.exponent * exponent)
    return None


def plus(term: Term, number: float) -> Term | None:
    """A number added to a sum of squares: an epsilon."""
    if number == 0:
        return term
    if not (term.statistic and term.exponent == 1 and term.factor > 0):
        return None
    return replace(term, extra=term.extra + number / term.factor)


def summed(term: Term, dims: tuple[int, ...], factor: float) -> Term | None:
    """`factor * Q` of squares."""
    if term.power != 2 or term.exponent != 0:
        return None
    return Term(term.base, term.factor * factor, 0, 1.0, Sum(term.base, dims))


def variance(base: Hashable, dims: tuple[int, ...], factor: float) -> Term:
    """`factor * Q` of what is left of `x` once its mean is subtracted."""
    centred = (base, "centred", dims)
    return Term(centred, factor, 0, 1.0, Sum(centred, dims))


def centred(term: Term, mean: Centre) -> Term | None:
    """`x - mean(x)`."""
    same = term.plain and term.base == mean.base and math.isclose(term.factor, mean.factor)
    return Term((mean.base, "centred", mean.dims), term.factor) if same else None
