"""Coupled groups: notation, roles, what pins and anchors, and index lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import ConvNet, Language, Transformer, mlp
from tests.zoo.torchvision_stub import install
from wsel_graph.errors import UnknownNameError

install()
import timm  # noqa: E402
import transformers  # noqa: E402

IMAGE, TOKENS, IDS = (2, 3, 8, 8), (2, 5, 7), torch.arange(10).reshape(2, 5)


def vit() -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=5, img_size=32)


def llama() -> nn.Module:
    config = transformers.LlamaConfig(
        vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    return transformers.LlamaModel(config)


class Glu(nn.Module):
    """Gate and value from one linear, as in SwiGLU."""

    def __init__(self) -> None:
        super().__init__()
        self.w12, self.w3 = nn.Linear(4, 12), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, value = self.w12(x).chunk(2, -1)
        return self.w3(gate.sigmoid() * value)


VIT = (vit, (1, 3, 32, 32))
CONV = (lambda: ConvNet(4), IMAGE)
GQA = (lambda: Transformer(heads=4, kv=2), TOKENS)
ROPE = (lambda: Transformer(rope=True), TOKENS)

NOTATIONS = [
    pytest.param(*VIT, "blocks.0.attn.qkv.weight", "(3 heads head_dim) embed", id="fused qkv"),
    pytest.param(*VIT, "blocks.0.attn.qkv.bias", "(3 heads head_dim)", id="fused bias"),
    pytest.param(*VIT, "blocks.0.attn.proj.weight", "embed (heads head_dim)", id="projection"),
    pytest.param(*VIT, "patch_embed.proj.weight", "embed input kernel1 kernel2", id="patches"),
    pytest.param(*VIT, "pos_embed", "1 (1 + (position1 position2)) embed", id="positions"),
    pytest.param(*VIT, "blocks.0.mlp.fc1.weight", "hidden embed", id="mlp"),
    pytest.param(*VIT, "head.weight", "label embed", id="head"),
    pytest.param(*CONV, "depthwise.weight", "embed 1 kernel1 kernel2", id="depthwise"),
    pytest.param(*CONV, "bn2.running_var", "hidden", id="running statistic"),
    pytest.param(*GQA, "blocks.0.attn.q.weight", "(heads queries head_dim) embed", id="grouped queries"),
    pytest.param(*GQA, "blocks.0.attn.k.weight", "(heads head_dim) embed", id="grouped keys"),
    pytest.param(*ROPE, "blocks.0.attn.q.weight", "(heads (2 head_dim)) embed", id="rope q"),
    pytest.param(*ROPE, "blocks.0.attn.v.weight", "(heads head_dim) embed", id="rope v"),
    pytest.param(
        llama, {"input_ids": IDS}, "layers.0.self_attn.q_proj.weight", "(heads queries (2 head_dim)) embed", id="llama"
    ),
    pytest.param(lambda: Transformer(sine=True), TOKENS, "stem.weight", "(embed 2) input", id="sine code"),
    pytest.param(lambda: Language(8, tied=True), {"ids": IDS}, "head.weight", "vocabulary embed", id="tied"),
    pytest.param(Glu, (2, 4), "w12.weight", "(2 hidden) input", id="gate and value"),
    pytest.param(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 1, groups=4), nn.Conv2d(12, 2, 1)), IMAGE,
        "1.weight", "(groups hidden1) hidden2 1 1", id="grouped convolution",
    ),
    pytest.param(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(2, 8), nn.Conv2d(8, 2, 1)), IMAGE,
        "1.weight", "(groups hidden)", id="group norm",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("make", "inputs", "name", "notation"), NOTATIONS)
def test_notation(make: Callable[[], nn.Module], inputs: Any, name: str, notation: str) -> None:
    assert ws.trace(make(), inputs).tensors[name].notation == notation


class Pins(nn.Module):
    """One axis of every fate."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 6)
        self.conv = nn.Conv1d(6, 8, 3, padding=1)
        self.place = nn.Parameter(torch.randn(5, 8))
        self.wide = nn.Linear(8, 9)
        self.tall = nn.Linear(9, 4)
        self.score = nn.Linear(4, 3)

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.conv(self.embed(ids).transpose(1, 2)).transpose(1, 2)
        x = self.tall(self.wide(x + self.place).cumsum(-1))
        return x, self.score(x)


STATUSES = [
    pytest.param(("embed.weight", 0), "pinned: vocabulary", id="vocabulary"),
    pytest.param(("embed.weight", 1), "free", id="free"),
    pytest.param(("place", 0), "pinned: position", id="position"),
    pytest.param(("conv.weight", 2), "pinned: kernel", id="kernel"),
    pytest.param(("wide.weight", 0), "pinned: opaque", id="opaque"),
    pytest.param(("wide.weight", 1), "free", id="before opaque"),
    pytest.param(("tall.weight", 0), "anchored: output", id="output"),
    pytest.param(("score.weight", 1), "anchored: output", id="features that are returned"),
    pytest.param(("score.weight", 0), "pinned: label", id="label"),
]


@pytest.mark.parametrize(("place", "status"), STATUSES)
def test_status_and_reason(place: tuple[str, int], status: str) -> None:
    groups = ws.trace(Pins(), {"ids": IDS}).group_of(*place)
    assert [group.status for group in groups] == [status]


