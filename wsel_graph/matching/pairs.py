"""Pair the tensors of a student with those of a teacher.

Two ways, tried in order: equal names (which is first-N layer selection when the teacher is deeper), or, when the names
have little in common, equal structure: the same operators use the tensors in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.coupling.uses import Use
from wsel_graph.errors import MatchError


@dataclass(frozen=True, slots=True)
class Pair:
    """A student tensor and the teacher tensor that fills it, by name."""

    student: str
    teacher: str


@dataclass(frozen=True, slots=True)
class Matching:
    """Pairs in the order in which the student uses its tensors, and what stays the student's own, with reasons."""

    pairs: tuple[Pair, ...]
    kept: tuple[tuple[str, str], ...]


def match(student: ModelGraph, teacher: ModelGraph, keep: Iterable[str] = ()) -> Matching:
    """Pair every student tensor.

    Args:
        keep: Glob patterns of student tensor names that keep the student's own values.
    Raises:
        MatchError: If a student tensor has no counterpart, with what to do about it.
    """
    uses = student.uses
    kept = [(name, reason) for name in student.own_names if (reason := _own_reason(student, name, keep))]
    own = {name for name, _ in kept}
    wanted = [name for name in student.own_names if name not in own]
    by_name = [name for name in wanted if name in teacher.tensors and name in teacher.uses]
    if 2 * len(by_name) >= len(wanted):
        pairs = _by_name(student, teacher, wanted)
    else:
        order = list(uses)
        pairs = _by_order(student, teacher, sorted(wanted, key=order.index))
    return Matching(tuple(pairs), tuple(kept))


def _own_reason(student: ModelGraph, name: str, keep: Iterable[str]) -> str | None:
    for pattern in keep:
        if fnmatchcase(name, pattern):
            return f"asked for by keep: {pattern}"
    return None if name in student.uses else "not used by the forward pass"


def _by_name(student: ModelGraph, teacher: ModelGraph, wanted: list[str]) -> list[Pair]:
    missing = [name for name in wanted if name not in teacher.tensors]
    unused = [name for name in wanted if name in teacher.tensors and teacher.tensors[name].name not in teacher.uses]
    if missing or unused:
        raise MatchError(_missing_message(student, missing, unused))
    for name in wanted:
        ours, theirs = student.uses[name], teacher.uses[teacher.tensors[name].name]
        if ours != theirs:
            raise MatchError(
                f"{name} is the {ours} in the student and the {theirs} in the teacher: equal names, different parts. "
                f"Rename one of them, or keep the student's own values with keep=[{name!r}]."
            )
    return [Pair(name, teacher.tensors[name].name) for name in wanted]


def _missing_message(student: ModelGraph, missing: list[str], unused: list[str]) -> str:
    listed = [f"  - {name} {list(student.tensors[name].shape)}: the teacher has no such tensor" for name in missing]
    listed += [f"  - {name}: the teacher's forward pass does not use it" for name in unused]
    roots = sorted({name.rpartition(".")[0] + ".*" if "." in name else name for name in missing + unused})
    return (
        f"{len(listed)} student tensors have no counterpart in the teacher:\n"
        + "\n".join(listed[:20] + (["  - ..."] if len(listed) > 20 else []))
        + f"\nTo leave them at the student's own values, pass keep={roots[:5]!r}."
    )


def _by_order(student: ModelGraph, teacher: ModelGraph, wanted: list[str]) -> list[Pair]:
    theirs = list(teacher.uses)
    for ours_name, theirs_name in zip(wanted, theirs, strict=False):
        ours, other = _signature(student, ours_name), _signature(teacher, theirs_name)
        if ours != other:
            raise MatchError(
                "the names differ and so do the structures, first here:\n"
                f"  student {ours_name}: {_describe(student, ours_name)}\n"
                f"  teacher {theirs_name}: {_describe(teacher, theirs_name)}\n"
                "Give the student the teacher's names, or the same parts in the same order."
            )
    if len(wanted) != len(theirs):
        raise MatchError(
            f"the names differ, and the student uses {len(wanted)} tensors where the teacher uses {len(theirs)}: models "
            "of different depth are paired by equal names only. Give the student's blocks the teacher's names."
        )
    return [Pair(a, b) for a, b in zip(wanted, theirs, strict=True)]


def _signature(graph: ModelGraph, name: str) -> tuple[Use, int]:
    return graph.uses[name], len(graph.tensors[name].shape)


def _describe(graph: ModelGraph, name: str) -> str:
    return f"{graph.uses[name]}, {list(graph.tensors[name].shape)}"
