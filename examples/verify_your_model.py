"""Prove on your own network that the coupled groups are right, and ask why two axes belong together.

python examples/verify_your_model.py

Every free group is permuted at random in all its places, on a float64 copy; the outputs must not change. A certificate
that fails, or a group that you did not expect, is worth a look before anything is copied.

Prints:

    verified: 2 of 5 coupled groups permuted, largest relative error 1.2e-16 (limit 1e-09, float64)
    free                     hidden 12: enter.weight:0, enter.bias:0, leave.weight:1
    pinned: opaque           opaque 12: order.weight:0, order.bias:0, sum.weight:1
    enter.weight dim 0 is leave.weight dim 1 because of:
      linear_default_1: aten.linear.default in leave
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import wsel_graph as ws


class Network(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(4, width), nn.Linear(width, 6)
        self.order, self.sum = nn.Linear(6, width), nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.leave(self.enter(x).relu())
        return self.sum(self.order(x).cumsum(-1))  # a running sum: the order of these channels matters


def main() -> ws.Certificate:
    torch.manual_seed(0)
    model, x = Network(12), torch.randn(3, 4)
    certificate = ws.verify(model, x)
    print(certificate)
    graph = ws.trace(model, x)
    for group in graph.groups:
        print(
            f"{group.status:24} {group.role} {group.size}:", ", ".join(f"{name}:{dim}" for name, dim in group.members)
        )
    print("enter.weight dim 0 is leave.weight dim 1 because of:")
    print(graph.explain(("enter.weight", 0), ("leave.weight", 1)))
    return certificate


if __name__ == "__main__":
    main()
