"""The recorded graph computes what the model computes, and its nodes know the module that ran them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils._pytree import tree_leaves

import wsel_graph as ws
from tests.nets import ConvNet, Language, Transformer, mlp, randomize
from tests.zoo.torchvision_stub import install

install()
import timm  # noqa: E402
import transformers  # noqa: E402


class LooksAtValues(nn.Module):
    """Asks for a value that depends on weights."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.fc(x)
        return self.out(x) * 2 if x.abs().max().item() > 0 else self.out(x)


class Selects(nn.Module):
    """Keeps the rows that a weight likes: sizes depend on values."""

    def __init__(self) -> None:
        super().__init__()
        self.score, self.fc = nn.Linear(4, 1), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x[self.score(x).squeeze(-1).nonzero().squeeze(-1)])


class Keywords(nn.Module):
    """Optional arguments, a mask, and a dict as result."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None, *, scale: float = 1.0) -> dict[str, Any]:
        y = self.fc(x) * scale
        return {"y": y if mask is None else y * mask[:, None], "x": x}


class Cached(nn.Module):
    """Puts what it computes behind what a cache holds, which is nothing yet."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.fc(x)
        return self.out(torch.cat([torch.tensor([], dtype=y.dtype, device=y.device), y], dim=-2))


class WithRnn(nn.Module):
    """A recurrent network between two linears."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn, self.out = kind(4, 6, num_layers=2, batch_first=True, bidirectional=True), nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.rnn(x)[0])


def timm_model(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=5, **options)


def bert() -> nn.Module:
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16,
    )  # fmt: skip
    return transformers.BertModel(config)


IDS = torch.arange(6).reshape(1, 6)

RUNS = [
    pytest.param(lambda: mlp(8), torch.randn(2, 4), "meta", id="mlp"),
    pytest.param(lambda: ConvNet(6), torch.randn(2, 3, 8, 8), "meta", id="batch norm"),
    pytest.param(lambda: Transformer(rope=True), torch.randn(2, 5, 7), "meta", id="rope"),
    pytest.param(lambda: Transformer(sine=True), torch.randn(2, 5, 7), "meta", id="sine code"),
    pytest.param(lambda: Language(8, tied=True), torch.randint(0, 11, (2, 5)), "meta", id="tied"),
    pytest.param(LooksAtValues, torch.randn(2, 4), "real", id="item"),
    pytest.param(Selects, torch.randn(5, 4), "real", id="nonzero"),
    pytest.param(Cached, torch.randn(2, 4), "meta", id="empty cache"),
    pytest.param(Keywords, {"x": torch.randn(2, 4), "mask": torch.ones(2), "scale": 2.0}, "meta", id="kwargs"),
    pytest.param(Keywords, (torch.randn(2, 4), torch.ones(2)), "meta", id="tuple"),
    pytest.param(lambda: WithRnn(nn.LSTM), torch.randn(2, 5, 4), "meta", id="lstm"),
    pytest.param(lambda: WithRnn(nn.GRU), torch.randn(2, 5, 4), "meta", id="gru"),
    pytest.param(lambda: WithRnn(nn.RNN), torch.randn(2, 5, 4), "meta", id="rnn"),
    pytest.param(
        lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 6)), nn.Linear(6, 2)),
        torch.randn(2, 4), "meta", id="parametrize",
    ),
    pytest.param(bert, {"input_ids": IDS}, "meta", id="transformers"),
    pytest.param(lambda: timm_model("resnet10t"), torch.randn(1, 3, 64, 64), "meta", id="resnet"),
    pytest.param(
        lambda: timm_model("vit_tiny_patch16_224", depth=1, img_size=32), torch.randn(1, 3, 32, 32), "meta", id="vit"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("make", "inputs", "rung"), RUNS)
def test_graph_gives_the_models_own_output(make: Any, inputs: Any, rung: str) -> None:
    model = randomize(make()).train()
    graph = ws.trace(model, inputs)
    assert graph.captured.rung == rung
    args = () if isinstance(inputs, dict) else inputs if isinstance(inputs, tuple) else (inputs,)
    kwargs = inputs if isinstance(inputs, dict) else {}
    with torch.no_grad():
        expected = tree_leaves(model.eval()(*args, **kwargs))
        actual = graph.fx(*(leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)))
    expected = [leaf for leaf in expected if isinstance(leaf, torch.Tensor)]
    assert len(expected) == len(actual) > 0
    assert all(torch.equal(a, b) for a, b in zip(expected, actual, strict=True))


@pytest.mark.parametrize(
    ("kind", "operator"), [(nn.LSTM, "lstm"), (nn.GRU, "gru"), (nn.RNN, "rnn_tanh")], ids=["lstm", "gru", "rnn"]
)
def test_recurrent_networks_stay_whole(kind: type[nn.RNNBase], operator: str) -> None:
    graph = ws.trace(WithRnn(kind), (2, 50, 4))
    calls = [node for node in graph.fx.graph.nodes if node.op == "call_function"]
    assert sum(str(node.target) == f"aten.{operator}.input" for node in calls) == 1
    assert len(calls) < 20


def test_encoder_fast_path_is_off() -> None:
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    graph = ws.trace(model, (2, 5, 8))
    operators = {str(node.target) for node in graph.fx.graph.nodes}
    assert not any("_transformer_encoder_layer_fwd" in operator for operator in operators)
    assert {group.role for group in graph.groups} >= {"heads", "head_dim"}
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        assert torch.allclose(graph.fx(x)[0], model(x), atol=1e-6)  # the fused kernel rounds differently


def test_nodes_know_their_module() -> None:
    graph = ws.trace(Transformer(depth=2), (2, 5, 7))
    modules = {str(node.target): [] for node in graph.fx.graph.nodes}
    for node in graph.fx.graph.nodes:
        if node.op == "call_function":
            modules[str(node.target)].append(node.meta["module"])
    assert modules["aten.linear.default"][:4] == ["stem", "blocks.0.attn.q", "blocks.0.attn.k", "blocks.0.attn.v"]
    assert modules["aten._softmax.default"] == ["blocks.0.attn", "blocks.1.attn"]
    assert modules["aten.gelu.default"] == ["blocks.0", "blocks.1"]


def test_shared_tensors_are_listed_under_every_name() -> None:
    model = Language(8, tied=True)
    graph = ws.trace(model, {"ids": torch.randint(0, 11, (2, 5))})
    assert graph.tensors["head.weight"] is graph.tensors["embed.weight"]
    assert graph.own_names.count("embed.weight") == 1
    assert "head.weight" not in graph.own_names
    state = next(state for state in graph.captured.states if state.name == "embed.weight")
    assert state.names == ("embed.weight", "head.weight")
