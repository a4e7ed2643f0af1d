"""What depends on random numbers is not fitted: no two runs agree on it, and a fit to noise shrinks weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import wsel_graph as ws


class Noisy(nn.Module):
    """Dropout that stays on in evaluation, as Monte Carlo dropout has it."""

    def __init__(self, width: int, on: bool = True) -> None:
        super().__init__()
        self.before, self.after, self.on = nn.Linear(6, width), nn.Linear(width, 3), on

    def forward(self, x: Tensor) -> Tensor:
        return self.after(F.dropout(self.before(x).relu(), 0.3, training=self.on))


def test_weights_after_dropout_stay_as_selected() -> None:
    batches = [torch.randn(64, 6) for _ in range(5)]
    for on, left in ((True, {"after.weight"}), (False, set())):
        torch.manual_seed(0)
        student, teacher = Noisy(16, on), Noisy(16, on)
        result = ws.initialize(student, teacher, batches[0], calibration=batches)
        assert result.compensation is not None
        reasons = dict(result.compensation.kept)
        assert set(reasons) == left
        assert all("depends on random numbers" in reason for reason in reasons.values())
        for one, other in zip(student.parameters(), teacher.parameters(), strict=True):
            assert torch.equal(one, other)
