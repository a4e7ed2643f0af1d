"""Heads and their channels as two dims of a tensor, and as one: own attention with three-dimensional parameters."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import wsel_graph as ws
from tests.planner.planted import planted, randomized
from wsel_graph.coupling.verify import relative_error
from wsel_graph.errors import PlanError
from wsel_graph.planner.runs_of_dims import taken_apart

TOKENS = torch.randn(2, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Attention = Callable[[int, int, int], nn.Module]


class Apart(nn.Module):
    """A parameter (heads, width, head_dim) each, biases (heads, head_dim), and an `einsum` for every product."""

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.W_Q, self.W_K, self.W_V = (nn.Parameter(torch.zeros(heads, width, size)) for _ in range(3))
        self.b_Q, self.b_K, self.b_V = (nn.Parameter(torch.zeros(heads, size)) for _ in range(3))
        self.W_O, self.b_O = nn.Parameter(torch.zeros(heads, size, width)), nn.Parameter(torch.zeros(width))

    def made(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.einsum("bpd,hdk->bphk", x, weight) + bias

    def joined(self, z: Tensor) -> Tensor:
        return torch.einsum("bphk,hkd->bpd", z, self.W_O) + self.b_O

    def forward(self, x: Tensor) -> Tensor:
        q, k = self.made(x, self.W_Q, self.b_Q), self.made(x, self.W_K, self.b_K)
        scores = torch.einsum("bqhk,bshk->bhqs", q, k) / q.shape[-1] ** 0.5
        return self.joined(torch.einsum("bhqs,bshk->bqhk", scores.softmax(-1), self.made(x, self.W_V, self.b_V)))


class Reshaped(Apart):
    """The same parameters, reshaped for linears: their memory is copied on the way."""

    def made(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        flat = weight.permute(0, 2, 1).reshape(-1, weight.shape[1])
        return F.linear(x, flat, bias.reshape(-1)).unflatten(-1, bias.shape)

    def joined(self, z: Tensor) -> Tensor:
        return F.linear(z.flatten(2), self.W_O.permute(2, 0, 1).reshape(self.W_O.shape[2], -1), self.b_O)


class Matrices(Apart):
    """The same parameters as views, multiplied from the right."""

    def joined(self, z: Tensor) -> Tensor:
        return z.flatten(2) @ self.W_O.reshape(-1, self.W_O.shape[2]) + self.b_O


class Turned(Apart):
    """Other orders of dims in the parameters: (width, heads, head_dim) and (head_dim, width, heads)."""

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__(width, heads, size)
        self.W_Q, self.W_K, self.W_V = (nn.Parameter(torch.zeros(width, heads, size)) for _ in range(3))
        self.W_O = nn.Parameter(torch.zeros(size, width, heads))

    def made(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return (torch.einsum("bpd,dhk->bhpk", x, weight) + bias[:, None]).transpose(1, 2)

    def joined(self, z: Tensor) -> Tensor:
        return torch.einsum("bphk,kdh->bpd", z, self.W_O) + self.b_O


class Linears(nn.Module):
    """A linear each."""

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(width, heads * size) for _ in range(3))
        self.o = nn.Linear(heads * size, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v))
        return self.o(F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))


class Library(nn.Module):
    """One tensor for queries, keys and values."""

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return y


class Net(nn.Module):
    """Two residual blocks; without norms, what is left out can be zero."""

    def __init__(self, attention: Attention, width: int, heads: int, size: int = 4) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(7, width), nn.Linear(width, 3)
        self.attend = nn.ModuleList(attention(width, heads, size) for _ in range(2))
        self.widen = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(2))
        self.narrow = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for attend, widen, narrow in zip(self.attend, self.widen, self.narrow, strict=True):
            x = x + attend(x)
            x = x + narrow(F.gelu(widen(x)))
        y: Tensor = self.leave(x)
        return y


@pytest.mark.parametrize("form", [Apart, Reshaped, Matrices, Turned])
@pytest.mark.parametrize("other", [Linears, Library, Apart])
@pytest.mark.parametrize(("width", "heads"), [(16, 4), (8, 2), (4, 1)])
def test_the_function_is_kept(form: Attention, other: Attention, width: int, heads: int) -> None:
    """Between both forms, at the same sizes and at smaller ones; four heads of four channels tell no sizes apart."""
    for ours, theirs in ((form, other), (other, form)):
        student, teacher = randomized(Net(ours, width, heads), 1), randomized(Net(theirs, 16, 4), 2)
        plan = ws.plan(student, teacher, TOKENS)
        assert not [kept.student for kept in plan.kept if kept.parameter]
        source = planted(plan, teacher)
        ws.apply(plan, student, source)
        with torch.no_grad():
            assert relative_error(source(TOKENS), student(TOKENS)) < 1e-9


@pytest.mark.parametrize("form", [Apart, Turned])
def test_channels_that_are_chosen_flat_are_no_block_of_two_dims(form: Attention) -> None:
    student, teacher = Net(Linears, 12, 3), Net(form, 16, 4)
    dims, shape = ("0 and 2", [4, 16, 4]) if form is Apart else ("1 and 2", [16, 4, 4])
    text = (
        "attend.0.q.weight:0: elements that are chosen from heads and channels as from one axis (unit: flat) are no "
        f"block of dims {dims} of attend.0.W_Q {shape}, which holds them apart. Write unit: whole for these groups, or "
        "pass keep=['attend.0.q.weight']."
    )
    with pytest.raises(PlanError, match=re.escape(text)):
        ws.plan(student, teacher, TOKENS.float(), rules="paper")
    assert ws.plan(student, teacher, TOKENS.float()).copies


def test_a_list_of_heads_is_taken_from_either_form() -> None:
    students = [randomized(Net(form, 8, 2), 1) for form in (Apart, Linears)]
    for student in students:
        result = ws.initialize(student, randomized(Net(Reshaped, 16, 4), 2), TOKENS, overrides={"heads": [3, 1]})
        assert result.coverage == 1
    with torch.no_grad():
        assert relative_error(students[1](TOKENS), students[0](TOKENS)) < 1e-9


class Products(nn.Module):
    """Two axes that nothing tells apart, summed over one of them."""

    def __init__(self, *, rows_first: bool) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(7, 6), nn.Linear(4, 3)
        self.weight = nn.Parameter(torch.zeros(6, 4, 4)) if rows_first else nn.Linear(6, 16, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x).relu()
        if isinstance(self.weight, nn.Linear):
            return self.leave(self.weight(x).unflatten(-1, (4, 4)).relu().sum(-2))
        return self.leave(torch.einsum("bpd,dac->bpac", x, self.weight).relu().sum(-1))


@pytest.mark.parametrize("rows_first", [False, True])
def test_axes_that_nothing_tells_apart_are_refused(rows_first: bool) -> None:
    nets = Products(rows_first=rows_first), Products(rows_first=not rows_first)
    with pytest.raises(PlanError, match=r"built differently:\n.*\n.*\nThe parts of size 16 and 16 do not correspond"):
        ws.plan(*nets, TOKENS.float())


def test_what_is_no_block_is_not_taken_apart() -> None:
    assert taken_apart(range(12), (3, 4)) == [[0, 1, 2], [0, 1, 2, 3]]
    assert taken_apart([5, 4, 1, 0], (3, 4)) == [[1, 0], [1, 0]]
    assert taken_apart([0, 5], (3, 4)) is None


class Copied(nn.Module):
    """A square matrix that is transposed, and copied before it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(7, 8), nn.Linear(8, 3)
        self.square = nn.Parameter(torch.zeros(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(F.linear(self.enter(x).relu(), self.square.t().contiguous()).relu())


def test_a_copy_of_a_transposed_matrix_is_transposed() -> None:
    plain = nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 3))
    for student, teacher in ((Copied(), plain), (plain, Copied())):
        randomized(student, 1), randomized(teacher, 2)
        ws.initialize(student, teacher, TOKENS)
        with torch.no_grad():
            assert relative_error(teacher(TOKENS), student(TOKENS)) < 1e-9
