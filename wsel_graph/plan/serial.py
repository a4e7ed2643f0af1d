"""Plans as JSON files: versioned, written in one step, read strictly.

A reader that ignores what it does not know would apply half of a newer plan. So unknown keys and versions are errors,
and the text names the place in the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wsel_graph.errors import PlanError
from wsel_graph.plan.codec import decode, encode
from wsel_graph.plan.files import replacing
from wsel_graph.plan.model import Copy, Plan

FORMAT = "wsel-plan"
VERSION = 1


def save_plan(plan: Plan, path: str | Path) -> None:
    """Write a plan; the file is there whole or not at all.

    Raises:
        PlanError: If the plan holds a value that the format has no form for.
        OSError: If the file cannot be written.
    """
    text = _one_line_each(plan_document(plan))
    with replacing(path) as file:
        file.write_text(text, encoding="utf-8")


def _one_line_each(document: dict[str, Any]) -> str:
    """JSON with one copy, kept tensor, choice or stage a line: short, and plans can be compared line by line."""
    header = "".join(f"{json.dumps(key)}: {json.dumps(document[key])}, " for key in ("format", "version"))
    sections = (f" {json.dumps(name)}: {_section(items)}" for name, items in document["plan"].items())
    return "{" + header + '"plan": {\n' + ",\n".join(sections) + "\n}}\n"


def _section(items: Any) -> str:
    """One field of a plan.

    >>> print(_section([1, [2]]))
    [
      1,
      [2]
     ]
    """
    if not isinstance(items, list) or not items:
        return json.dumps(items, allow_nan=False)
    return "[\n" + ",\n".join(f"  {json.dumps(item, allow_nan=False)}" for item in items) + "\n ]"


def plan_document(plan: Plan) -> dict[str, Any]:
    """The plan as plain dicts, lists, strings and numbers, with its header.

    >>> plan_document(Plan((), (), (), ()))
    {'format': 'wsel-plan', 'version': 1, 'plan': {'copies': [], 'kept': [], 'choices': [], 'layers': []}}
    """
    return {"format": FORMAT, "version": VERSION, "plan": encode(plan, "plan")}


def load_plan(path: str | Path) -> Plan:
    """Read a plan that `save_plan` wrote.

    Raises:
        PlanError: If there is no such file, or it is not a plan of a known version in every detail.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise PlanError(f"the plan {path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise PlanError(f"{path} is not a plan: it is no UTF-8 text") from error
    return parse_plan(text, str(path))


def parse_plan(text: str, name: str = "plan") -> Plan:
    """The plan in a JSON text; `name` is what errors call it."""
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise PlanError(
            f"{name} is not complete JSON, line {error.lineno} column {error.colno}: {error.msg}. It may have been "
            "cut off: write the plan again."
        ) from error
    except (PlanError, RecursionError) as error:
        raise PlanError(f"{name} is not a plan: {error}") from error
    _check_header(document, name)
    try:
        plan: Plan = decode(Plan, document["plan"], "plan")
    except PlanError as error:
        raise PlanError(f"{name}: {error}") from error
    _check_copies(plan.copies, name)
    return plan


# -- checks


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise PlanError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in one object")
    return found


def _no_constant(text: str) -> Any:
    raise PlanError(f"{text} is no JSON number")


def _check_header(document: Any, name: str) -> None:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise PlanError(f'{name} is not a plan: it does not start with "format": "{FORMAT}"')
    if type(document.get("version")) is not int or document["version"] != VERSION:
        raise PlanError(
            f"{name} is a plan of version {document.get('version')!r}, this wsel_graph reads version {VERSION}: "
            "make the plan again, or use the wsel_graph that wrote it"
        )
    if document.keys() != {"format", "version", "plan"}:
        odd = sorted({"format", "version", "plan"} ^ document.keys())
        raise PlanError(f"{name}: a plan has the keys format, version and plan; check {', '.join(map(repr, odd))}")


def _check_copies(copies: tuple[Copy, ...], name: str) -> None:
    for number, copy in enumerate(copies):
        for part in copy.sources:
            if (fault := form_fault(part)) is not None:
                raise PlanError(f"{name}: plan.copies[{number}] ({copy.student}): {fault}")


def form_fault(copy: Copy) -> str | None:
    """What is wrong with one copy by itself, before its elements are looked at."""
    if len(copy.indices) != len(copy.teacher_shape):
        return (
            f"{len(copy.indices)} index lists for a teacher tensor of {len(copy.teacher_shape)} dims, "
            f"{list(copy.teacher_shape)}"
        )
    for mix in copy.mix:
        sizes = [list(map(len, lists)) for lists in (mix.indices, mix.weights)]
        if sizes[0] != sizes[1] or 0 in sizes[0]:
            return f"the merged dim {mix.dim} needs one weight for every element, and an element at least in each"
    return None
