"""Student tensors that its forward pass leaves out, where the teacher's uses them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import wsel_graph as ws
from tests.nets import randomize

X = torch.tensor([[1.0] * 4, [-1.0] * 4])


class Routed(nn.Module):
    """Every example goes to one of two experts, by a value that the model computes."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.router, self.out = nn.Linear(4, 1), nn.Linear(8, 3)
        self.experts = nn.ModuleList(nn.Linear(4, 8) for _ in range(2))
        randomize(self)
        nn.init.ones_(self.router.weight)
        nn.init.constant_(self.router.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        first = (self.router(x) > 0).flatten()
        found = x.new_zeros(len(x), 8)
        for rows, expert in zip((first, ~first), self.experts, strict=True):
            if rows.any():
                found[rows] = expert(x[rows])
        return self.out(found)


def test_an_expert_that_only_the_teacher_reaches_is_told() -> None:
    """After initialisation the student has the teacher's router, and reaches it."""
    plan = ws.plan(Routed(9.0), Routed(0.0), X)
    (note,) = [note for note in plan.notes if "does not reach" in note]
    assert note == (
        "2 tensors that the teacher uses under the same name keep the student's values, because its forward pass does "
        "not reach them on the example inputs, such as experts.1.weight: give more example inputs, so that both models "
        "reach all their experts"
    )
    assert {kept.student for kept in plan.kept} == {"experts.1.weight", "experts.1.bias"}


def test_an_expert_that_neither_reaches_is_not() -> None:
    assert not [note for note in ws.plan(Routed(9.0), Routed(9.0), X).notes if "does not reach" in note]


class Pooled(nn.Module):
    def __init__(self, *, pool: bool) -> None:
        super().__init__()
        self.body, self.pooler, self.pool = nn.Linear(4, 4), nn.Linear(4, 4), pool

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return self.pooler(x) if self.pool else x


def test_no_more_inputs_help_where_no_code_looks_at_values() -> None:
    (note,) = ws.plan(Pooled(pool=False), Pooled(pool=True), X).notes
    assert note.endswith("on the example inputs, such as pooler.weight")
