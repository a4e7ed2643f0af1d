"""Oracle O8: a teacher whose merged elements are duplicates computes what the student computes.

A merge is right when it changes nothing where nothing is lost: elements that carry the same activations, made by equal
weights, read by weights that share the work in whatever way. So the weights that a plan averages are made equal inside
every cluster, those that it sums stay as they are, and what it leaves out elsewhere is set to zero (O4).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import torch
from torch import nn
from torch.utils import _pytree as pytree

import wsel_graph as ws
from tests.oracles.judge import Verdict, randomize
from wsel_graph.axes import Atom, positions
from wsel_graph.coupling.verify import relative_error
from wsel_graph.plan import Copy, Mix
from wsel_graph.planner.builder import build_plan
from wsel_graph.planner.decide import Chosen, Decider
from wsel_graph.planner.elements import Elements, uniform
from wsel_graph.planner.flat import Run
from wsel_graph.planner.runs import sizes
from wsel_graph.planner.unfit import Unfit
from wsel_graph.selection.model import ElementRule, Merge
from wsel_graph.selection.source import Place

_MERGE_ALL = ElementRule(None, Merge("weights"), None, None, None, None, None, None, Place("all", 1, 1))


def merging(folder: Path, *wheres: str) -> Path:
    """A rule file that merges the groups that each of these selectors matches."""
    file = folder / "merge.yaml"
    rules = "".join(f"  - where: {where}\n    take: {{merge: weights}}\n" for where in wheres)
    file.write_text(f"version: 1\nelements:\n{rules}")
    return file


def averages(mix: Mix) -> bool:
    """Whether a dim holds averages; where every cluster is a single element it holds sums as well."""
    return all(weight == 1 / len(own) for own in mix.weights for weight in own)


def sums(mix: Mix) -> bool:
    """Whether a dim holds sums."""
    return all(weight == 1 for own in mix.weights for weight in own)


def plant(plan: ws.Plan, teacher: nn.Module, *, zero: bool = False) -> None:
    """Make the averaged elements of every cluster duplicates; set to zero what other dims leave out."""
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
    merged = {mix.dim: [place for own in mix.indices for place in own] for mix in copy.mix}
    for dim, indices in enumerate(copy.indices):
        taken = torch.zeros(copy.teacher_shape[dim], dtype=torch.bool)
        taken[merged.get(dim, list(indices))] = True
        keep &= taken.view([-1 if d == dim else 1 for d in range(keep.dim())])
    return keep


def duplicates_are_merged(
    student: nn.Module, teacher: nn.Module, inputs: tuple[torch.Tensor, ...], *, zero: bool
) -> Verdict:
    """Merge every axis that allows it; the others are selected from, and zero outside of that.

    Args:
        zero: False refuses pairs of which some axis that does not allow it is smaller in the student.
    Raises:
        AssertionError: If teacher and student differ.
    """
    wide = tuple(tensor.double() if tensor.is_floating_point() else tensor for tensor in inputs)
    for seed, model in enumerate((student, teacher)):
        randomize(model.double(), seed)
    refused: list[Unfit] = []
    picks: dict[Atom, Sequence[int]] = {}
    strict = Decider._merged

    def lenient(self: Decider, run: Run, take: Merge, asked_at: str) -> Chosen:
        try:
            chosen = strict(self, run, take, asked_at)
        except Unfit as fault:
            refused.append(fault)
            small, large = sizes(run)
            chosen = Chosen("uniform", uniform(large, small))
        picks.update(dict.fromkeys(run[0].teacher, chosen.taken))
        return chosen

    with mock.patch.object(Decider, "_merged", lenient):
        try:
            graphs = ws.trace(student, wide), ws.trace(teacher, wide)
            plan = build_plan(*graphs, Elements(rules=(_MERGE_ALL,)))
        except ws.WselError:
            return "refused"
    if any(kept.parameter and kept.student in graphs[0].uses for kept in plan.kept):
        return "refused"  # what keeps values of its own makes another function
    if any(copy.student != copy.teacher for copy in plan.copies):
        return "refused"  # matched across: for other oracles to judge
    if any(copy.resize for copy in plan.copies):
        return "refused"  # and so does what is resampled
    if any(not (averages(mix) or sums(mix)) for copy in plan.copies for mix in copy.mix):
        return "refused"  # one dim that is made and read along two axes: the plan alone does not say which to tie
    if (refused and not zero) or not any(copy.mix for copy in plan.copies):
        return "refused"
    plant(plan, teacher, zero=zero)
    ws.apply(plan, student, teacher)
    with torch.no_grad():
        expected, actual = (pytree.tree_leaves(model(*wide)) for model in (teacher, student))
    for axes, before, after in zip(graphs[1].outputs, expected, actual, strict=True):
        for dim, axis in enumerate(axes):  # features that are shown are compared one by one
            before = before.index_select(dim, torch.tensor(list(positions(axis, picks))))
        assert relative_error(before, after) < 1e-9
    return "exact"
