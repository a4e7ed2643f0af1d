"""Ways to start a student, by name: each a callable that initialises it in place.

A method that this version of the library lacks says so in `Method.missing` and is left out; one that refuses a pair
of networks raises `WselError`, which says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import wsel_graph as ws
from examples.starts.training import Loss
from wsel_graph.errors import SelectionRuleError

RULES = Path(__file__).parent / "rules"

Start = Callable[[nn.Module, nn.Module, Any, Sequence[Any], int], Any]
"""(student, teacher, example inputs, calibration batches, seed) -> the result of `initialize`, or None."""
MakeLoss = Callable[[nn.Module, nn.Module, Any], Loss]
"""(student, teacher, the start's result) -> the loss to train with."""


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


def by_rules(rules: str | Path, calibrated: bool = False) -> Method:
    """`initialize` with a shipped or own rule file, and with the calibration inputs if the rules need them."""

    def start(student: nn.Module, teacher: nn.Module, inputs: Any, calibration: Sequence[Any], seed: int) -> Any:
        options = {"calibration": calibration} if calibrated else {}
        return ws.initialize(student, teacher, inputs, rules=rules, seed=seed, **options)

    return Method(start, lambda: _cannot(rules, calibrated))


def _cannot(rules: str | Path, calibrated: bool) -> str | None:
    """Why these rules, or calibration inputs, are not known; found out on a network of two layers."""
    try:
        ws.load_rules(rules)
        if calibrated:
            student, teacher = (nn.Sequential(nn.Linear(4, width), nn.Linear(width, 2)) for width in (4, 8))
            ws.initialize(student, teacher, (8, 4), calibration=[torch.randn(8, 4)])
    except SelectionRuleError as error:
        return str(error).splitlines()[0]
    except TypeError as error:
        if "calibration" not in str(error):
            raise
        return f"initialize: {error}"
    return None


def distilled(start: Method, kind: str) -> Method:
    """The same start; training adds the library's distillation loss of this name to the network's own."""

    def make_loss(student: nn.Module, teacher: nn.Module, result: Any) -> Loss:
        distillation = getattr(ws, kind)(student, teacher, result.plan)

        def loss(own: Tensor, output: Tensor, inputs: object) -> Tensor:
            added: Tensor = distillation(inputs)
            return own + added

        return loss

    def missing() -> str | None:
        return start.missing() or (None if hasattr(ws, kind) else f"wsel_graph has no {kind}")

    return Method(start.start, missing, make_loss)


DEFAULT, COMPENSATED = by_rules("default"), by_rules("compensated", calibrated=True)

METHODS: dict[str, Method] = {
    "random": Method(random),
    "paper": by_rules("paper"),
    "default": DEFAULT,
    "rescaled": by_rules(RULES / "rescaled.yaml"),
    "scored (weights)": by_rules(RULES / "scored.yaml"),
    "scored (activations)": by_rules(RULES / "activated.yaml", calibrated=True),
    "recalibrated": by_rules(RULES / "recalibrated.yaml", calibrated=True),
    "compensated": COMPENSATED,
    "default, features distilled": distilled(DEFAULT, "FeatureDistillation"),
    "default, outputs distilled": distilled(DEFAULT, "LogitDistillation"),
    "compensated, features distilled": distilled(COMPENSATED, "FeatureDistillation"),
}
"""In the order of the table's lines."""
