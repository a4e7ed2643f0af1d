"""Equal short training: for every method the same batches, optimiser and schedule."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from examples.starts.network import Network, Schedule, call

Loss = Callable[[Tensor, Tensor, Any], Tensor]
"""From the network's own loss, the student's output and the batch's inputs to what is minimised."""


def own_loss(own: Tensor, output: Tensor, inputs: Any) -> Tensor:
    """The network's own loss and nothing else."""
    return own


def train(
    student: nn.Module, network: Network, schedule: Schedule, seed: int, loss: Loss = own_loss
) -> Iterator[tuple[int, float]]:
    """Train in place; yields (steps done, seconds of training so far) at every stop of the schedule."""
    optimizer = torch.optim.AdamW(student.parameters(), schedule.rate, fused=True)
    seconds, steps = 0.0, max(schedule.stops)
    for step, batch in zip(range(1, steps + 1), network.batches(seed), strict=False):
        begun = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate * min(1.0, step / max(1, schedule.warm_up))
        student.train()
        output = call(student, batch.inputs)
        optimizer.zero_grad()
        torch.autograd.backward(loss(network.loss(output, batch), output, batch.inputs))
        optimizer.step()
        seconds += time.perf_counter() - begun
        if step in schedule.stops:
            yield step, seconds
