"""Plan one pair of the pair zoo, apply the plan where that is affordable, and say what came out in one row."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

import wsel_graph as ws
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.plan import Copy

from .catalog import Inputs, Pair

KEEP = Path(__file__).parent / "keep.yaml"
AFFORDABLE = 120_000_000
"""Parameters of teacher and student together, up to which both are built with values."""


@dataclass(frozen=True, slots=True)
class Row:
    """The result for one pair.

    Attributes:
        status: `planned`, or `refused` (an error says why; then the other numbers are those of a plan that keeps
            what has no counterpart, where there is one), or `CRASH`.
        seconds: Tracing both models and planning.
        covered: Share of the student's parameter elements that receive teacher values.
        unexplained: Student parameters that nothing in the teacher fits.
        kept: Reasons for which parameters keep their own values, and how many do.
        finite: Whether the initialised student computes finite numbers; None where it was not run.
    """

    id: str
    family: str
    across: bool
    status: str
    seconds: float = 0.0
    parameters: tuple[int, int] = (0, 0)  # teacher, student
    covered: float = 0.0
    unexplained: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    finite: bool | None = None
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def check(pair: Pair) -> Row:
    """Build, plan, apply and run one pair."""
    student, teacher = pair.student.build(), pair.teacher.build()
    sizes = _parameters(teacher[0]), _parameters(student[0])
    start = time.perf_counter()
    status, note, plan = "planned", "", None
    try:
        graphs = ws.trace(*student), ws.trace(*teacher)
    except ws.WselError as error:
        return Row(pair.id, pair.family, pair.across, "refused", parameters=sizes, note=_short(error))
    try:
        plan, strict = _plan(*graphs, lenient=pair.across)
        if not strict and not pair.across:
            status, note = "refused", _refusal(*graphs)
    except ws.WselError as error:
        spent = round(time.perf_counter() - start, 3)
        return Row(pair.id, pair.family, pair.across, "refused", spent, sizes, note=_refusal(*graphs) or _short(error))
    seconds = round(time.perf_counter() - start, 3)
    return Row(
        pair.id, pair.family, pair.across, status, seconds, sizes, _covered(plan.copies, sizes[1]),
        _unexplained(plan), _reasons(plan), _finite(plan, pair) if sum(sizes) <= AFFORDABLE else None, note,
    )  # fmt: skip


def _plan(student: ModelGraph, teacher: ModelGraph, lenient: bool) -> tuple[ws.Plan, bool]:
    """A strict plan where there is one, else one that keeps what nothing explains."""
    if not lenient:
        try:
            return ws.plan(student, teacher), True
        except ws.WselError:
            pass
    return ws.plan(student, teacher, rules=KEEP), False


def _refusal(student: ModelGraph, teacher: ModelGraph) -> str:
    try:
        ws.plan(student, teacher)
    except ws.WselError as error:
        return _short(error)
    return ""


def _short(error: Exception) -> str:
    return " / ".join(line.strip() for line in str(error).splitlines()[:6])[:600]


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _covered(copies: Iterable[Copy], total: int) -> float:
    return sum(math.prod(copy.target_shape) for copy in copies if copy.parameter) / max(1, total)


_EXPLAINED = ("asked for", "not used", "label", "pinned: label", "integer", "not in the state dict", "output")
"""How reasons begin that have nothing to do with a missing counterpart."""


def _unexplained(plan: ws.Plan) -> int:
    return sum(kept.parameter and not kept.reason.startswith(_EXPLAINED) for kept in plan.kept)


def _reasons(plan: ws.Plan) -> dict[str, int]:
    return dict(Counter(kept.reason for kept in plan.kept if kept.parameter).most_common())


def _finite(plan: ws.Plan, pair: Pair) -> bool:
    student, inputs = pair.student.build(real=True)
    teacher, _ = pair.teacher.build(real=True)
    ws.apply(plan, student, teacher)
    with torch.no_grad():
        output = _run(student, inputs)
    leaves = torch.utils._pytree.tree_leaves(output)
    return all(leaf.isfinite().all().item() for leaf in leaves if isinstance(leaf, torch.Tensor))


def _run(model: nn.Module, inputs: Inputs) -> Any:
    generator = torch.Generator().manual_seed(0)

    def drawn(tensor: Any) -> Any:
        return torch.randn(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor

    filled = torch.utils._pytree.tree_map_only(torch.Tensor, drawn, inputs)
    return model(*filled) if isinstance(filled, tuple) else model(**filled)
