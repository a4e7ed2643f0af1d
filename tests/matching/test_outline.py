"""A plan's outlines hold every tensor of both models, and the blocks that its layer maps count."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.matching.test_whole_layers import Macaron, NormBetween, Pool, Scan, Stack, Two

PAIRS = [
    pytest.param(lambda w, d: Stack(Macaron, w, d, Pool(w)), 1, id="half parts around attention, a pooling block"),
    pytest.param(lambda w, d: Stack(NormBetween, w, d, Pool(w)), 1, id="a norm between"),
    pytest.param(lambda w, d: Stack(Scan, w, d, Pool(w)), 1, id="a scan"),
    pytest.param(Two, 2, id="two sequences"),
]


@pytest.mark.parametrize(("make", "inputs"), PAIRS)
def test_outlines_are_complete(make: Callable[[int, int], nn.Module], inputs: int) -> None:
    student, teacher = make(8, 2), make(16, 4)
    plan = ws.plan(student, teacher, tuple(torch.randn(2, 6, 5) for _ in range(inputs)))
    for model, outline in zip((student, teacher), plan.outlines, strict=True):
        names = [held.name for held in outline.tensors()]
        assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    for layers in plan.layers:
        counts = [len(section.blocks) for section in plan.outlines[0].sections if section.stage == layers.stage]
        assert counts == [len(layers.blocks)]
