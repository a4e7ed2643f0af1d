"""The kinds of values that a rule file holds: the vocabulary in which `language` states the grammar.

A kind is data. `check` reads a tree by it, `json_schema` prints it for editors; neither knows the grammar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from wsel_graph.selection.source import Place, Span


@dataclass(frozen=True, slots=True)
class Complaint:
    """A fault that a check found, in words.

    Attributes:
        key: The key at fault; None for the whole record.
        start: Zero-based offset of the fault in a text.
        length: Characters at fault in a text; 0 for the whole.
    """

    message: str
    advice: str
    key: str | None = None
    start: int = 0
    length: int = 0


@dataclass(frozen=True, slots=True)
class Written:
    """A text that keeps its place, because it can only be judged later."""

    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Words:
    """One of a few words, or a text that fits `pattern`."""

    what: str
    words: tuple[str, ...]
    pattern: str | None = None
    pattern_example: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """Any text. `check` may refuse it; `placed` keeps its place."""

    what: str
    example: str
    check: Callable[[str], Complaint | None] | None = None
    placed: bool = False


@dataclass(frozen=True, slots=True)
class Flag:
    """`true` or `false`."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number, at least `minimum`; `only` allows one number."""

    what: str
    minimum: int = 0
    only: int | None = None


@dataclass(frozen=True, slots=True)
class Many:
    """A list of at least one item. `alone`: one item may stand without a list. `unique`: no item twice."""

    what: str
    item: Kind
    example: str
    alone: bool = False
    unique: bool = False


@dataclass(frozen=True, slots=True)
class Either:
    """Alternatives that the shape of the value tells apart: a text, a list, a mapping."""

    what: str
    options: tuple[Kind, ...]
    example: str


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a record."""

    kind: Kind
    doc: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A mapping with known keys.

    Attributes:
        title: What it is, with its article: "an element rule".
        example: How one is written.
        build: Makes the value from the keys that are present, and the place.
        one_of: Exactly one key must be present.
        needs: At least one of these keys must be present.
        nonempty: What to write when no key is present; None allows that.
        check: Judges the values together; called only when each is right.
        hints: For words that people write here by mistake: what to write.
    """

    title: str
    keys: Mapping[str, Key]
    example: str
    build: Callable[[Mapping[str, Any], Place], object]
    one_of: bool = False
    needs: tuple[str, ...] = ()
    nonempty: str | None = None
    check: Callable[[Mapping[str, Any]], Complaint | None] | None = None
    hints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ref:
    """A record by name, so that records may hold themselves. Named records are shared in the JSON schema."""

    name: str


Kind: TypeAlias = Words | Text | Flag | Whole | Many | Either | Record | Ref
