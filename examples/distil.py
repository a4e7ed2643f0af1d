"""Train the initialised student on the teacher's answers and on the features that it was cut from.

python examples/distil.py

Prints:

    stage 0 <- 0: 1 <- 1, channels 0:24:2 of 24
    stage 1 <- 1: 2 <- 2, channels 0:24:2 of 24
    loss 0.18 -> 0.10
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import wsel_graph as ws


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


def network(width: int, depth: int) -> nn.Module:
    return nn.Sequential(nn.Linear(8, width), *(Block(width) for _ in range(depth)), nn.Linear(width, 3))


def main() -> tuple[float, float]:
    torch.manual_seed(0)
    teacher, student = network(24, 4).eval(), network(12, 2)
    result = ws.initialize(student, teacher, torch.zeros(1, 8))
    pairs = ws.feature_pairs(result.plan)
    print(*pairs, sep="\n")
    features = ws.FeatureDistillation(student, teacher, pairs)  # compares matching channels: no projector is trained
    answers = ws.LogitDistillation(temperature=2.0, weight=0.9)
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3)
    losses = []
    for _ in range(100):
        x = torch.randn(64, 8)
        labels = x[:, :3].argmax(1)
        loss = answers(student(x), features.run_teacher(x), labels) + features()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    features.remove()
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}")
    return losses[0], losses[-1]


if __name__ == "__main__":
    main()
