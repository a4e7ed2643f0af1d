"""Compensation on many kinds of models, a wide and deep teacher for a narrow and shallow student."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import wsel_graph as ws
from tests.starts.architectures import PAIRS


def outputs(model: nn.Module, batch: Any) -> list[Tensor]:
    with torch.no_grad():
        found = model(**batch) if isinstance(batch, dict) else model(batch)
    found = found.to_tuple() if hasattr(found, "to_tuple") else found
    return [leaf.double() for leaf in pytree.tree_leaves(found) if isinstance(leaf, Tensor)]


def error(student: nn.Module, teacher: nn.Module, plan: ws.Plan, fresh: list[Any]) -> float:
    """Squared error of the outputs; of the channels that the plan selects, where the student has fewer."""
    total = spread = 0.0
    for batch in fresh:
        for ours, theirs in zip(outputs(student, batch), outputs(teacher, batch), strict=False):
            if ours.shape != theirs.shape:
                theirs = theirs[..., : 2 * ours.shape[-1] : 2]  # `uniform` takes every other channel
            if ours.shape == theirs.shape:
                total += float((ours - theirs).square().sum())
                spread += float((theirs - theirs.mean(0)).square().sum())
    return total / spread


@pytest.mark.parametrize("name", PAIRS)
def test_outputs_come_closer_to_the_teachers(name: str) -> None:
    pair = PAIRS[name]
    student, teacher = pair.student(), pair.teacher()
    calibration, fresh = pair.batches(10, 12), pair.batches(3, 16, seed=99)
    plan = ws.plan(student, teacher, calibration[0])
    ws.apply(plan, student, teacher)
    before = error(student, teacher, plan, fresh)
    original = {key: value.clone() for key, value in teacher.state_dict().items()}
    done = ws.compensate(plan, student, teacher, calibration)
    after = error(student, teacher, plan, fresh)
    print(f"{name}: {before:.3f} -> {after:.3f}, {len(done.fitted)} of {len(done.outcomes)}")
    assert all(outcome.after <= outcome.before for outcome in done.outcomes)
    assert all(bool(value.isfinite().all()) for value in student.state_dict().values())
    assert all(torch.equal(value, original[key]) for key, value in teacher.state_dict().items())
    assert len(done.fitted) >= 2
    assert after < before
