"""Compensation against solutions found in another way: `lstsq` on hooked activations, and planted students."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

import wsel_graph as ws
from wsel_graph.starts import least_squares

Make = Callable[[int], nn.Module]


def hooked(model: nn.Module, name: str, batches: list[Tensor]) -> tuple[Tensor, Tensor]:
    """All inputs and outputs of a linear, as rows."""
    seen: list[tuple[Tensor, Tensor]] = []
    hook = model.get_submodule(name).register_forward_hook(lambda _, x, y: seen.append((x[0], y)))
    with torch.no_grad():
        for batch in batches:
            model(batch)
    hook.remove()
    return torch.cat([x.flatten(0, -2) for x, _ in seen]), torch.cat([y.flatten(0, -2) for _, y in seen])


@pytest.mark.parametrize("bias", [True, False])
def test_equals_least_squares(bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(least_squares, "STRENGTHS", (1e-12,))
    torch.manual_seed(0)

    def make(k: int) -> nn.Module:
        sizes = [(7, 5 * k), (5 * k, 4 * k), (4 * k, 3)]
        return nn.Sequential(*(nn.Linear(*size, bias=bias) for size in sizes)).double().eval()

    student, teacher = make(1), make(2)
    batches = [torch.randn(40, 3, 7, dtype=torch.float64) for _ in range(10)]
    fitting = [batch for number, batch in enumerate(batches) if number % 5 != 4]
    done = ws.compensate(ws.plan(student, teacher, batches[0]), student, teacher, batches)
    assert done.fitted == ("1.weight", "2.weight")  # the first one is exact: it has all its inputs
    for name, step in (("1", 2), ("2", 1)):
        data, _ = hooked(student, name, fitting)
        _, wanted = hooked(teacher, name, fitting)
        rows = torch.cat((data, torch.ones(len(data), 1)), 1).double() if bias else data
        expected = torch.linalg.lstsq(rows, wanted[:, ::step]).solution.T
        layer = student.get_submodule(name)
        found = torch.cat((layer.weight, layer.bias[:, None]), 1) if bias else layer.weight
        torch.testing.assert_close(found.detach(), expected, rtol=1e-8, atol=1e-8)
        held = [batches[4], batches[9]]
        error = hooked(student, name, held)[1] - (target := hooked(teacher, name, held)[1][:, ::step])
        relative = error.square().sum() / (target - target.mean(0)).square().sum()
        assert next(o for o in done.outcomes if o.name == f"{name}.weight").after == pytest.approx(float(relative))


def test_equals_ridge_towards_the_scaled_selected_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(least_squares, "STRENGTHS", (0.3,))
    torch.manual_seed(0)
    student, teacher = (
        nn.Sequential(nn.Linear(7, 5 * k, bias=False), nn.ReLU(), nn.Linear(5 * k, 4, bias=False)).double().eval()
        for k in (1, 2)
    )
    batches = [torch.randn(40, 7, dtype=torch.float64) for _ in range(5)]
    ws.compensate(ws.plan(student, teacher, batches[0]), student, teacher, batches)
    data, wanted = hooked(student, "2", batches[:4])[0], hooked(teacher, "2", batches[:4])[1]
    second = data.square().sum(0)
    penalty = (0.3 * (second + 1e-6 * second.mean())).sqrt()  # as rows of a least squares problem
    start = teacher[2].weight.detach()[:, ::2]
    made = data @ start.T
    factor = (made * wanted).sum(0) / made.square().sum(0)  # what comes closest with one number per output
    assert (factor > 0).all()
    start = factor[:, None] * start
    rows = torch.cat((data, penalty.diag()))
    expected = torch.linalg.lstsq(rows, torch.cat((wanted, penalty[:, None] * start.T))).solution.T
    torch.testing.assert_close(student[2].weight.detach(), expected, rtol=1e-9, atol=1e-9)


# -- planted students


def doubled(small: Tensor, wide: Tensor) -> None:
    """Double every channel of `small` into `wide`; what reads a channel reads a share of each of its two copies."""
    found = small
    for dim, (size, other) in enumerate(zip(small.shape, wide.shape, strict=True)):
        if other == size:
            continue
        copies = found.repeat_interleave(2, dim)
        if is_read(dim, small):
            share = torch.randn(size, dtype=small.dtype).view([-1 if i == dim else 1 for i in range(small.dim())])
            share = torch.stack((share, 1 - share), dim + 1).flatten(dim, dim + 1)
            copies = copies * share
        found = copies
    wide.copy_(found)


_READ: dict[int, int] = {}


def is_read(dim: int, small: Tensor) -> bool:
    """Whether a dim of a weight holds the channels that it reads."""
    return small.dim() > 1 and dim == _READ[id(small)]


def plant(make: Make) -> tuple[nn.Module, nn.Module]:
    """A student, and a teacher of twice its width that computes the same."""
    torch.manual_seed(3)
    small, wide = make(1).double().eval(), make(2).double().eval()
    for module in small.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
        if (weight := getattr(module, "weight", None)) is not None:
            if isinstance(module, Conv1D):
                nn.init.normal_(weight, 0, 0.4)
            turned = isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d, Conv1D))
            _READ[id(weight)] = 0 if turned else 1
    with torch.no_grad():
        for one, other in zip(small.parameters(), wide.parameters(), strict=True):
            doubled(one, other)
        for one, other in zip(small.buffers(), wide.buffers(), strict=True):
            other.copy_(one.repeat_interleave(2) if one.dim() else one)
    _READ.clear()
    return small, wide


class Turned(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


PLANTED: dict[str, tuple[Make, tuple[int, ...]]] = {
    "linear": (
        lambda k: nn.Sequential(
            nn.Linear(7, 6 * k),
            nn.ReLU(),
            nn.Linear(6 * k, 5 * k),
            nn.GELU(),
            nn.Linear(5 * k, 3),
        ),
        (60, 7),
    ),
    "linear, nothing between": (
        lambda k: nn.Sequential(
            nn.Linear(7, 6 * k),
            nn.Linear(6 * k, 5 * k),
            nn.Linear(5 * k, 3),
        ),
        (60, 7),
    ),
    "Conv1D": (
        lambda k: nn.Sequential(
            Conv1D(6 * k, 7),
            nn.GELU(),
            Conv1D(5 * k, 6 * k),
            nn.ReLU(),
            Conv1D(3, 5 * k),
        ),
        (20, 4, 7),
    ),
    "layer norm": (
        lambda k: nn.Sequential(
            nn.Linear(7, 8 * k),
            nn.LayerNorm(8 * k),
            nn.GELU(),
            nn.Linear(8 * k, 6 * k),
            nn.LayerNorm(6 * k),
            nn.GELU(),
            nn.Linear(6 * k, 3),
        ),
        (20, 4, 7),
    ),
    "conv": (
        lambda k: nn.Sequential(
            nn.Conv2d(3, 6 * k, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6 * k, 4 * k, 3, stride=2),
            nn.GELU(),
            nn.Conv2d(4 * k, 2, 1),
        ),
        (6, 3, 9, 8),
    ),
    "batch norm": (
        lambda k: nn.Sequential(
            nn.Conv2d(3, 6 * k, 3),
            nn.BatchNorm2d(6 * k),
            nn.ReLU(),
            nn.Conv2d(6 * k, 4 * k, 3, bias=False),
            nn.BatchNorm2d(4 * k),
            nn.ReLU(),
            nn.Conv2d(4 * k, 2, 1),
        ),
        (6, 3, 9, 8),
    ),
    "grouped conv": (
        lambda k: nn.Sequential(
            nn.Conv2d(3, 8 * k, 3),
            nn.ReLU(),
            nn.Conv2d(8 * k, 8 * k, 3, groups=2),
            nn.GELU(),
            nn.Conv2d(8 * k, 2, 1),
        ),
        (6, 3, 9, 8),
    ),
    "depthwise conv": (
        lambda k: nn.Sequential(
            nn.Conv2d(3, 6 * k, 1),
            nn.GELU(),
            nn.Conv2d(6 * k, 6 * k, 3, groups=6 * k),
            nn.GELU(),
            nn.Conv2d(6 * k, 2, 1),
        ),
        (6, 3, 9, 8),
    ),
    "transposed conv": (
        lambda k: nn.Sequential(
            nn.Conv2d(3, 6 * k, 3),
            nn.ReLU(),
            nn.ConvTranspose2d(6 * k, 4 * k, 3, stride=2, padding=1),
            nn.GELU(),
            nn.ConvTranspose2d(4 * k, 2, 2),
        ),
        (6, 3, 8, 7),
    ),
    "sound": (
        lambda k: nn.Sequential(
            nn.Conv1d(3, 6 * k, 5, stride=2),
            nn.BatchNorm1d(6 * k),
            nn.SiLU(),
            nn.Conv1d(6 * k, 4 * k, 3, dilation=2),
            Turned(),
            nn.LayerNorm(4 * k),
            nn.GELU(),
            nn.Linear(4 * k, 2),
        ),
        (8, 3, 40),
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_students_are_recovered(name: str) -> None:
    make, shape = PLANTED[name]
    planted, teacher = plant(make)
    torch.manual_seed(4)
    batches = [torch.randn(*shape, dtype=torch.float64) for _ in range(10)]
    fresh = torch.randn(*shape, dtype=torch.float64)
    torch.testing.assert_close(planted(fresh), teacher(fresh), rtol=1e-10, atol=1e-10)
    student = make(1).double().eval()
    plan = ws.plan(student, teacher, fresh)
    ws.apply(plan, student, teacher)
    assert (student(fresh) - teacher(fresh)).abs().max() > 0.1  # selection alone does not find it
    done = ws.compensate(plan, student, teacher, batches)
    torch.testing.assert_close(student(fresh), teacher(fresh), rtol=1e-8, atol=1e-8)
    for key, value in planted.state_dict().items():
        torch.testing.assert_close(student.state_dict()[key], value, rtol=1e-8, atol=1e-8, msg=key)
    assert all(outcome.after < 1e-12 for outcome in done.outcomes), str(done)
