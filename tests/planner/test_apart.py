"""Tensors of equal sizes whose axes are laid out differently inside: equal, or refused, never copied as they lie."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wsel_graph as ws
from tests.nets import randomize
from wsel_graph.coupling.verify import relative_error
from wsel_graph.errors import PlanError, WselError


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
    text = r"^the positions in student out\.weight and in teacher out\.weight come in different orders, .*keep=\['out"
    for columns_first in (False, True):
        with pytest.raises(PlanError, match=text):
            ws.plan(Flattened(columns_first, width), Flattened(not columns_first), (2, 3, 7, 7))
        assert ws.plan(Flattened(columns_first, width), Flattened(columns_first), (2, 3, 7, 7)).kept == ()


class Causal(nn.Module):
    """A causal block in three writings: a mask in the state dict, the library's kernel, one product cut by views."""

    mask: Tensor

    def __init__(self, way: str, heads: int, length: int = 9) -> None:
        super().__init__()
        self.way, self.heads, width = way, heads, 4 * heads
        self.into, self.mix, self.out = nn.Linear(5, width), nn.Linear(width, width), nn.Linear(width, 4)
        if way == "mask":
            self.parts = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
            self.register_buffer("mask", torch.tril(torch.ones(length, length)))
        else:
            self.qkv = nn.Linear(width, 3 * width)

    def attend(self, x: Tensor) -> Tensor:
        if self.way == "views":
            q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        parts = [part(x) for part in self.parts] if self.way == "mask" else self.qkv(x).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        if self.way == "kernel":
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        hidden = self.mask[: x.shape[1], : x.shape[1]] == 0
        z: Tensor = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(hidden, float("-inf")).softmax(-1) @ v
        return z

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        z: Tensor = self.out(x + self.mix(self.attend(x).transpose(1, 2).flatten(2)))
        return z


def causal(way: str, heads: int, seed: int, length: int = 9) -> Causal:
    model = Causal(way, heads, length).double()
    for number, parameter in enumerate(model.parameters()):
        generator = torch.Generator().manual_seed(100 * seed + number)
        nn.init.normal_(parameter, generator=generator)
    return model


@pytest.mark.parametrize("ours", ["mask", "kernel", "views"])
@pytest.mark.parametrize("theirs", ["mask", "kernel", "views"])
def test_writings_of_causal_attention(ours: str, theirs: str) -> None:
    x = torch.randn(2, 6, 5, dtype=torch.float64)
    student, teacher = causal(ours, 3, 1, 7), causal(theirs, 3, 2)
    ws.initialize(student, teacher, x)
    small, other = causal(ours, 2, 3), causal(theirs, 2, 4)
    for model in (small, other):
        ws.initialize(model, teacher, x)
    with torch.no_grad():
        assert relative_error(teacher(x), student(x)) < 1e-9
        assert relative_error(other(x), small(x)) < 1e-9


def test_a_mask_in_the_state_dict_stays_the_students_own() -> None:
    student, teacher = causal("mask", 3, 1, 12), causal("mask", 3, 2)
    teacher.mask.fill_(1)
    result = ws.initialize(student, teacher, torch.randn(2, 6, 5, dtype=torch.float64))
    assert {kept.student: kept.reason for kept in result.plan.kept} == {"mask": "a mask: only compared with numbers"}
    assert torch.equal(student.mask, torch.tril(torch.ones(12, 12)).double())


def test_a_threshold_in_the_state_dict_is_no_mask() -> None:
    class Spiking(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.into, self.out = nn.Linear(5, width), nn.Linear(width, 4)
            self.register_buffer("threshold", torch.rand(width))

        def forward(self, x: Tensor) -> Tensor:
            z: Tensor = self.out((self.into(x) > self.threshold).to(x))
            return z

    plan = ws.plan(Spiking(4), Spiking(8), (2, 5))
    (taken,) = next(copy.indices for copy in plan.copies if copy.student == "threshold")
    assert list(taken) == [0, 2, 4, 6]


class Merged(nn.Module):
    """Every four neighbours are laid end to end: slices in one of two orders, or views."""

    def __init__(self, width: int, order: str) -> None:
        super().__init__()
        self.order, self.into = order, nn.Conv2d(3, width, 1)
        self.norm, self.out = nn.LayerNorm(4 * width), nn.Linear(4 * width, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.into(x).relu().permute(0, 2, 3, 1)
        if self.order == "views":
            parts = y.unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).permute(0, 1, 3, 2, 4, 5).flatten(3)
        else:
            cells = [(row, column) for row in (0, 1) for column in (0, 1)]
            cells = cells if self.order == "rows first" else [(row, column) for column, row in cells]
            parts = torch.cat([y[:, row::2, column::2] for row, column in cells], -1)
        z: Tensor = self.out(self.norm(parts)).mean((1, 2))
        return z


@pytest.mark.parametrize("ours", ["rows first", "columns first", "views"])
@pytest.mark.parametrize("theirs", ["rows first", "columns first", "views"])
def test_the_order_of_neighbours(ours: str, theirs: str) -> None:
    student, teacher = Merged(4, ours).double(), Merged(4, theirs).double()
    small, other = Merged(3, ours).double(), Merged(3, theirs).double()
    for seed, model in enumerate((student, teacher, small, other)):
        randomize(model, seed)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    if (ours == "columns first") != (theirs == "columns first"):
        for model in (student, small):
            both_cut = "views" not in (ours, theirs)  # then matching sees it
            said = r"norm\.\*" if both_cut else r"come in different orders, such as rows before.*keep=\['out"
            with pytest.raises(WselError, match=said):
                ws.plan(model, teacher, x)
        return
    for model in (student, small, other):
        ws.initialize(model, teacher, x)
    with torch.no_grad():
        assert relative_error(teacher(x), student(x)) < 1e-9
        assert relative_error(other(x), small(x)) < 1e-9
