"""The language as JSON schema, for editors that complete and check YAML while it is typed."""

from __future__ import annotations

import re
from typing import Any, assert_never

from wsel_graph.selection.kinds import Either, Flag, Kind, Many, Record, Ref, Text, Whole, Words
from wsel_graph.selection.language import FILE, RECORDS

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a rule file.

    It checks keys, words, types and counts. What needs more than one value to judge (stars of `pair`, axis notation,
    files that exist) is checked when the file is read.

    >>> json_schema()["required"]
    ['version']
    """
    records = {name: _record(record) for name, record in RECORDS.items()}
    return {"$schema": _DRAFT, "title": "Selection rules", **_record(FILE), "$defs": records}


def _schema(kind: Kind) -> dict[str, Any]:
    match kind:
        case Ref():
            return {"$ref": f"#/$defs/{kind.name}"}
        case Record():
            return _record(kind)
        case Either():
            return {"anyOf": [_schema(option) for option in kind.options]}
        case Many():
            return _many(kind)
        case Words():
            words: dict[str, Any] = {"enum": list(kind.words)}
            return {"anyOf": [words, {"type": "string", "pattern": kind.pattern}]} if kind.pattern else words
        case Text():
            return {"type": "string", "minLength": 1}
        case Whole():
            number: dict[str, Any] = {"const": kind.only} if kind.only is not None else {"minimum": kind.minimum}
            return {"type": "integer", **number}
        case Flag():
            return {"type": "boolean"}
        case _:
            assert_never(kind)


def _many(kind: Many) -> dict[str, Any]:
    item = _schema(kind.item)
    unique = {"uniqueItems": True} if kind.unique else {}
    items = {"type": "array", "items": item, "minItems": 1, **unique}
    return {"anyOf": [item, items]} if kind.alone else items


def _record(kind: Record) -> dict[str, Any]:
    keys = {name: {"description": _plain(key.doc), **_schema(key.kind)} for name, key in kind.keys.items()}
    required = [name for name, key in kind.keys.items() if key.required]
    limits: dict[str, Any] = {"minProperties": 1} if kind.nonempty is not None else {}
    if kind.needs:
        limits["anyOf"] = [{"required": [name]} for name in kind.needs]
    if kind.one_of:
        limits = {"minProperties": 1, "maxProperties": 1}
    return {
        "type": "object",
        "description": kind.title,
        "properties": keys,
        "additionalProperties": False,
        **({"required": required} if required else {}),
        **limits,
    }


def _plain(doc: str) -> str:
    return re.sub("`", "", doc)
