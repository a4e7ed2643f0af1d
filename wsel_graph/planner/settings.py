"""Which element settings govern a coupled group.

Every setting is looked up by itself: an override in Python, else what Python sets for every group, else the first
element rule that sets it and matches, else the default. About a pinned group a rule may say which elements are
taken only where its `where` names the group's role, so that a rule for everything does not select from kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.coupling.groups import CoupledGroup
from wsel_graph.planner.elements import Elements, Method, method_name
from wsel_graph.selection.model import ElementRule, Merge, Score, TokenMap
from wsel_graph.selection.selector import Selector
from wsel_graph.selection.subject import Subject


@dataclass(frozen=True, slots=True)
class Settings:
    """What governs one coupled group.

    Attributes:
        take: An element method, or a token map.
        named: Whether somebody named the elements of this very group: an override, or a rule with a list.
        resize: `interpolate`, `keep` or `error`; None leaves it to the reason why the group is pinned.
        rescale: Some of `variance`, `norm` and `attention`.
        places: For every key that a rule set, where that rule is written.
    """

    take: Method | TokenMap | Score | Merge
    named: bool
    seed: int
    unit: str
    consistent: bool
    resize: str | None
    rescale: frozenset[str]
    grow: str
    places: Mapping[str, str] = field(default_factory=dict, compare=False)


class Governor:
    """Looks up settings, and remembers which element rules governed anything."""

    def __init__(self, elements: Elements) -> None:
        self._elements = elements
        self._governing: set[int] = set()

    def settings(self, subjects: Callable[[], Sequence[Subject]], pinned: str | None, key: str | None) -> Settings:
        """The settings of one group.

        Args:
            subjects: The group as selectors see it, one subject per stage; asked only where a rule has a selector.
            pinned: The reason why the group is pinned, or None.
            key: The key of `overrides` that governs it, or None.
        Raises:
        """
        own, rules = self._elements, self._matching(subjects)
        places: dict[str, str] = {}
        take, named = self._take(rules, pinned, key, places)

        def first(name: str, given: Any, default: Any) -> Any:
            found = self._first(rules, name)
            if found is not None and given is None:
                places[name] = found.at.short
            return given if given is not None else default if found is None else getattr(found, name)

        return Settings(
            take=take,
            named=named,
            seed=first("seed", own.seed, 0),
            unit=first("unit", own.unit, "whole"),
            consistent=first("consistent", own.consistent, True),
            resize=first("resize", None, None),
            rescale=_ways(first("rescale", None, "none")),
            grow=first("grow", None, "error"),
            places=places,
        )

    def _matching(self, subjects: Callable[[], Sequence[Subject]]) -> list[tuple[int, ElementRule]]:
        return [
            (number, rule)
            for number, rule in enumerate(self._elements.rules)
            if rule.selector is None or matches(rule.selector, subjects())
        ]

    def _first(self, rules: Iterable[tuple[int, ElementRule]], name: str) -> ElementRule | None:
        for number, rule in rules:
            if getattr(rule, name) is not None:
                self._governing.add(number)
                return rule
        return None

    def _take(
        self,
        rules: Iterable[tuple[int, ElementRule]],
        pinned: str | None,
        key: str | None,
        places: dict[str, str],
    ) -> tuple[Method | TokenMap | Score | Merge, bool]:
        rule = self._first([item for item in rules if _may_take(item[1], pinned)], "take")
        if key is not None:
            places["take"] = f"overrides[{key!r}]"
            return self._elements.overrides[key], True
        if rule is not None and (_decides(rule, pinned) or self._elements.method is None):
            places["take"] = rule.at.short
        if rule is not None and _decides(rule, pinned):
            return _usable(rule), True
        if self._elements.method is not None:
            places["take"] = f"method={method_name(self._elements.method)!r}"
            return self._elements.method, False
        return ("uniform" if rule is None else _usable(rule)), False

    @property
    def used(self) -> frozenset[int]:
        """Numbers, in order of priority, of the rules that governed anything so far."""
        return frozenset(self._governing)

    def notes(self) -> tuple[str, ...]:
        """A line for every rule of the user's own file that governed nothing."""
        return tuple(
            f"{rule.at.short}: this element rule governs nothing: {rule.selector or 'every group'}"
            for number, rule in enumerate(self._elements.rules)
            if number not in self._governing and rule.at.file == self._elements.source
        )


def _ways(rescale: str | tuple[str, ...]) -> frozenset[str]:
    return frozenset({rescale} if isinstance(rescale, str) else rescale) - {"none"}


def _usable(rule: ElementRule) -> Method | TokenMap | Score | Merge:
    return "uniform" if rule.take is None else rule.take


def _may_take(rule: ElementRule, pinned: str | None) -> bool:
    """Whether a rule that matches a group may say which of its elements are taken."""
    named = rule.selector is not None and pinned in rule.selector.role
    if isinstance(rule.take, TokenMap):
        return pinned == "vocabulary" or (pinned is not None and named)
    return pinned is None or named


def _decides(rule: ElementRule, pinned: str | None) -> bool:
    return pinned is not None or isinstance(rule.take, tuple)


def matches(selector: Selector, subjects: Sequence[Subject]) -> bool:
    """Whether a selector holds for a group: for any of its subjects, where `not` must hold for none.

    >>> spread = [Subject(stage="encoder"), Subject(stage="decoder")]
    >>> matches(Selector(stage=("encoder",)), spread)
    True
    >>> matches(Selector(excluded=Selector(stage=("encoder",))), spread)
    False
    """
    positive = replace(selector, excluded=None)
    excluded = selector.excluded is not None and matches(selector.excluded, subjects)
    return not excluded and any(positive.matches(subject) for subject in subjects)


def subjects_of(
    student: ModelGraph,
    teacher: ModelGraph,
    sides: tuple[Sequence[CoupledGroup], Sequence[CoupledGroup]],
    known: Mapping[str, Subject],
) -> list[Subject]:
    """A coupled group as selectors see it: its members merged, one subject per stage.

    Args:
        sides: The student's and the teacher's coupled groups.
        known: The component of every student tensor, by the tensor's name.
    """
    ours, theirs = (tuple(dict.fromkeys(name for group in side for name, _ in group.members)) for side in sides)
    axes = [graph.tensors[name].notation for graph, names in ((student, ours), (teacher, theirs)) for name in names]
    aliases = [{state.name: state.names for state in graph.captured.states} for graph in (student, teacher)]
    components = [known[name] for name in ours if name in known]
    whole = Subject(
        student=tuple(alias for name in ours for alias in aliases[0][name]),
        teacher=tuple(alias for name in theirs for alias in aliases[1][name]),
        operators=frozenset().union(*(component.operators for component in components)),
        roles=frozenset(group.role for side in sides for group in side),
        axes=tuple(dict.fromkeys(axes)),
        modules=frozenset().union(*(component.modules for component in components)),
        inside=tuple(dict.fromkeys(path for component in components for path in component.inside)),
    )
    stages = dict.fromkeys(component.stage for component in components) or {"": None}
    return [replace(whole, stage=stage) for stage in stages]
