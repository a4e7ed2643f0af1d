"""The public verbs: plan, apply, initialize. Student first, everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wsel_graph.apply.memory import apply_plan
from wsel_graph.coupling.graph import ModelGraph, trace
from wsel_graph.errors import PlanError
from wsel_graph.plan import Plan
from wsel_graph.planner.builder import build_plan
from wsel_graph.planner.elements import ElementFunction, Elements, Method
from wsel_graph.report.text import plan_tables, render
from wsel_graph.selection.rules import RuleFile, load_rules

Model = nn.Module | ModelGraph


@dataclass(frozen=True, slots=True)
class InitResult:
    """What an initialisation did. `print` it.

    Attributes:
        plan: The plan that was applied.
        coverage: Share of the student's parameter elements that were initialised, from 0 to 1.
        initialized: Number of parameter elements that were initialised.
        total: Number of parameter elements of the student.
        unknown_ops: Operators without a propagation rule in either model.
    """

    plan: Plan
    coverage: float
    initialized: int
    total: int
    unknown_ops: tuple[str, ...]

    def __str__(self) -> str:
        head = f"Initialised {self.initialized:,} of {self.total:,} student parameters ({100 * self.coverage:.2f} %)"
        unknown = [f"Operators without a propagation rule: {', '.join(self.unknown_ops)}"] if self.unknown_ops else []
        return render(head, *unknown, *plan_tables(self.plan))


def plan(
    student: Model,
    teacher: Model,
    example_inputs: Any = None,
    *,
    teacher_inputs: Any = None,
    rules: str | Path | RuleFile = "default",
    method: str | ElementFunction | None = None,
    unit: str | None = None,
    consistent: bool | None = None,
    overrides: Mapping[str, Method] | None = None,
    keep: Iterable[str] = (),
    seed: int = 0,
) -> Plan:
    """Decide which teacher elements every student tensor takes. Shapes only: no weight is read.

    Args:
        student: The network to initialise, or its `ModelGraph`.
        teacher: The larger network, or its `ModelGraph`.
        example_inputs: Inputs that both models run on; not needed for a `ModelGraph`.
        teacher_inputs: Inputs for the teacher where they differ.
        rules: Name or path of a selection-rule file.
        method: `uniform`, `consecutive`, `random`, or a function `(teacher_size, student_size) -> elements`.
        unit: `whole` (heads and head channels separately) or `flat` (as one run, like the paper).
        consistent: False draws a fresh list per tensor and dim (an ablation: it breaks the network).
        overrides: Method, list or function for a role (`"heads"`) or a place (`"fc.weight:0"`).
        keep: Glob patterns of student tensors that keep their own values.
        seed: Seed of `random`.
    Raises:
        WselError: If a model cannot be traced or the two do not fit; the text says where and what to do.
    """
    if student is teacher:
        raise PlanError("student and teacher are the same object: nothing can be initialised from itself")
    wish = rules if isinstance(rules, RuleFile) else load_rules(rules)
    elements = Elements(
        method=wish.elements.method if method is None else method,
        unit=wish.elements.unit if unit is None else unit,
        consistent=wish.elements.consistent if consistent is None else consistent,
        overrides=dict(overrides or {}),
        seed=seed,
    )
    ours = _as_graph(student, example_inputs)
    theirs = _as_graph(teacher, example_inputs if teacher_inputs is None else teacher_inputs)
    return build_plan(ours, theirs, elements, (*wish.components.keep, *keep))


def _as_graph(model: Model, example_inputs: Any) -> ModelGraph:
    return model if isinstance(model, ModelGraph) else trace(model, example_inputs)


def apply(plan: Plan, student: nn.Module, teacher: nn.Module | Mapping[str, torch.Tensor]) -> None:
    """Copy what the plan says, in place. All checks come first: a failed call leaves the student untouched.

    Args:
        teacher: A module, or a state dict.
    Raises:
        PlanError: If the tensors are not those of the plan.
    """
    apply_plan(plan, student, teacher)


def initialize(student: nn.Module, teacher: nn.Module, example_inputs: Any, **options: Any) -> InitResult:
    """Initialise a student from a larger teacher, in place.

    Args:
        student: The network to initialise.
        teacher: The pretrained network; it is not changed.
        example_inputs: A tensor, tuple, dict of keyword arguments or shape that both models run on.
        options: As for `plan`.
    Returns:
        What was done; print it.
    Raises:
        WselError: If a model cannot be traced or the two do not fit. The student is unchanged then.

    >>> from torch import nn
    >>> make = lambda width: nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))
    >>> result = initialize(make(8), make(32), (1, 4))
    >>> result.coverage
    1.0
    """
    _refuse_shared(student, teacher)
    ours = trace(student, example_inputs)
    made = plan(ours, _as_graph(teacher, _teacher_inputs(example_inputs, options)), **options)
    apply_plan(made, student, teacher)
    return summarize(made, ours)


def _teacher_inputs(example_inputs: Any, options: dict[str, Any]) -> Any:
    special = options.pop("teacher_inputs", None)
    return example_inputs if special is None else special


def _refuse_shared(student: nn.Module, teacher: nn.Module) -> None:
    if student is teacher:
        raise PlanError("student and teacher are the same object: nothing can be initialised from itself")
    shared = {id(p) for p in teacher.parameters()} & {id(p) for p in student.parameters()}
    if shared:
        name = next(name for name, p in student.named_parameters() if id(p) in shared)
        raise PlanError(f"student and teacher share the parameter {name}: writing to one would change the other")


def summarize(made: Plan, student: ModelGraph) -> InitResult:
    """Coverage of a plan, counted in parameter elements."""
    sizes = {state.name: state.tensor.numel() for state in student.captured.states if state.kind == "parameter"}
    done = sum(sizes[copy.student] for copy in made.copies if copy.parameter)
    total = sum(sizes.values())
    return InitResult(made, done / max(1, total), done, total, tuple(student.unknown_ops))
