"""Recalibration against means and variances computed layer by layer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import wsel_graph as ws
from tests.starts.architectures import PAIRS, cast
from wsel_graph.errors import CompensationError

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def directly(model: nn.Module, batches: list[Tensor]) -> None:
    """Set every norm's statistics from what it reads once all norms before it are right."""
    order: list[nn.Module] = []
    norms = [module for module in model.modules() if isinstance(module, NORMS)]
    hooks = [norm.register_forward_hook(lambda module, *_: order.append(module)) for norm in norms]
    with torch.no_grad():
        model(batches[0])
        for hook in hooks:
            hook.remove()
        for norm in order:
            seen: list[Tensor] = []
            hook = norm.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].clone()))
            for batch in batches:
                model(batch)
            hook.remove()
            rows = torch.cat([x.transpose(0, 1).flatten(1) for x in seen], 1).double()
            norm.running_mean.copy_(rows.mean(1))
            norm.running_var.copy_(rows.var(1))


@pytest.mark.parametrize("name", ["ResNet", "U-Net", "LSTM", "MobileNetV3"])
def test_equals_a_direct_computation(name: str) -> None:
    pair = PAIRS[name]
    model = pair.student().double()
    batches = [cast(batch, torch.float64) for batch in (*pair.batches(3, 4), *pair.batches(1, 2))]
    expected = copy.deepcopy(model)
    directly(expected, batches)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    done = ws.recalibrate(model, batches)
    assert set(done.fitted) == {key for key in before if key.endswith("running_mean")}
    for key, value in model.state_dict().items():
        if "running" in key:
            torch.testing.assert_close(value, expected.state_dict()[key], rtol=1e-9, atol=1e-12)
            assert not torch.equal(value, before[key])
        else:
            assert torch.equal(value, before[key])
    assert str(done).startswith(f"Fitted {len(done.fitted)} of {len(done.fitted)} parameters")


def test_does_not_depend_on_memory() -> None:
    pair = PAIRS["ResNet"]
    model, other = pair.student(), pair.student()
    batches = pair.batches(4, 3)
    ws.recalibrate(model, batches)
    assert ws.recalibrate(other, batches, memory=1).spilled > 0
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in model.state_dict().items())


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm, self.last = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.norm(self.one(x)).relu()))


def test_norms_that_are_used_twice_stay_and_are_named() -> None:
    model = Twice().eval()
    done = ws.recalibrate(model, [torch.randn(8, 3)])
    assert dict(done.kept) == {"norm.running_mean": "a batch norm that is used several times"}
    assert torch.equal(model.norm.running_mean, torch.zeros(4))
    assert done.fitted == ("last.running_mean",)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_statistics_that_are_not_finite_are_not_written(value: float) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval()
    x = torch.randn(8, 3)
    x[2, 1] = value
    done = ws.recalibrate(model, [x])
    assert [outcome.how for outcome in done.outcomes] == ["not finite on these batches"]
    assert torch.equal(model[1].running_mean, torch.zeros(4))


class Stateless(nn.Module):
    """Normalises by the batch, and has buffers that it updates."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("var", torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(self.linear(x), self.mean, self.var, training=True)


def test_models_without_running_statistics_are_refused() -> None:
    with pytest.raises(
        CompensationError, match="Linear has no batch norms with running statistics, so there is nothing"
    ):
        ws.recalibrate(nn.Linear(3, 3), [torch.randn(2, 3)])
    with pytest.raises(CompensationError, match="Stateless has no batch norms with running statistics"):
        ws.recalibrate(Stateless().eval(), [torch.randn(2, 3)])


def test_norms_by_the_batch_leave_their_buffers_alone() -> None:
    student, teacher = Stateless().eval(), Stateless().eval()
    batches = [torch.randn(6, 3) for _ in range(5)]
    ws.compensate(ws.plan(student, teacher, batches[0]), student, teacher, batches)
    assert torch.equal(teacher.mean, torch.zeros(4))
    assert torch.equal(student.mean, torch.zeros(4))


def test_a_failure_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ws.WselError):
        ws.recalibrate(model, [torch.randn(8, 3), torch.randn(8, 2)])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_model_in_training_mode_stays_there() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    x = torch.randn(50, 3)
    ws.recalibrate(model, [x])
    assert model.training
    assert model[2].training
    torch.testing.assert_close(model[1].running_mean, model[0](x).mean(0).detach())
    assert int(model[1].num_batches_tracked) == 0
