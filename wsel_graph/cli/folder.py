"""`init --save-pretrained`: the student as a folder that `from_pretrained` of transformers loads."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path

import wsel_graph as ws
from wsel_graph.api import summarize
from wsel_graph.cli.hf import write_hf
from wsel_graph.cli.show import Answer, working
from wsel_graph.cli.two import counts, couple_and_plan, light_teacher, refuse_random_teacher, run_init, write_report
from wsel_graph.errors import PlanError
from wsel_graph.plan.files import replacing

PLAN = "start.plan.json"
"""Name of the plan in the folder."""

PAGE = "start.report.html"
"""Name of the report in the folder."""


def run_start(options: argparse.Namespace) -> Answer:
    """Initialise a student; write it as a folder of transformers where that was asked for, else as a state dict."""
    return _run_folder(options) if options.save_pretrained else run_init(options)


def _run_folder(options: argparse.Namespace) -> Answer:
    """Configuration, weights, the teacher's tokenizer, the plan, and a model card that says where values come from."""
    _check_folder(options)
    refuse_random_teacher(options)
    couple, plan = couple_and_plan(options, light_teacher(options))
    with redirect_stdout(sys.stderr):
        ws.apply(plan, couple.student, couple.teacher)
    folder, name = Path(options.output), options.teacher.rpartition(":")[2].rstrip("/").rpartition("/")[2]
    with working(f"writing {folder}"):
        copied = write_hf(couple.student, folder, _hf_folder(options.teacher), options.max_shard_size)
        with replacing(folder / "README.md") as file:
            Path(file).write_text(ws.model_card(plan, student=folder.resolve().name, teacher=name), encoding="utf-8")
        plan.save(folder / PLAN)
    result = summarize(plan, couple.student_graph, couple.teacher_graph)
    page = write_report(result, folder / PAGE, options)
    document = {**counts(result), "output": options.output, "plan": str(folder / PLAN), "from_teacher": copied}
    document["report"] = page
    besides = "" if page is None else f"\nreport:  {page}"
    besides += f"\nfrom the teacher's folder: {', '.join(copied)}" if copied else ""
    return Answer(document, [str(result), f"\nstudent: {folder}\nplan:    {folder / PLAN}{besides}"])


def _check_folder(options: argparse.Namespace) -> None:
    """Refuse before the work what could not be written after it."""
    folder = Path(options.output)
    if not options.student.startswith("hf:"):
        raise PlanError(
            f"--save-pretrained is for students of transformers (hf:...), and this one is {options.student}"
        )
    if folder.is_file() or folder.suffix == ".safetensors" or not folder.absolute().parent.is_dir():
        raise PlanError(f"--output {folder}: with --save-pretrained, name a folder, in a folder that exists")
    if options.dtype is not None:
        raise PlanError("--dtype is for files of tensors: with --save-pretrained, the student's own dtype is written")
    read = [side for side in map(_hf_folder, (options.student, options.teacher)) if side is not None]
    if any(side.resolve() == folder.resolve() for side in read):
        raise PlanError(f"--output {folder} is also read from: write to another folder")


def _hf_folder(spec: str) -> Path | None:
    """The folder that `hf:FOLDER` or `hf:FILE` names."""
    if not spec.startswith("hf:"):
        return None
    path = Path(spec.removeprefix("hf:"))
    return path if path.is_dir() else path.parent if path.is_file() else None
