"""What rules ask to be done to values once they are selected, on calibration data: the `values` of a rule file.

Planning only names the tensors. `compensate` is about weights that read features and gains of norms, `recalibrate`
about the running statistics of batch norms; each key is looked up by itself, so that the first matching rule that sets
it governs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.planner.pinned import is_feature_weight
from wsel_graph.selection.model import ValueRule
from wsel_graph.selection.subject import Subject

_WORKS_ON: Mapping[str, Callable[[ModelGraph, str], bool]] = {
    "compensate": lambda graph, name: is_feature_weight(graph, name) or is_gain(graph, name),
    "recalibrate": lambda graph, name: is_running_mean(graph, name),
}

_PRODUCTS = ("aten::mul", "aten::mul_")


@dataclass(frozen=True, slots=True)
class Values:
    """The value rules of a rule file, in order of priority.

    Attributes:
        rules: Own rules first.
        source: The rule file that the user named; its rules that govern nothing are reported.
    """

    rules: tuple[ValueRule, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """What value rules ask for in two given models.

    Attributes:
        compensate: Weights to fit, by first name.
        recalibrate: Running means of the batch norms to estimate anew, by first name.
        governed: For every rule that governs something, its number and the tensors.
    """

    compensate: tuple[str, ...] = ()
    recalibrate: tuple[str, ...] = ()
    governed: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


def asked(values: Values, student: ModelGraph, filled: Iterable[str], subjects: Mapping[str, Subject]) -> Asked:
    """The tensors that rules ask to compensate or recalibrate.

    Args:
        filled: First names of the student tensors that receive teacher values; others keep the student's own.
        subjects: The component of every student tensor, by the tensor's first name.
    """
    wanted: dict[str, list[str]] = {key: [] for key in _WORKS_ON}
    governed: dict[int, list[str]] = {}
    for name in filled if values.rules else ():
        for key in (key for key, works_on in _WORKS_ON.items() if works_on(student, name)):
            number = _governing(values.rules, key, subjects.get(name, Subject()))
            if number is None:
                continue
            governed.setdefault(number, []).append(name)
            if getattr(values.rules[number], key) != "none":
                wanted[key].append(name)
    return Asked(
        tuple(wanted["compensate"]),
        tuple(wanted["recalibrate"]),
        {number: tuple(names) for number, names in governed.items()},
    )


def _governing(rules: Iterable[ValueRule], key: str, subject: Subject) -> int | None:
    """The number of the first rule that sets the key and matches."""
    for number, rule in enumerate(rules):
        if getattr(rule, key) is not None and (rule.selector is None or rule.selector.matches(subject)):
            return number
    return None


def is_gain(graph: ModelGraph, name: str) -> bool:
    """Whether a tensor multiplies every channel on its own: the gain of a norm, or a layer scale."""
    use = graph.uses.get(name)
    scales = use is not None and ((use.argument == "weight" and "norm" in use.operator) or use.operator in _PRODUCTS)
    return scales and sum(size > 1 for size in graph.tensors[name].shape) == 1


def is_running_mean(graph: ModelGraph, name: str) -> bool:
    """Whether a tensor is the running mean of a batch norm."""
    use = graph.uses.get(name)
    return use is not None and "batch_norm" in use.operator and use.argument == "running_mean"


def notes(values: Values, found: Asked) -> tuple[str, ...]:
    """What applying the plan alone leaves undone, and the user's own rules that govern nothing."""
    ask = "pass calibration= to initialize, or call ws.compensate"
    lines = []
    if found.compensate:
        tensors = f"{len(found.compensate)} tensor{'s' * (len(found.compensate) > 1)}"
        lines.append(f"compensate: regression asked for {tensors}: {ask}")
    if found.recalibrate:
        norms = f"{len(found.recalibrate)} batch norm{'s' * (len(found.recalibrate) > 1)}"
        lines.append(f"recalibrate: batch_norm asked for {norms}: {ask}")
    lines.extend(
        f"{rule.at.short}: this value rule governs nothing: {rule.selector or 'every component'}"
        for number, rule in enumerate(values.rules)
        if number not in found.governed and rule.at.file == values.source
    )
    return tuple(lines)
