"""A plan is made once, from shapes, and applied to any number of checkpoints: raw, averaged, or of other seeds.

python examples/one_plan_many_teachers.py

Prints:

    planned without weights: 6 copies
    raw       norm of the first weights 1.88
    averaged  norm of the first weights 1.86
    seed 1    norm of the first weights 1.56
    elements are the same in all: True
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import wsel_graph as ws


def network(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))


def train(seed: int) -> tuple[nn.Module, nn.Module]:
    """A teacher, and the moving average of its weights."""
    torch.manual_seed(seed)
    model = network(32)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(20):
        x = torch.randn(16, 4)
        optimizer.zero_grad()
        (model(x) - x[:, :2]).square().mean().backward()
        optimizer.step()
        average.update_parameters(model)
    return model, average.module


def main() -> None:
    with torch.device("meta"):  # no memory for weights: only shapes count
        plan = ws.plan(network(8), network(32), (1, 4))
    print(f"planned without weights: {len(plan.copies)} copies")
    with tempfile.TemporaryDirectory() as folder:
        plan.save(Path(folder) / "half.plan.json")
        plan = ws.load_plan(Path(folder) / "half.plan.json")

    raw, averaged = train(0)
    students = []
    for name, teacher in (("raw", raw), ("averaged", averaged), ("seed 1", train(1)[0])):
        student = network(8)
        ws.apply(plan, student, teacher.state_dict())
        students.append((student, teacher))
        print(f"{name:8}  norm of the first weights {student[0].weight.norm().item():.2f}")
    same = all(torch.equal(student[0].weight, teacher[0].weight[::4]) for student, teacher in students)
    print("elements are the same in all:", same)


if __name__ == "__main__":
    main()
