"""O4: with everything that the plan leaves out set to zero, the teacher computes what the student computes.

True for networks without norms across channels: a channel of zeros then changes nothing. It proves that every tensor of
the student took the same elements of a coupled group, and that a smaller network was cut out, not mixed together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import ConvNet, Transformer, mlp, randomize
from tests.zoo.torchvision_stub import install
from wsel_graph.coupling.verify import relative_error

install()
import timm  # noqa: E402
import torchvision  # noqa: E402

Pair = tuple[nn.Module, nn.Module]
"""A student and a teacher."""

TOKENS, IMAGE = (2, 5, 7), (2, 3, 64, 64)


def zero_the_rest(plan: ws.Plan, teacher: nn.Module) -> None:
    """Set every element that no student tensor takes to zero."""
    tensors = {**dict(teacher.named_parameters()), **dict(teacher.named_buffers())}
    with torch.no_grad():
        for copy in plan.copies:
            keep = torch.ones(copy.teacher_shape, dtype=torch.bool)
            for dim, indices in enumerate(copy.indices):
                taken = torch.zeros(copy.teacher_shape[dim], dtype=torch.bool)
                taken[list(indices)] = True
                keep &= taken.view([-1 if d == dim else 1 for d in range(keep.dim())])
            tensors[copy.teacher].mul_(keep)


def difference(student: nn.Module, teacher: nn.Module, shape: tuple[int, ...], **options: Any) -> float:
    """Relative error between the initialised student and the zeroed teacher, in float64."""
    student, teacher = (randomize(model, seed).double().eval() for seed, model in ((1, student), (2, teacher)))
    result = ws.initialize(student, teacher, shape, **options)
    assert not [kept for kept in result.plan.kept if kept.parameter]
    zero_the_rest(result.plan, teacher)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        expected, actual = teacher(x), student(x)
    assert float(expected.std()) > 0
    return relative_error(expected, actual)


class Recurrent(nn.Module):
    """A recurrent network between two linears; `learned` initial states are parameters."""

    def __init__(self, kind: type[nn.RNNBase], width: int, hidden: int, *, learned: bool = False) -> None:
        super().__init__()
        self.stem, self.rnn = nn.Linear(7, width), kind(width, hidden, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, 3)
        states = (2 if kind is nn.LSTM else 1) if learned else 0
        self.initial = nn.ParameterList(torch.zeros(4, 1, hidden) for _ in range(states))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states = [state.expand(-1, len(x), -1).contiguous() for state in self.initial]
        initial = (states[0] if len(states) == 1 else tuple(states)) if states else None
        return self.head(self.rnn(self.stem(x), initial)[0])


class Grouped(nn.Module):
    """Grouped convolutions, a channel shuffle, a concatenation and a gate."""

    def __init__(self, groups: int, width: int) -> None:
        super().__init__()
        self.groups, channels = groups, groups * width
        self.stem = nn.Conv2d(3, channels, 3, stride=2)
        self.grouped = nn.Conv2d(channels, channels, 3, groups=groups)
        self.gate = nn.Linear(channels, 2 * channels)
        self.point = nn.Conv2d(2 * channels, channels, 1)
        self.head = nn.Linear(channels, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.grouped(x).relu()
        shuffled = y.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)
        joined = torch.cat([shuffled, y], 1)
        return self.head(self.point(joined * self.gate(x.mean((2, 3))).sigmoid()[..., None, None]).relu().mean((2, 3)))


def vgg(width: int) -> nn.Module:
    layers: list[int | str] = [width, "M", 2 * width, "M", 4 * width, "M"]
    features = torchvision.models.vgg.make_layers(layers, batch_norm=True)
    classifier = nn.Linear(16 * width, 8 * width), nn.ReLU(), nn.Linear(8 * width, 5)
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(2), nn.Flatten(), *classifier)


def densenet(growth: int) -> nn.Module:
    return torchvision.models.DenseNet(growth, (2, 2), 2 * growth, num_classes=5)


def resnet(*channels: int) -> nn.Module:
    return timm.create_model("resnet18", num_classes=5, channels=channels, stem_width=channels[0])


def plain(dim: int, heads: int, head_dim: int, **options: Any) -> nn.Module:
    return Transformer(dim, heads, head_dim, norm=False, **options)


OWN = [
    pytest.param(lambda: (mlp(5), mlp(12)), (2, 4), id="mlp"),
    pytest.param(lambda: (ConvNet(6), ConvNet(16)), (2, 3, 9, 9), id="batch norm, depthwise, residual"),
    pytest.param(lambda: (Grouped(2, 3), Grouped(4, 6)), (2, 3, 9, 9), id="groups, shuffle, concat, gate"),
    pytest.param(lambda: (Recurrent(nn.LSTM, 4, 5), Recurrent(nn.LSTM, 8, 12)), TOKENS, id="lstm"),
    pytest.param(lambda: (Recurrent(nn.GRU, 4, 5), Recurrent(nn.GRU, 8, 12)), TOKENS, id="gru"),
    pytest.param(
        lambda: (Recurrent(nn.LSTM, 4, 5, learned=True), Recurrent(nn.LSTM, 8, 12, learned=True)),
        TOKENS,
        id="lstm, learned state",
    ),
    pytest.param(
        lambda: (Recurrent(nn.GRU, 4, 5, learned=True), Recurrent(nn.GRU, 8, 12, learned=True)),
        TOKENS,
        id="gru, learned state",
    ),
    pytest.param(lambda: (plain(12, 3, 4), plain(24, 6, 4)), TOKENS, id="attention"),
    pytest.param(lambda: (plain(12, 4, 4, kv=2), plain(24, 12, 4, kv=4)), TOKENS, id="grouped queries"),
    pytest.param(lambda: (plain(12, 4, 4), plain(24, 12, 4, kv=4)), TOKENS, id="ungrouped from grouped"),
    pytest.param(lambda: (plain(8, 2, 6, rope=True), plain(24, 6, 6, rope=True)), TOKENS, id="rope"),
    pytest.param(lambda: (plain(8, 1, 4), plain(24, 6, 4)), TOKENS, id="one head of six"),
    pytest.param(lambda: (vgg(6), vgg(16)), IMAGE, id="vgg"),
    pytest.param(lambda: (densenet(4), densenet(8)), IMAGE, id="densenet"),
    pytest.param(lambda: (resnet(8, 12, 16, 24), resnet(16, 32, 48, 64)), IMAGE, id="resnet18"),
]

PAIRS = [
    pytest.param("mobilenetv2_050", "mobilenetv2_100", id="mobilenetv2"),
    pytest.param("mobilenetv3_small_075", "mobilenetv3_small_100", id="mobilenetv3"),
    pytest.param("ghostnet_050", "ghostnet_100", id="ghostnet"),
    pytest.param("rexnet_100", "rexnet_200", id="rexnet"),
]


@pytest.mark.parametrize("method", ["uniform", "consecutive", "random"])
@pytest.mark.parametrize(("make", "shape"), OWN)
def test_zeroed_teacher_is_the_student(make: Callable[[], Pair], shape: tuple[int, ...], method: str) -> None:
    assert difference(*make(), shape, method=method) < 1e-9


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_zeroed_timm_teacher_is_the_student(student: str, teacher: str) -> None:
    models = (timm.create_model(name, num_classes=5) for name in (student, teacher))
    assert difference(*models, IMAGE, method="random") < 1e-9


def test_flat_runs_without_heads_to_mix() -> None:
    assert difference(vgg(6), vgg(16), IMAGE, unit="flat") < 1e-9


@pytest.mark.parametrize(
    ("make", "shape", "options"),
    [
        pytest.param(lambda: (ConvNet(6), ConvNet(16)), (2, 3, 9, 9), {"consistent": False}, id="inconsistent"),
        pytest.param(lambda: (plain(12, 3, 4), plain(24, 6, 4)), TOKENS, {"consistent": False}, id="mixed heads"),
        pytest.param(lambda: (Transformer(12, 3, 4), Transformer(24, 6, 4)), TOKENS, {}, id="a norm across channels"),
    ],
)
def test_the_oracle_can_fail(make: Callable[[], Pair], shape: tuple[int, ...], options: dict[str, bool]) -> None:
    assert difference(*make(), shape, method="random", **options) > 1e-3
