"""A better start without training: choose elements by activation, fit the selected weights, look at the result.

    python examples/compensate.py

The teacher here has random weights, so that the script needs nothing but torch; use your own pretrained network.

Prints:

    plain selection: relative error of the results 0.82
    chosen and fitted: relative error of the results 0.07
    Fitted 10 of 11 parameters on held-out rows
      2.up.weight: relative error 0.468 -> 0.0186 (ridge 0.01)
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

import wsel_graph as ws

RULES = Path(__file__).parent / "rules" / "by_activation.yaml"


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


def network(width: int, depth: int) -> nn.Module:
    return nn.Sequential(nn.Linear(16, width), *(Block(width) for _ in range(depth)), nn.Linear(width, 10)).eval()


def error(student: nn.Module, teacher: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        made, wanted = student(x), teacher(x)
    return float((made - wanted).square().sum() / (wanted - wanted.mean(0)).square().sum())


def main() -> tuple[float, float]:
    """Relative errors of the results on fresh inputs: selected, and chosen and fitted."""
    torch.manual_seed(0)
    teacher, student = network(64, 6), network(32, 3)
    batches = [torch.randn(128, 16) for _ in range(20)]  # unlabelled inputs
    fresh = torch.randn(1000, 16)

    ws.initialize(student, teacher, batches[0])
    plain = error(student, teacher, fresh)
    print(f"plain selection: relative error of the results {plain:.2f}")

    statistics = ws.statistics(teacher, batches)
    options = {"rules": RULES, "statistics": statistics, "calibration": batches}
    result = ws.initialize(student, teacher, batches[0], **options)
    fitted = error(student, teacher, fresh)
    print(f"chosen and fitted: relative error of the results {fitted:.2f}")
    print(result.compensation)  # every weight: error before and after, or why it stays as selected
    print(ws.diagnose(student, batches[:4], teacher=teacher, plan=result.plan))  # scales, warnings, a learning rate
    return plain, fitted


if __name__ == "__main__":
    main()
