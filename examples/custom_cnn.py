"""Initialise a convolutional network of your own from a wider and deeper one.

python examples/custom_cnn.py

Residual blocks, a depthwise convolution and a squeeze-and-excite gate: nobody tells which channels belong together.

Prints:

    initialised 100 % of the student
    stages.0  2 of 4 blocks: 0<-0, 1<-1
    stages.0.0.deep.weight [24, 1, 3, 3] <- stages.0.0.deep.weight [96, 1, 3, 3]
      dim 0: 0:96:4 of 96 (hidden 96 -> 24 uniform)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import wsel_graph as ws


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        wide = 2 * width
        self.widen, self.norm = nn.Conv2d(width, wide, 1, bias=False), nn.BatchNorm2d(wide)
        self.deep = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.gate = nn.Sequential(nn.Conv2d(wide, wide // 4, 1), nn.SiLU(), nn.Conv2d(wide // 4, wide, 1), nn.Sigmoid())
        self.narrow = nn.Conv2d(wide, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.deep(self.norm(self.widen(x)).relu()).relu()
        return x + self.narrow(y * self.gate(y.mean((2, 3), keepdim=True)))


class Network(nn.Module):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 4, 4)
        self.stages = nn.ModuleList(nn.Sequential(*(Block(w) for _ in range(depth))) for w in (width, 2 * width))
        self.down, self.head = nn.Conv2d(width, 2 * width, 2, 2), nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages[1](self.down(self.stages[0](self.stem(x))))
        return self.head(x.mean((2, 3)))


def main() -> None:
    teacher, student = Network(48, 4), Network(12, 2)
    result = ws.initialize(student, teacher, torch.zeros(1, 3, 32, 32))
    print(f"initialised {100 * result.coverage:.0f} % of the student")
    stage = result.plan.layers[0]
    print(f"{stage.stage}  {len(stage.blocks)} of {stage.teacher_depth} blocks: {stage}")
    print(result.plan.explain("stages.0.0.deep.weight"))


if __name__ == "__main__":
    main()
