"""TorchScript inside a model: without tensors it runs as it is, with tensors it is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import wsel_graph as ws
from tests.oracles.judge import zeroed_teacher_is_student

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
X = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))


class Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


def net(width: int, inner: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(5, width), inner, nn.Linear(width, 2 * width), inner, nn.Linear(2 * width, 3))


def test_a_scripted_activation_function_is_followed() -> None:
    scripted, plain = net(8, torch.jit.script(Swish())), net(8, Swish())
    found, expected = ([group.members for group in ws.trace(model, X).groups] for model in (scripted, plain))
    assert found == expected
    assert ws.verify(scripted, X).ok
    assert zeroed_teacher_is_student(net(6, torch.jit.script(Swish())), net(16, Swish()), (X,)) == "exact"


@pytest.mark.parametrize("freeze", [False, True])
def test_scripted_weights_are_refused(freeze: bool) -> None:
    inner = torch.jit.script(nn.Sequential(nn.Linear(8, 8), nn.ReLU()).eval())
    inner = torch.jit.freeze(inner) if freeze else inner
    model = nn.Sequential(nn.Linear(5, 8), inner, nn.Linear(8, 3))
    with pytest.raises(ws.WselError, match="module 1 is TorchScript, whose tensors cannot be exchanged in a copy"):
        ws.trace(model, X)


def test_a_scripted_model_is_refused() -> None:
    with pytest.raises(ws.WselError, match=r"module \(top level\) is TorchScript"):
        ws.trace(torch.jit.script(nn.Linear(5, 3)), X)
