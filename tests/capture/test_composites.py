"""Operators that are made of others are recorded as those, wherever PyTorch has not taken them apart before."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import flex_attention

import wsel_graph as ws
from tests.oracles.judge import zeroed_teacher_is_student

pytestmark = pytest.mark.filterwarnings("ignore:.*flex_attention called without torch.compile.*")


class Attention(nn.Module):
    """Fused queries, keys and values, and a function of them that a subclass gives."""

    def __init__(self, width: int = 24, heads: int = 3) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(5, width), nn.Linear(width, 3)
        self.heads, self.fused = heads, nn.Linear(width, 3 * width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.fused(self.stem(x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        return self.head(self.attend(q, k, v).transpose(1, 2).flatten(2))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)


class Flex(Attention):
    """A score function that looks at positions alone."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return flex_attention(q, k, v, score_mod=lambda score, b, h, i, j: score - 0.1 * (i - j).abs())


class Slopes(Attention):
    """A score function with a value of every head's own: numbers of heads carry values."""

    def __init__(self, width: int = 24, heads: int = 3) -> None:
        super().__init__(width, heads)
        self.slopes = nn.Parameter(torch.randn(heads))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return flex_attention(q, k, v, score_mod=lambda score, b, h, i, j: score + self.slopes[h] * (i - j))


X = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))


def groups(model: nn.Module) -> set[tuple[int, str | None, tuple[tuple[str, int], ...]]]:
    return {(group.size, group.pinned, group.members) for group in ws.trace(model, X).groups}


def test_attention_with_a_score_function_is_followed() -> None:
    assert groups(Flex()) == groups(Attention())
    assert ws.verify(Flex(), X).ok
    assert zeroed_teacher_is_student(Flex(16, 2), Flex(32, 4), (X,)) == "exact"


def test_heads_whose_numbers_are_read_are_not_free() -> None:
    graph = ws.trace(Slopes(), X)
    assert all(group.pinned for group in graph.groups if ("slopes", 0) in group.members)
    assert ws.verify(Slopes(), X).ok


def test_the_default_type_comes_back() -> None:
    ws.verify(Flex(), X)
    assert torch.get_default_dtype() == torch.float32


class Plain(nn.Module):
    """Composite operators of several kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 12), nn.Linear(12, 12)
        self.conv, self.norm, self.head = nn.Conv1d(12, 8, 3), nn.GroupNorm(2, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y = torch.tensordot(x, self.b.weight, ([2], [1])).unflatten(-1, (3, 4)).flatten(-2)
        y = torch.vstack([y, y]).chunk(2)[0].reshape(2, -1, 12) + torch.kron(torch.ones(1), x)
        return self.head(self.norm(self.conv(y.mT)).mT.contiguous().narrow(1, 0, 2))


def _inference(forward: Callable[[nn.Module, Tensor], Tensor]) -> Callable[[nn.Module, Tensor], Tensor]:
    return torch.inference_mode()(forward)


@pytest.mark.parametrize("model", [Plain, Attention])
def test_inference_mode_hides_nothing(model: type[nn.Module]) -> None:
    decorated = type("Decorated", (model,), {"forward": _inference(model.forward)})
    found = ws.trace(decorated(), X)
    assert not found.unknown_ops
    assert groups(decorated()) == groups(model())
    assert ws.verify(decorated(), X).ok
