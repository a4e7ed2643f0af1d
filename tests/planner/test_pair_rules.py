"""Where graphs differ too much to be matched, the error says how to name counterparts; and naming them is enough."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import wsel_graph as ws
from tests.planner.planted import planted, randomized
from wsel_graph.coupling.verify import relative_error
from wsel_graph.errors import MatchError

TOKENS = torch.randn(2, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Scan(nn.Module):
    """A gated linear recurrence, unrolled.

    Args:
        early: The gate times the input before the loop for all steps, or inside of it for each.
    """

    def __init__(self, width: int, *, early: bool) -> None:
        super().__init__()
        self.early, self.into, self.gate = early, nn.Linear(width, width), nn.Linear(width, width)
        self.read, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        value, keep, read = self.into(x), self.gate(x).sigmoid(), self.read(x)
        weighed = value - value * keep if self.early else value
        state, steps = torch.zeros_like(x[:, 0]), []
        for step in range(x.shape[1]):
            new = weighed[:, step] if self.early else weighed[:, step] * (1 - keep[:, step])
            state = state * keep[:, step] + new
            steps.append((state * read[:, step]).tanh())
        return x + self.out(torch.stack(steps, 1))


def net(width: int, *, early: bool) -> nn.Module:
    blocks = nn.Sequential(*(Scan(width, early=early) for _ in range(2)))
    return nn.Sequential(nn.Linear(7, width), blocks, nn.Linear(width, 3))


def test_the_error_shows_the_rule_that_settles_it(tmp_path: Path) -> None:
    student, teacher = randomized(net(4, early=True), 1), randomized(net(8, early=False), 2)
    with pytest.raises(MatchError, match="Where you know which teacher tensor corresponds, name it") as caught:
        ws.plan(student, teacher, TOKENS)
    *_, shown = str(caught.value).splitlines()
    first = shown.partition('student: "')[2].partition('"')[0]
    assert first.startswith("1.0.")
    rules = tmp_path / "pairs.yaml"
    written = shown.replace(first, "1.*.*.*").replace('"..."', '"1.*.*.*"').strip()
    rules.write_text(f"version: 1\nextends: default\ncomponents:\n  {written}\n")
    plan = ws.plan(student, teacher, TOKENS, rules=rules)
    assert not [kept.student for kept in plan.kept if kept.parameter]
    source = planted(plan, teacher)
    ws.apply(plan, student, source)
    with torch.no_grad():
        assert relative_error(source(TOKENS), student(TOKENS)) < 1e-9
