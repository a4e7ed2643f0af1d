"""Axis notation in selectors: read once, compared in normal form."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod

from wsel_graph.axes import Atom, Axis, atoms, format_axes, parse_axes
from wsel_graph.errors import NotationError

MAX_LENGTH = 200
"""Longest notation, in characters."""

MAX_DEPTH = 32
"""Most opening parentheses: the parser is recursive."""

MAX_POSITIONS = 10_000
"""Most fixed positions: a number in notation is spelled out by the algebra."""


@dataclass(slots=True, eq=False)
class _AnySize(Mapping[str, int]):
    """A size for every name, a different one for each: so an atom's size tells its name."""

    known: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, name: str) -> int:
        return self.known.setdefault(name, len(self.known) + 2)

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)


@lru_cache(maxsize=4096)
def normal_notation(text: str) -> str:
    """The one spelling of a notation.

    Raises:
        NotationError: With a caret under the fault, or if the notation is too long.

    >>> normal_notation("( heads + heads )  embed")
    '(2 heads) embed'
    """
    if len(text) > MAX_LENGTH:
        raise NotationError(f"axis notation of {len(text)} characters; the most is {MAX_LENGTH}")
    if text.count("(") > MAX_DEPTH:
        raise NotationError(f"axis notation nested more than {MAX_DEPTH} deep")
    if prod(min(int(n), MAX_POSITIONS + 1) for n in re.findall(r"\d+", text)) > MAX_POSITIONS:
        raise NotationError(f"the numbers multiply to more than {MAX_POSITIONS}: use a name for so long an axis")
    sizes = _AnySize()
    axes = parse_axes(text, sizes)
    names = {size: name for name, size in sizes.known.items()}
    return format_axes(axes, {atom: names[atom.size] for atom in _all_atoms(axes)})


def same_notation(left: str, right: str) -> bool:
    """Whether two notations say the same; one that cannot be read is compared as text, without extra spaces.

    >>> same_notation("(3 heads head_dim)  embed", "(3 heads head_dim) embed")
    True
    """
    return _spelling(left) == _spelling(right)


def _spelling(text: str) -> str:
    try:
        return normal_notation(text)
    except NotationError:
        return " ".join(text.split())


def _all_atoms(axes: tuple[Axis, ...]) -> Iterator[Atom]:
    for axis in axes:
        yield from atoms(axis)
