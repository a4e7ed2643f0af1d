"""A rule read out, on one line."""

from __future__ import annotations

from wsel_graph.notebook import card, table
from wsel_graph.selection.model import ComponentRule, ElementRule, LayerRule, RuleFile, ValueRule

SETTINGS = ("take", "seed", "unit", "consistent", "resize", "rescale", "grow")
AFTERWARDS = ("compensate", "recalibrate")


def layer_words(rule: LayerRule) -> str:
    """Such as `stage blocks: take uniform`."""
    take = list(rule.take) if isinstance(rule.take, tuple) else rule.take
    source = f", from {' '.join(rule.source_stage)}" if rule.source_stage is not None else ""
    return f"stage {' '.join(rule.stage)}: take {take}{source}"


def component_words(rule: ComponentRule) -> str:
    """Such as `keep {student: head.*}`."""
    return f"pair {rule.pair[0]} <- {rule.pair[1]}" if rule.pair is not None else f"{rule.action} {rule.selector}"


def element_words(rule: ElementRule) -> str:
    """Such as `where {role: heads}: take [0, 3]`."""
    given = ((key, getattr(rule, key)) for key in SETTINGS)
    settings = ", ".join(f"{key} {_value(value)}" for key, value in given if value is not None)
    return f"every group: {settings}" if rule.selector is None else f"where {rule.selector}: {settings}"


def value_words(rule: ValueRule) -> str:
    """Such as `every component: compensate regression`."""
    settings = ", ".join(f"{key} {value}" for key in AFTERWARDS if (value := getattr(rule, key)) is not None)
    return f"every component: {settings}" if rule.selector is None else f"where {rule.selector}: {settings}"


def as_html(rules: RuleFile) -> str:
    """All rules in order of priority, for a notebook."""
    sections = (
        ("Layers", [(layer_words(rule), rule.at) for rule in rules.layers]),
        ("Components", [(component_words(rule), rule.at) for rule in rules.components]),
        ("Elements", [(element_words(rule), rule.at) for rule in rules.elements]),
        ("Values", [(value_words(rule), rule.at) for rule in rules.values]),
    )
    line = f"{rules.source}; the first rule that matches governs; unmatched: {rules.unmatched}"
    return card("RuleFile", line, *(table(title, ("rule", "written at"), rows) for title, rows in sections))


def _value(value: object) -> object:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else value
