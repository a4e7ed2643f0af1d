"""Clusters of elements that carry alike activations, whatever makes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import wsel_graph as ws
from wsel_graph.errors import PlanError

RULES = "version: 1\nextends: default\nelements:\n  - where: {role: hidden}\n    take: {merge: activation}\n"


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 6), nn.Linear(6, width), nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.second(self.first(x).relu()).relu())


def planted() -> Net:
    """Units 0 and 4, 1 and 5 carry equal activations by unequal weights: the layer before them gives 0 twice."""
    torch.manual_seed(0)
    teacher = Net(8).double()
    with torch.no_grad():
        teacher.first.weight[5], teacher.first.bias[5] = 0, -1  # a unit that is always off
        teacher.second.weight[4:6], teacher.second.bias[4:6] = teacher.second.weight[:2], teacher.second.bias[:2]
        teacher.second.weight[4:6, 5] += 3  # unequal weights, equal activations
    return teacher


@pytest.fixture
def rules(tmp_path: Path) -> str:
    file = tmp_path / "merge.yaml"
    file.write_text(RULES)
    return str(file)


def test_units_of_equal_activations_are_merged_exactly(rules: str) -> None:
    teacher, student, x = planted(), Net(6).double(), torch.randn(64, 6, dtype=torch.float64)
    statistics = ws.statistics(teacher, [x], second_moments=True)
    ws.initialize(student, teacher, x, rules=rules, statistics=statistics, keep=[])
    fresh = torch.randn(50, 6, dtype=torch.float64)
    assert torch.allclose(student(fresh), teacher(fresh), rtol=0, atol=1e-12)


def test_without_second_moments_it_is_refused(rules: str) -> None:
    teacher, x = planted(), torch.randn(4, 6, dtype=torch.float64)
    for statistics, text in ((None, "needs statistics"), (ws.statistics(teacher, [x]), "needs second moments")):
        with pytest.raises(PlanError, match=rf"take: \{{merge: activation\}} {text}.*second_moments=True"):
            ws.plan(Net(6).double(), teacher, x, rules=rules, statistics=statistics)
