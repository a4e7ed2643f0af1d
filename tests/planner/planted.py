"""Teachers in which what a plan leaves out is zero: what they compute can be compared exactly with a student."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

import wsel_graph as ws
from tests.planner.rules import plan_by


def planted(plan: ws.Plan, teacher: nn.Module) -> nn.Module:
    """A copy of the teacher with every element that no copy takes set to zero."""
    model = copy.deepcopy(teacher)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    taken: dict[str, torch.Tensor] = {}
    for item in plan.copies:
        mask = taken.setdefault(item.teacher, torch.zeros(item.teacher_shape, dtype=torch.bool))
        mask[torch.meshgrid([torch.tensor(list(i)) for i in item.indices], indexing="ij")] = True
    with torch.no_grad():
        for name, mask in taken.items():
            tensors[name].mul_(mask)
    return model


def randomized(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in float64 and evaluation mode, with random parameters and buffers; variances are positive."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double().eval()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=torch.float64))
        for name, tensor in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=torch.float64) + 0.5)
    return model


def transferred(
    file: Path, rules: str, student: nn.Module, teacher: nn.Module, inputs: Any, **options: Any
) -> tuple[ws.Plan, nn.Module, nn.Module]:
    """The plan under element rules, the student that it fills, and the teacher with what it leaves out set to zero."""
    student, teacher = randomized(student, 1), randomized(teacher, 2)
    plan = plan_by(file, rules, student, teacher, inputs, **options)
    zeroed = planted(plan, teacher)
    ws.apply(plan, student, zeroed)
    return plan, student, zeroed


def scales(plan: ws.Plan) -> dict[str, float]:
    """The factor of every tensor that has one."""
    return {item.student: item.scale for item in plan.copies if item.scale != 1}
