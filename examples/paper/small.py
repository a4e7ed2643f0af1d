"""The small setting whole: every start with and without distillation, before training, at the end, and on the way."""

from __future__ import annotations

from collections.abc import Sequence
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
    "compensated": "scored by activation, compensated",
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
            parts += [f"### {title}", starts(own, family), ablations(own, family), provenance(runs)]
    return "\n\n".join(parts)


def starts(rows: Sequence[Row], family: str) -> str:
    """The table of starts."""
    final = finals(rows)
    ours = [name for name in STARTS if f"small/{family}/{name}" in final]
    random = [fmean(row.value for row in final[f"small/{family}/{name}"]) for name in RANDOM if name in ours]
    goal = max(random, default=1.0)
    head = [
        "start",
        "rate",
        "untrained",
        "nearest",
        "trained",
        "distilled",
        "steps to random's end",
        "distilled, steps",
    ]
    return markdown(head, [_line(rows, family, name, goal) for name in ours])


def _line(rows: Sequence[Row], family: str, name: str, goal: float) -> list[str]:
    experiment = f"small/{family}/{name}"
    final = finals(rows)
    rate = final[experiment][0].lr
    untrained = [_untrained(rows, experiment, measure) for measure in ("accuracy", "nearest")]
    trained = [percent([row.value for row in final[key]]) if key in final else "not run" for key in _both(experiment)]
    steps = [_reached(rows, key, goal) if key in final else "not run" for key in _both(experiment)]
    return [STARTS[name], f"{rate:g}", *untrained, *trained, *steps]


def _both(experiment: str) -> tuple[str, str]:
    return experiment, f"{experiment}-distilled"


def _untrained(rows: Sequence[Row], experiment: str, measure: str) -> str:
    found = [row for row in rows if row.experiment == experiment and row.phase == "untrained"]
    values = [row.value for row in found if row.measure == measure]
    return percent(values) if values else ""


def _reached(rows: Sequence[Row], experiment: str, goal: float) -> str:
    seen = curve(rows, experiment)
    step = steps_to(goal, seen)
    return f"over {max(seen)}" if step is None else f"{step} of {max(seen)}"


def ablations(rows: Sequence[Row], family: str) -> str:
    """Everything else that was run, beside what it changes."""
    final = finals(rows)
    known = {key for name in STARTS for key in _both(f"small/{family}/{name}")}
    others = sorted(name for name in final if name.startswith(f"small/{family}/") and name not in known)
    base = f"small/{family}/{ABLATED}"
    lines = [[_about(name), percent([row.value for row in final[name]])] for name in (base, *others) if name in final]
    return markdown(["changed", "trained"], lines)


def _about(experiment: str) -> str:
    """The last part of a name, with the student's size where it is not the usual one."""
    name = experiment.rpartition("/")[2]
    student = read_experiment(EXPERIMENTS / f"{experiment}.yaml").student.model
    return f"{name} (2 layers)" if "shallow" in student else "the paper's selection" if name == ABLATED else name
