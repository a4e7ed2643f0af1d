"""Axis expressions: how the positions of one tensor dimension are made of indivisible index sets.

`Atom(size)` is an indivisible index set. `Product(factors)` is a row-major merge: position
`i * len(b) + j` of `(a b)` is the pair `(a[i], b[j])`. `Concat(parts)` lays axes end to end.
An axis of size 1 is `UNIT`, the empty product: it never couples anything (it broadcasts). An axis
whose every position has a meaning of its own is `fixed(n)`: n units laid end to end, with no atom in it.
An axis without positions is `EMPTY`, the empty concat.

The nodes are dumb; the smart constructors `product` and `concat` keep one normal form: no nested
product in a product, no nested concat in a concat, no unit factor, no single-element compound.
Two atoms of equal size are different atoms: equality of atoms is identity.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

_serial = itertools.count()


@dataclass(frozen=True, slots=True, eq=False)
class Atom:
    """An indivisible index set of `size` elements; compared by identity."""

    size: int
    serial: int = field(default_factory=lambda: next(_serial))

    def __repr__(self) -> str:
        return f"a{self.serial}:{self.size}"


@dataclass(frozen=True, slots=True, repr=False)
class Product:
    """A row-major merge of `factors`; the last factor varies fastest."""

    factors: tuple[Axis, ...]
    size: int

    def __repr__(self) -> str:
        return f"({' '.join(map(repr, self.factors))})"


@dataclass(frozen=True, slots=True, repr=False)
class Concat:
    """`parts` laid end to end."""

    parts: tuple[Axis, ...]
    size: int

    def __repr__(self) -> str:
        return str(self.size) if self == fixed(self.size) else f"({' + '.join(map(repr, self.parts))})"


Axis: TypeAlias = Atom | Product | Concat

UNIT: Axis = Product((), 1)
EMPTY: Axis = Concat((), 0)


def product(*axes: Axis) -> Axis:
    """Merge axes row-major, in normal form.

    >>> a, b = Atom(2), Atom(3)
    >>> product(a, product(b, UNIT)) == product(a, b)
    True
    >>> product(a) is a
    True
    """
    factors: list[Axis] = []
    size = 1
    for axis in axes:
        size *= axis.size
        if isinstance(axis, Product):
            factors.extend(axis.factors)
        else:
            factors.append(axis)
    if size == 0:
        return EMPTY
    if len(factors) == 1:
        return factors[0]
    return Product(tuple(factors), size) if factors else UNIT


def concat(*axes: Axis) -> Axis:
    """Lay axes end to end, in normal form.

    >>> a, b = Atom(2), Atom(3)
    >>> concat(a, concat(b, UNIT)).size
    6
    """
    parts: list[Axis] = []
    for axis in axes:
        if isinstance(axis, Concat):
            parts.extend(axis.parts)
        elif axis.size:
            parts.append(axis)
    if len(parts) == 1:
        return parts[0]
    return Concat(tuple(parts), sum(part.size for part in parts))


@lru_cache(maxsize=4096)
def fixed(size: int) -> Axis:
    """An axis of `size` positions, none of which may be exchanged for another."""
    return concat(*([UNIT] * size))


def children(axis: Axis) -> tuple[Axis, ...]:
    """The direct constituents of a compound axis, none for an atom."""
    if isinstance(axis, Atom):
        return ()
    return axis.factors if isinstance(axis, Product) else axis.parts


def atoms(axis: Axis) -> Iterator[Atom]:
    """Every atom occurrence in `axis`, left to right, repeats included."""
    if isinstance(axis, Atom):
        yield axis
    else:
        for child in children(axis):
            yield from atoms(child)


def substitute(axis: Axis, replacement: Mapping[Atom, Axis]) -> Axis:
    """Replace atoms by other axes, keeping the structure."""
    if isinstance(axis, Atom):
        return replacement.get(axis, axis)
    build = product if isinstance(axis, Product) else concat
    return build(*(substitute(child, replacement) for child in children(axis)))


def positions(axis: Axis, chosen: Mapping[Atom, Sequence[int]]) -> Sequence[int]:
    """The positions of `axis` left when each atom in `chosen` takes these elements (others whole).

    Args:
        axis: Any axis expression.
        chosen: For an atom, the zero-based elements to take, in order.
    Returns:
        Zero-based positions within `axis`, in the order that the choices give.

    >>> h, d = Atom(2), Atom(3)
    >>> list(positions(product(h, d), {d: [2, 0]}))
    [2, 0, 5, 3]
    >>> list(positions(concat(h, d), {h: [1]}))
    [1, 2, 3, 4]
    """
    if not any(atom in chosen for atom in atoms(axis)):
        return range(axis.size)
    if isinstance(axis, Atom):
        return chosen[axis]
    if isinstance(axis, Concat):
        return _concat_positions(axis.parts, chosen)
    result: Iterable[int] = (0,)
    for factor in axis.factors:
        inner = positions(factor, chosen)
        result = [outer * factor.size + position for outer in result for position in inner]
    return list(result)


def _concat_positions(parts: Iterable[Axis], chosen: Mapping[Atom, Sequence[int]]) -> list[int]:
    result: list[int] = []
    offset = 0
    for part in parts:
        result.extend(offset + position for position in positions(part, chosen))
        offset += part.size
    return result
