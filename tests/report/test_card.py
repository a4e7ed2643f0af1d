"""The section for a model card: facts of the plan, and a digest that tells plans apart."""

from __future__ import annotations

import re

import torch

import wsel_graph as ws
from tests.nets import Transformer, randomize


def test_facts() -> None:
    student, teacher = Transformer(8, 2, 4, depth=2, labels=3), randomize(Transformer(16, 4, 4, depth=4, labels=9))
    result = ws.initialize(student, teacher, (2, 5, 7))
    card = ws.model_card(result, student="Tiny", teacher="Large|One")
    assert card.startswith("## Initialisation\n\nTiny starts from Large|One by weight selection ([Xu et al.")
    assert f"{result.initialized:,} of {result.total:,} parameters ({100 * result.coverage:.2f} %)" in card
    assert "| `blocks` | 2 of 4 | 0<-0, 1<-1 |" in card
    assert "| embed | 16 | 8 | uniform |" in card
    assert "| head_dim |" not in card  # taken whole
    assert "Not from the teacher: 2 tensors (`head.weight`, `head.bias`)." in card
    assert "fitted" not in card
    assert card == ws.model_card(result.plan, student="Tiny", teacher="Large|One")


def test_digest_tells_plans_apart() -> None:
    student, teacher = Transformer(8, 2, 4), Transformer(16, 4, 4)
    cards = [
        ws.model_card(ws.plan(student, teacher, (2, 5, 7), method=m)) for m in ("uniform", "uniform", "consecutive")
    ]
    digests = [re.findall(r"`([0-9a-f]{64})`", card) for card in cards]
    assert digests[0] == digests[1] != digests[2]


def test_what_was_fitted_is_said() -> None:
    student, teacher = Transformer(8, 2, 4), randomize(Transformer(16, 4, 4))
    result = ws.initialize(student, teacher, (2, 5, 7), calibration=[torch.randn(16, 5, 7) for _ in range(5)])
    assert result.compensation is not None
    assert f"{len(result.compensation.fitted)} parameters were then fitted in closed form" in ws.model_card(result)


def test_long_tables_are_cut() -> None:
    from wsel_graph.report.card import LISTED, _table

    lines = list(_table(("a", "b"), [(str(n), "|") for n in range(LISTED + 5)]))
    assert lines[-2] == "| and 5 more | |"
    assert lines[2] == r"| 0 | \| |"
