"""Where to initialise in a training program: before the optimizer is made and before the model is wrapped.

python examples/in_a_training_loop.py

With Lightning, initialise in `configure_model` (it runs before the optimizer is made):

    class Student(LightningModule):
        def configure_model(self):
            ws.initialize(self.net, teacher, example)

With Accelerate, before `prepare`; on several processes every rank copies the same values:

    ws.initialize(student, teacher, example)
    student, optimizer, loader = accelerator.prepare(student, optimizer, loader)

A wrapped or compiled student is initialised through what it wraps (`.module`, `._orig_mod`).

Prints:

    initialised, then wrapped: the same memory: True
    compiled and plain student agree: True
    optimizer steps on initialised values: True
"""

from __future__ import annotations

import torch
from torch import nn

import wsel_graph as ws


def network(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))


def main() -> None:
    torch.manual_seed(0)
    student, teacher, x = network(8), network(32), torch.randn(5, 4)
    ws.initialize(student, teacher, x)

    wrapped = nn.DataParallel(student)  # as DistributedDataParallel, FSDP and compile: made after the start
    print("initialised, then wrapped: the same memory:", wrapped.module[0].weight is student[0].weight)
    compiled = torch.compile(student, backend="eager")
    print("compiled and plain student agree:", torch.equal(compiled(x), student(x)))

    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4, weight_decay=0.0)  # a small first rate: see diagnose
    before = student[0].weight.detach().clone()
    student(x).square().mean().backward()
    optimizer.step()
    moved = (student[0].weight - before).abs().max().item()
    print("optimizer steps on initialised values:", 0 < moved < 2e-4 and torch.equal(before, teacher[0].weight[::4]))


if __name__ == "__main__":
    main()
