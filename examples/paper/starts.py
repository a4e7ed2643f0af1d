"""Ways to begin, by the names that experiments use: the library's own, textbook, mimetic, selected, pruned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import wsel_graph as ws
from examples.paper import mimetic, pruning
from examples.paper.experiment import HERE, Start

Result = ws.InitResult | None


def begin(
    student: nn.Module,
    teacher: nn.Module | None,
    start: Start,
    example: Tensor,
    calibration: Sequence[Tensor] = (),
    seed: int = 0,
) -> Result:
    """Initialise a student in place.

    Args:
        student: As its library made it.
        teacher: For starts that read one.
        start: What to do.
        example: Inputs that both run on.
        calibration: Batches of training inputs, for starts that read them.
        seed: For starts that draw.
    Returns:
        What `ws.initialize` did; None for a start without a teacher.
    Raises:
        WselError: If teacher and student do not fit.
    """
    if start.kind in ("xavier", "kaiming"):
        torch.manual_seed(seed)
        textbook(student, start.kind)
    elif start.kind == "mimetic":
        mimetic.initialise(student, seed)
    elif start.kind != "default":
        if teacher is None:
            raise ValueError(f"the start {start.kind!r} reads a teacher")
        return _from_teacher(student, teacher, start, example, calibration)
    return None


def textbook(model: nn.Module, kind: str) -> None:
    """Linears and convolutions by Xavier (uniform) or Kaiming (uniform, for ReLU), biases zero; the rest stays.

    The paper names the two and says no more.
    """
    fill = nn.init.xavier_uniform_ if kind == "xavier" else _kaiming
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            fill(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _kaiming(weight: Tensor) -> Tensor:
    return nn.init.kaiming_uniform_(weight, nonlinearity="relu")


def rules_of(start: Start) -> str | Path:
    """A shipped rule file's name, or the path of one below this folder."""
    path = HERE / start.rules
    return path if path.is_file() else start.rules


def _from_teacher(
    student: nn.Module, teacher: nn.Module, start: Start, example: Tensor, calibration: Sequence[Tensor]
) -> Result:
    options: dict[str, Any] = {"rules": rules_of(start), "keep": start.keep}
    if start.statistics:
        options["statistics"] = ws.statistics(teacher, calibration)
    if start.kind == "select":
        if start.calibrate:
            options["calibration"] = calibration
        return ws.initialize(student, teacher, example, **options)
    plan, values = ws.plan(student, teacher, example, **options), teacher.state_dict()
    if start.kind == "l1":
        plan = pruning.by_l1(plan, values)
        ws.apply(plan, student, teacher)
    else:
        pruning.squeeze(plan, student, values)
    return _counted(plan, student)


def _counted(plan: Any, student: nn.Module) -> ws.InitResult:
    total = sum(parameter.numel() for parameter in student.parameters())
    done = sum(torch.Size(copy.target_shape).numel() for copy in plan.copies if copy.parameter)
    empty = ws.InitResult(plan, 0.0, 0, total, ())
    return replace(empty, coverage=done / total, initialized=done)
