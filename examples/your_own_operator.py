"""Teach an operator of your own: one propagation rule, and what was pinned becomes free.

python examples/your_own_operator.py

Without a rule, the axes that an unknown operator reads are taken whole: right, yet nothing can be selected there. The
graph gives the text of the rule that is missing; a person says what the operator does.

Prints:

    before: 0 of 7 coupled groups are free, unknown: mylib::gate.default
    after: 1 of 3 coupled groups are free, unknown: none
    verified: True
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import wsel_graph as ws
from wsel_graph.ops.call import Axes, Call


@torch.library.custom_op("mylib::gate", mutates_args=())
def gate(x: Tensor, scale: Tensor) -> Tensor:  # (batch, channels), (channels,) -> (batch, channels)
    return x * torch.sigmoid(scale * x)


@gate.register_fake
def _(x: Tensor, scale: Tensor) -> Tensor:
    return torch.empty_like(x)


class Gated(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter, self.scale = nn.Linear(4, width), nn.Parameter(torch.ones(width))
        self.middle, self.leave = nn.Linear(width, width), nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(gate(self.middle(gate(self.enter(x), self.scale)), self.scale))


def channels_stay(call: Call) -> Axes:
    """Every channel is multiplied by its own factor: the two are one axis, and the result has the axes of `x`."""
    x, scale = call.tensors
    call.unify(x.axes[-1], scale.axes[-1])
    return x.axes


def show(when: str, graph: ws.ModelGraph) -> None:
    free = sum(group.free for group in graph.groups)
    unknown = ", ".join(graph.unknown_ops) or "none"
    print(f"{when}: {free} of {len(graph.groups)} coupled groups are free, unknown: {unknown}")


def main() -> None:
    model, x = Gated(8), torch.randn(3, 4)
    show("before", ws.trace(model, x))
    ws.propagates("mylib::gate", replace=True)(channels_stay)  # or @ws.propagates("mylib::gate") above the rule
    show("after", ws.trace(model, x))
    print("verified:", ws.verify(model, x).ok)


if __name__ == "__main__":
    main()
