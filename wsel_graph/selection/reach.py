"""Rules that can never govern, because one above them in the same file always does.

First match wins, so an exception that is written below its general rule is silently dead. Only certain cases are
refused: a rule for everything above, or the same selector above. Across files this is no fault: own rules are meant
to win over those that `extends` brings.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from wsel_graph.selection.language import ELEMENT_SETTINGS, VALUE_SETTINGS
from wsel_graph.selection.model import ComponentRule, ElementRule, LayerRule, ValueRule
from wsel_graph.selection.selector import Selector
from wsel_graph.selection.source import Source, Span

Rule: TypeAlias = LayerRule | ComponentRule | ElementRule | ValueRule

_EVERYTHING = (Selector(student=("*",)), Selector(teacher=("*",)), None)


def unreachable_rules(source: Source, values: Mapping[str, Any]) -> list[str]:
    """One fault per rule, or key of an element or value rule, that can never govern; in the order of the sections."""
    return [
        *_dead_rules(source, ((rule, "layers", _stages(rule)) for rule in values.get("layers", ()))),
        *_dead_rules(source, ((rule, *_subject(rule)) for rule in values.get("components", ()))),
        *_dead_settings(source, values.get("elements", ()), ELEMENT_SETTINGS),
        *_dead_settings(source, values.get("values", ()), VALUE_SETTINGS),
    ]


def _stages(rule: LayerRule) -> Hashable:
    return None if "*" in rule.stage else rule.stage


def _subject(rule: ComponentRule) -> tuple[str, Hashable]:
    """Which side the rule is about, and its selector; None when that is everything."""
    side = "teacher" if rule.action == "ignore" else "student"
    return side, None if rule.selector in _EVERYTHING else rule.selector


def _dead_rules(source: Source, rules: Iterable[tuple[Rule, str, Hashable]]) -> Iterator[str]:
    first: dict[tuple[str, Hashable], Rule] = {}
    for rule, side, subject in rules:
        above = first.get((side, None)) or first.get((side, subject))
        if above is None:
            first[side, subject] = rule
        else:
            yield _fault(
                source, rule, f"this rule is never reached: the one in line {above.at.line} always comes first"
            )


def _dead_settings(
    source: Source, rules: Iterable[ElementRule | ValueRule], settings: tuple[str, ...]
) -> Iterator[str]:
    first: dict[tuple[str, Selector | None], int] = {}  # to the line of the rule
    for rule in rules:
        given = [key for key in settings if getattr(rule, key) is not None]
        above = {key: first.get((key, None)) or first.get((key, rule.selector)) for key in given}
        for key, line in above.items():
            if line is not None:
                message = f"`{key}` of this rule never takes effect: the rule in line {line} sets it first"
                yield _fault(source, rule, message)
            first.setdefault((key, rule.selector), rule.at.line)


def _fault(source: Source, rule: Rule, message: str) -> str:
    length = len(source.line(rule.at.line).rstrip()) - rule.at.column + 1
    advice = "put the special rule above the general one, or remove one of them"
    return source.fault(Span(rule.at.line, rule.at.column, length), message, advice)
