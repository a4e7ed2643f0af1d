"""Tables whose rows are read in another order: refused; the same order in other words: filled."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import wsel_graph as ws
from wsel_graph.errors import WselError

X = torch.randn(2, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
AT = torch.arange(6)
Y, Z = (axis.flatten() for axis in torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij"))
DOWN, RIGHT = Y[:, None] - Y, Z[:, None] - Z


def heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (2, -1)).transpose(1, 2)


class Attention(nn.Module):
    """Attention whose scores a function of a table adds to, heads first."""

    def __init__(self, width: int, rows: int, bias: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.table, self.bias = nn.Parameter(torch.randn(rows, 2)), bias
        self.q, self.k, self.v, self.out = *(nn.Linear(8, width) for _ in range(3)), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (heads(layer(x)) for layer in (self.q, self.k, self.v))
        scores = (q @ k.mT / q.shape[-1] ** 0.5 + self.bias(self.table)).softmax(-1)
        return self.out((scores @ v).transpose(1, 2).flatten(2))


class Positions(nn.Module):
    """What a function of a table gives is added to every position."""

    def __init__(self, width: int, rows: int, read: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.enter, self.table, self.read = nn.Linear(8, width), nn.Parameter(torch.randn(rows, width)), read
        self.out = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out((self.enter(x) + self.read(self.table)).relu())


def by(rows: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda table: table[rows].permute(2, 0, 1)


APART = AT[:, None] - AT
FAMILIES = {
    "a line of distances": (Attention, 11, [
        [by(APART + 5), lambda t: F.embedding(APART + 5, t).permute(2, 0, 1),
         lambda t: t[(APART + 5).flatten()].view(6, 6, 2).permute(2, 0, 1)],
        [by(5 - APART), lambda t: t[APART + 5].permute(2, 1, 0), lambda t: t.flip(0)[APART + 5].permute(2, 0, 1)],
        [by(APART.abs())],
        [by(APART.clamp(-2, 2) + 5)],
    ]),
    "a grid of distances": (Attention, 15, [
        [by((DOWN + 1) * 5 + RIGHT + 2), lambda t: t.view(3, 5, 2)[DOWN + 1, RIGHT + 2].permute(2, 0, 1)],
        [by((RIGHT + 2) * 3 + DOWN + 1)],
        [by((1 - DOWN) * 5 + 2 - RIGHT)],
    ]),
    "positions": (Positions, 6, [
        [lambda t: t, lambda t: t[:6], lambda t: F.embedding(AT, t), lambda t: t[None, AT]],
        [lambda t: t.flip(0), lambda t: t[5 - AT], lambda t: F.embedding(AT.flip(0), t)],
        [lambda t: t.roll(1, 0)],
        [lambda t: t.unflatten(0, (2, 3)).transpose(0, 1).flatten(0, 1)],
    ]),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_never_taken_for_others(family: str) -> None:
    kind, rows, orders = FAMILIES[family]
    written = [(number, way) for number, ways in enumerate(orders) for way in ways]
    for (ours, student_way), (theirs, teacher_way) in itertools.product(written, repeat=2):
        torch.manual_seed(0)
        student, teacher = kind(8, rows, student_way).double(), kind(8, rows, teacher_way).double()
        if ours == theirs:
            ws.initialize(student, teacher, X)
            with torch.no_grad():
                torch.testing.assert_close(student(X), teacher(X), rtol=0, atol=1e-12)
        else:
            with pytest.raises(WselError, match=r"table \[\d+, \d\]: its rows are read in another order"):
                ws.plan(student, teacher, X)


def test_what_is_said() -> None:
    kind, rows, ((forwards, *_), (backwards, *_), *_) = FAMILIES["a line of distances"]
    with pytest.raises(WselError) as caught:
        ws.plan(kind(4, rows, backwards).double(), kind(8, rows, forwards).double(), X)
    assert "table [11, 2]: its rows are read in another order than the teacher's" in str(caught.value)
    assert "look them up as the teacher does" in str(caught.value)


def test_a_narrower_student() -> None:
    for kind, rows, ((way, other, *_), *_) in FAMILIES.values():
        plan = ws.plan(kind(4, rows, way).double(), kind(8, rows, other).double(), X)
        assert plan.kept == ()
