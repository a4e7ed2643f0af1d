"""Tensors of equal sizes whose axes are laid out differently inside: equal, or refused, never copied as they lie."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wsel_graph as ws
from tests.nets import randomize
from wsel_graph.coupling.verify import relative_error
from wsel_graph.errors import PlanError


def halves(x: Tensor, angles: Tensor) -> Tensor:
    one, other = x.chunk(2, -1)
    turned = torch.cat((-other, one), -1)
    return x * angles.cos().repeat(1, 2) + turned * angles.sin().repeat(1, 2)


def neighbours(x: Tensor, angles: Tensor) -> Tensor:
    one, other = x[..., ::2], x[..., 1::2]
    pair = one * angles.cos() - other * angles.sin(), one * angles.sin() + other * angles.cos()
    return torch.stack(pair, -1).flatten(-2)


class Rotary(nn.Module):
    """Attention with a rotary code in one of its two writings; one tensor for queries, keys and values.

    Where halves are rotated, it holds the three parts of every head; else all queries, all keys, all values.
    """

    def __init__(self, code: str, heads: int = 3) -> None:
        super().__init__()
        self.code, self.heads = code, heads
        self.into, self.qkv, self.out = nn.Linear(5, 12), nn.Linear(12, 3 * heads * 8), nn.Linear(heads * 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        rotate = halves if self.code == "halves" else neighbours
        wide = self.qkv(self.into(x))
        if self.code == "halves":
            parts = wide.unflatten(-1, (self.heads, 3, 8)).unbind(-2)
        else:
            parts = tuple(part.unflatten(-1, (self.heads, 8)) for part in wide.chunk(3, -1))
        q, k, v = (part.transpose(1, 2) for part in parts)
        angles = torch.outer(torch.arange(x.shape[1]).double(), 100.0 ** -(torch.arange(4).double() / 4)).to(x)
        weights = (rotate(q, angles) @ rotate(k, angles).mT).softmax(-1)
        z: Tensor = self.out((weights @ v).transpose(1, 2).flatten(2))
        return z


@pytest.mark.parametrize("code", ["halves", "neighbours"])
def test_halves_and_neighbouring_pairs_of_a_rotary_code_are_no_wholes(code: str) -> None:
    student, teacher = Rotary(code), Rotary("neighbours" if code == "halves" else "halves")
    with pytest.raises(ws.WselError, match="qkv"):
        ws.plan(student, teacher, (2, 5, 5))
    assert ws.plan(Rotary(code), Rotary(code), (2, 5, 5)).kept == ()


class Gated(nn.Module):
    """A gated sum whose gates and contents come from one tensor: one half after the other, or in turn."""

    def __init__(self, inner: bool) -> None:
        super().__init__()
        self.inner, self.wide, self.out = inner, nn.Linear(4, 12), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.wide(x)
        gate, content = (y[..., ::2], y[..., 1::2]) if self.inner else y.chunk(2, -1)
        z: Tensor = self.out(gate.sigmoid() * content)
        return z


def test_gates_in_turn_are_exact_or_refused() -> None:
    for inner in (False, True):
        student, teacher = (randomize(Gated(order), seed).double() for seed, order in enumerate((inner, not inner)))
        x = torch.randn(3, 4, dtype=torch.float64)
        try:
            ws.initialize(student, teacher, x)
        except ws.WselError:
            continue
        with torch.no_grad():
            assert relative_error(teacher(x), student(x)) < 1e-9


class Upscale(nn.Module):
    """Channels to pixels: by the library, or with views."""

    def __init__(self, width: int, views: bool) -> None:
        super().__init__()
        self.views = views
        self.into, self.wide, self.out = nn.Conv2d(3, width, 3), nn.Conv2d(width, 4 * width, 3), nn.Conv2d(width, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.wide(self.into(x).relu())
        if self.views:
            y = y.unflatten(1, (-1, 2, 2)).permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3)
        z: Tensor = self.out(y if self.views else F.pixel_shuffle(y, 2))
        return z


@pytest.mark.parametrize("views", [False, True])
def test_one_run_of_pinned_positions_is_a_grid_of_the_same_size(views: bool) -> None:
    student, teacher, small = (
        randomize(Upscale(width, wrote), seed).double()
        for seed, (width, wrote) in enumerate([(6, views), (6, not views), (4, views)])
    )
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    result = ws.initialize(student, teacher, x)
    other = randomize(Upscale(4, not views), 4).double()
    ws.initialize(small, teacher, x)
    ws.initialize(other, teacher, x)
    assert not any(copy.resize for copy in result.plan.copies)
    with torch.no_grad():
        assert relative_error(teacher(x), student(x)) < 1e-9
        assert relative_error(other(x), small(x)) < 1e-9


class Flattened(nn.Module):
    """A classifier on all positions of all channels, in one order or another."""

    def __init__(self, columns_first: bool, width: int = 4) -> None:
        super().__init__()
        self.columns_first = columns_first
        self.conv, self.out = nn.Conv2d(3, width, 3, 2), nn.Linear(width * 9, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).relu()
        z: Tensor = self.out((y.mT if self.columns_first else y).flatten(1))
        return z


@pytest.mark.parametrize("width", [4, 3])
def test_rows_first_and_columns_first_are_refused(width: int) -> None:
    text = r"^the positions in student out\.weight and in teacher out\.weight come in different orders.*keep=\['out"
    for columns_first in (False, True):
        with pytest.raises(PlanError, match=text):
            ws.plan(Flattened(columns_first, width), Flattened(not columns_first), (2, 3, 7, 7))
        assert ws.plan(Flattened(columns_first, width), Flattened(columns_first), (2, 3, 7, 7)).kept == ()
