"""Pair the tensors of a student with those of a teacher.

Two ways, tried in order: equal names (which is first-N layer selection when the teacher is deeper), or, when the names
have little in common, equal structure: the same operators use the tensors in the same order. A shared (tied) tensor
is one tensor with several names, and any of them may match; of several matches the first name counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.coupling.uses import Use
from wsel_graph.errors import MatchError

LISTED = 20
"""How many tensors an error lists."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A student tensor and the teacher tensor that fills it, each by its first name."""

    student: str
    teacher: str


@dataclass(frozen=True, slots=True)
class Matching:
    """Pairs in the order in which the student holds its tensors, and what stays the student's own, with reasons."""

    pairs: tuple[Pair, ...]
    kept: tuple[tuple[str, str], ...]


def match(student: ModelGraph, teacher: ModelGraph, keep: Iterable[str] = ()) -> Matching:
    """Pair every student tensor.

    Args:
        keep: Glob patterns of student tensor names that keep the student's own values.
    Raises:
        MatchError: If a student tensor has no counterpart, with what to do about it.
    """
    names = all_names(student)
    patterns = tuple(keep)
    kept = {name: reason for name in student.own_names if (reason := _own_reason(student, name, names, patterns))}
    wanted = [name for name in student.own_names if name not in kept]
    by_name = {name: found for name in wanted if (found := _same_name(names[name], teacher)) is not None}
    if 2 * len(by_name) >= len(wanted):
        pairs = _by_name(student, teacher, wanted, by_name)
    else:
        pairs = _by_order(student, teacher, wanted)
    return Matching(tuple(pairs), tuple(kept.items()))


def all_names(graph: ModelGraph) -> dict[str, tuple[str, ...]]:
    """Every name of a tensor, by its first."""
    return {state.name: state.names for state in graph.captured.states}


def _own_reason(
    student: ModelGraph, name: str, names: Mapping[str, tuple[str, ...]], patterns: Iterable[str]
) -> str | None:
    for pattern in patterns:
        if any(fnmatchcase(alias, pattern) for alias in names[name]):
            return f"asked for by keep: {pattern}"
    return None if name in student.uses else "not used by the forward pass"


def _same_name(names: Iterable[str], teacher: ModelGraph) -> str | None:
    """The teacher's first name for a used tensor that has one of these names."""
    found = (teacher.tensors[name].name for name in names if name in teacher.tensors)
    return next((name for name in found if name in teacher.uses), None)


# -- by name


def _by_name(student: ModelGraph, teacher: ModelGraph, wanted: list[str], found: Mapping[str, str]) -> list[Pair]:
    if missing := [name for name in wanted if name not in found]:
        raise MatchError(_missing_message(student, teacher, missing))
    ours, theirs = all_names(student), all_names(teacher)
    for name in wanted:
        tied = len(ours[name]) > 1 or len(theirs[found[name]]) > 1  # has several uses, of which only the first is known
        if not tied and student.uses[name] != teacher.uses[found[name]]:
            raise MatchError(
                f"{name} is the {student.uses[name]} in the student and the {teacher.uses[found[name]]} in the "
                "teacher: equal names, different parts. Rename one of them, or keep the student's own values with "
                f"keep=[{name!r}]."
            )
    return [Pair(name, found[name]) for name in wanted]


def _missing_message(student: ModelGraph, teacher: ModelGraph, missing: list[str]) -> str:
    dtypes = {name: state.tensor.dtype for state in teacher.captured.states for name in state.names}
    listed = []
    for name in missing[:LISTED]:
        why = "the teacher has no such tensor"
        if name in teacher.tensors:
            why = "the teacher's forward pass does not use it"
        elif name in dtypes:
            why = (
                f"the teacher's is {dtypes[name]}, which carries no values to select (dequantize it, if it is a weight)"
            )
        listed.append(f"  - {name} {list(student.tensors[name].shape)}: {why}")
    if len(missing) > LISTED:
        listed.append("  - ...")
    roots = list(dict.fromkeys(name.rpartition(".")[0] + ".*" if "." in name else name for name in missing))
    return (
        f"{len(missing)} student tensors have no counterpart in the teacher:\n" + "\n".join(listed) + "\n"
        f"To leave them at the student's own values, pass keep={roots!r}."
    )


# -- by order of use


def _by_order(student: ModelGraph, teacher: ModelGraph, wanted: list[str]) -> list[Pair]:
    theirs = list(teacher.uses)
    chosen = set(wanted)
    ours = [name for name in student.uses if name in chosen]
    for name, other in zip(ours, theirs, strict=False):
        if _signature(student, name) != _signature(teacher, other):
            raise MatchError(
                "the names differ and so do the structures, first here:\n"
                f"  student {name}: {_describe(student, name)}\n"
                f"  teacher {other}: {_describe(teacher, other)}\n"
                "Give the student the teacher's names, or the same parts in the same order."
            )
    if len(ours) != len(theirs):
        raise MatchError(
            f"the names differ, and the student uses {len(ours)} tensors where the teacher uses {len(theirs)}: models "
            "of different depth are paired by equal names only. Give the student's blocks the teacher's names."
        )
    return [Pair(name, other) for name, other in zip(ours, theirs, strict=True)]


def _signature(graph: ModelGraph, name: str) -> tuple[Use, int]:
    return graph.uses[name], len(graph.tensors[name].shape)


def _describe(graph: ModelGraph, name: str) -> str:
    return f"{graph.uses[name]}, {list(graph.tensors[name].shape)}"
