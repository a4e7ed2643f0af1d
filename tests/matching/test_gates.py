"""Recurrent gates: one fused linear for all of them, or a linear each, step by step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import wsel_graph as ws
from wsel_graph.coupling.verify import relative_error

INPUT = torch.randn(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Fused(nn.Module):
    """`nn.LSTMCell`, which cuts the sum of two fused linears."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.cell, self.out, self.hidden = nn.LSTMCell(5, hidden), nn.Linear(hidden, 3), hidden

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = x.new_zeros(x.shape[0], self.hidden)
        for t in range(x.shape[1]):
            h, c = self.cell(x[:, t], (h, c))
        return self.out(h)


class Separate(nn.Module):
    """The same with eight linears, in another order."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden, self.out = hidden, nn.Linear(hidden, 3)
        self.x = nn.ModuleDict({gate: nn.Linear(5, hidden) for gate in ("output", "forget", "new", "write")})
        self.h = nn.ModuleDict({gate: nn.Linear(hidden, hidden) for gate in ("write", "output", "new", "forget")})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = torch.zeros(x.shape[0], self.hidden, dtype=x.dtype)
        for t in range(x.shape[1]):
            forget, write, output, new = (
                self.x[gate](x[:, t]) + self.h[gate](h) for gate in ("forget", "write", "output", "new")
            )
            c = forget.sigmoid() * c + write.sigmoid() * new.tanh()
            h = output.sigmoid() * c.tanh()
        return self.out(h)


@pytest.mark.parametrize(("student", "teacher"), [(Fused, Separate), (Separate, Fused)])
def test_gates_find_each_other(student: type[nn.Module], teacher: type[nn.Module]) -> None:
    torch.manual_seed(1)
    small, large = student(4).double(), teacher(4).double()
    assert ws.initialize(small, large, INPUT).coverage == 1.0
    with torch.no_grad():
        assert relative_error(large(INPUT), small(INPUT)) < 1e-9


@pytest.mark.parametrize(("student", "teacher"), [(Fused, Separate), (Separate, Fused)])
def test_gates_of_a_smaller_student(student: type[nn.Module], teacher: type[nn.Module]) -> None:
    plan = ws.plan(student(3).double(), teacher(6).double(), INPUT)
    assert {(choice.role, choice.teacher_size, choice.student_size) for choice in plan.choices} >= {("embed", 6, 3)}
    assert sum(copy.parameter for copy in plan.copies) == 4 * 4 + 2  # per gate and linear: weight, bias
