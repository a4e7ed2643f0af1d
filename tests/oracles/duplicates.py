"""Oracle O8: a teacher whose merged elements are duplicates computes what the student computes.

A merge is right when it changes nothing where nothing is lost: elements that carry the same activations, made by equal
weights, read by weights that share the work in whatever way. So the weights that a plan averages are made equal inside
every cluster, those that it sums stay as they are, and what it leaves out elsewhere is set to zero (O4).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

import wsel_graph as ws
from wsel_graph.plan import Copy, Mix


def merging(folder: Path, *wheres: str) -> Path:
    """A rule file that merges the groups that each of these selectors matches."""
    file = folder / "merge.yaml"
    rules = "".join(f"  - where: {where}\n    take: {{merge: weights}}\n" for where in wheres)
    file.write_text(f"version: 1\nelements:\n{rules}")
    return file


def averages(mix: Mix) -> bool:
    """Whether a dim holds averages; where every cluster is a single element it holds sums as well."""
    return all(weight == 1 / len(own) for own in mix.weights for weight in own)


def plant(plan: ws.Plan, teacher: nn.Module, *, zero: bool = False) -> None:
    """Make the averaged elements of every cluster duplicates; set to zero what is left out of dims that are not merged."""
    tensors = dict(teacher.named_parameters()) | dict(teacher.named_buffers())
    with torch.no_grad():
        for copy in plan.copies:
            for mix in copy.mix:
                if averages(mix):
                    _tie(tensors[copy.teacher], mix)
            if zero:
                tensors[copy.teacher].mul_(_kept(copy))


def _tie(tensor: torch.Tensor, mix: Mix) -> None:
    rows = tensor.movedim(mix.dim, 0)
    for first, *others in mix.indices:
        for other in others:
            rows[other] = rows[first]


def _kept(copy: Copy) -> torch.Tensor:
    keep = torch.ones(copy.teacher_shape, dtype=torch.bool)
    merged = {mix.dim for mix in copy.mix}
    for dim, indices in enumerate(copy.indices):
        taken = torch.zeros(copy.teacher_shape[dim], dtype=torch.bool)
        taken[list(indices)] = True
        if dim not in merged:
            keep &= taken.view([-1 if d == dim else 1 for d in range(keep.dim())])
    return keep
