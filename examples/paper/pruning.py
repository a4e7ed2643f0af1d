"""Pruning as element selection, arXiv:2311.18823, table 7.

The plan says which tensors and blocks belong together, a score of each tensor's own which of its elements are taken.
Neither keeps the coupled groups together. `l1`: of every dim that gets smaller, the slices of largest L1 norm, in their
order. `magnitude`: of a whole tensor, the values of largest magnitude, in their order, squeezed into the student's
shape. The paper says no more than this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

import wsel_graph as ws
from wsel_graph.plan import Copy, Plan
from wsel_graph.plan.copies import Indices, compact


def by_l1(plan: Plan, teacher: Mapping[str, Tensor]) -> Plan:
    """The plan with indices of every tensor's own; what is laid out anew or resampled stays as planned."""
    return replace(plan, copies=tuple(_by_l1(copy, teacher[copy.teacher]) for copy in plan.copies))


def _by_l1(copy: Copy, values: Tensor) -> Copy:
    if copy.view is not None or copy.resize or copy.also or copy.mix:
        return copy
    chosen = tuple(_largest(values, dim, indices) for dim, indices in enumerate(copy.indices))
    return replace(copy, indices=chosen)


def _largest(values: Tensor, dim: int, planned: Indices) -> Indices:
    if len(planned) == values.shape[dim]:
        return planned
    others = [other for other in range(values.dim()) if other != dim]
    norms = values.abs().sum(others) if others else values.abs()
    return compact(sorted(norms.topk(len(planned)).indices.tolist()))


def squeeze(plan: Plan, student: nn.Module, teacher: Mapping[str, Tensor]) -> None:
    """Fill every tensor that the plan fills whole with its teacher tensor's largest values, in place."""
    ws.apply(plan, student, teacher)
    targets = dict(student.named_parameters())
    with torch.no_grad():
        for copy in plan.copies:
            if copy.student in targets and copy.region is None and copy.student_shape != copy.teacher_shape:
                targets[copy.student].copy_(largest_values(teacher[copy.teacher], copy.student_shape))


def largest_values(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The values of largest magnitude, in the order in which they stand, in a smaller shape.

    >>> largest_values(torch.tensor([[1.0, -5.0, 2.0], [3.0, 0.0, -4.0]]), (2, 2))
    tensor([[-5.,  2.],
            [ 3., -4.]])
    """
    flat = values.flatten()
    places = flat.abs().topk(torch.Size(shape).numel()).indices.sort().values
    return flat[places].reshape(shape)
