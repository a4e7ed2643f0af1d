"""The public verbs together."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import ConvNet, Transformer, mlp, randomize, same_tensors, snapshot

PUBLIC = {
    "initialize", "plan", "apply", "trace", "verify", "load_rules", "propagates",
    "diagnose", "Certificate", "CoupledGroup", "Diagnosis", "InitResult", "ModelGraph", "Plan", "WselError",
}  # fmt: skip


def test_public_names() -> None:
    assert set(dir(ws)) >= PUBLIC


def test_initialize_is_plan_and_apply() -> None:
    teacher = randomize(ConvNet(8))
    one, two = ConvNet(4), ConvNet(4)
    result = ws.initialize(one, teacher, (1, 3, 8, 8), method="random", seed=5)
    plan = ws.plan(two, teacher, (1, 3, 8, 8), method="random", seed=5)
    ws.apply(plan, two, teacher)
    assert result.plan == plan
    assert same_tensors(one, {**snapshot(two), **{k: v for k, v in snapshot(one).items() if "num_batches" in k}})


def test_teacher_is_not_changed() -> None:
    teacher = randomize(Transformer(16, 4, 4))
    before = snapshot(teacher)
    ws.initialize(Transformer(8, 2, 4), teacher, (2, 5, 7))
    assert same_tensors(teacher, before)


@pytest.mark.parametrize(
    ("inputs", "special"),
    [
        pytest.param((2, 4), None, id="shape"),
        pytest.param(torch.ones(2, 4), (3, 4), id="own inputs for the teacher"),
    ],
)
def test_inputs_of_the_teacher(inputs: Any, special: Any) -> None:
    result = ws.initialize(mlp(4), mlp(8), inputs, teacher_inputs=special)
    assert result.coverage == 1


def test_models_of_different_input_widths() -> None:
    student, teacher = mlp(4, inputs=3), randomize(mlp(8, inputs=4))
    result = ws.initialize(student, teacher, (2, 3), teacher_inputs=(2, 4), overrides={"input": [0, 1, 3]})
    assert result.coverage == 1
    assert torch.equal(student[0].weight, teacher[0].weight[::2][:, [0, 1, 3]])


def test_unknown_operators_of_either_model_are_reported() -> None:
    @torch.library.custom_op("wsel_test::api_double", mutates_args=())
    def double(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    double.register_fake(lambda x: torch.empty_like(x))

    class Doubles(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[1](torch.ops.wsel_test.api_double(self[0](x)))

    class Plain(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[1](self[0](x))

    make = lambda kind: kind(nn.Linear(4, 6), nn.Linear(6, 2))  # noqa: E731
    for student, teacher in ((Doubles, Plain), (Plain, Doubles)):
        result = ws.initialize(make(student), make(teacher), (1, 4))
        assert result.unknown_ops == ("wsel_test::api_double.default",)
        assert "Operators without a propagation rule: wsel_test::api_double.default" in str(result)


def test_misspelt_options_are_refused() -> None:
    student = mlp(4)
    before = snapshot(student)
    with pytest.raises(TypeError, match="metod"):
        ws.initialize(student, mlp(8), (1, 4), metod="uniform")
    assert same_tensors(student, before)
