"""A section for a model card: where the student's first values come from, in Markdown."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from importlib import metadata

from wsel_graph.plan import Choice, Plan
from wsel_graph.plan.serial import plan_document
from wsel_graph.plan.tables import first

PAPER = "[Xu et al., Initializing Models with Larger Ones, arXiv:2311.18823](https://arxiv.org/abs/2311.18823)"
LISTED = 20
"""Rows of a table."""


def model_card(plan: Plan, *, student: str, teacher: str, fitted: int = 0) -> str:
    """The section.

    Args:
        plan: What was applied.
        student: What to call the student.
        teacher: What to call the teacher: a name that readers can find.
        fitted: Parameters that were fitted on calibration data afterwards.
    """
    return "\n".join(_lines(plan, student, teacher, fitted)) + "\n"


def plan_digest(plan: Plan) -> str:
    """SHA-256 of everything that the plan says, as hexadecimal digits."""
    return hashlib.sha256(json.dumps(plan_document(plan), sort_keys=True).encode()).hexdigest()


def _lines(plan: Plan, student: str, teacher: str, fitted: int) -> Iterator[str]:
    copied = sum(math.prod(copy.target_shape) for copy in plan.copies if copy.parameter)
    own = sum(math.prod(kept.shape) for kept in plan.kept if kept.parameter)
    yield "## Initialisation"
    yield ""
    yield (
        f"{student} starts from {teacher} by weight selection ({PAPER}): {copied:,} of {copied + own:,} parameters "
        f"({100 * copied / max(1, copied + own):.2f} %) are elements of the teacher's, and the same elements wherever "
        "tensors are coupled."
    )
    yield ""
    if fitted:
        yield f"{fitted} parameters were then fitted in closed form, on unlabelled calibration data, to the teacher's."
        yield ""
    if plan.layers:
        yield from _table(
            ("stage", "blocks", "student <- teacher, from 0"),
            [(f"`{m.stage or '.'}`", f"{len(m.blocks)} of {m.teacher_depth}", str(m)) for m in plan.layers],
        )
    yield from _table(("axes", "teacher", "student", "elements"), _elements(plan.choices))
    if fresh := [f"`{kept.student}`" for kept in plan.kept if kept.parameter]:
        yield f"Not from the teacher: {len(fresh)} tensors ({first(fresh)})."
        yield ""
    yield f"Made by wsel_graph {_version()}; SHA-256 of the plan: `{plan_digest(plan)}`."


def _elements(choices: tuple[Choice, ...]) -> list[tuple[str, ...]]:
    """The kinds of choices where sizes differ; what is taken whole goes without saying."""
    alike = dict.fromkeys(
        (choice.role, f"{choice.teacher_size:,}", f"{choice.student_size:,}", choice.method)
        for choice in choices
        if choice.teacher_size != choice.student_size
    )
    return list(alike)


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    if not rows:
        return
    yield f"| {' | '.join(columns)} |"
    yield "|" + "---|" * len(columns)
    yield from ("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows[:LISTED])
    if len(rows) > LISTED:
        yield f"| and {len(rows) - LISTED} more |" + " |" * (len(columns) - 1)
    yield ""


def _version() -> str:
    try:
        return metadata.version("wsel_graph")
    except metadata.PackageNotFoundError:
        return "(from a checkout)"
