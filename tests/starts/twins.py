"""An oracle for targets: where the student computes what the teacher does, every target is its own output."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

import wsel_graph as ws
from wsel_graph.capture.inputs import normalize_inputs
from wsel_graph.plan import Plan
from wsel_graph.starts.partners import operators as all_operators
from wsel_graph.starts.settings import Aims, Repair, Settings
from wsel_graph.starts.targets import output_rows
from wsel_graph.starts.walk import Walk


def target_errors(
    plan: Plan, student: nn.Module, teacher: nn.Module, batches: tuple[list[Any], list[Any]], repair: Repair = "last"
) -> tuple[dict[str, float], dict[str, str]]:
    """Apply a plan; relative error of the student's own outputs as targets, per parameter, and what is not fitted."""
    ws.apply(plan, student, teacher)
    normal = tuple([normalize_inputs(batch) for batch in own] for own in batches)
    walk = Walk((student, teacher), normal, Settings(aims=Aims(repair)))
    events = walk.compensation(plan)
    operators = {use.number: use for uses in all_operators(walk._sides[0].program).uses.values() for use in uses}
    found: dict[str, float] = {}
    held = {node for event in events for node in event.teacher_nodes}
    for number in range(len(normal[0])):
        batch = walk._start(number, held)
        own = batch.student.anew()
        own._held = frozenset(own._place(event.number) for event in events)
        own.advance()
        for event in events:
            assert event.target is not None
            batch.student.advance(event.number)
            for node in event.teacher_nodes:
                batch.teacher_run.advance_past(node)
            wanted = event.target.rows(batch)
            rows = output_rows(operators[event.number], own.value(event.number))[:, event.target.own].double()
            assert rows.shape == wanted.shape, event.fit.name
            name = f"{event.fit.name} {event.use}"
            found[name] = max(found.get(name, 0.0), relative(rows, wanted))
    return found, walk.kept


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference over the largest value."""
    return float((one - other).abs().max() / other.abs().max().clamp_min(1e-30))


def worst(errors: Iterable[float]) -> float:
    return max(errors, default=0.0)
