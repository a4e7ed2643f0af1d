"""A forward pass that reaches around the copy that runs is refused: its groups would be wrong."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import wsel_graph as ws


def test_a_forward_that_closes_over_the_caller_s_module_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    model.forward = lambda x: model[1](model[0](x))  # type: ignore[method-assign]
    with pytest.raises(ws.WselError, match=r"uses 0\.\w+ of the model itself.*Reach it through self"):
        ws.trace(model, (2, 4))


class OutArguments(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x)
        buffer = hidden.new_zeros(x.shape[0], 12)
        torch.mul(hidden, 2, out=buffer[:, :6])
        torch.matmul(hidden.tanh(), self.middle.weight.t(), out=buffer[:, 6:])
        out: torch.Tensor = self.last(buffer)
        return out


def test_what_out_arguments_receive_is_coupled() -> None:
    certificate = ws.verify(OutArguments(), torch.randn(2, 5))
    assert certificate.ok
    assert certificate.permuted == 3
