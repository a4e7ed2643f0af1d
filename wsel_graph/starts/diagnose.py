"""A look at a start: how a student's activations and gradients are, beside the teacher's and a fresh random start's.

Activations are measured on the recorded graphs, gradients and learning rates on a copy of the module. The models
themselves never run: their mode, gradients, hooks and random states stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from wsel_graph.capture.inputs import Inputs, normalize_inputs
from wsel_graph.errors import DiagnosisError
from wsel_graph.plan import Plan
from wsel_graph.starts.activations import Activations
from wsel_graph.starts.diagnosis import BlockRow, Diagnosis
from wsel_graph.starts.first_steps import Trying, with_slopes
from wsel_graph.starts.fresh import Fresh, fresh_start
from wsel_graph.starts.rates import RATES, Optimizing
from wsel_graph.starts.slopes import Loss
from wsel_graph.stores.memory import named_tensors


def diagnose(
    student: nn.Module,
    inputs: Any,
    *,
    teacher: nn.Module | None = None,
    plan: Plan | None = None,
    fresh: Fresh | None = None,
    loss: Loss | Sequence[Loss] | None = None,
    teacher_inputs: Any = None,
    optimizer: Optimizing = torch.optim.Adam,
    steps: int = 10,
    rates: Sequence[float] = RATES,
    seed: int = 0,
) -> Diagnosis:
    """Look at a student before it is trained: scales, gradients, explained variance, and a first learning rate.

    Nothing is changed in the models. Everything is measured in evaluation mode. Activations count all batches,
    gradients the first one. For the learning rate, `steps` steps of the optimizer are taken on a copy, on all batches
    but the last in turn, at one rate after the other. A rate is good as long as the loss rises by no more than a tenth
    on the way and has not risen in the end, neither on the first batch nor on the last. It holds for that loss and
    batch size. Hooks of the student run on the copy too.

    Args:
        student: The network to look at.
        inputs: One batch as `example_inputs`, or a list of batches. Several make a better learning rate; the
            teacher's block outputs on all of them are kept in memory meanwhile.
        teacher: The pretrained network that it was initialised from.
        plan: The plan that it was initialised with; it says which channels correspond.
        fresh: The student with fresh random values, or a function that makes one. By default a copy whose modules all
            did `reset_parameters`; where some cannot, the columns stay empty and the notes say so.
        loss: From what the student returns to a number; a list has one for each batch (such as with its labels). By
            default the squared difference to the teacher's block outputs and results, over their mean square.
        teacher_inputs: The same batches as the teacher takes them, where that differs.
        optimizer: Makes the optimizer that will be used, from parameters and `lr=`.
        steps: Steps at each learning rate; 0 leaves the learning rate out.
        rates: What to try, ascending.
        seed: Of the fresh start.
    Raises:
        DiagnosisError: If what is given does not go together; the text says what to give.
        CaptureError: If a model does not run on the inputs.

    >>> import wsel_graph as ws
    >>> make = lambda width: nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))
    >>> student, teacher = make(8), make(16)
    >>> plan = ws.initialize(student, teacher, (2, 4)).plan
    >>> found = diagnose(student, [torch.randn(32, 4), torch.randn(32, 4)], teacher=teacher, plan=plan)
    >>> [row.name for row in found.blocks]
    ['0.weight', '2.weight']
    """
    _check(student, teacher, plan, steps)
    batches = _batches(inputs, "inputs")
    others = batches if teacher_inputs is None else _batches(teacher_inputs, "teacher_inputs")
    if len(batches) != len(others):
        raise DiagnosisError(f"{len(batches)} batches for the student, {len(others)} for the teacher: give the same")
    losses = _losses(loss, len(batches))
    pair = Activations(student, teacher, plan, batches, others)
    made = fresh_start(student, fresh, seed)
    beside = made if isinstance(made, nn.Module) else None
    rows = pair.blocks(beside)
    found = with_slopes(pair, rows, losses, beside, Trying(optimizer, steps, rates))
    return replace(found, notes=tuple(_notes(rows, made, given=fresh is not None)))


def _notes(rows: Sequence[BlockRow], made: nn.Module | str, *, given: bool) -> Iterator[str]:
    if isinstance(made, str):
        yield made
    elif not given:
        yield "fresh: every module's own reset_parameters; pass fresh= where the model is initialised otherwise"
    yield from (f"{row.name}: not compared with the teacher: {row.problem}" for row in rows if row.problem)


# -- arguments


def _check(student: nn.Module, teacher: nn.Module | None, plan: Plan | None, steps: int) -> None:
    if (teacher is None) != (plan is None):
        lack, have = ("plan", "teacher") if plan is None else ("teacher", "plan")
        raise DiagnosisError(
            f"{have}= is given without {lack}=: the plan says which channels of the teacher the student's stand for, "
            "so both are needed. ws.plan(student, teacher, example_inputs) makes it, ws.initialize returns it as .plan"
        )
    if steps < 0:
        raise DiagnosisError(f"steps must be at least 0, got steps={steps!r}")
    if plan is None or teacher is None:
        return
    for word, model in (("student", student), ("teacher", teacher)):
        tensors = named_tensors(model)
        for copy in plan.copies:
            name, shape = (
                (copy.student, copy.student_shape) if word == "student" else (copy.teacher, copy.teacher_shape)
            )
            if name not in tensors or tuple(tensors[name].shape) != tuple(shape):
                here = f"{list(tensors[name].shape)} here" if name in tensors else "missing here"
                raise DiagnosisError(
                    f"the plan is for another {word}: {name} is {list(shape)} in the plan, {here}. Give the models "
                    "that it was made for, student first"
                )


def _batches(given: Any, what: str) -> list[Inputs]:
    """A list (or another iterable) holds batches; a tensor, tuple, mapping or shape is one."""
    if isinstance(given, (torch.Tensor, Mapping, Inputs, tuple, str)) or not isinstance(given, Iterable):
        return [normalize_inputs(given)]
    found = [normalize_inputs(batch) for batch in given]
    if not found:
        raise DiagnosisError(f"{what} holds no batch: pass inputs, or a list of them")
    return found


def _losses(loss: Loss | Sequence[Loss] | None, batches: int) -> list[Loss | None]:
    if loss is None or callable(loss):
        return [loss] * batches
    if len(loss) != batches:
        raise DiagnosisError(f"loss: {len(loss)} functions for {batches} batches: give one for each, or one for all")
    return list(loss)
