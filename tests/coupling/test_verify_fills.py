"""Outputs with masked places: `verify` must not measure differences against the constant that fills them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import wsel_graph as ws
from wsel_graph.axes import Atom
from wsel_graph.coupling.verify import relative_error

LOWEST = "lowest"
FILLS = [pytest.param(fill, id=str(fill)) for fill in (-1e4, -1e9, LOWEST, float("-inf"))]


class Masked(nn.Module):
    """Never predicts the first labels, as language models do with image tokens."""

    def __init__(self, fill: float | str, masked: int = 2) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 5)
        self.fill, self.masked = fill, masked

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.b(self.a(x).relu())
        scores[:, : self.masked] = torch.finfo(scores.dtype).min if isinstance(self.fill, str) else self.fill
        return scores


def _certificate(model: nn.Module, broken: bool) -> ws.Certificate:
    graph = ws.trace(model, (3, 4))
    if broken:  # the biases of the hidden units no longer move with them
        bias = graph.tensors["a.bias"]
        graph.tensors = {**graph.tensors, "a.bias": replace(bias, axes=(Atom(6),))}
    return ws.verify(model, (3, 4), graph=graph)


@pytest.mark.parametrize("fill", FILLS)
def test_wrong_groups_show_beside_masked_places(fill: float | str) -> None:
    torch.manual_seed(0)
    assert not _certificate(Masked(fill), broken=True).ok


@pytest.mark.parametrize("fill", FILLS[:3])
def test_right_groups_are_certified_beside_masked_places(fill: float | str) -> None:
    torch.manual_seed(0)
    certificate = _certificate(Masked(fill), broken=False)
    assert certificate.ok
    assert certificate.permuted == 1


def test_a_single_place_of_the_lowest_float_is_a_fill() -> None:
    lowest = torch.finfo(torch.float64).min
    values = torch.tensor([2.0, lowest], dtype=torch.float64)
    assert relative_error(values, torch.tensor([3.0, lowest], dtype=torch.float64)) == 0.5


def test_large_numbers_that_were_computed_keep_their_scale() -> None:
    values = torch.tensor([1.0, 2e5, 3e5], dtype=torch.float64)
    assert relative_error(values, values + 3e-6) == pytest.approx(1e-11, rel=1e-3)
    same = torch.full((4,), 2e5, dtype=torch.float64)
    assert relative_error(same, same + 2e-6) == pytest.approx(1e-11, rel=1e-3)


def test_a_moved_fill_is_a_difference() -> None:
    values = torch.tensor([2.0, 1.0, -1e9, -1e9], dtype=torch.float64)
    assert relative_error(values, values.flip(0)) > 1e8
