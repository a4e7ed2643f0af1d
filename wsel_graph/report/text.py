"""A plan as text: coverage, layer maps, groups, and what was kept."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table

from wsel_graph.coupling.groups import CoupledGroup
from wsel_graph.plan import Choice, Kept, LayerMap, Plan


def render(*parts: RenderableType, width: int = 110) -> str:
    """Rich renderables as plain text."""
    console = Console(file=io.StringIO(), width=width, force_terminal=False, no_color=True)
    for part in parts:
        console.print(part)
    file = console.file
    return file.getvalue().strip() if isinstance(file, io.StringIO) else ""


def plan_tables(plan: Plan) -> list[RenderableType]:
    """Layer maps, groups, kept tensors and notes, each as a titled table; empty ones are left out."""
    tables = [_choices(plan.choices)]
    if plan.layers:
        tables.insert(0, _layers(plan.layers))
    if plan.kept:
        tables.append(_kept(plan.kept))
    if plan.notes:
        tables.append(_table("Notes", ("",), [(note,) for note in plan.notes]))
    return tables


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> RenderableType:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return Group("", title, table)  # a table's own title would be wrapped to the width of the table


def _layers(layers: Iterable[LayerMap]) -> RenderableType:
    rows = [
        (
            layer.stage or "(top level)",
            f"{len(layer.blocks)} of {layer.teacher_depth}",
            str(layer) + _influence(layer),
        )
        for layer in layers
    ]
    return _table("Layers (student <- teacher, numbered from 0)", ("stage", "blocks", "map"), rows)


def _influence(layer: LayerMap) -> str:
    """What decided between a teacher's blocks, where it was measured."""
    values = ("not known" if value is None else f"{value:.2g}" for value in layer.influence)
    return f"; influence of the teacher's blocks: {', '.join(values)}" if layer.influence else ""


def _choices(choices: Iterable[Choice]) -> RenderableType:
    """Groups that make the same choice in the same way stand in one row."""
    alike: dict[tuple[str, int, int, str, str], list[Choice]] = {}
    for choice in choices:
        key = (choice.role, choice.teacher_size, choice.student_size, choice.method, choice.status)
        alike.setdefault(key, []).append(choice)
    rows = [
        (str(len(group)), role, f"{large} -> {small}", method, status, group[0].members[0])
        for (role, large, small, method, status), group in alike.items()
    ]
    return _table("Coupled groups", ("groups", "role", "teacher -> student", "elements", "status", "first place"), rows)


def _kept(kept: Iterable[Kept]) -> RenderableType:
    reasons: dict[str, list[Kept]] = {}
    for item in kept:
        reasons.setdefault(item.reason, []).append(item)
    rows = [
        (str(len(items)), f"{sum(math.prod(i.shape) for i in items):,}", reason, _first(i.student for i in items))
        for reason, items in reasons.items()
    ]
    return _table("Kept from the student's own initialisation", ("tensors", "elements", "why", "names"), rows)


def groups_table(groups: Iterable[CoupledGroup]) -> RenderableType:
    """The coupled groups of one model."""
    rows = [
        (str(group.size), group.role, group.status, _first(f"{name}:{dim}" for name, dim in group.members))
        for group in groups
    ]
    return _table("Coupled groups", ("size", "role", "status", "members"), rows)


def _first(names: Iterable[str]) -> str:
    """The first three names, and dots where there are more."""
    listed = list(names)
    return ", ".join(listed[:3]) + (", ..." if len(listed) > 3 else "")
