"""Commands on a teacher and a student: `plan`, `init` and `apply`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

import wsel_graph as ws
from wsel_graph.api import InitResult, summarize
from wsel_graph.cli.inputs import HOW, parse_inputs
from wsel_graph.cli.models import Named, read_arguments
from wsel_graph.cli.one import traced
from wsel_graph.cli.show import Answer, working
from wsel_graph.cli.weights import load_weights, read_weights, save_weights, tensors_to_save, unwrapped
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.errors import ExampleInputsError, PlanError
from wsel_graph.plan import Plan
from wsel_graph.plan.serial import plan_document

OUTPUT = ".safetensors"


@dataclass(frozen=True, slots=True)
class Couple:
    """A student and a teacher: the modules and their graphs."""

    student: nn.Module
    teacher: nn.Module
    student_graph: ModelGraph
    teacher_graph: ModelGraph


def run_plan(options: argparse.Namespace) -> Answer:
    """Make a plan, show it, and write it with `--output`."""
    if options.output:
        _check_output(options.output, [options.teacher_weights], suffix=".json")
    couple = load_couple(options)
    plan = make_plan(couple, options)
    result = summarize(plan, couple.student_graph, couple.teacher_graph)
    parts = [str(result).replace("Initialised", "Would initialise", 1)]
    if options.output:
        plan.save(options.output)
        parts.append(f"\nplan: {options.output}")
    return Answer({**counts(result), "output": options.output, "plan": plan_document(plan)}, parts)


def run_init(options: argparse.Namespace) -> Answer:
    """Initialise a student, and write its state dict with the plan beside it."""
    _check_output(options.output, [options.teacher_weights, options.student_weights])
    refuse_random_teacher(options)
    couple = load_couple(options)
    plan = make_plan(couple, options)
    with working("copying"):
        ws.apply(plan, couple.student, couple.teacher)
    plan_file = Path(options.output).with_suffix(".plan.json")
    _write(couple.student, options.output)
    plan.save(plan_file)
    result = summarize(plan, couple.student_graph, couple.teacher_graph)
    document = {**counts(result), "output": options.output, "plan": str(plan_file)}
    return Answer(document, [str(result), f"\nstudent: {options.output}\nplan:    {plan_file}"])


def run_apply(options: argparse.Namespace) -> Answer:
    """Carry out a plan: teacher weights from a file, or from a model that comes with them."""
    _check_output(options.output, [options.teacher_weights, options.student_weights, options.plan])
    plan = ws.load_plan(options.plan)
    student = _student(options)
    with working("reading the teacher's weights"):
        source: Any
        if options.teacher is None:
            needed = {source.teacher for copy in plan.copies for source in copy.sources}
            source = unwrapped(read_weights(options.teacher_weights), needed)
        else:
            source = _built("teacher", options)
    with working("copying"):
        ws.apply(plan, student, source)
    _write(student, options.output)
    copied = len({copy.student for copy in plan.copies})  # several copies may fill one tensor
    document = {"output": options.output, "copied": copied, "kept": len(plan.kept)}
    text = f"{copied} tensors copied, {len(plan.kept)} kept the student's own values\nstudent: {options.output}"
    return Answer(document, [text])


# -- models


def refuse_random_teacher(options: argparse.Namespace) -> None:
    """Refuse a teacher that would be built with random weights."""
    teacher = _named("teacher", options)
    if teacher.random and not options.teacher_weights:
        raise PlanError(
            f"{teacher.spec} would be built with random weights, and nothing can be learnt from those: pass "
            "--teacher-weights PATH, or --teacher-arg pretrained=true to have its library fetch them"
        )


def load_couple(options: argparse.Namespace) -> Couple:
    """Build both models, load weights where they are named, and trace both."""
    given, special = parse_inputs(options.input), parse_inputs(options.teacher_input)
    student, teacher = _student(options), _built("teacher", options)
    ours = given or _named("student", options).inputs(student)
    theirs = special or given or _named("teacher", options).inputs(teacher)
    if ours is None and theirs is None:
        raise ExampleInputsError(f"the inputs of {options.student} and {options.teacher} are not known: {HOW}")
    ours, theirs = (theirs if ours is None else ours), (ours if theirs is None else theirs)
    graph = traced(student, ours, f"the student {options.student}")
    return Couple(student, teacher, graph, traced(teacher, theirs, f"the teacher {options.teacher}"))


def make_plan(couple: Couple, options: argparse.Namespace) -> Plan:
    """The plan that the options ask for."""
    wishes = {key: getattr(options, key, None) for key in ("rules", "method", "unit", "keep")}
    with working("matching and planning"):
        return ws.plan(
            couple.student_graph,
            couple.teacher_graph,
            seed=options.seed,
            **{key: wish for key, wish in wishes.items() if wish},
        )


def _named(side: str, options: argparse.Namespace) -> Named:
    return Named(getattr(options, side), read_arguments(getattr(options, f"{side}_arg")))


def _built(side: str, options: argparse.Namespace) -> nn.Module:
    named = _named(side, options)
    with working(f"building the {side} {named.spec}"):
        model = named.build(options.seed)
    weights = getattr(options, f"{side}_weights", None)
    if weights:
        with working(f"reading {weights}"):
            load_weights(model, weights, side)
    return model


def _student(options: argparse.Namespace) -> nn.Module:
    return _built("student", options)


# -- files


def _check_output(output: str, inputs: list[str | None], suffix: str = OUTPUT) -> None:
    """Refuse before the work what could not be written after it."""
    path = Path(output)
    if path.suffix != suffix:
        raise PlanError(f"--output {output}: the name must end in {suffix}")
    if not path.parent.is_dir():
        raise PlanError(f"--output {output}: there is no folder {path.parent}")
    if any(given is not None and Path(given).resolve() == path.resolve() for given in inputs):
        raise PlanError(f"--output {output} is also read from: write to another file")


def _write(student: nn.Module, output: str) -> None:
    with working(f"writing {output}"):
        save_weights(tensors_to_save(student), output)


def counts(result: InitResult) -> dict[str, Any]:
    """The numbers of a result, for `--json`."""
    return {
        "coverage": result.coverage,
        "initialized": result.initialized,
        "total": result.total,
        "unknown_ops": list(result.unknown_ops),
    }
