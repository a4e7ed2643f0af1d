"""Ways to start a student, by name: each a callable that initialises it in place, and what is minimised from there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import wsel_graph as ws
from examples.starts import mimetic
from examples.starts.network import call
from examples.starts.training import Loss

RULES = Path(__file__).parent / "rules"
TEMPERATURE = 2.0
"""Of the distilled logits."""


@dataclass
class Given:
    """What a start may look at, of one seed."""

    teacher: nn.Module
    inputs: Any
    calibration: Sequence[Any]
    seed: int
    seconds: float = field(default=0.0, init=False)
    """Time that the statistics took; they are made once, and every method that reads them is charged for them."""

    @cached_property
    def statistics(self) -> Any:
        """Of the teacher's activations on the calibration batches."""
        begun = time.perf_counter()
        found = ws.statistics(self.teacher, list(self.calibration))
        self.seconds = time.perf_counter() - begun
        return found


Start = Callable[[nn.Module, Given], Any]
"""(student, what it may look at) -> the result of `initialize`, or None."""
MakeLoss = Callable[[nn.Module, Given, Any], AbstractContextManager[Loss]]
"""(student, what the start looked at, the start's result) -> the loss, for as long as the context is open."""


@dataclass(frozen=True, slots=True)
class Method:
    """A start, and what is minimised from there."""

    start: Start
    family: str = ""
    """Of methods of one family, only the one that trains best is trained and compared."""
    observes: bool = False
    """Whether the start reads statistics of activations."""
    trained: bool = True
    """Whether it is trained at all."""
    base: str = ""
    """Of a method with a loss of its own: the method that has the same start; its learning rate is taken."""
    make_loss: MakeLoss | None = None
    """None: the network's own loss."""


# -- starts


def as_written(student: nn.Module, given: Given) -> None:
    """The student as its own code initialises it."""


def redrawn(draw: Callable[[Tensor], Tensor]) -> Start:
    """As its own code initialises it, but for its matrices and kernels, which are drawn anew; biases become zero."""

    def start(student: nn.Module, given: Given) -> None:
        torch.manual_seed(given.seed)
        for module in student.modules():
            weight = getattr(module, "weight", None)
            if isinstance(module, nn.Embedding) or not isinstance(weight, Tensor) or weight.dim() < 2:
                continue
            draw(weight)
            if isinstance(bias := getattr(module, "bias", None), Tensor):
                nn.init.zeros_(bias)

    return start


def as_mimetic(student: nn.Module, given: Given) -> None:
    """Mimetic attentions, for a student whose attentions are of a kind that it knows."""
    mimetic.initialise(student, given.seed)


def by_rules(rules: str | Path, *, calibrated: bool = False, observes: bool = False, trained: bool = True) -> Method:
    """`initialize` with a shipped or own rule file.

    Args:
        rules: The file.
        calibrated: Whether it adapts values on the calibration batches.
        observes: Whether it chooses elements by statistics of the teacher's activations there.
        trained: See `Method`.
    """

    def start(student: nn.Module, given: Given) -> Any:
        options: dict[str, Any] = {"statistics": given.statistics} if observes else {}
        if calibrated:
            options["calibration"] = given.calibration
        return ws.initialize(student, given.teacher, given.inputs, rules=rules, seed=given.seed, **options)

    return Method(start, observes=observes, trained=trained)


# -- losses


def balanced(extra: Callable[[Tensor, Any], Tensor]) -> Loss:
    """The own loss, and another one that counts as much on the first batch, its weight fixed from then on."""
    weight: list[Tensor] = []

    def loss(own: Tensor, output: Tensor, inputs: Any) -> Tensor:
        found = extra(output, inputs)
        if not weight:
            weight.append((own / found.clamp_min(1e-12)).detach())
        return own + weight[0] * found

    return loss


@contextmanager
def feature_loss(student: nn.Module, given: Given, result: Any) -> Iterator[Loss]:
    """The library's feature loss beside the network's own.

    The teacher's channels are those that the plan copied; for a student that was not initialised from it, those that
    the default selection would have copied.
    """
    plan = ws.plan(student, given.teacher, given.inputs) if result is None else result.plan
    pairs = [pair for pair in ws.feature_pairs(plan) if not pair.problem]
    with ws.FeatureDistillation(student, given.teacher, pairs) as distillation:

        def extra(output: Tensor, inputs: Any) -> Tensor:
            with torch.no_grad():
                call(given.teacher, inputs)
            found: Tensor = distillation()
            return found

        yield balanced(extra)


@contextmanager
def logit_loss(student: nn.Module, given: Given, result: Any) -> Iterator[Loss]:
    """The library's logit loss beside the network's own."""
    distillation = ws.LogitDistillation(TEMPERATURE, weight=1.0)

    def extra(output: Tensor, inputs: Any) -> Tensor:
        with torch.no_grad():
            wanted = call(given.teacher, inputs)
        found: Tensor = distillation(output, wanted)
        return found

    yield balanced(extra)


RANDOM, DEFAULT, BEST = "random (own code)", "default", "scored, compensated"

STARTS: dict[str, Method] = {
    RANDOM: Method(as_written, family="random"),
    "random (Xavier)": Method(redrawn(nn.init.xavier_uniform_), family="random"),
    "random (Kaiming)": Method(redrawn(nn.init.kaiming_normal_), family="random"),
    "mimetic": Method(as_mimetic),
    "paper": by_rules("paper"),
    DEFAULT: by_rules("default"),
    "rescaled": by_rules(RULES / "rescaled.yaml"),
    "averaged": by_rules(RULES / "averaged.yaml", trained=False),
    "scored by weights": by_rules(RULES / "scored.yaml", trained=False),
    "evenly spaced layers": by_rules("uniform-layers", trained=False),
    "scored layers": by_rules(RULES / "scored_layers.yaml", observes=True),
    "scored": by_rules(RULES / "activated.yaml", observes=True),
    "recalibrated": by_rules(RULES / "recalibrated.yaml", calibrated=True, trained=False),
    "scored, recalibrated": by_rules(RULES / "scored_recalibrated.yaml", calibrated=True, observes=True, trained=False),
    "compensated": by_rules("compensated", calibrated=True),
    BEST: by_rules(RULES / "scored_compensated.yaml", calibrated=True, observes=True),
}
LOSSES: dict[str, MakeLoss] = {"features": feature_loss, "logits": logit_loss}
METHODS: dict[str, Method] = STARTS | {
    f"{start} + {loss}": replace(STARTS[start], family="", base=start, make_loss=make_loss)
    for loss, make_loss in LOSSES.items()
    for start in STARTS
    if STARTS[start].trained
}
"""In the order of the table's lines."""
