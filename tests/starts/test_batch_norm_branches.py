"""Branches that end with a batch norm: a student's block stands in for a skipped one, exactly where that can be."""

from __future__ import annotations

from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

import wsel_graph as ws
from tests.starts.twins import target_errors, worst
from wsel_graph.starts.settings import REPAIRS, Repair

N = TypeVar("N", bound=nn.Module)

WRITTEN = 3
"""Channels of the stream that the blocks write to; they read the others."""


class Block(nn.Module):
    """Two convolutions, each with a batch norm, added to the stream."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand, self.first = nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width)
        self.project, self.second = nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.second(self.project(self.first(self.expand(x)).sin()))
        return found


class Net(nn.Module):
    def __init__(self, depth: int, width: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        found: Tensor = self.head(x)
        return found


def random_norms(net: N) -> N:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.get_buffer("running_mean"))
            nn.init.uniform_(module.get_buffer("running_var"), 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    return net.double().eval()


def teacher_of(depth: int) -> Net:
    """A teacher whose last two blocks read and expand the same, so that one block can do what both do."""
    torch.manual_seed(0)
    net = random_norms(Net(depth))
    one, two = list(net.blocks)[-2:]
    assert isinstance(one, Block)
    assert isinstance(two, Block)
    with torch.no_grad():
        one.expand.weight.normal_(0, 3)  # far enough from linear that there is one solution
        one.expand.weight[:, :WRITTEN] = 0
        one.project.weight[WRITTEN:] = 0
        one.second.bias[WRITTEN:] = 0  # what they read, the first leaves alone
        one.second.get_buffer("running_mean")[WRITTEN:] = 0
    two.expand.load_state_dict(one.expand.state_dict())
    two.first.load_state_dict(one.first.state_dict())
    return net


@pytest.mark.parametrize("repair", REPAIRS)
def test_a_block_stands_in_for_a_skipped_one(repair: Repair) -> None:
    teacher, student = teacher_of(4), Net(3).double().eval()
    torch.manual_seed(1)
    batches = [torch.randn(6, 3, 9, 8, dtype=torch.float64) for _ in range(10)]
    fresh = torch.randn(6, 3, 9, 8, dtype=torch.float64)
    plan = ws.plan(student, teacher, fresh)
    ws.apply(plan, student, teacher)
    assert (student(fresh) - teacher(fresh)).abs().max() > 0.01
    done = ws.compensate(plan, student, teacher, batches, repair=repair)
    torch.testing.assert_close(student(fresh), teacher(fresh), rtol=1e-8, atol=1e-8)
    assert set(done.fitted) <= {"blocks.2.project.weight", "blocks.2.second.weight"}
    assert "blocks.2.project.weight" in done.fitted


def test_without_standing_in_it_does_not() -> None:
    teacher, student = teacher_of(4), Net(3).double().eval()
    torch.manual_seed(1)
    batches = [torch.randn(6, 3, 9, 8, dtype=torch.float64) for _ in range(10)]
    done = ws.compensate(
        ws.plan(student, teacher, batches[0]), student, teacher, batches, stand_in=False, repair="never"
    )
    assert not set(done.fitted) & {"blocks.2.project.weight", "blocks.2.second.weight"}
    assert (student(batches[0]) - teacher(batches[0])).abs().max() > 0.01


@pytest.mark.parametrize("repair", REPAIRS)
def test_targets_are_what_the_teacher_computes(repair: Repair) -> None:
    """A student that is the teacher is told to compute what it computes, at every batch norm and before it."""
    torch.manual_seed(2)
    teacher, student = random_norms(Net(3)), Net(3).double().eval()
    batches = [torch.randn(4, 3, 9, 8, dtype=torch.float64) for _ in range(2)]
    plan = ws.plan(student, teacher, batches[0])
    errors, kept = target_errors(plan, student, teacher, (batches, batches), repair)
    assert worst(errors.values()) < 1e-9
    assert not kept
    done = ws.compensate(plan, student, teacher, batches, repair=repair)
    assert {outcome.how for outcome in done.outcomes} == {"exact"}


def test_what_is_constant_goes_into_the_running_mean() -> None:
    """Dropped inputs that never change leave a constant behind, which a convolution without bias cannot add."""
    torch.manual_seed(3)
    student, teacher = (
        random_norms(
            nn.Sequential(
                nn.Conv2d(3, 3 * k, 1),
                nn.Conv2d(3 * k, 5, 3, bias=False),
                nn.BatchNorm2d(5),
                nn.Tanh(),
                nn.Conv2d(5, 2, 1),
            )
        )
        for k in (1, 2)
    )
    with torch.no_grad():
        teacher.get_parameter("0.weight")[1::2] = 0
        teacher.get_parameter("0.bias")[1::2] = 3
    batches = [torch.randn(6, 3, 9, 8, dtype=torch.float64) for _ in range(10)]
    done = ws.compensate(ws.plan(student, teacher, batches[0]), student, teacher, batches)
    torch.testing.assert_close(student(batches[4]), teacher(batches[4]), rtol=1e-8, atol=1e-8)
    assert done.results is not None
    assert done.results[0] > 0.01


class Moved(nn.Module):
    """Two blocks whose batch norm, or product, is followed by a step that moves channels about."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.stem, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1)
        self.a, self.b = (
            nn.ModuleList(nn.Conv2d(6, 8, 1) for _ in "12"),
            nn.ModuleList(nn.Conv2d(8, 6, 1) for _ in "12"),
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(6) for _ in "12")
        self.gammas = nn.ParameterList(torch.rand(6) + 0.5 for _ in "12")

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for a, b, norm, gamma in zip(self.a, self.b, self.norms, self.gammas, strict=True):
            y = norm(b(a(x).relu()))
            if self.kind == "shuffled":  # the gain's channel is no longer the sum's
                y = (gamma[:, None, None] * y).unflatten(1, (2, 3)).transpose(1, 2).flatten(1, 2)
            else:  # channels last for the product, first for the sum
                y = (y.permute(0, 2, 3, 1) * gamma).permute(0, 3, 1, 2)
            x = x + y
        found: Tensor = self.head(x)
        return found


@pytest.mark.parametrize("kind", ["shuffled", "permuted"])
@pytest.mark.parametrize("repair", REPAIRS)
def test_gains_before_channels_are_moved(kind: str, repair: Repair) -> None:
    torch.manual_seed(4)
    teacher, student = random_norms(Moved(kind)), Moved(kind).double().eval()
    batches = [torch.randn(4, 3, 9, 8, dtype=torch.float64) for _ in range(2)]
    errors, _ = target_errors(ws.plan(student, teacher, batches[0]), student, teacher, (batches, batches), repair)
    assert worst(errors.values()) < 1e-9
