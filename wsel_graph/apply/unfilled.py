"""What a plan does not fill, and what has to be initialised before a student that was on the meta device is used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations

import torch
from torch import nn

from wsel_graph.plan import Copy, Plan
from wsel_graph.stores.wrapped import known_tensors, plain_tensors


def unfilled(plan: Plan, student: nn.Module | Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """Tensors of the student that keep values of its own when the plan is applied: all of them, or in part.

    After `to_empty` those values are whatever was in memory: give them values before or after `apply`, which leaves
    them as they are. Buffers that are not saved with the model are among them.

    Args:
        plan: What will be applied.
        student: The student, which may be sharded, or on the meta device.
    Returns:
        Names, without those that wrappers of PyTorch's add; a tensor with several names stands under its first.

    >>> student = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    >>> copy = Copy("0.weight", "0.weight", (2, 2), (4, 2), (range(2), range(2)), parameter=True)
    >>> unfilled(Plan((copy,), (), (), ()), student)
    ('0.bias', '1.weight', '1.bias', '1.running_mean', '1.running_var', '1.num_batches_tracked')
    """
    known = known_tensors(student)
    copies: dict[int, list[Copy]] = {}
    for copy in plan.copies:
        copies.setdefault(id(known.get(copy.student)), []).append(copy)
    first: dict[int, str] = {}
    for name, tensor in plain_tensors(student).items():
        first.setdefault(id(tensor), name)
    return tuple(
        name for tensor, name in first.items() if known[name].numel() and not _complete(copies.get(tensor, []))
    )


def _complete(copies: list[Copy]) -> bool:
    """Whether copies fill all of one tensor; those that overlap are taken to leave something out."""
    if any(copy.region is None for copy in copies):
        return True
    regions = [[set(indices) for indices in copy.region or ()] for copy in copies]
    for one, two in combinations(regions, 2):
        if not any(a.isdisjoint(b) for a, b in zip(one, two, strict=True)):
            return False
    count = sum(math.prod(map(len, region)) for region in regions)
    return bool(copies) and count == math.prod(copies[0].student_shape)
