"""A first learning rate, found by trying: which rates keep a start, and which lose it.

Rates are tried from small to large, each on the same start, for a few steps of the optimizer at full rate, without
warm-up. A rate keeps the start when the loss rises by no more than a tenth at any step on the batch that the step is
taken on, and has not risen at the end on the first batch and on another one, which no step was taken on. Every batch is
compared with itself.
That is the range test of Smith ("Cyclical Learning Rates for Training Neural Networks", arXiv:1506.01186, section 3.3)
with a fresh start for every rate, so that a rate does not profit from the steps of the smaller ones. On a quadratic
with gradient g and curvature H, one step of gradient descent does not raise the loss up to the rate 2 g'g / g'Hg.

Warm-up: Ma and Yarats, "On the adequacy of untuned warmup for adaptive optimization", arXiv:1910.04209: linear over
2 / (1 - beta2) steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from wsel_graph.errors import DiagnosisError

RATES = tuple(float(f"{digit}e{power}") for power in range(-6, 0) for digit in (1, 3)) + (1.0,)
"""What is tried: half decades from 1e-6 to 1."""

SLACK = 0.01
"""By how much of itself the loss may have risen at the end: less is no sign of harm."""

RISE = 0.1
"""By how much it may rise on the way: the first steps of Adam are nearly of equal size in all elements, and cost a
little on steep directions that the next steps win back."""

PART = 0.5
"""A rate lowers the loss well when it does so by this part of what the best one does. The best alone is chosen by noise
where several do nearly as well, and the largest one alone may stand at the edge where the gain is gone."""

Optimizing = Callable[..., torch.optim.Optimizer]
"""From parameters and `lr=` to an optimizer."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A few steps at one rate.

    Attributes:
        rate: The learning rate.
        after: The loss after the last step over the loss of the start: the larger one of the first and last batch.
        worst: The same at its worst, after any step.
    """

    rate: float
    after: float
    worst: float

    @property
    def kept(self) -> bool:
        """Whether the start was not harmed."""
        return self.after <= 1 + SLACK and self.worst <= 1 + RISE


@dataclass(frozen=True, slots=True)
class Rate:
    """A learning rate to begin with.

    Attributes:
        rate: The largest rate that keeps the start and lowers the loss by at least half of what the best one does; None
            where none lowers it.
        highest: The largest rate that keeps the start, of those tried; None where none does.
        lost: The first rate that was tried and harms the start; None where none did.
        steps: Steps that were taken at each rate.
        optimizer: Its class.
        batches: How many batches there were; no step was taken on the last one, unless it was the only one.
        warm_up: Steps of linear warm-up that suit the optimizer at most; None for one without second moments.
        trials: Everything that was tried, from small to large.
        reason: Why there is no rate.
    """

    rate: float | None
    highest: float | None = None
    lost: float | None = None
    steps: int = 0
    optimizer: str = ""
    batches: int = 0
    warm_up: int | None = None
    trials: tuple[Trial, ...] = ()
    reason: str = ""

    def __str__(self) -> str:
        if self.rate is None:
            return f"No first learning rate: {self.reason}"
        after = next(trial.after for trial in self.trials if trial.rate == self.rate)
        judged = "a batch that it stepped on and one that it did not" if self.batches > 1 else "the batch it stepped on"
        lines = [
            f"First learning rate: {self.rate:g} ({self.optimizer}: after {_steps(self.steps)} without warm-up the "
            f"loss is {after:.3g} of the start's, on {judged})"
        ]
        if self.lost is not None:
            worst = next(trial.worst for trial in self.trials if trial.rate == self.lost)
            lines.append(f"At {self.lost:g} the start is harmed: the loss rises to {worst:.3g} of the start's.")
        else:
            lines.append(f"No rate up to {self.trials[-1].rate:g} harmed the start.")
        if self.warm_up is not None:
            lines.append(
                f"Warm up linearly from 0, over the first tenth of training or {self.warm_up:,} steps, whichever is "
                "shorter."
            )
        if self.batches < 2:
            lines.append("Give a second batch for a rate that is judged on inputs which it did not step on.")
        return "\n".join(lines)


def find_rate(
    losses: Sequence[Callable[[], torch.Tensor]],
    parameters: Iterable[torch.Tensor],
    make: Optimizing,
    *,
    steps: int,
    restore: Callable[[], None],
    rates: Sequence[float] = RATES,
) -> Rate:
    """Try rates from small to large until one harms the start.

    Args:
        losses: One for each batch, to step on in turn; of several, the last one only judges.
        parameters: What is trained.
        make: Makes the optimizer.
        steps: Steps at each rate.
        restore: Puts the start back.
        rates: Ascending.
    """
    if list(rates) != sorted(set(rates)) or not rates or min(rates) <= 0:
        raise DiagnosisError(f"rates must ascend and be positive, got {list(rates)}")
    held = list(parameters)
    if not held:
        return Rate(None, reason="no parameter of the student requires gradients.")
    with torch.no_grad():
        start = [float(loss()) for loss in losses]
    if not all(map(math.isfinite, start)):
        return Rate(None, reason="the loss of the start is not finite.")
    if not all(value > 0 for value in start):
        return Rate(
            None, reason=f"the loss of the start is {min(start):.3g}, and only what is positive can be lowered."
        )
    warm_up, name = _warm_up(make(held, lr=rates[0]))
    trials: list[Trial] = []
    for rate in rates:
        trials.append(_trial(rate, losses, start, make(held, lr=rate), steps))
        restore()
        if not trials[-1].kept:
            break
    kept = [trial for trial in trials if trial.kept]
    lost = None if trials[-1].kept else trials[-1].rate
    found = Rate(None, kept[-1].rate if kept else None, lost, steps, name, len(losses), warm_up, tuple(trials))
    return _chosen(found, kept)


def _chosen(found: Rate, kept: Sequence[Trial]) -> Rate:
    if not kept:
        return replace(
            found,
            reason=f"already at {found.lost:g} the loss rises: look at the warnings first, or give smaller `rates`.",
        )
    gained = max(1 - trial.after for trial in kept)
    if gained <= 0:
        return replace(
            found,
            reason=f"no rate up to {kept[-1].rate:g} does harm, and none lowers the loss on a batch that it did not "
            "step on: give more or larger batches.",
        )
    return replace(found, rate=max(trial.rate for trial in kept if 1 - trial.after >= PART * gained))


def _trial(
    rate: float,
    losses: Sequence[Callable[[], torch.Tensor]],
    start: Sequence[float],
    optimizer: torch.optim.Optimizer,
    steps: int,
) -> Trial:
    worst = 0.0
    used = len(losses[:-1]) or 1
    for step in range(steps):
        optimizer.zero_grad(set_to_none=True)
        loss = losses[step % used]()
        if step:
            worst = _larger(worst, float(loss.detach()) / start[step % used])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        after = 0.0
        for place in sorted({0, len(losses) - 1}):
            after = _larger(after, float(losses[place]()) / start[place])
    return Trial(rate, after, _larger(worst, after))


def _larger(one: float, other: float) -> float:
    return math.inf if math.isnan(one) or math.isnan(other) else max(one, other)


def _warm_up(optimizer: torch.optim.Optimizer) -> tuple[int | None, str]:
    betas = optimizer.param_groups[0].get("betas")
    second = betas[1] if isinstance(betas, (tuple, list)) and len(betas) > 1 else None
    steps = None if second is None or not 0 <= float(second) < 1 else round(2 / (1 - float(second)))
    return steps, type(optimizer).__name__


def _steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"
