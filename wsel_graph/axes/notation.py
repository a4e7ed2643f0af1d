"""Axis notation: `"(3 heads head_dim) embed"`.

    tensor := axis (" " axis)*
    axis   := NAME | NUMBER | "(" sum ")"      a space or a sign stands between two axes
    sum    := merge ("+" merge)*
    merge  := axis (" " axis)*

A name is an atom, a number `n` an axis of n positions none of which may be exchanged. `(a b)` merges
row-major, `(a + b)` lays end to end. Equal parts side by side are printed once: `(a + a)` is `(2 a)`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from wsel_graph.axes.expr import UNIT, Atom, Axis, Product, atoms, concat, fixed, product
from wsel_graph.errors import NotationError

_TOKEN = re.compile(r"\s*(?:(?P<name>[A-Za-z_][\w.']*)|(?P<number>\d+)(?P<glued>\w*)|(?P<sign>[()+]))")


def format_axes(axes: Sequence[Axis], names: Mapping[Atom, str]) -> str:
    """Print the axes of one tensor. Different atoms of equal name are numbered, from 1.

    >>> h, d, e = Atom(6), Atom(64), Atom(384)
    >>> format_axes([product(fixed(3), h, d), e], {h: "heads", d: "head_dim", e: "embed"})
    '(3 heads head_dim) embed'
    """
    labels = _distinct(axes, names)
    return " ".join(_format(axis, labels) for axis in axes)


def _distinct(axes: Sequence[Axis], names: Mapping[Atom, str]) -> dict[Atom, str]:
    found = list(dict.fromkeys(atom for axis in axes for atom in atoms(axis)))
    by_name: dict[str, list[Atom]] = {}
    for atom in found:
        by_name.setdefault(names.get(atom, "channels"), []).append(atom)
    labels: dict[Atom, str] = {}
    taken = set(by_name)
    for name, group in by_name.items():
        numbered = (f"{name}{i}" for i in itertools.count(1))
        free = (label for label in numbered if label not in taken)
        labels |= {atom: name if len(group) == 1 else next(free) for atom in group}
    return labels


def _format(axis: Axis, labels: Mapping[Atom, str]) -> str:
    if isinstance(axis, Atom):
        return labels[axis]
    if next(atoms(axis), None) is None:
        return str(axis.size)
    if isinstance(axis, Product):
        return "(" + " ".join(_format(factor, labels) for factor in axis.factors) + ")"
    runs = [(part, len(list(run))) for part, run in itertools.groupby(axis.parts)]
    texts = [_format_run(part, count, labels) for part, count in runs]
    return texts[0] if len(texts) == 1 else "(" + " + ".join(texts) + ")"


def _format_run(part: Axis, count: int, labels: Mapping[Atom, str]) -> str:
    if count == 1:
        return _format(part, labels)
    if part == UNIT:
        return str(count)
    inner = _format(part, labels)
    return f"({count} {inner.removeprefix('(').removesuffix(')') if isinstance(part, Product) else inner})"


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    kind: str
    start: int


def parse_axes(notation: str, sizes: Mapping[str, int]) -> tuple[Axis, ...]:
    """Read the axes of one tensor; equal names are the same atom.

    Args:
        notation: For example `"(3 heads head_dim) embed"`.
        sizes: Number of elements of every name used.
    Raises:
        NotationError: With a caret under the fault.

    >>> qkv, embed = parse_axes("(3 heads head_dim) embed", {"heads": 6, "head_dim": 64, "embed": 384})
    >>> qkv.size, embed.size
    (1152, 384)
    """
    return _Parser(notation, sizes).tensor()


class _Parser:
    def __init__(self, notation: str, sizes: Mapping[str, int]) -> None:
        self._text = notation
        self._sizes = sizes
        self._atoms: dict[str, Axis] = {}
        self._tokens = list(self._tokenize())
        self._next = 0

    def _fail(self, message: str, start: int, length: int = 1) -> NotationError:
        caret = " " * start + "^" * max(1, length)
        return NotationError(f"{message}\n    {self._text}\n    {caret}")

    def _tokenize(self) -> Iterator[_Token]:
        position = 0
        while self._text[position:].strip():
            match = _TOKEN.match(self._text, position)
            if match is None:
                bad = position + len(self._text[position:]) - len(self._text[position:].lstrip())
                raise self._fail(
                    f"{self._text[bad]!r} is not part of axis notation; use names, numbers, ( ) and +", bad
                )
            if match["glued"]:
                near = f"{match['number']} {match['glued']}"
                raise self._fail(f"a space is missing: write '{near}'", match.start("glued"), len(match["glued"]))
            kind = "number" if match["number"] else str(match.lastgroup)
            yield _Token(match[kind], kind, match.start(kind))
            position = match.end()

    def _peek(self) -> _Token:
        if self._next < len(self._tokens):
            return self._tokens[self._next]
        return _Token("", "end", len(self._text))

    def tensor(self) -> tuple[Axis, ...]:
        axes = []
        while self._peek().kind != "end":
            if self._peek().text == "+":
                raise self._fail("'+' joins axes inside parentheses only: write (a + b)", self._peek().start)
            axes.append(self._axis())
        return tuple(axes)

    def _axis(self) -> Axis:
        token = self._peek()
        self._next += 1
        if token.kind == "name":
            return self._atom(token)
        if token.kind == "number":
            return fixed(int(token.text))
        if token.text == "(":
            return self._sum(token)
        raise self._fail("this ')' closes nothing", token.start)

    def _atom(self, token: _Token) -> Axis:
        if token.text not in self._sizes:
            known = ", ".join(sorted(self._sizes)) or "none"
            raise self._fail(
                f"no size for axis {token.text!r}; sizes are given for: {known}", token.start, len(token.text)
            )
        size = self._sizes[token.text]
        if size < 0:
            raise self._fail(f"the size of axis {token.text!r} is {size}, below 0", token.start, len(token.text))
        return self._atoms.setdefault(token.text, Atom(size) if size > 1 else fixed(size))

    def _sum(self, opening: _Token) -> Axis:
        parts = [self._merge(opening)]
        while self._peek().text == "+":
            self._next += 1
            parts.append(self._merge(opening))
        if self._peek().text != ")":
            raise self._fail("this '(' is never closed", opening.start)
        self._next += 1
        return concat(*parts)

    def _merge(self, opening: _Token) -> Axis:
        factors = []
        while self._peek().text not in (")", "+", ""):
            factors.append(self._axis())
        if not factors:
            where = self._peek()
            if where.kind == "end":
                raise self._fail("this '(' is never closed", opening.start)
            raise self._fail(f"an axis is missing before {where.text!r}", where.start)
        return product(*factors)
