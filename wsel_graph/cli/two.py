"""Commands on a teacher and a student: `plan`, `plan diff`, `init`, `apply`, and `report` on what they did."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import wsel_graph as ws
from wsel_graph.api import InitResult, summarize
from wsel_graph.cli.inputs import HOW, parse_inputs
from wsel_graph.cli.light import NeedsValuesError, load_buffers
from wsel_graph.cli.models import Named, read_arguments
from wsel_graph.cli.one import traced
from wsel_graph.cli.show import Answer, working
from wsel_graph.cli.weights import load_weights
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.errors import CaptureError, ExampleInputsError, MissingValuesError, PlanError
from wsel_graph.plan import Plan
from wsel_graph.plan.serial import plan_document
from wsel_graph.stores.save import check_place, refuse_inputs

DTYPES = {name: getattr(torch, name) for name in ("float64", "float32", "bfloat16", "float16")}


@dataclass(frozen=True, slots=True)
class Couple:
    """A student and a teacher: the modules and their graphs."""

    student: nn.Module
    teacher: nn.Module | str
    """The module, or the file of its weights: what `apply` reads."""
    student_graph: ModelGraph
    teacher_graph: ModelGraph


def run_plan(options: argparse.Namespace) -> Answer:
    """Make a plan, show it, and write it with `--output`."""
    if options.teacher is None or options.student is None:
        options.usage_error("the following arguments are required: --teacher, --student")
    if options.output:
        _check_file(options.output, ".json")
    couple, plan = couple_and_plan(options, ("student", "teacher"))
    result = summarize(plan, couple.student_graph, couple.teacher_graph)
    parts = [str(result).replace("Initialised", "Would initialise", 1)]
    if options.output:
        plan.save(options.output)
        parts.append(f"\nplan: {options.output}")
    return Answer({**counts(result), "output": options.output, "plan": plan_document(plan)}, parts)


def run_diff(options: argparse.Namespace) -> Answer:
    """What differs between two plans; exit code 1 where something does."""
    found = ws.diff_plans(ws.load_plan(options.first), ws.load_plan(options.second))
    document = {"same": not found, **asdict(found)}
    return Answer(document, [str(found)], 1 if found else 0)


def run_init(options: argparse.Namespace) -> Answer:
    """Initialise a student, and write its state dict with the plan beside it."""
    _check_output(options, [options.teacher_weights, options.student_weights])
    refuse_random_teacher(options)
    couple, plan = couple_and_plan(options, light_teacher(options))
    plan_file = Path(options.output).with_suffix(".plan.json")
    files = _write(plan, couple.student, couple.teacher, options)
    plan.save(plan_file)
    result = summarize(plan, couple.student_graph, couple.teacher_graph)
    page = write_report(result, Path(options.output).with_suffix(".report.html"), options)
    document = {**counts(result), "output": options.output, "files": files, "plan": str(plan_file), "report": page}
    beside = "" if page is None else f"\nreport:  {page}"
    return Answer(document, [str(result), f"\nstudent: {_told(files)}\nplan:    {plan_file}{beside}"])


def write_report(result: InitResult, page: Path, options: argparse.Namespace) -> str | None:
    """Write the page beside a plan, and give its name; None where it is not wanted."""
    if options.no_report:
        return None
    with working(f"writing {page}"):
        ws.report(result, page, title=f"{options.student} from {options.teacher}")
    return str(page)


def run_report(options: argparse.Namespace) -> Answer:
    """Write one HTML page about a plan."""
    _check_file(options.output, ".html", [options.plan])
    plan = ws.load_plan(options.plan)
    with working(f"writing {options.output}"):
        ws.report(plan, options.output, title=options.title)
    return Answer({"output": options.output}, [f"report: {options.output}"])


def run_apply(options: argparse.Namespace) -> Answer:
    """Carry out a plan: teacher weights from a file, or from a model that comes with them."""
    _check_output(options, [options.teacher_weights, options.student_weights, options.plan])
    plan = ws.load_plan(options.plan)
    student = _built("student", options)
    source = options.teacher_weights if options.teacher is None else _built("teacher", options)
    files = _write(plan, student, source, options)
    copied = len({copy.student for copy in plan.copies})  # several copies may fill one tensor
    document = {"output": options.output, "files": files, "copied": copied, "kept": len(plan.kept)}
    text = f"{copied} tensors copied, {len(plan.kept)} kept the student's own values\nstudent: {_told(files)}"
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


def light_teacher(options: argparse.Namespace) -> tuple[str, ...]:
    """The teacher, where its weights are read from files: no more of them than the plan selects."""
    return ("teacher",) if options.teacher_weights else ()


def couple_and_plan(options: argparse.Namespace, light: tuple[str, ...]) -> tuple[Couple, Plan]:
    """Both models, and the plan that the options ask for.

    Args:
        light: The sides whose values the command does not need; they are built after all where the plan needs them.
    """
    try:
        couple = load_couple(options, light)
        return couple, make_plan(couple, options)
    except (NeedsValuesError, MissingValuesError, CaptureError):
        if not light:
            raise
        return couple_and_plan(options, ())


def load_couple(options: argparse.Namespace, light: tuple[str, ...] = ()) -> Couple:
    """Build both models, load weights where they are named, and trace both.

    Args:
        light: The sides that are built without values.
    Raises:
        NeedsValuesError: If one of them cannot be.
    """
    given, special = parse_inputs(options.input), parse_inputs(options.teacher_input)
    student, teacher = (_built(side, options, side in light) for side in ("student", "teacher"))
    ours = given or _named("student", options).inputs(student)
    theirs = special or given or _named("teacher", options).inputs(teacher)
    if ours is None and theirs is None:
        raise ExampleInputsError(f"the inputs of {options.student} and {options.teacher} are not known: {HOW}")
    ours, theirs = (theirs if ours is None else ours), (ours if theirs is None else theirs)
    graph = traced(student, ours, f"the student {options.student}")
    reads = options.teacher_weights if "teacher" in light else teacher
    return Couple(student, reads, graph, traced(teacher, theirs, f"the teacher {options.teacher}"))


def make_plan(couple: Couple, options: argparse.Namespace) -> Plan:
    """The plan that the options ask for."""
    wishes = {key: getattr(options, key, None) for key in ("rules", "method", "unit", "keep")}
    with working("matching and planning"):
        return ws.plan(
            couple.student_graph,
            couple.teacher_graph,
            seed=options.seed,
            **{key: wish for key, wish in wishes.items() if wish is not None},
        )


def _named(side: str, options: argparse.Namespace) -> Named:
    return Named(getattr(options, side), read_arguments(getattr(options, f"{side}_arg")))


def _built(side: str, options: argparse.Namespace, light: bool = False) -> nn.Module:
    named = _named(side, options)
    with working(f"building the {side} {named.spec}"):
        model = named.build_light() if light else named.build(options.seed or 0)
    weights = getattr(options, f"{side}_weights", None)
    if weights:
        with working(f"reading {weights}"):
            load_buffers(model, weights) if light else load_weights(model, weights, side)
    return model


# -- files


def _check_file(output: str, suffix: str, inputs: Sequence[str] = ()) -> None:
    """Refuse before the work what could not be written after it."""
    path = Path(output)
    if path.suffix != suffix:
        raise PlanError(f"--output {output}: the name must end in {suffix}")
    if not path.parent.is_dir():
        raise PlanError(f"--output {output}: there is no folder {path.parent}")
    try:
        refuse_inputs(path, inputs)
    except PlanError as error:
        raise PlanError(f"--output {error}") from None


def _check_output(options: argparse.Namespace, inputs: list[str | None]) -> None:
    try:
        refuse_inputs(check_place(options.output, options.max_shard_size), [path for path in inputs if path])
    except PlanError as error:
        raise PlanError(f"--output {error}") from None


def _write(plan: Plan, student: nn.Module, teacher: Any, options: argparse.Namespace) -> list[str]:
    """Write the student; what its own code prints meanwhile goes to stderr."""
    with redirect_stdout(sys.stderr):
        sizes = {"max_shard_size": options.max_shard_size, "dtype": DTYPES.get(options.dtype)}
        return list(map(str, ws.apply(plan, student, teacher, output=options.output, **sizes) or ()))


def _told(files: list[str]) -> str:
    return files[0] if len(files) == 1 else f"{files[-1]}, and {len(files) - 1} files of weights"


def counts(result: InitResult) -> dict[str, Any]:
    """The numbers of a result, for `--json`."""
    return {
        "coverage": result.coverage,
        "initialized": result.initialized,
        "total": result.total,
        "unknown_ops": list(result.unknown_ops),
    }
