"""Check a tree against the language, and build what it says. All faults of a file are found before one is raised."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, assert_never

from wsel_graph.selection import tree
from wsel_graph.selection.kinds import (
    Complaint,
    Either,
    Flag,
    Kind,
    Many,
    Record,
    Ref,
    Text,
    Whole,
    Words,
    Written,
)
from wsel_graph.selection.source import Source, Span
from wsel_graph.selection.wording import BOOLEANS, NUMBER, WHOLE, describe, example, nearest, quoted, wanted

MAX_FAULTS: Final = 20
"""Faults after which a file is read no further."""

BAD: Final = object()
"""Stands for a value that had a fault."""

_NULLS = ("", "~", "null", "Null", "NULL")


class TooManyFaults(Exception):
    """`MAX_FAULTS` were found; the rest of the file is not read."""


class Checker:
    """Reads values of one file and collects what is wrong."""

    def __init__(self, source: Source, records: Mapping[str, Record]) -> None:
        self._faults: list[tuple[Span, str]] = []
        self._source = source
        self._records = records

    @property
    def faults(self) -> list[str]:
        """What is wrong, in file order."""
        return [text for span, text in sorted(self._faults, key=lambda fault: (fault[0].line, fault[0].column))]

    def read(self, kind: Kind, node: tree.Node, label: str) -> Any:
        """The value of a node, or `BAD` after noting why not.

        Args:
            label: What the value is for, for messages: "`take`".
        """
        if _is_null(node):
            return self._fault(node, f"{label} has no value", f"remove it, or {self._write(kind, label)}")
        match kind:
            case Ref():
                return self._record(self._records[kind.name], node, label)
            case Record():
                return self._record(kind, node, label)
            case Either():
                return self._either(kind, node, label)
            case Many():
                return self._many(kind, node, label)
            case Words():
                return self._word(kind, node, label)
            case Text():
                return self._text(kind, node, label)
            case Whole():
                return self._whole(kind, node, label)
            case Flag():
                return self._flag(node, label)
            case _:
                assert_never(kind)

    def _fault(self, at: tree.Node | Span, message: str, *advice: str) -> object:
        span = at if isinstance(at, Span) else at.span
        self._faults.append((span, self._source.fault(span, message, *advice)))
        if len(self._faults) == MAX_FAULTS:
            raise TooManyFaults
        return BAD

    def _wrong(self, kind: Kind, node: tree.Node, label: str) -> object:
        in_quotes = isinstance(kind, (Whole, Flag)) and isinstance(node, tree.Scalar) and not node.plain
        advice = self._write(kind, label) + (", without quotes" if in_quotes else "")
        return self._fault(node, f"{label} must be {wanted(kind, self._records)}, got {describe(node)}", advice)

    def _write(self, kind: Kind, label: str) -> str:
        rules = isinstance(kind, Many) and isinstance(kind.item, Ref)  # these cannot stand on the line of the key
        return (
            f"write below {label}: {example(kind, self._records)}"
            if rules
            else f"write: {example(kind, self._records)}"
        )

    def _either(self, kind: Either, node: tree.Node, label: str) -> Any:
        option = next((item for item in kind.options if _fits(item, node)), None)
        if option is None:
            return self._wrong(kind, node, label)
        if isinstance(option, Words):
            return self._word(option, node, label, kind.example)
        return self.read(option, node, label)

    def _many(self, kind: Many, node: tree.Node, label: str) -> Any:
        if not isinstance(node, tree.List):
            if kind.alone and not isinstance(node, tree.Mapping):
                one = self.read(kind.item, node, label)
                return BAD if one is BAD else (one,)
            if isinstance(node, tree.Mapping) and isinstance(kind.item, Ref):
                return self._fault(
                    node,
                    f"{label} must be a list of rules, got a mapping",
                    f"put a dash before each rule: {kind.example}",
                )
            return self._wrong(kind, node, label)
        if not node.items:
            return self._fault(node, f"{label} is an empty list", f"remove it, or {self._write(kind, label)}")
        single = "a rule" if isinstance(kind.item, Ref) else "an item"
        values = tuple(self.read(kind.item, item, f"{single} of {label}") for item in node.items)
        if any(value is BAD for value in values):
            return BAD
        return self._repeated(node, values, label) if kind.unique else values

    def _repeated(self, node: tree.List, values: tuple[Any, ...], label: str) -> Any:
        seen: set[Any] = set()
        for item, value in zip(node.items, values, strict=True):
            if value in seen:
                return self._fault(item, f"{value} occurs twice in {label}", "name every element once")
            seen.add(value)
        return values

    def _word(self, kind: Words, node: tree.Node, label: str, ways: str = "") -> Any:
        if not isinstance(node, tree.Scalar):
            return self._wrong(kind, node, label)
        if node.text in kind.words or (kind.pattern and re.search(kind.pattern, node.text)):
            return node.text
        return self._fault(
            node, f"{quoted(node.text)} is not {kind.what}{nearest(node.text, kind.words)}",
            f"write one of: {ways or example(kind, self._records)}",
        )  # fmt: skip

    def _text(self, kind: Text, node: tree.Node, label: str) -> Any:
        if not isinstance(node, tree.Scalar):
            return self._wrong(kind, node, label)
        if node.plain and (NUMBER.fullmatch(node.text) or node.text in BOOLEANS):
            return self._fault(node, f"{label} must be a text, got {describe(node)}", f'quote it: "{node.text}"')
        complaint = kind.check(node.text) if kind.check else None
        if complaint is not None:
            return self._fault(self._inside(node, complaint), f"{label}: {complaint.message}", complaint.advice)
        return Written(node.text, node.span) if kind.placed else node.text

    def _inside(self, node: tree.Scalar, complaint: Complaint) -> Span:
        """The span of a fault inside a text, where the text is spelled in the file as it reads."""
        span, offset = node.span, 0 if node.plain else 1
        begin = span.column - 1 + offset
        line = self._source.line(span.line)
        if not complaint.length or line[begin : begin + len(node.text)] != node.text:
            return span
        return Span(span.line, begin + complaint.start + 1, complaint.length)

    def _whole(self, kind: Whole, node: tree.Node, label: str) -> Any:
        if not (isinstance(node, tree.Scalar) and node.plain and WHOLE.fullmatch(node.text)):
            return self._wrong(kind, node, label)
        number = int(node.text)
        if kind.only is not None and number != kind.only:
            return self._fault(node, f"{label} must be {kind.only}, got {number}", f"write: {kind.only}")
        if number < kind.minimum:
            return self._fault(node, f"{label} must be at least {kind.minimum}, got {number}", "write 0 or more")
        return number

    def _flag(self, node: tree.Node, label: str) -> Any:
        if isinstance(node, tree.Scalar) and node.plain and node.text in BOOLEANS:
            return BOOLEANS[node.text]
        return self._wrong(Flag(), node, label)

    def _record(self, kind: Record, node: tree.Node, label: str) -> Any:
        if not isinstance(node, tree.Mapping):
            return self._wrong(kind, node, label)
        before = len(self._faults)
        values = {key.text: self._value(kind, key, value) for key, value in node.pairs}
        if not node.pairs and kind.nonempty is not None:
            self._fault(node, f"{kind.title} with no keys", kind.nonempty)
        elif kind.needs and len(self._faults) == before and not values.keys() & set(kind.needs):
            self._fault(node, f"{kind.title} that decides nothing", f"add one of: {', '.join(kind.needs)}")
        self._missing(kind, node, values)
        if kind.one_of and len(self._faults) == before and len(values) != 1:
            self._count(kind, node, values)
        complaint = kind.check(values) if kind.check and len(self._faults) == before else None
        if complaint is not None:
            at = next((value for key, value in node.pairs if key.text == complaint.key), node)
            self._fault(at, complaint.message, complaint.advice)
        return kind.build(values, self._source.place(node.span)) if len(self._faults) == before else BAD

    def _value(self, kind: Record, key: tree.Scalar, node: tree.Node) -> Any:
        known = kind.keys.get(key.text)
        if known is not None:
            return self.read(known.kind, node, f"`{key.text}`")
        hint = kind.hints.get(key.text)
        near = "" if hint else nearest(key.text, kind.keys)
        return self._fault(
            key,
            f"{kind.title} has no key {quoted(key.text)}{near}",
            *([hint] if hint else []),
            f"keys: {', '.join(kind.keys)}",
        )

    def _missing(self, kind: Record, node: tree.Mapping, values: Mapping[str, Any]) -> None:
        for name, key in kind.keys.items():
            if key.required and name not in values:
                self._fault(
                    node, f"{kind.title} needs the key '{name}'", f"add: {name}: {example(key.kind, self._records)}"
                )

    def _count(self, kind: Record, node: tree.Mapping, values: Mapping[str, Any]) -> None:
        if not values:
            self._fault(node, f"{kind.title} with no keys", f"write one of: {', '.join(kind.keys)}")
            return
        second = node.pairs[1][0]
        self._fault(
            second, f"{kind.title} has one key, this one has {len(values)}: {', '.join(values)}",
            "write each as a rule of its own, with its own dash" if "rule" in kind.title else "keep one of them",
        )  # fmt: skip


def _is_null(node: tree.Node) -> bool:
    return isinstance(node, tree.Scalar) and node.plain and node.text in _NULLS


def _fits(kind: Kind, node: tree.Node) -> bool:
    """Whether the shape of a node is that of the kind."""
    if isinstance(kind, Many):
        return isinstance(node, tree.List) or (kind.alone and isinstance(node, tree.Scalar))
    return isinstance(node, tree.Mapping if isinstance(kind, (Record, Ref)) else tree.Scalar)
