"""Value rules: which tensors a plan names for what is done afterwards, on real layers, and what is reported."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import nn

import wsel_graph as ws
from wsel_graph.plan.serial import parse_plan, plan_document
from wsel_graph.report.check import check_rules


def net(width: int) -> nn.Sequential:
    """Convolutions, batch norms, a group norm, and two linears; names are places in the list."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, groups=width), nn.BatchNorm2d(width), nn.GroupNorm(1, width),
        nn.ConvTranspose2d(width, 2 * width, 2), nn.BatchNorm2d(2 * width), nn.Flatten(),
        nn.Linear(2 * width * 25, width), nn.LayerNorm(width), nn.Linear(width, 3),
    )  # fmt: skip


INPUTS = (2, 3, 8, 8)
LINEARS = ("9.weight", "11.weight")
WEIGHTS = tuple(f"{place}.weight" for place in (0, 1, 3, 4, 5, 6, 7, 9, 10, 11))  # gains of norms too
OTHERS = tuple(name for name in WEIGHTS if name not in LINEARS)
MEANS = ("1.running_mean", "4.running_mean", "7.running_mean")
ASKED = "pass calibration= to initialize, or call ws.compensate"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"


def planned(file: Path, text: str, **options: object) -> ws.Plan:
    file.write_text(f"version: 1\n{text}")
    return ws.plan(net(4), net(8), INPUTS, rules=file, **options)  # type: ignore[arg-type]


def test_the_weights_of_linears_and_convolutions_and_the_means_of_batch_norms() -> None:
    plan = ws.plan(net(4), net(8), INPUTS, rules="compensated")
    assert plan.compensate == WEIGHTS
    assert plan.recalibrate == MEANS
    assert plan.notes == (
        f"compensate: regression asked for 10 tensors: {ASKED}",
        f"recalibrate: batch_norm asked for 3 batch norms: {ASKED}",
    )


def test_it_is_off_without_a_rule_and_the_values_are_the_same() -> None:
    plan = ws.plan(net(4), net(8), INPUTS, rules="compensated")
    for rules in ("default", "paper"):
        off = ws.plan(net(4), net(8), INPUTS, rules=rules)
        assert (off.compensate, off.recalibrate, off.notes) == ((), (), ())
    off = ws.plan(net(4), net(8), INPUTS)
    assert dataclasses.replace(plan, compensate=(), recalibrate=(), notes=()) == off


@pytest.mark.parametrize(
    ("rules", "compensate", "recalibrate"),
    [
        pytest.param("  - compensate: regression", WEIGHTS, (), id="one key"),
        pytest.param("  - {where: {operator: linear}, compensate: regression}", LINEARS, (), id="operator"),
        pytest.param('  - {where: {student: "9.*"}, compensate: regression}', ("9.weight",), (), id="name"),
        pytest.param(
            "  - {where: {operator: linear}, compensate: none}\n  - {compensate: regression, recalibrate: batch_norm}",
            OTHERS, MEANS, id="each key by itself",
        ),
        pytest.param(
            '  - {where: {student: "1.*"}, recalibrate: none}\n  - {recalibrate: batch_norm}', (), MEANS[1:], id="none"
        ),
        pytest.param(
            "  - {where: {fed_by: {operator: depthwise_conv}}, recalibrate: batch_norm}", (), MEANS[1:2], id="neighbour"
        ),
    ],
)  # fmt: skip
def test_which_rule_governs(file: Path, rules: str, compensate: tuple[str, ...], recalibrate: tuple[str, ...]) -> None:
    plan = planned(file, f"values:\n{rules}\n")
    assert (plan.compensate, plan.recalibrate) == (compensate, recalibrate)


def test_tensors_that_keep_their_own_values_are_left_alone(file: Path) -> None:
    plan = planned(file, "extends: compensated\n", keep=["9.*", "1.*"])
    assert plan.compensate == tuple(name for name in WEIGHTS if name not in ("1.weight", "9.weight"))
    assert plan.recalibrate == MEANS[1:]


def test_one_tensor_in_words(file: Path) -> None:
    rules = 'values:\n  - {where: {student: ["0.*", "1.*"]}, compensate: regression, recalibrate: batch_norm}\n'
    assert planned(file, rules).notes == (
        f"compensate: regression asked for 2 tensors: {ASKED}",
        f"recalibrate: batch_norm asked for 1 batch norm: {ASKED}",
    )


def test_rules_that_govern_nothing_are_noted(file: Path) -> None:
    rules = (
        "extends: compensated\nvalues:\n  - {where: {operator: batch_norm}, compensate: none}\n"
        "  - {where: {operator: norm}, recalibrate: none}\n"
    )
    assert planned(file, rules).notes[2:] == (f"{file.name}:5:5: this value rule governs nothing: {{operator: norm}}",)


def test_explain() -> None:
    plan = ws.plan(net(4), net(8), INPUTS, rules="compensated")
    assert plan.explain("9.weight").splitlines()[-1] == "  then compensated on calibration data (regression)"
    last = "  then estimated anew on calibration data, with the other running statistics of its batch norm"
    assert plan.explain("1.running_mean").splitlines()[-1] == last
    assert "calibration" not in plan.explain("1.running_var")
    assert "calibration" not in ws.plan(net(4), net(8), INPUTS).explain("9.weight")


def test_old_plan_files_load_and_new_ones_come_back(tmp_path: Path) -> None:
    old = plan_document(ws.plan(net(4), net(8), INPUTS))
    assert not {"compensate", "recalibrate"} & old["plan"].keys()
    assert parse_plan(json.dumps(old)).compensate == ()
    plan = ws.plan(net(4), net(8), INPUTS, rules="compensated")
    plan.save(tmp_path / "plan.json")
    assert ws.load_plan(tmp_path / "plan.json") == plan


def test_shared_and_bias_tensors() -> None:
    class Tied(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.one, self.out = nn.Linear(width, width), nn.Linear(4, width, bias=False)
            self.bias = nn.Parameter(torch.zeros(1, width))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.out(x)
            return torch.addmm(self.bias, self.one(self.one(y)), self.one.weight.t())  # a bias of two dims

    plan = ws.plan(Tied(4), Tied(8), (2, 4), rules="compensated")
    assert plan.compensate == ("one.weight", "out.weight")


def test_rules_check_shows_what_value_rules_govern(file: Path) -> None:
    file.write_text(
        "version: 1\nvalues:\n  - {where: {operator: norm}, recalibrate: none}\n"
        "  - {where: {operator: linear}, compensate: none}\n  - {compensate: regression, recalibrate: batch_norm}\n"
    )
    student, teacher = ws.trace(net(4), INPUTS), ws.trace(net(8), INPUTS)
    rules = ws.load_rules(file)
    checked = check_rules(student, teacher, rules, lambda: ws.plan(student, teacher, rules=rules))
    assert [(rule.says, rule.what, rule.names) for rule in checked.rules] == [
        ("where {operator: norm}: recalibrate none", "tensor", ()),
        ("where {operator: linear}: compensate none", "tensor", LINEARS),
        ("every component: compensate regression, recalibrate batch_norm", "tensor", OTHERS + MEANS),
    ]


def test_initialize_is_not_silent() -> None:
    result = ws.initialize(net(4), net(8), INPUTS, rules="compensated")
    assert "compensate: regression asked for 10 tensors" in str(result)
