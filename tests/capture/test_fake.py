"""Fake tensors: refused in our own words, wherever they come in."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

import wsel_graph as ws
from wsel_graph.errors import CaptureError

INSTEAD = r"Call this outside of the mode, .*`with torch.device\('meta'\):`"


def net(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda s, t, plan: ws.trace(s, (1, 4)), id="trace"),
        pytest.param(lambda s, t, plan: ws.verify(s, (1, 4)), id="verify"),
        pytest.param(lambda s, t, plan: ws.plan(s, t, (1, 4)), id="plan"),
        pytest.param(lambda s, t, plan: ws.initialize(s, t, (1, 4)), id="initialize"),
        pytest.param(lambda s, t, plan: ws.apply(plan, s, t), id="apply"),
    ],
)
def test_inside_the_mode(call: Callable[[nn.Module, nn.Module, ws.Plan], object]) -> None:
    student, teacher = net(4), net(8)
    plan = ws.plan(student, teacher, (1, 4))
    with FakeTensorMode(), pytest.raises(CaptureError, match="torch's FakeTensorMode is on, .*" + INSTEAD):
        call(student, teacher, plan)


def test_made_in_the_mode() -> None:
    student, teacher = net(4), net(8)
    plan = ws.plan(student, teacher, (1, 4))
    with FakeTensorMode():
        fake, inputs = net(8), torch.zeros(1, 4)
    for text, call in {
        "teacher: the model: 0.weight is a fake tensor": lambda: ws.initialize(student, fake, (1, 4)),
        "student: the example inputs: tensor 0 is a fake tensor": lambda: ws.plan(student, teacher, inputs),
        "teacher: 0.weight is a fake tensor": lambda: ws.apply(plan, student, fake.state_dict()),
    }.items():
        with pytest.raises(CaptureError, match=f"^{re.escape(text)}, made in .*{INSTEAD}"):
            call()
