"""Words for faults: what was wanted, what was found, what was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import assert_never

from wsel_graph.selection import tree
from wsel_graph.selection.kinds import Either, Flag, Kind, Many, Record, Ref, Text, Whole, Words

WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
NUMBER = re.compile(  # what YAML readers take for a number, so that editors and this loader agree on what is text
    r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|0[xob][0-9a-fA-F]+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
BOOLEANS = {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}


def example(kind: Kind, records: Mapping[str, Record]) -> str:
    """How a value of the kind is written."""
    match kind:
        case Ref():
            return records[kind.name].example
        case Words():
            return ", ".join(kind.words) + (f", or {kind.pattern_example}" if kind.pattern else "")
        case Whole(only=None):
            return f"{kind.minimum}, {kind.minimum + 1}, {kind.minimum + 2}, ..."
        case Whole():
            return str(kind.only)
        case Flag():
            return "true or false"
        case Record() | Many() | Either() | Text():
            return kind.example
        case _:
            assert_never(kind)


def wanted(kind: Kind, records: Mapping[str, Record]) -> str:
    """What the kind is, with its article."""
    match kind:
        case Ref():
            return records[kind.name].title
        case Record():
            return kind.title
        case Flag():
            return "true or false"
        case _:
            return kind.what


def describe(node: tree.Node) -> str:
    """What a node is, for "got ..."."""
    if isinstance(node, tree.List):
        return "a list" if node.items else "an empty list"
    if isinstance(node, tree.Mapping):
        return "a mapping" if node.pairs else "an empty mapping"
    if node.plain and NUMBER.fullmatch(node.text):
        return f"the number {node.text}"
    return node.text.lower() if node.plain and node.text in BOOLEANS else f"the text {quoted(node.text)}"


def quoted(text: str) -> str:
    """A text in quotes, its end cut off when it is long."""
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


def nearest(text: str, known: Iterable[str]) -> str:
    """A suffix that names the nearest known word; empty when none is near."""
    near = difflib.get_close_matches(text[:40].lower(), list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
