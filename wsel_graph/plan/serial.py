"""Plans as JSON files: versioned, with a hash, written in one step, read strictly.

A reader that ignores what it does not know would apply half of a newer plan. So unknown keys and versions are errors,
and every fault of a file is listed with its place.

The hash covers the header and the plan, not the white space between. A file that was edited is refused; one without the
hash line is read as it is.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wsel_graph.errors import PlanError
from wsel_graph.plan.codec import encode
from wsel_graph.plan.faults import plan_faults
from wsel_graph.plan.files import replacing
from wsel_graph.plan.lines import lines_of
from wsel_graph.plan.model import Plan
from wsel_graph.plan.provenance import Provenance, digest
from wsel_graph.plan.reading import BAD, Reader

FORMAT = "wsel-plan"
VERSION = 2
READABLE = (1, 2)
"""Version 1 had neither hash nor header; what it says of a plan is said in the same way."""

LISTED = 100
"""How many faults an error lists."""


def save_plan(plan: Plan, path: str | Path) -> None:
    """Write a plan; the file is there whole or not at all.

    Raises:
        PlanError: If the plan holds a value that the format has no form for.
        OSError: If the file cannot be written.
    """
    text = _one_line_each(plan_document(plan))
    with replacing(path) as file:
        file.write_text(text, encoding="utf-8")


def plan_document(plan: Plan) -> dict[str, Any]:
    """The plan as plain dicts, lists, strings and numbers, with its header.

    >>> list(plan_document(Plan((), (), (), ())))
    ['format', 'version', 'hash', 'plan']
    """
    header = {} if plan.provenance is None else encode(plan.provenance, "provenance")
    body = encode(dataclasses.replace(plan, provenance=None), "plan")
    document = {"format": FORMAT, "version": VERSION, **header, "plan": body}
    return {"format": FORMAT, "version": VERSION, **header, "hash": digest(document), "plan": body}


def _one_line_each(document: dict[str, Any]) -> str:
    """JSON with one copy, kept tensor, choice or stage a line: short, and plans can be compared line by line."""
    header = "".join(f" {_json(key)}: {_json(item)},\n" for key, item in document.items() if key != "plan")
    sections = (f"  {_json(name)}: {_section(items)}" for name, items in document["plan"].items())
    return "{\n" + header + ' "plan": {\n' + ",\n".join(sections) + "\n }\n}\n"


def _section(items: Any) -> str:
    """One field of a plan.

    >>> print(_section([1, [2]]))
    [
       1,
       [2]
      ]
    """
    if not isinstance(items, list) or not items:
        return _json(items)
    return "[\n" + ",\n".join(f"   {_json(item)}" for item in items) + "\n  ]"


def _json(data: Any) -> str:
    return json.dumps(data, allow_nan=False)


# -- reading


def load_plan(path: str | Path) -> Plan:
    """Read a plan that `save_plan` wrote.

    A file that was edited no longer fits its hash and is refused; without the line `"hash"` it is read.

    Raises:
        PlanError: If there is no such file, or it is not a plan of a known version in every detail; lists every fault.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise PlanError(f"the plan {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # UTF-8, or a path with a null byte
        raise PlanError(f"{path} is not a plan: it is no UTF-8 text") from error
    return parse_plan(text, str(path))


def parse_plan(text: str, name: str = "plan") -> Plan:
    """The plan in a JSON text; `name` is what errors call it."""
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        _check_header(document, name)
        plan, faults = _read(document)
    except json.JSONDecodeError as error:
        raise PlanError(
            f"{name} is not complete JSON, line {error.lineno} column {error.colno}: {error.msg}. It may have been "
            "cut off: write the plan again."
        ) from error
    except RecursionError as error:
        raise PlanError(f"{name} is not a plan: it is nested too deeply") from error
    except PlanError:
        raise
    except ValueError as error:  # also numbers of thousands of digits
        raise PlanError(f"{name} is not a plan: {error}") from error
    if faults:
        raise PlanError(_listed(name, text, faults))
    _check_hash(document, name)
    return plan


def _read(document: dict[str, Any]) -> tuple[Plan, list[tuple[str, str]]]:
    """The plan as far as it can be read, and every fault with its place."""
    reader = Reader()
    header = {key: item for key, item in document.items() if key not in ("format", "version", "hash", "plan")}
    provenance = reader.read(Provenance, header, "the header") if header else None
    body, known = document.get("plan"), [field for field in dataclasses.fields(Plan) if field.name != "provenance"]
    if not isinstance(body, dict):
        return Plan((), (), (), ()), [*reader.faults, ("plan", "expected an object with the parts of a plan")]
    reader.check_keys("Plan", known, body, "plan")
    hints = typing.get_type_hints(Plan)
    values: dict[str, dict[int, Any]] = {field.name: {} for field in known}
    for name in values:
        items, hint = body.get(name, []), typing.get_args(hints[name])[0]
        if not isinstance(items, list):
            reader.read(hints[name], items, f"plan.{name}")
            continue
        for number, item in enumerate(items):
            value = reader.read(hint, item, f"plan.{name}[{number}]")
            if value is not BAD:
                values[name][number] = value
    plan = Plan(**{name: tuple(items.values()) for name, items in values.items()}, provenance=provenance)
    faults = [*reader.faults, *_numbered(plan, values)]
    return plan, faults


def _numbered(plan: Plan, values: Mapping[str, dict[int, Any]]) -> Iterator[tuple[str, str]]:
    """The faults of what could be read, at the places of the file."""
    places = {section: list(items) for section, items in values.items()}
    for (section, number), fault in plan_faults(plan):
        yield f"plan.{section}[{places[section][number]}]", fault


def _listed(name: str, text: str, faults: list[tuple[str, str]]) -> str:
    lines = lines_of(text)
    placed = [(lines.get(_top(place)), f"{place}: {fault}") for place, fault in dict.fromkeys(faults)]
    placed.sort(key=lambda item: item[0] or 0)
    told = [text if line is None else f"line {line}, {text}" for line, text in placed]
    if len(told) == 1:
        return f"{name}: {told[0]}"
    more = [f"... and {len(told) - LISTED} more"] if len(told) > LISTED else []
    return "\n  - ".join([f"{name} has {len(told)} faults:", *told[:LISTED], *more])


def _top(place: str) -> str:
    """What a place is in, as `lines_of` has it.

    >>> _top("plan.copies[3].indices[0]"), _top("plan.copies")
    ('plan.copies[3', 'plan.copies')
    """
    return ".".join(place.split(".")[:2]).split("]")[0]


# -- checks


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in one object")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def _check_header(document: Any, name: str) -> None:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise PlanError(f'{name} is not a plan: it does not start with "format": "{FORMAT}"')
    version = document.get("version")
    if type(version) is not int or version not in READABLE:
        raise PlanError(
            f"{name} is a plan of version {version!r}, this wsel_graph reads versions "
            f"{' and '.join(map(str, READABLE))}: make the plan again, or use the wsel_graph that wrote it"
        )


def _check_hash(document: dict[str, Any], name: str) -> None:
    if "hash" not in document:
        return
    found = digest({key: item for key, item in document.items() if key != "hash"})
    if document["hash"] != found:
        raise PlanError(
            f"{name} was changed after it was written: its hash is {document['hash']}, its content has {found}. Take "
            'the file as it was written; or, if the change is meant, remove the line that starts with "hash", and the '
            "file is read as it is"
        )
