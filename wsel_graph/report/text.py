"""A plan as text: coverage, layer maps, groups, and what was kept."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.table import Table

from wsel_graph.coupling.groups import CoupledGroup
from wsel_graph.plan import Choice, Kept, LayerMap, Plan


def render(*parts: RenderableType, width: int = 110) -> str:
    """Rich renderables as plain text."""
    console = Console(file=io.StringIO(), width=width, force_terminal=False, no_color=True)
    for part in parts:
        console.print(part)
    file = console.file
    return file.getvalue().rstrip() if isinstance(file, io.StringIO) else ""


def plan_tables(plan: Plan) -> list[RenderableType]:
    """Layer maps, groups and kept tensors, each as a table; empty ones are left out."""
    tables: list[RenderableType] = []
    if plan.layers:
        tables.append(_layers(plan.layers))
    tables.append(_choices(plan.choices))
    if plan.kept:
        tables.append(_kept(plan.kept))
    return tables


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _layers(layers: Iterable[LayerMap]) -> Table:
    table = _table("Layers (student <- teacher, numbered from 0)", "stage", "blocks", "map")
    for layer in layers:
        pairs = ", ".join(f"{s}<-{t}" for s, t in layer.pairs)
        table.add_row(layer.stage or "(top level)", f"{len(layer.pairs)} of {layer.teacher_depth}", pairs)
    return table


def _choices(choices: Iterable[Choice]) -> Table:
    """Groups that make the same choice in the same way stand in one row."""
    table = _table("Coupled groups", "groups", "role", "teacher -> student", "elements", "status", "first place")
    rows: dict[tuple[str, int, int, str, str], list[Choice]] = {}
    for choice in choices:
        key = (choice.role, choice.teacher_size, choice.student_size, choice.method, choice.status)
        rows.setdefault(key, []).append(choice)
    for (role, large, small, method, status), group in rows.items():
        first = next((c.members[0] for c in group if c.members), "-")
        table.add_row(str(len(group)), role, f"{large} -> {small}", method, status, first)
    return table


def _kept(kept: Iterable[Kept]) -> Table:
    table = _table("Kept from the student's own initialisation", "tensors", "elements", "why", "names")
    reasons: dict[str, list[Kept]] = {}
    for item in kept:
        reasons.setdefault(item.reason, []).append(item)
    for reason, items in reasons.items():
        names = _first(item.student for item in items)
        table.add_row(str(len(items)), f"{sum(math.prod(item.shape) for item in items):,}", reason, names)
    return table


def groups_table(groups: Iterable[CoupledGroup]) -> Table:
    """The coupled groups of one model."""
    table = _table("Coupled groups", "size", "role", "status", "members")
    for group in groups:
        places = _first(f"{name}:{dim}" for name, dim in group.members)
        table.add_row(str(group.size), group.role, group.status, places)
    return table


def _first(names: Iterable[str]) -> str:
    """The first three names, and dots where there are more."""
    listed = list(names)
    return ", ".join(listed[:3]) + (", ..." if len(listed) > 3 else "")
