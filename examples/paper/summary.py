"""Rows put together: final accuracies, means with intervals, steps to a goal, Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from examples.paper.results import Row
from examples.starts.interval import mean_interval


def finals(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The accuracy after the last step of every run, by experiment, one row per seed."""
    found: dict[tuple[str, int], Row] = {}
    for row in rows:
        key = (row.experiment, row.seed)
        if row.phase == "run" and row.measure == "accuracy" and (key not in found or found[key].step < row.step):
            found[key] = row
    result: dict[str, list[Row]] = {}
    for row in found.values():
        result.setdefault(row.experiment, []).append(row)
    return result


def percent(values: Sequence[float]) -> str:
    """A mean in percent, with its interval where there are several values."""
    mean, half = mean_interval([100 * value for value in values])
    return f"{mean:.1f}" if len(values) == 1 else f"{mean:.1f} ± {half:.1f}"


def curve(rows: Iterable[Row], experiment: str) -> dict[int, float]:
    """The mean accuracy over seeds after every step that was looked at."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row.experiment == experiment and row.phase == "run" and row.measure == "accuracy":
            found.setdefault(row.step, []).append(row.value)
    return {step: fmean(values) for step, values in sorted(found.items())}


def steps_to(goal: float, curve: dict[int, float]) -> int | None:
    """The first step that was looked at with at least this accuracy.

    >>> steps_to(0.5, {10: 0.2, 20: 0.6, 40: 0.9})
    20
    >>> steps_to(0.95, {10: 0.2, 20: 0.6, 40: 0.9}) is None
    True
    """
    return next((step for step, value in curve.items() if value >= goal), None)


def provenance(rows: Sequence[Row]) -> str:
    """On what and when rows were made."""
    experiments = {row.experiment for row in rows}
    seeds = sorted({sum(other.experiment == name for other in rows) for name in experiments})
    return (
        f"Ours: {len(experiments)} experiments, {' or '.join(map(str, seeds))} seeds, "
        f"on {'; '.join(unique(row.device for row in rows))}, "
        f"{', '.join(sorted({row.date for row in rows}))}, "
        f"{'; '.join(unique(', '.join(f'{name} {of}' for name, of in row.versions.items()) for row in rows))}."
    )


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns but the first are numbers."""
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))


def unique(values: Iterable[str]) -> list[str]:
    """Values once each, in the order of their first appearance."""
    return list(dict.fromkeys(values))
