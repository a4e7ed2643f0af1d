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

_STUDENT_NEIGHBOURS: Final = {
    "feeds": Key(Ref("student_selector"), "A component that reads its result directly matches this selector."),
    "fed_by": Key(Ref("student_selector"), "A component whose result it reads directly matches this selector."),
}
_TEACHER_NEIGHBOURS: Final = {
    "feeds": Key(Ref("teacher_selector"), "A component that reads its result directly matches this selector."),
    "fed_by": Key(Ref("teacher_selector"), "A component whose result it reads directly matches this selector."),
}


def _without(*names: str) -> dict[str, Key]:
    return {name: key for name, key in _SUBJECT_KEYS.items() if name not in names}


def _selector(values: Mapping[str, Any], place: Place) -> Selector:
    return Selector(**values)


_COMMON_HINTS: Final = {"name": "write `student:` or `teacher:`", "names": "write `student:` or `teacher:`",
                        "class": "write `module:`", "layer": "write `stage:`", "path": "write `inside:`"}  # fmt: skip
_EVERYTHING: Final = 'to select everything write: student: "*"'

STUDENT_SELECTOR: Final = Record(
    "a selector of student components", {**_without("teacher"), **_STUDENT_NEIGHBOURS}, "{operator: linear}",
    _selector, nonempty=_EVERYTHING,
    hints={**_COMMON_HINTS, "teacher": "this rule is about student components; only `ignore` is about the teacher's"},
)  # fmt: skip
TEACHER_SELECTOR: Final = Record(
    "a selector of teacher components", {**_without("student"), **_TEACHER_NEIGHBOURS}, '{teacher: "aux.*"}',
    _selector, nonempty='to select everything write: teacher: "*"',
    hints={**_COMMON_HINTS, "student": "`ignore` is about teacher components; write `teacher:`"},
)  # fmt: skip
GROUP_SELECTOR: Final = Record(
    "a selector of coupled groups", _SUBJECT_KEYS, "{role: heads}", _selector,
    nonempty="to select every group remove `where:`",
    hints={**_COMMON_HINTS, "feeds": "a coupled group has no neighbours; `feeds` works in `components:` only",
           "fed_by": "a coupled group has no neighbours; `fed_by` works in `components:` only"},
)  # fmt: skip
