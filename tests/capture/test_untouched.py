"""A captured model comes back exactly as it was."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import ConvNet, Transformer, same_tensors, snapshot


class Restless(nn.Module):
    """Does everything that could leave a trace: draws, counts, caches, normalises in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.fc = nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 4)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.cache: dict[str, torch.Tensor] = {}
        self.last: torch.Tensor | None = None
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.steps += 1
        x = self.drop(self.norm(x)) + torch.rand(6) + random.random() + float(np.random.rand())
        self.last = self.cache["x"] = self.fc(x)
        return self.last


def flags(model: nn.Module) -> dict[str, Any]:
    """What is not a tensor value: modes, hooks, requires_grad, devices, dtypes, identities and attributes."""
    modules = {
        path: (m.training, len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks), sorted(vars(m)))
        for path, m in model.named_modules()
    }
    tensors = {
        name: (id(t), t.requires_grad, t.dtype, t.device, t._version, t.is_leaf)
        for name, t in (*model.named_parameters(), *model.named_buffers())
    }
    return {"modules": modules, "tensors": tensors, "type": type(model)}


def draws() -> tuple[Any, ...]:
    """The states of the three random generators."""
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        pytest.param(Restless, (3, 6), id="restless"),
        pytest.param(lambda: ConvNet(4), (2, 3, 8, 8), id="batch norm"),
        pytest.param(Transformer, (2, 5, 7), id="attention"),
        pytest.param(lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8), id="fast path"),
    ],
)
@pytest.mark.parametrize("verb", [ws.trace, ws.verify], ids=["trace", "verify"])
def test_model_is_untouched(make: Any, shape: tuple[int, ...], verb: Any) -> None:
    model = make()
    model.register_forward_hook(lambda *_: None)
    for index, (_, module) in enumerate(model.named_modules()):
        module.training = index % 2 == 0  # every module has a mode of its own
    next(model.parameters()).requires_grad_(False)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    tensors, before, states = snapshot(model), flags(model), draws()
    fastpath = torch.backends.mha.get_fastpath_enabled()
    verb(model, shape)
    assert same_tensors(model, tensors)
    assert flags(model) == before
    assert draws() == states
    assert all(p.grad is None or bool((p.grad == 1).all()) for p in model.parameters())
    assert torch.backends.mha.get_fastpath_enabled() == fastpath


def test_attributes_are_untouched() -> None:
    model = Restless()
    model(torch.ones(3, 6))
    last, cache, calls, steps = model.last, model.cache, model.calls, int(model.steps)
    content = dict(cache)
    ws.trace(model, (3, 6))
    assert model.last is last
    assert model.cache is cache
    assert cache == content
    assert (model.calls, int(model.steps), int(model.norm.num_batches_tracked)) == (calls, steps, 1)


def test_inputs_are_untouched() -> None:
    class WritesInput(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor, options: dict[str, torch.Tensor]) -> torch.Tensor:
            x.mul_(2)
            options["scale"].zero_()
            return self.fc(x)

    x, options = torch.ones(2, 4, requires_grad=True), {"scale": torch.ones(())}
    ws.trace(WritesInput(), (x, options))
    assert torch.equal(x, torch.ones(2, 4))
    assert float(options["scale"]) == 1
    assert x.grad is None


def test_failed_capture_leaves_no_trace() -> None:
    class Fails(Restless):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            super().forward(x)
            raise RuntimeError("on purpose")

    model = Fails()
    tensors, before, states = snapshot(model), flags(model), draws()
    with pytest.raises(ws.WselError, match="on purpose"):
        ws.trace(model, (3, 6))
    assert same_tensors(model, tensors)
    assert flags(model) == before
    assert draws() == states
    assert model.last is None


def test_no_weight_is_copied_on_the_meta_rung() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    graph = ws.trace(model, (1, 8))
    assert graph.captured.rung == "meta"
    own = {state.name: state.tensor for state in graph.captured.states}
    assert all(own[name] is parameter for name, parameter in model.named_parameters())


def test_model_still_trains_and_copies() -> None:
    model = ConvNet(4)
    ws.verify(model, (2, 3, 8, 8))
    model(torch.ones(2, 3, 8, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    copy.deepcopy(model)
