"""`verify` accepts right groups and, above all, rejects wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import ConvNet, Language, Transformer, mlp
from wsel_graph.axes import Atom
from wsel_graph.ops.registry import RULES

IDS = {"ids": torch.arange(10).reshape(2, 5)}


class Features(nn.Module):
    """Returns a feature map that a later layer sums over: its order shows in the output."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.b(self.a(x).relu())
        return x, self.c(x)


GOOD = [
    pytest.param(lambda: mlp(8), (2, 4), 2, id="mlp"),
    pytest.param(lambda: ConvNet(6), (2, 3, 8, 8), 2, id="batch norm"),
    pytest.param(lambda: Transformer(heads=4, kv=2, depth=1), (2, 5, 7), 6, id="grouped queries"),
    pytest.param(lambda: Transformer(rope=True, depth=1), (2, 5, 7), 4, id="rope"),
    pytest.param(lambda: Language(8, tied=True), IDS, 5, id="tied"),
    pytest.param(Features, (2, 4), 2, id="features in the output"),
]


@pytest.mark.parametrize(("make", "inputs", "permuted"), GOOD)
def test_right_groups_are_certified(make: Callable[[], nn.Module], inputs: Any, permuted: int) -> None:
    certificate = ws.verify(make(), inputs)
    assert certificate.ok
    assert certificate.max_error < 1e-9
    assert certificate.permuted == permuted
    assert str(certificate).startswith(f"verified: {permuted} of {certificate.groups} coupled groups permuted")


WRONG = [
    pytest.param("stem.weight", 0, id="producer"),
    pytest.param("head.weight", 1, id="consumer"),
    pytest.param("blocks.0.norm1.weight", 0, id="norm"),
    pytest.param("blocks.1.fc2.bias", 0, id="bias in the stream"),
    pytest.param("blocks.0.attn.k.weight", 0, id="key heads"),
    pytest.param("blocks.0.attn.o.weight", 1, id="value channels"),
    pytest.param("blocks.1.fc1.bias", 0, id="hidden bias"),
]


@pytest.mark.parametrize(("name", "dim"), WRONG)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_dropped_member_is_rejected(name: str, dim: int, seed: int) -> None:
    model = Transformer()
    graph = ws.trace(model, (2, 5, 7))
    tensor = graph.tensors[name]
    axes = tuple(Atom(axis.size) if d == dim else axis for d, axis in enumerate(tensor.axes))
    graph.tensors = {**graph.tensors, name: replace(tensor, axes=axes)}
    certificate = ws.verify(model, (2, 5, 7), seed=seed, graph=graph)
    assert not certificate.ok
    assert certificate.max_error > 1e-4


class Ordered(nn.Module):
    """Depends on the order of its hidden channels."""

    def __init__(self, order: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.order = nn.Linear(4, 6), nn.Linear(6, 2), order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.order(self.a(x)))


@pytest.mark.parametrize(
    ("operator", "order"),
    [
        pytest.param("aten::cumsum", lambda x: x.cumsum(-1), id="cumsum"),
        pytest.param("aten::flip", lambda x: x.flip(-1), id="flip"),
        pytest.param("aten::sort", lambda x: x.sort(-1)[0], id="sort"),
    ],
)
def test_a_wrong_rule_is_rejected(
    operator: str, order: Callable[[torch.Tensor], torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Ordered(order)
    assert ws.verify(model, (3, 4)).ok
    several = operator == "aten::sort"
    monkeypatch.setitem(RULES, operator, lambda call: [call["self"].axes] * 2 if several else call["self"].axes)
    for name in [name for name in RULES if name.startswith(f"{operator}.")]:
        monkeypatch.delitem(RULES, name)
    assert not ws.verify(model, (3, 4)).ok


def test_wrong_roles_of_outputs_are_rejected() -> None:
    """Without the order of returned features, the two outputs do not agree."""
    model = Features()
    graph = ws.trace(model, (2, 4))
    graph.outputs = tuple(tuple(Atom(axis.size) for axis in axes) for axes in graph.outputs)
    assert not ws.verify(model, (2, 4), graph=graph).ok


def test_zero_weights_do_not_hide_faults() -> None:
    model = Transformer(depth=1)
    nn.init.zeros_(model.blocks[0].attn.o.weight)
    nn.init.zeros_(model.blocks[0].attn.o.bias)
    graph = ws.trace(model, (2, 5, 7))
    tensor = graph.tensors["blocks.0.attn.k.weight"]
    graph.tensors = {**graph.tensors, tensor.name: replace(tensor, axes=(Atom(16), tensor.axes[1]))}
    assert not ws.verify(model, (2, 5, 7), graph=graph).ok
    assert ws.verify(model, (2, 5, 7), graph=graph, noise=0).ok  # the fault is real, and hidden without noise


def test_verification_is_repeatable() -> None:
    one, two = (ws.verify(Transformer(), (2, 5, 7), seed=3) for _ in range(2))
    assert one.groups == two.groups
    torch.manual_seed(0)
    model = Transformer()
    assert ws.verify(model, (2, 5, 7), seed=3) == ws.verify(model, (2, 5, 7), seed=3)