def test_input_is_pinned_at_the_placeholder() -> None:
    (group,) = ws.trace(mlp(8), (2, 4)).group_of("0.weight", 1)
    assert (group.role, group.pinned, group.marked_at, group.free) == ("input", "input", "input_0", False)


@pytest.mark.parametrize(
    ("options", "place", "size"),
    [
        pytest.param({"sine": True}, ("stem.weight", 0), 8, id="sine code"),
        pytest.param({"rope": True}, ("blocks.0.attn.q.weight", 0), 4, id="rope"),
    ],
)
def test_fixed_values_anchor_pairs(options: dict[str, bool], place: tuple[str, int], size: int) -> None:
    groups = ws.trace(Transformer(16, 2, 8, **options), TOKENS).group_of(*place)
    assert [(g.size, g.status) for g in groups if not g.free] == [(size, "anchored: fixed values")]


def test_rope_ties_q_and_k_but_not_v() -> None:
    graph = ws.trace(Transformer(16, 2, 8, depth=1, rope=True), TOKENS)
    (frequencies,) = (g for g in graph.groups if g.anchored)
    assert {name for name, _ in frequencies.members} == {
        f"blocks.0.attn.{p}.{t}" for p in "qk" for t in ("weight", "bias")
    }


@pytest.mark.parametrize("make", [lambda: ConvNet(4), Transformer], ids=["conv", "attention"])
def test_equal_models_give_equal_lists(make: Callable[[], nn.Module]) -> None:
    shape = IMAGE if make is not Transformer else TOKENS
    one, two = ws.trace(make(), shape), ws.trace(make(), shape)
    assert [(g.size, g.role, g.members) for g in one.groups] == [(g.size, g.role, g.members) for g in two.groups]


# -- reading a graph


def test_index_of_a_product() -> None:
    graph = ws.trace(Transformer(8, 2, 3, depth=1), TOKENS)
    heads, channels = graph.group_of("blocks.0.attn.q.weight", 0)
    chosen = {heads: torch.tensor([1]), channels: torch.tensor([2, 0])}
    assert graph.index("blocks.0.attn.q.weight", 0, chosen).tolist() == [5, 3]
    assert graph.index("blocks.0.attn.q.weight", 0, {heads: torch.tensor([1])}).tolist() == [3, 4, 5]
    assert graph.index("blocks.0.attn.q.weight", 1, chosen).tolist() == list(range(8))


def test_index_of_fused_parts() -> None:
    graph = ws.trace(Glu(), (2, 4))
    (hidden,) = graph.group_of("w12.weight", 0)
    assert graph.index("w12.weight", 0, {hidden: torch.tensor([4, 1])}).tolist() == [4, 1, 10, 7]
    assert graph.index("w3.weight", 1, {hidden: torch.tensor([4, 1])}).tolist() == [4, 1]


def test_unknown_names_list_near_ones() -> None:
    graph = ws.trace(Transformer(), TOKENS)
    with pytest.raises(
        UnknownNameError, match=r"no traced parameter or buffer is named 'stem\.wieght'; did you mean stem\.we"
    ):
        graph.tensor("stem.wieght")
    with pytest.raises(UnknownNameError, match=r"stem\.weight dim 0 and head\.bias dim 0 share no coupled group"):
        graph.explain(("stem.weight", 0), ("head.bias", 0))


def test_repr_counts_groups() -> None:
    assert repr(ws.trace(mlp(8), (2, 4))) == "ModelGraph(6 tensors, 4 coupled groups, 2 free)"


# -- explain


def chain(graph: ws.ModelGraph, first: tuple[str, int], last: tuple[str, int]) -> list[tuple[str, str]]:
    """Operator and module of every link."""
    return [(link.operator, link.module) for link in graph.explain(first, last).chain]


def test_explain_residual_stream() -> None:
    graph = ws.trace(Transformer(depth=3), TOKENS)
    links = chain(graph, ("blocks.0.fc2.weight", 0), ("blocks.1.attn.o.weight", 0))
    assert links == [("aten.add.Tensor", "blocks.0"), ("aten.add.Tensor", "blocks.1")]
    assert chain(graph, ("stem.weight", 0), ("head.weight", 1)) == [("aten.linear.default", "head")]


def test_explain_query_and_key() -> None:
    graph = ws.trace(Transformer(depth=1), TOKENS)
    explanation = graph.explain(("blocks.0.attn.q.weight", 0), ("blocks.0.attn.k.weight", 0))
    assert explanation.group.role == "heads"
    assert ("aten.matmul.default", "blocks.0.attn") in chain(graph, explanation.first, explanation.last)
    assert str(explanation).startswith(
        "blocks.0.attn.q.weight dim 0 and blocks.0.attn.k.weight dim 0 share heads (size 2):"
    )
    assert "aten.matmul.default in blocks.0.attn" in str(explanation)


def test_every_link_is_a_node_of_the_graph() -> None:
    graph = ws.trace(ConvNet(4), IMAGE)
    nodes = {node.name for node in graph.fx.graph.nodes}
    for group in graph.groups:
        for member in group.members[1:]:
            explanation = graph.explain(group.members[0], member)
            assert explanation.chain
            assert {link.node for link in explanation.chain} <= nodes
