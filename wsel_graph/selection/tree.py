"""YAML text to a tree whose every node knows its place.

Only the plain part of YAML is read: mappings, lists and scalars. Anchors, aliases, tags and merge keys are refused:
rule files have no use for them, and they are how small files become huge. The parser's events are read one by one
and every limit is checked on the way, so a hostile file costs no more time or memory than an honest one.

Scalars keep their text. What the text means (`true`, `3`, `no`) is decided by the key it is written for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import yaml

from wsel_graph.errors import SelectionRuleError
from wsel_graph.selection.source import Source, Span
from wsel_graph.selection.syntax import explain_syntax

MAX_DEPTH = 24
"""Deepest nesting; every `feeds:` takes one level, so this is far beyond what a reader follows."""

MAX_NODES = 20_000
"""Most keys and values of one file."""

MAX_SCALAR = 1_000
"""Longest key or value, in characters."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One word, number or quoted text."""

    text: str
    plain: bool  # written without quotes
    span: Span


@dataclass(frozen=True, slots=True)
class List:
    """A list, written with dashes or brackets."""

    items: tuple[Node, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys and values, in file order; no key occurs twice."""

    pairs: tuple[tuple[Scalar, Node], ...]
    span: Span


Node: TypeAlias = Scalar | List | Mapping


def parse(source: Source) -> Node | None:
    """The tree of one rule file; None when the file is empty.

    Raises:
        SelectionRuleError: If the text is not YAML, or uses a part of YAML that rule files do not have.
    """
    return _Composer(source).document()


class _Composer:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._events = self._read()
        self._nodes = 0

    def _read(self) -> Iterator[yaml.Event]:
        try:
            loader = yaml.SafeLoader(self._source.text)
            while loader.check_event():
                event: yaml.Event = loader.get_event()  # type: ignore[no-untyped-call]
                yield event
        except yaml.YAMLError as error:
            raise SelectionRuleError(explain_syntax(self._source, error)) from None
        except (ValueError, OverflowError):  # the parser's own slips, such as "\UFFFFFFFF" or a huge %YAML number
            mark = loader.get_mark()
            raise self._fail(
                Span(mark.line + 1, mark.column + 1), "an escape or a number that is out of range", "write the text out"
            ) from None

    def _fail(self, span: Span, message: str, *advice: str) -> SelectionRuleError:
        return SelectionRuleError(self._source.fault(span, message, *advice))

    def document(self) -> Node | None:
        next(self._events)  # start of the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        root = self._node(next(self._events), depth=0)
        next(self._events)  # end of the document
        rest = next(self._events)
        if not isinstance(rest, yaml.StreamEndEvent):
            raise self._fail(
                self._span(rest), "a second document begins here", "remove '---': a rule file is one document"
            )
        return root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        self._check(event, depth)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(event, depth)
        return self._mapping(event, depth)

    def _check(self, event: yaml.Event, depth: int) -> None:
        span = self._span(event)
        quoting = 'a glob that begins with * needs quotes: "*head*"'
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if isinstance(event, yaml.AliasEvent):
            raise self._fail(span, f"rule files have no aliases ({self._word(span)})", quoting)
        if anchor is not None:
            raise self._fail(span, f"rule files have no anchors ({self._word(span)})", "write the value out")
        if tag is not None:
            raise self._fail(span, f"rule files have no tags ({self._word(span)})", "remove the tag")
        if depth > MAX_DEPTH:
            raise self._fail(span, f"nested more than {MAX_DEPTH} deep", "rule files need five or six levels")
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._fail(span, f"more than {MAX_NODES} keys and values in one file", "use globs in place of lists")

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        span, text = self._span(event), str(event.value)
        if len(text) > MAX_SCALAR:
            raise self._fail(
                span,
                f"a text of {len(text)} characters; the most is {MAX_SCALAR}",
                "use a glob; or perhaps a quote is not closed",
            )
        odd = next((char for char in text if not char.isprintable()), None)
        if odd is not None:
            what = "a line break" if odd in "\n\r\x85\u2028\u2029" else f"the character U+{ord(odd):04X}"
            raise self._fail(span, f"{what} inside a text", "write the text on one line, in visible characters")
        return Scalar(text, event.style is None, span)

    def _list(self, event: yaml.Event, depth: int) -> List:
        items = []
        while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(item, depth + 1))
        return List(tuple(items), self._span(event, item))

    def _mapping(self, event: yaml.Event, depth: int) -> Mapping:
        pairs: dict[str, tuple[Scalar, Node]] = {}
        while not isinstance(start := next(self._events), yaml.MappingEndEvent):
            key = self._node(start, depth + 1)
            if not isinstance(key, Scalar):
                raise self._fail(key.span, "a key must be one word", 'quote globs that begin with [ or {: "[ab]*"')
            if key.text == "<<" and key.plain:
                raise self._fail(
                    key.span, "rule files have no merge keys (<<)", "write the keys out, or use `extends:`"
                )
            if key.text in pairs:
                first = pairs[key.text][0].span
                raise self._fail(
                    key.span, f"the key {_clip(key.text)!r} is already set in line {first.line}", "keep one of the two"
                )
            pairs[key.text] = (key, self._node(next(self._events), depth + 1))
        return Mapping(tuple(pairs.values()), self._span(event, start))

    def _word(self, span: Span) -> str:
        """The source from the span's start to the next space."""
        return _clip(next(iter(self._source.line(span.line)[span.column - 1 :].split()), ""))

    def _span(self, event: yaml.Event, last: yaml.Event | None = None) -> Span:
        """The first line of what the event stands for.

        A compound in brackets ends where `last` does, any other at the end of its line.
        """
        bracketed = last is not None and getattr(event, "flow_style", False)
        start, end = event.start_mark, last.end_mark if bracketed and last is not None else event.end_mark
        if start is None or end is None:  # never so for events that were parsed from text
            return Span(1, 1)
        line = self._source.line(start.line + 1)
        compound = isinstance(event, yaml.CollectionStartEvent) and not bracketed
        whole = compound or end.line > start.line
        stop = len(line.rstrip()) if whole else end.column  # rstrip copies the line: only where it is needed
        return Span(start.line + 1, start.column + 1, max(1, stop - start.column))


def _clip(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
