"""What a selector is asked about: one component, or one coupled group, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


def _nothing() -> Sequence[Subject]:
    return ()


@dataclass(frozen=True, slots=True)
class Subject:
    """One component of a graph, or one coupled group with the components of its members.

    Attributes:
        student: Names of the student tensors.
        teacher: Names of the teacher tensors.
        operators: Operator words (`linear`, `norm`, ...) and ATen names (`aten::linear`).
        roles: Roles of the axes.
        axes: Axis notation of each tensor.
        modules: Class names of the modules that run it.
        stage: Name of the stage, empty outside every stage.
        inside: Paths of the modules that run it.
        feeds: The components that read its result directly.
        fed_by: The components whose result it reads directly.
    """

    student: tuple[str, ...] = ()
    teacher: tuple[str, ...] = ()
    operators: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    axes: tuple[str, ...] = ()
    modules: frozenset[str] = frozenset()
    stage: str = ""
    inside: tuple[str, ...] = ()
    feeds: Callable[[], Sequence[Subject]] = _nothing
    fed_by: Callable[[], Sequence[Subject]] = _nothing
