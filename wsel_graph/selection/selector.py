"""Selectors: which components or coupled groups a selection rule is about.

All keys that are given must hold; a key with several values holds when any of them does. Globs are case-sensitive:
`*` stands for any text, dots included, `?` for one character, `[ab]` for one of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase

from wsel_graph.selection.notation import same_notation
from wsel_graph.selection.subject import Subject


@dataclass(frozen=True, slots=True)
class Selector:
    """What must hold. An empty tuple, or None, is a key that is not given.

    >>> Selector(student=("head.*",)).matches(Subject(student=("head.weight", "head.bias")))
    True
    >>> Selector(student=("head.*",), operator=("norm",)).matches(Subject(student=("head.weight",)))
    False
    """

    student: tuple[str, ...] = ()
    teacher: tuple[str, ...] = ()
    operator: tuple[str, ...] = ()
    role: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    module: tuple[str, ...] = ()
    stage: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    excluded: Selector | None = None  # `not:` in YAML
    feeds: Selector | None = None
    fed_by: Selector | None = None

    def matches(self, subject: Subject) -> bool:
        """Whether all keys hold for the subject. Neighbours are asked for last, and only when they matter."""
        return (
            _any_glob(self.student, subject.student)
            and _any_glob(self.teacher, subject.teacher)
            and _any_equal(self.operator, subject.operators)
            and _any_equal(self.role, subject.roles)
            and _any_glob(self.module, sorted(subject.modules))
            and _any_glob(self.stage, (subject.stage,))
            and _any_glob(self.inside, subject.inside)
            and _any_axes(self.axes, subject.axes)
            and not (self.excluded is not None and self.excluded.matches(subject))
            and _any_neighbour(self.feeds, subject.feeds)
            and _any_neighbour(self.fed_by, subject.fed_by)
        )

    def __str__(self) -> str:
        """As in a rule file, on one line."""
        names = ((item.name, "not" if item.name == "excluded" else item.name) for item in fields(self))
        given = ((word, getattr(self, name)) for name, word in names)
        return "{" + ", ".join(f"{name}: {_spell(value)}" for name, value in given if value) + "}"


def any_glob(globs: Iterable[str], names: Iterable[str]) -> bool:
    """Whether any name matches any glob.

    >>> any_glob(["blocks.*.bias"], ["blocks.0.attn.bias"]), any_glob(["Head"], ["head"])
    (True, False)
    """
    known = list(names)
    return any(fnmatchcase(name, glob) for glob in globs for name in known)


def _any_glob(globs: tuple[str, ...], names: Sequence[str]) -> bool:
    return not globs or any_glob(globs, names)


def _any_equal(wanted: tuple[str, ...], found: frozenset[str]) -> bool:
    return not wanted or not found.isdisjoint(wanted)


def _any_axes(wanted: tuple[str, ...], found: tuple[str, ...]) -> bool:
    return not wanted or any(same_notation(left, right) for left in wanted for right in found)


def _any_neighbour(wanted: Selector | None, neighbours: Callable[[], Sequence[Subject]]) -> bool:
    return wanted is None or any(wanted.matches(subject) for subject in neighbours())


def _spell(value: object) -> str:
    if not isinstance(value, tuple):
        return str(value)
    return str(value[0]) if len(value) == 1 else f"[{', '.join(value)}]"
