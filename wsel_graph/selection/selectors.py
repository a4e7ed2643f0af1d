"""The language of selectors: what may be written in one, what each key means, and what it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wsel_graph.errors import NotationError
from wsel_graph.selection.kinds import Complaint, Key, Kind, Many, Record, Ref, Text, Words
from wsel_graph.selection.notation import normal_notation
from wsel_graph.selection.selector import Selector
from wsel_graph.selection.source import Place

OPERATORS: Final = (
    "linear", "conv", "depthwise_conv", "norm", "batch_norm", "embedding", "table", "token", "scale", "shift",
    "recurrent", "other",
)  # fmt: skip
ROLES: Final = (
    "heads", "head_dim", "queries", "groups", "embed", "hidden", "label", "position", "input", "kernel", "vocabulary",
    "opaque",
)  # fmt: skip


def _axes_complaint(text: str) -> Complaint | None:
    try:
        normal_notation(text)
    except NotationError as error:
        message, *picture = str(error).split("\n")
        caret = picture[-1][4:] if picture else ""
        start = len(caret) - len(caret.lstrip())
        return Complaint(message, 'write axes as in: "(3 heads head_dim) embed"', None, start, len(caret.strip()))
    return None


def nonempty_complaint(text: str) -> Complaint | None:
    """A complaint about a text without a visible character."""
    return None if text.strip() else Complaint("an empty text", "write at least one character, or remove it")


def globs(what: str, example: str) -> Many:
    """One glob or a list of globs over `what`."""
    return Many(f"a glob or a list of globs over {what}", Text("a glob", example, nonempty_complaint), example, True)


def _any_of(what: str, item: Kind, example: str) -> Many:
    return Many(what, item, example, alone=True)


_SUBJECT_KEYS: Final[Mapping[str, Key]] = {
    "student": Key(globs("student tensor names", '"head.*"'), "Globs over the names of student tensors."),
    "teacher": Key(globs("teacher tensor names", '"aux.*"'), "Globs over the names of teacher tensors."),
    "operator": Key(
        _any_of(
            "an operator or a list of operators",
            Words("an operator", OPERATORS, r"^aten::[a-z_][a-z0-9_]*$", "an ATen name such as aten::convolution"),
            "linear",
        ),
        "What runs it: a word for a family of operators, or an ATen name.",
    ),
    "role": Key(_any_of("a role or a list of roles", Words("a role", ROLES), "heads"), "The role of one of its axes."),
    "axes": Key(
        _any_of(
            "axis notation or a list of it", Text("axis notation", '"hidden embed"', _axes_complaint), '"hidden embed"'
        ),
        "The axis notation of one of its tensors; spaces do not matter.",
    ),
    "module": Key(globs("class names", '"*Norm"'), "Globs over the class name of the module that runs it."),
    "stage": Key(globs("stage names", '"encoder.*"'), "Globs over the name of its stage of repeated blocks."),
    "inside": Key(globs("module paths", '"visual.*"'), "Globs over the path of the module that runs it."),
}


def _nested(selector: str, *, neighbours: bool = True) -> dict[str, Key]:
    """The keys that hold a selector; `selector` is a name that `Ref` knows."""
    keys = {"not": Key(Ref(selector), "This selector does not match.")}
    if neighbours:
        keys["feeds"] = Key(Ref(selector), "A component that reads its result directly matches this selector.")
        keys["fed_by"] = Key(Ref(selector), "A component whose result it reads directly matches this selector.")
    return keys


def _without(name: str) -> dict[str, Key]:
    return {key: value for key, value in _SUBJECT_KEYS.items() if key != name}


def _selector(values: Mapping[str, Any], place: Place) -> Selector:
    return Selector(**{"excluded" if key == "not" else key: value for key, value in values.items()})


_HINTS: Final = {
    "name": "write `student:` or `teacher:`",
    "names": "write `student:` or `teacher:`",
    "class": "write `module:`",
    "layer": "write `stage:`",
    "path": "write `inside:`",
    "except": "write `not:`",
}
_NO_NEIGHBOURS: Final = "a coupled group has no neighbours; `feeds:` and `fed_by:` work below `components:` only"

STUDENT_SELECTOR: Final = Record(
    "a selector of student components",
    {**_without("teacher"), **_nested("student_selector")},
    "{operator: linear}",
    _selector,
    nonempty='to select everything write: student: "*"',
    hints={**_HINTS, "teacher": "this rule is about student components; only `ignore` is about the teacher's"},
)
TEACHER_SELECTOR: Final = Record(
    "a selector of teacher components",
    {**_without("student"), **_nested("teacher_selector")},
    '{teacher: "aux.*"}',
    _selector,
    nonempty='to select everything write: teacher: "*"',
    hints={**_HINTS, "student": "`ignore` is about teacher components; write `teacher:`"},
)
GROUP_SELECTOR: Final = Record(
    "a selector of coupled groups",
    {**_SUBJECT_KEYS, **_nested("group_selector", neighbours=False)},
    "{role: heads}",
    _selector,
    nonempty="to select every group remove `where:`",
    hints={**_HINTS, "feeds": _NO_NEIGHBOURS, "fed_by": _NO_NEIGHBOURS},
)
