"""Averages of elements and of blocks beside what else changes values, or compares them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import Transformer, randomize, snapshot
from wsel_graph.coupling.verify import relative_error

AVERAGED = "its channels are averages of the teacher's"
BLOCKS = "layers:\n  - take: merge\n"
HIDDEN = "elements:\n  - where: {role: hidden}\n    take: {merge: weights}\n"
COMPENSATE = "values:\n  - compensate: regression\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"


def rules(file: Path, *sections: str) -> Path:
    file.write_text("version: 1\n" + "".join(sections))
    return file


def noise(*shape: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def small(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))


def planted() -> nn.Module:
    """Hidden unit 2 is 1.5 times unit 0, and unit 1 another."""
    teacher = randomize(small(3)).double()
    with torch.no_grad():
        teacher[0].weight[2], teacher[0].bias[2] = 1.5 * teacher[0].weight[0], 1.5 * teacher[0].bias[0]
        teacher[0].weight[1] = -teacher[0].weight[0]
    return teacher


def test_the_average_of_two_channels_is_not_the_channel_between_them(file: Path) -> None:
    teacher, student = planted(), small(2).double()
    x = noise(256, 4)
    result = ws.initialize(student, teacher, x, rules=rules(file, HIDDEN, COMPENSATE), calibration=[x])
    lines = str(result)
    assert f"0.weight: not fitted: {AVERAGED}" in lines
    rows = (teacher[0].weight[[0, 2]].mean(0), teacher[0].weight[1])
    made = sorted(student[0].weight.tolist())
    assert torch.allclose(torch.tensor(made), torch.tensor(sorted(row.tolist() for row in rows)), rtol=1e-12)
    # What reads the clusters sums over them, so its own channels are the teacher's. It is fitted: 1.25 relu(z) for each
    # of relu(z) and relu(1.5 z) is not what the teacher adds up, but a multiple of it.
    plain = small(2).double()
    ws.apply(result.plan, plain, teacher)
    with torch.no_grad():
        assert relative_error(teacher(x), plain(x)) > 1e-2
        assert relative_error(teacher(x), student(x)) < 1e-7


def test_averaged_blocks_are_not_fitted(file: Path) -> None:
    teacher, student = randomize(Transformer(depth=4)).double(), Transformer(8, depth=2).double()
    x = noise(64, 5, 7)
    result = ws.initialize(student, teacher, x[:2], rules=rules(file, BLOCKS, COMPENSATE), calibration=[x])
    plain = Transformer(8, depth=2).double()
    ws.apply(result.plan, plain, teacher)
    refused = [line for line in str(result).splitlines() if AVERAGED in line]
    assert len(refused) == 2 * 8
    before = snapshot(plain)
    for name, value in snapshot(student).items():
        if name.startswith("blocks.") and name.endswith("weight"):
            assert torch.equal(value, before[name]), name
    assert not torch.equal(student.head.weight, plain.head.weight)


@pytest.mark.parametrize("way", ["norm", "variance"])
def test_averaged_blocks_are_rescaled_as_one(file: Path, way: str) -> None:
    teacher, student = randomize(Transformer(depth=4)).double(), Transformer(8, depth=2).double()
    text = BLOCKS + f"elements:\n  - rescale: {way}\n"
    plan = ws.plan(student, teacher, (2, 5, 7), rules=rules(file, text))
    ws.apply(plan, student, teacher)
    factors = (math.sqrt(2), 1) if way == "norm" else (1, math.sqrt(2))
    for number in (0, 1):
        sources = [teacher.blocks[2 * number], teacher.blocks[2 * number + 1]]
        gain = sum(block.norm1.weight[::2] for block in sources) / 2
        assert torch.allclose(student.blocks[number].norm1.weight, gain * factors[0], rtol=1e-14)
        weight = sum(block.fc1.weight[::2, ::2] for block in sources) / 2
        assert torch.allclose(student.blocks[number].fc1.weight, weight * factors[1], rtol=1e-14)


def test_gains_of_blocks_with_different_norms_are_left(file: Path) -> None:
    teacher, student = randomize(Transformer(depth=2)).double(), Transformer(8, depth=1).double()
    teacher.blocks[1].norm1.eps = 1e-3
    text = BLOCKS + "elements:\n  - rescale: norm\n"
    plan = ws.plan(student, teacher, (2, 5, 7), rules=rules(file, text))
    ws.apply(plan, student, teacher)
    assert (
        "rescale: norm: blocks.0.norm1.weight is left as it is: it averages blocks.0.norm1.weight and "
        "blocks.1.norm1.weight, whose norms differ in scale or epsilon"
    ) in plan.notes
    gain = sum(block.norm1.weight[::2] for block in teacher.blocks) / 2
    assert torch.allclose(student.blocks[0].norm1.weight, gain, rtol=1e-14)


def test_an_averaged_block_is_compared_with_the_end_of_its_run(file: Path) -> None:
    plan = ws.plan(Transformer(8, depth=2), Transformer(depth=5), (2, 5, 7), rules=rules(file, BLOCKS))
    pairs = ws.feature_pairs(plan)
    assert [(p.block, p.teacher_block, p.spanned, p.problem) for p in pairs] == [(0, 1, False, ""), (1, 4, False, "")]
    assert [list(p.indices) for p in pairs] == [list(range(0, 16, 2))] * 2


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + self.norm(self.conv(x))).relu()


def residual(width: int) -> nn.Module:
    blocks = [Residual(width) for _ in range(3)]
    return nn.Sequential(nn.Conv2d(3, width, 3), *blocks, nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten())


def test_channels_that_are_averages_are_not_compared(file: Path) -> None:
    student, teacher = (nn.Sequential(residual(width), nn.Linear(width, 5)) for width in (3, 6))
    text = "elements:\n  - take: {merge: weights}\n"
    plan = ws.plan(student, randomize(teacher), (2, 3, 8, 8), rules=rules(file, text))
    assert plan.features
    assert {feature.problem for feature in plan.features} == {f"{AVERAGED} (merge weights)"}
