"""Equal short training: for every method the same batches, optimiser and schedule, at the rate that suits its start."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from examples.starts.network import Batch, Network, Training, call

Loss = Callable[[Tensor, Tensor, Any], Tensor]
"""From the network's own loss, the student's output and the batch's inputs to what is minimised."""


def own_loss(own: Tensor, output: Tensor, inputs: Any) -> Tensor:
    """The network's own loss and nothing else."""
    return own


def train(
    student: nn.Module, network: Network, training: Training, rate: float, seed: int, loss: Loss = own_loss
) -> Iterator[tuple[int, float]]:
    """Train in place; yields (steps done, seconds of training so far) at every stop."""
    optimizer = torch.optim.AdamW(student.parameters(), rate, fused=True)
    seconds, steps = 0.0, max(training.stops)
    for step, batch in zip(range(1, steps + 1), network.batches(seed), strict=False):
        begun = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, step / max(1, training.warm_up))
        student.train()
        output = call(student, batch.inputs)
        optimizer.zero_grad()
        torch.autograd.backward(loss(network.loss(output, batch), output, batch.inputs))
        optimizer.step()
        seconds += time.perf_counter() - begun
        if step in training.stops:
            yield step, seconds


@torch.no_grad()
def validation_loss(student: nn.Module, network: Network, batches: Sequence[Batch]) -> float:
    """The mean of the network's own loss over batches; infinite where it is no number."""
    student.eval()
    loss = fmean(network.loss(call(student, batch.inputs), batch).item() for batch in batches)
    return loss if math.isfinite(loss) else math.inf
