"""Where the activations of coupled groups are looked at."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import INPUT, ConvNet, Language, Transformer
from wsel_graph.axes import Atom, concat, fixed, product
from wsel_graph.coupling.places import element_of
from wsel_graph.coupling.statistics import group_key


def places(model: nn.Module, inputs: object) -> dict[str, list[str]]:
    graph = ws.trace(model, inputs)
    return {group_key(graph, group): [place.words for place in own] for group, own in graph.places.items()}


def test_what_parameters_consume_is_seen_there_once() -> None:
    found = places(Transformer(16, 2, 8, depth=2), (2, 5, INPUT))
    blocks = [place for i in (0, 1) for place in (f"into blocks.{i}.attn.q", f"into blocks.{i}.fc1")]
    assert found["stem.weight:0#0"] == [*blocks, "into head"]  # q, k and v read the same value
    assert found["blocks.1.fc1.weight:0#0"] == ["into blocks.1.fc2"]
    assert found["blocks.1.attn.q.weight:0#0"] == ["into blocks.1.attn.o"]  # heads
    assert found["blocks.1.attn.v.weight:0#1"] == ["into blocks.1.attn.o"]  # their channels
    assert found["stem.weight:1#0"] == ["into stem"]
    assert found["head.weight:0#0"] == ["out of head"]  # labels, which nothing consumes


def test_what_no_parameter_consumes_is_seen_where_it_comes_into_being() -> None:
    found = places(Transformer(16, 4, 4, depth=1, kv=2, rope=True), (2, 5, INPUT))
    query_channels = [own for own in found.values() if own[0].startswith("out of blocks")]
    assert query_channels == [["out of blocks.0.attn.q", "out of blocks.0.attn.k"]]


def test_convolutions_and_embeddings() -> None:
    found = places(ConvNet(8), (2, 3, 8, 8))
    assert found["stem.weight:0#0"] == ["into point", "into head"]  # the depthwise convolution keeps channels apart
    assert found["point.weight:0#0"] == ["into back"]
    language = places(Language(8, tied=True), torch.arange(10).reshape(2, 5))
    assert language["embed.weight:1#0"] == ["into block.attn.q", "into block.fc1", "into head"]
    assert "embed.weight:0#0" not in language  # vocabulary


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.lstm, self.head = nn.Linear(3, 4), nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.stem(x))[0])


def test_recurrent_layers() -> None:
    found = places(Recurrent(), (2, 5, 3))
    assert found["stem.weight:0#0"] == ["into lstm"]
    assert ["into head"] in found.values()


class InPlace(nn.Module):
    """Every value is written over by the next operator."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.one(x)
        hidden += 1
        torch.relu_(hidden)
        result = self.two(hidden)
        hidden.zero_()
        return result.mul_(0)


def test_values_are_read_before_they_are_written_over() -> None:
    torch.manual_seed(0)
    model, x = InPlace().double(), torch.randn(7, 3, dtype=torch.float64)
    seen = ws.statistics(model, [x]).groups
    hidden = (model.one(x) + 1).relu()
    torch.testing.assert_close(seen["one.weight:0#0"].mean[0], hidden.mean(0), rtol=1e-13, atol=0)
    labels = model.two(hidden)
    torch.testing.assert_close(seen["two.weight:0#0"].mean[0], labels.mean(0), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("seed", range(3))
def test_elements_of_positions_agree_with_positions(seed: int) -> None:
    from wsel_graph.axes import positions

    a, b, c = Atom(2 + seed), Atom(3), Atom(2)
    for axis in (
        product(a, b), product(b, a, c), concat(a, b), product(fixed(3), a, b), concat(product(b, a), a, fixed(2)), a,
    ):  # fmt: skip
        elements = element_of(axis, a)
        for element in range(a.size):
            expected = set(positions(axis, {a: [element]})) - set(positions(axis, {a: []}))
            assert {place for place, own in enumerate(elements) if own == element} == expected
