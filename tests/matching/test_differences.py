"""Functions that differ are told, and never where they are the same function."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

import wsel_graph as ws

Function = Callable[[Tensor], Tensor]


class Net(nn.Module):
    """Blocks of two linears with a function in between, and one behind their sum."""

    def __init__(self, width: int, depth: int, inner: Function, outer: Function = lambda x: x) -> None:
        super().__init__()
        self.inner, self.outer, self.enter, self.out = inner, outer, nn.Linear(5, width), nn.Linear(width, 3)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {"norm": nn.LayerNorm(width), "up": nn.Linear(width, 2 * width), "down": nn.Linear(2 * width, width)}
            )
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for block in self.blocks:
            x = self.outer(x + block["down"](self.inner(block["up"](block["norm"](x)))))
        return self.out(x)


def notes(student: nn.Module, teacher: nn.Module) -> list[str]:
    return [note for note in ws.plan(student, teacher, torch.randn(2, 5)).notes if "applies" in note]


PLACES = "at 2 places, first before blocks.0.down.weight"
NONE = "no activation function (or one written as a clamp or product)"


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (F.relu, F.gelu, "relu where the teacher applies gelu"),
        (F.silu, F.gelu, "silu or sigmoid where the teacher applies gelu"),
        (F.gelu, F.hardswish, "gelu where the teacher applies hardswish or hardsigmoid"),
        (F.relu6, torch.tanh, "relu6 or hardtanh where the teacher applies tanh"),
        (nn.Identity(), F.mish, f"{NONE} where the teacher applies mish"),
        (F.leaky_relu, nn.Identity(), f"leaky_relu where the teacher applies {NONE}"),
    ],
)
def test_another_function_is_told(ours: Function, theirs: Function, said: str) -> None:
    assert notes(Net(6, 2, ours), Net(12, 3, theirs)) == [f"the student applies {said} {PLACES}"]
    assert notes(Net(6, 2, theirs), Net(12, 3, theirs)) == []


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda x: x * torch.sigmoid(x), F.silu),
        (lambda x: x * F.relu6(x + 3) / 6, F.hardswish),
        (lambda x: x.clamp(min=0), F.leaky_relu),
        (lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)), F.gelu),
        (lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x**3))), F.gelu),
        (lambda x: F.gelu(x, approximate="tanh"), F.gelu),
    ],
    ids=["silu", "hardswish", "relu", "gelu", "gelu by tanh", "approximate gelu"],
)
def test_nothing_wrong_is_said_of_a_function_that_is_written_out(ours: Function, theirs: Function) -> None:
    for said in (*notes(Net(6, 2, ours), Net(12, 3, theirs)), *notes(Net(6, 2, theirs), Net(12, 3, ours))):
        assert "written as a clamp or product" in said


def test_a_function_at_another_place() -> None:
    """Before a linear in the one, behind it in the other."""
    norm, linears = nn.LayerNorm(6), [nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 3)]
    student = nn.Sequential(linears[0], norm, nn.ELU(), linears[1], linears[2])
    teacher = nn.Sequential(linears[0], norm, linears[1], nn.ELU(), linears[2])
    assert notes(student, teacher) == [
        f"the student applies elu where the teacher applies {NONE} at one place, first before 3.weight",
        f"the student applies {NONE} where the teacher applies elu at one place, first before 4.weight",
    ]


def test_one_place() -> None:
    student, teacher = (nn.Sequential(nn.Linear(5, 6), f, nn.Linear(6, 3)) for f in (nn.Tanh(), nn.ReLU()))
    assert notes(student, teacher) == [
        "the student applies tanh where the teacher applies relu at one place, first before 2.weight"
    ]


class Gated(nn.Module):
    """Functions of the two halves of what a component gives, whose weight is computed and so is not cut."""

    def __init__(self, width: int, first: Function, second: Function) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.inner, self.out = weight_norm(nn.Linear(5, 2 * width)), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x, y = self.inner(x).chunk(2, -1)
        return self.out(self.first(x) * self.second(y))


@pytest.mark.parametrize("order", [1, -1])
def test_two_functions_of_one_component_are_told_apart(order: int) -> None:
    def told(student: tuple[Function, Function], teacher: tuple[Function, Function]) -> list[str]:
        plan = ws.plan(Gated(4, *student[::order]), Gated(8, *teacher[::order]), torch.randn(2, 9, 5))
        return [note for note in plan.notes if "applies" in note]

    assert not told((torch.tanh, torch.sigmoid), (torch.tanh, torch.sigmoid))
    (note,) = told((torch.tanh, F.softplus), (torch.tanh, F.gelu))
    assert "applies softplus where the teacher applies gelu at one place" in note


class Pooled(nn.Module):
    """Features of many positions become one, or move."""

    def __init__(self, width: int, pool: Function) -> None:
        super().__init__()
        self.conv, self.out, self.pool = nn.Conv2d(3, width, 3), nn.Linear(width, 3), pool

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.pool(F.relu(self.conv(x))).flatten(1))


POOLS: dict[str, tuple[Function, ...]] = {
    "an average": (
        lambda x: x.mean((2, 3)),
        lambda x: F.adaptive_avg_pool2d(x, 1),
        lambda x: F.avg_pool2d(x, x.shape[2]),
        nn.AdaptiveAvgPool2d(1),
    ),
    "a maximum": (lambda x: x.amax((2, 3)), lambda x: F.adaptive_max_pool2d(x, 1), lambda x: F.max_pool2d(x, 6)),
}


def pooling_notes(student: Function, teacher: Function) -> tuple[str, ...]:
    return ws.plan(Pooled(4, student), Pooled(8, teacher), torch.randn(2, 3, 8, 8)).notes


def test_ways_to_pool() -> None:
    for ours, theirs in itertools.product(POOLS, repeat=2):
        for student, teacher in itertools.product(POOLS[ours], POOLS[theirs]):
            told = (
                f"the student applies {ours} where the teacher applies {theirs} at one place, first before out.weight"
            )
            assert pooling_notes(student, teacher) == (() if ours == theirs else (told,))


def test_positions_that_move() -> None:
    (note,) = pooling_notes(lambda x: x.flip(2).mean((2, 3)), lambda x: x.mean((2, 3)))
    assert "the student applies a flip where the teacher applies nothing of the kind" in note


def test_a_pooling_and_an_activation_both_differ() -> None:
    notes = pooling_notes(lambda x: x.amax((2, 3)).tanh(), lambda x: x.mean((2, 3)))
    assert any("a maximum where the teacher applies an average" in note for note in notes)
