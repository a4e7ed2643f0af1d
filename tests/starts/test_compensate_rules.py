"""What rules and calibration data together do."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

import wsel_graph as ws


def net(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))


def start(rules: str | Path, calibration: list[torch.Tensor] | None) -> tuple[ws.InitResult, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    teacher, student = net(32), net(8)
    result = ws.initialize(student, teacher, (2, 6), rules=rules, calibration=calibration)
    return result, student.state_dict()


def test_rules_that_say_nothing_leave_it_to_the_calibration_data(tmp_path: Path) -> None:
    torch.manual_seed(1)
    batches = [torch.randn(64, 6) for _ in range(10)]
    plain = start("default", None)[1]
    result, fitted = start("default", batches)
    assert result.compensation is not None
    assert set(result.compensation.fitted) == {"0.weight", "2.weight", "4.weight"} - {
        name for name in plain if torch.equal(plain[name], fitted[name])
    }
    assert "4.weight" in result.compensation.fitted
    own = tmp_path / "own.yaml"
    own.write_text('version: 1\nextends: default\nvalues:\n  - {where: {student: "2.*"}, compensate: regression}\n')
    result, one = start(own, batches)
    assert result.compensation is not None
    assert result.compensation.fitted == ("2.weight",)
    assert torch.equal(one["4.weight"], plain["4.weight"])


def test_rules_that_find_nothing_to_do_change_nothing(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("version: 1\nextends: default\nvalues:\n  - recalibrate: batch_norm\n")
    result, values = start(own, [torch.randn(64, 6) for _ in range(10)])
    assert result.compensation is None
    assert all(torch.equal(value, start("default", None)[1][name]) for name, value in values.items())
