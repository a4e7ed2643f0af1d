"""What the first steps of training will find: gradients at every section, and a learning rate that keeps the start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from wsel_graph.capture.inputs import Inputs
from wsel_graph.errors import DiagnosisError
from wsel_graph.starts.activations import Activations
from wsel_graph.starts.diagnosis import BlockRow, Diagnosis
from wsel_graph.starts.rates import Optimizing, Rate, find_rate
from wsel_graph.starts.sections import Section
from wsel_graph.starts.slopes import Goals, Loss, Probe, Slope, goals, with_gradients
from wsel_graph.starts.symptoms import symptoms
from wsel_graph.stores.memory import named_tensors

_EQUAL = 1e-9
"""A default loss below this is rounding: the student computes what the teacher does."""


@dataclass(frozen=True, slots=True)
class Trying:
    """How learning rates are tried: the optimizer, steps at each rate (0 for not at all), and the rates."""

    optimizer: Optimizing
    steps: int
    rates: Sequence[float]


def with_slopes(
    pair: Activations,
    rows: Sequence[BlockRow],
    losses: Sequence[Loss | None],
    fresh: nn.Module | None,
    trying: Trying,
) -> Diagnosis:
    """Add gradients, warnings and a first learning rate to what was seen of the activations.

    Args:
        pair: The models and batches.
        rows: One per section.
        losses: One per batch; None for the default one.
        fresh: A fresh start of the student.
        trying: How learning rates are tried.
    """
    cut, batches = pair.sections, pair.batches[0]
    with with_gradients():
        aims = [_goals(pair, number, losses[number]) for number in (range(len(losses)) if trying.steps else range(1))]
        probe = Probe(pair.model, cut)
        loss, slopes = _slopes(probe, batches[0], aims[0], losses[0])
        rows = [replace(row, slope=slope) for row, slope in zip(rows, slopes, strict=True)]
        fresh_loss = None
        if fresh is not None:
            fresh_loss, others = _slopes(Probe(fresh, cut), batches[0], aims[0], losses[0])
            rows = [replace(row, fresh_slope=slope) for row, slope in zip(rows, others, strict=True)]
        equal = losses[0] is None and bool(aims[0]) and loss < _EQUAL
        rate = _rate(probe, batches, aims, losses, trying, equal=equal) if trying.steps else None
    tensors = named_tensors(pair.model)
    held = [{name: tensors[name].detach() for name in section.parameters} for section in cut]
    reached = [not equal and one for one in _reached(cut, losses[0], aims[0])]  # no gradient is right where all is
    words = _loss_words(losses[0], aims[0])
    return Diagnosis(tuple(rows), words, loss, fresh_loss, rate, symptoms(rows, held, reached))


def _slopes(probe: Probe, inputs: Inputs, goal: Goals, own: Loss | None) -> tuple[float, tuple[Slope, ...]]:
    value = probe.loss(inputs, goal, own)
    if not value.requires_grad:
        raise DiagnosisError(
            "the loss depends on no parameter that requires gradients: set requires_grad on what is to be trained, and "
            "detach nothing on the way"
        )
    value.backward()  # type: ignore[no-untyped-call]
    found = probe.slopes()
    probe.clear()
    return float(value.detach()), found


def _goals(pair: Activations, number: int, own: Loss | None) -> Goals:
    if own is not None or len(pair.recordings) < 2:
        return Goals()
    ours, theirs = pair.batches[0][number], pair.batches[1][number]
    return goals(pair.sections, pair.recordings[0], pair.recordings[1], (ours, theirs))


def _loss_words(own: Loss | None, goal: Goals) -> str:
    if own is not None:
        return "the given loss"
    if not goal:
        return "the mean of the squared results"
    parts = [f"{len(goal.features)} block outputs"] if goal.features else []
    parts += [f"{len(goal.results)} results"] if goal.results else []
    return f"the squared difference to the teacher's {' and '.join(parts)}, over their mean square"


def _reached(cut: Sequence[Section], own: Loss | None, goal: Goals) -> list[bool]:
    """Whether the loss is made from something at or after each section."""
    last = max(goal.features, default=-1)
    everything = own is not None or bool(goal.results) or not goal
    return [everything or place <= last for place, _ in enumerate(cut)]


def _rate(
    probe: Probe,
    batches: Sequence[Inputs],
    aims: Sequence[Goals],
    losses: Sequence[Loss | None],
    trying: Trying,
    *,
    equal: bool,
) -> Rate:
    if losses[0] is None and not aims[0]:
        return Rate(None, reason="there is no loss to lower: give loss=, or teacher= and plan=.")
    if equal:
        return Rate(None, reason="the student computes what the teacher does: give the loss= of the training.")

    def closure(inputs: Inputs, goal: Goals, own: Loss | None) -> Callable[[], torch.Tensor]:
        return lambda: probe.loss(inputs, goal, own)

    made = [closure(*one) for one in zip(batches, aims, losses, strict=True)]
    held = list(probe.parameters.values())
    return find_rate(made, held, trying.optimizer, steps=trying.steps, restore=probe.restore, rates=trying.rates)
