"""The small setting whole: every start with and without distillation, before training, at the end, and on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean

from examples.paper.experiment import EXPERIMENTS, read_experiment
from examples.paper.results import Row
from examples.paper.summary import curve, finals, markdown, percent, provenance, steps_to

FAMILIES = {"vit": "ViT", "convnext": "ConvNeXt"}
STARTS = {
    "default": "random: library default",
    "xavier": "random: Xavier",
    "kaiming": "random: Kaiming",
    "mimetic": "mimetic",
    "paper": "the paper's selection (uniform, flat)",
    "engine": "`default.yaml` (uniform, whole heads)",
    "scored": "scored by activation",
    "norms": "scored by activation, norms fitted",
    "compensated": "scored by activation, compensated",
    "paper-head": "the paper's selection, with the last layer",
    "engine-head": "`default.yaml`, with the last layer",
    "scored-head": "scored, with the last layer",
    "norms-head": "scored, norms fitted, with the last layer",
    "compensated-head": "scored, compensated, with the last layer",
}
RANDOM = ("default", "xavier", "kaiming")
ABLATED = "paper"


def tables(rows: Sequence[Row]) -> str:
    """Markdown: for either architecture the starts, then what was left out or done otherwise."""
    parts = []
    for family, title in FAMILIES.items():
        own = [row for row in rows if row.experiment.startswith(f"small/{family}")]
        runs = [row for same in finals(own).values() for row in same]
        if runs:
            made = (untrained(own, family), starts(own, family), ablations(own, family))
            parts += [f"### {title}", *made, provenance(runs)]
    return "\n\n".join(parts)


def untrained(rows: Sequence[Row], family: str) -> str:
    """The table of starts before training."""
    final = finals(rows)
    lines = []
    for name in _tried(rows, family):
        if name.endswith("-head"):
            continue  # `untrained` has the teacher's last layer anyway
        experiment = f"small/{family}/{name}"
        measures = [_untrained(rows, experiment, measure) for measure in ("accuracy", "nearest")]
        lines.append([STARTS[name], *measures, _end(final, f"{experiment}-probe")])
    return markdown(["start", "untrained", "nearest", "probe"], lines)


def starts(rows: Sequence[Row], family: str) -> str:
    """The table of starts after training."""
    final, tried = finals(rows), _tried(rows, family)
    random = [fmean(row.value for row in final[f"small/{family}/{name}"]) for name in RANDOM if name in tried]
    goal = max(random, default=1.0)
    lines = []
    for name in tried:
        both = [f"small/{family}/{name}{end}" for end in ("", "-distilled")]
        ends, steps = ([made(key) for key in both] for made in (partial(_end, final), partial(_reached, rows, goal)))
        lines.append([STARTS[name], f"{final[both[0]][0].lr:g}", *ends, *steps])
    return markdown(["start", "rate", "trained", "distilled", "steps to random", "distilled, steps"], lines)


def _tried(rows: Sequence[Row], family: str) -> list[str]:
    final = finals(rows)
    return [name for name in STARTS if f"small/{family}/{name}" in final]


def _end(final: Mapping[str, Sequence[Row]], experiment: str) -> str:
    return percent([row.value for row in final[experiment]]) if experiment in final else "not run"


def _untrained(rows: Sequence[Row], experiment: str, measure: str) -> str:
    found = [row for row in rows if row.experiment == experiment and row.phase == "untrained"]
    values = [row.value for row in found if row.measure == measure]
    return percent(values) if values else ""


def _reached(rows: Sequence[Row], goal: float, experiment: str) -> str:
    seen = curve(rows, experiment)
    if not seen:
        return "not run"
    step = steps_to(goal, seen)
    return f"over {max(seen)}" if step is None else f"{step} of {max(seen)}"


def ablations(rows: Sequence[Row], family: str) -> str:
    """Everything else that was run, beside what it changes."""
    final = finals(rows)
    known = {f"small/{family}/{name}{end}" for name in STARTS for end in ("", "-distilled", "-probe")}
    others = sorted(name for name in final if name.startswith(f"small/{family}/") and name not in known)
    base = f"small/{family}/{ABLATED}"
    lines = [[_about(name), percent([row.value for row in final[name]])] for name in (base, *others) if name in final]
    return markdown(["changed", "trained"], lines)


def _about(experiment: str) -> str:
    """The last part of a name, with the student's size where it is not the usual one."""
    name = experiment.rpartition("/")[2]
    student = read_experiment(EXPERIMENTS / f"{experiment}.yaml").student.model
    return f"{name} (2 layers)" if "shallow" in student else "the paper's selection" if name == ABLATED else name
