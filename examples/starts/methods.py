"""Ways to start a student, by name: each a callable that initialises it in place.

A method that this version of the library lacks says so in `Method.missing` and is left out; one that refuses a pair
of networks raises `WselError`, which says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import wsel_graph as ws
from examples.starts.network import call
from examples.starts.training import Loss
from wsel_graph.errors import SelectionRuleError

_ws: Any = ws  # for names that are looked up, because a version may lack them
RULES = Path(__file__).parent / "rules"

Start = Callable[[nn.Module, nn.Module, Any, Sequence[Any], int], Any]
"""(student, teacher, example inputs, calibration batches, seed) -> the result of `initialize`, or None."""
MakeLoss = Callable[[nn.Module, nn.Module, Any], AbstractContextManager[Loss]]
"""(student, teacher, the start's result) -> the loss to train with, for as long as the context is open."""
Options = Callable[[nn.Module, Sequence[Any]], dict[str, Any]]
"""(teacher, calibration batches) -> what `initialize` is given besides rules and seed."""


@dataclass(frozen=True, slots=True)
class Method:
    """A start, and what is minimised from there."""

    start: Start
    missing: Callable[[], str | None] = lambda: None
    """Why this version of the library cannot do it; None if it can."""
    make_loss: MakeLoss | None = None
    """None: the network's own loss. With a loss of its own, a method has the start of another and is only trained."""


def random(student: nn.Module, teacher: nn.Module, inputs: Any, calibration: Sequence[Any], seed: int) -> Any:
    """The student as its own code initialises it."""
    return None


def nothing(teacher: nn.Module, calibration: Sequence[Any]) -> dict[str, Any]:
    """Rules that read shapes, or weights."""
    return {}


def calibrated(teacher: nn.Module, calibration: Sequence[Any]) -> dict[str, Any]:
    """Rules that adapt values on calibration inputs."""
    return {"calibration": calibration}


def observed(teacher: nn.Module, calibration: Sequence[Any]) -> dict[str, Any]:
    """Rules that read statistics of the teacher's activations."""
    return {"statistics": _ws.statistics(teacher, calibration)}


def observed_and_calibrated(teacher: nn.Module, calibration: Sequence[Any]) -> dict[str, Any]:
    """Rules that do both."""
    return observed(teacher, calibration) | calibrated(teacher, calibration)


def by_rules(rules: str | Path, options: Options = nothing) -> Method:
    """`initialize` with a shipped or own rule file."""

    def start(student: nn.Module, teacher: nn.Module, inputs: Any, calibration: Sequence[Any], seed: int) -> Any:
        return ws.initialize(student, teacher, inputs, rules=rules, seed=seed, **options(teacher, calibration))

    return Method(start, lambda: _cannot(rules, options))


def _cannot(rules: str | Path, options: Options) -> str | None:
    """Why these rules or these options are not known; options are tried on networks of two layers."""
    if options in (observed, observed_and_calibrated) and not hasattr(ws, "statistics"):
        return "wsel_graph has no statistics"
    student, teacher = (nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2)) for width in (4, 8))
    try:
        ws.load_rules(rules)
        ws.initialize(student, teacher, (8, 4), **options(teacher, [torch.randn(8, 4)]))
    except SelectionRuleError as error:
        return str(error).splitlines()[0]
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        return str(error)
    return None


def distilled(start: Method) -> Method:
    """The same start; training adds the library's feature loss, weighted to count as much as the network's own.

    The weight is that of the first batch and then stays. The teacher's channels are those that the plan copied.
    """

    @contextmanager
    def make_loss(student: nn.Module, teacher: nn.Module, result: Any) -> Iterator[Loss]:
        pairs = [pair for pair in _ws.feature_pairs(result.plan) if not pair.problem]
        weight: list[Tensor] = []
        with _ws.FeatureDistillation(student, teacher, pairs) as distillation:

            def loss(own: Tensor, output: Tensor, inputs: Any) -> Tensor:
                with torch.no_grad():
                    call(teacher, inputs)
                features: Tensor = distillation()
                if not weight:
                    weight.append((own / features).detach())
                return own + weight[0] * features

            yield loss

    def missing() -> str | None:
        lacks = None if hasattr(ws, "FeatureDistillation") else "wsel_graph has no FeatureDistillation"
        return start.missing() or lacks

    return Method(start.start, missing, make_loss)


DEFAULT, COMPENSATED = by_rules("default"), by_rules("compensated", calibrated)
SCORED_COMPENSATED = by_rules(RULES / "scored_compensated.yaml", observed_and_calibrated)

METHODS: dict[str, Method] = {
    "random": Method(random),
    "paper": by_rules("paper"),
    "default": DEFAULT,
    "rescaled": by_rules(RULES / "rescaled.yaml"),
    "scored (weights)": by_rules(RULES / "scored.yaml"),
    "scored (activations)": by_rules(RULES / "activated.yaml", observed),
    "averaged": by_rules(RULES / "averaged.yaml"),
    "recalibrated": by_rules(RULES / "recalibrated.yaml", calibrated),
    "compensated": COMPENSATED,
    "scored (activations), compensated": SCORED_COMPENSATED,
    "default, features distilled": distilled(DEFAULT),
    "compensated, features distilled": distilled(COMPENSATED),
    "scored, compensated, distilled": distilled(SCORED_COMPENSATED),
}
"""In the order of the table's lines."""
