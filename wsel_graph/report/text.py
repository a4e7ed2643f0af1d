"""A plan as text: coverage, layer maps, groups, and what was kept."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from wsel_graph.coupling.groups import CoupledGroup
from wsel_graph.plan import Plan, tables
from wsel_graph.plan.tables import first


def render(*parts: RenderableType, width: int = 110) -> str:
    """Rich renderables as plain text."""
    console = Console(file=io.StringIO(), width=width, force_terminal=False, no_color=True)
    for part in parts:
        console.print(part)
    file = console.file
    return file.getvalue().strip() if isinstance(file, io.StringIO) else ""


def plan_tables(plan: Plan) -> list[RenderableType]:
    """Layer maps, groups, kept tensors and notes, each as a titled table; empty ones are left out."""
    return [_table(table.title, table.columns, table.rows) for table in tables.plan_tables(plan)]


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> RenderableType:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # brackets are no markup
    return Group("", title, table)  # a table's own title would be wrapped to the width of the table


def groups_table(groups: Iterable[CoupledGroup]) -> RenderableType:
    """The coupled groups of one model."""
    rows = [
        (str(group.size), group.role, group.status, first(f"{name}:{dim}" for name, dim in group.members))
        for group in groups
    ]
    return _table("Coupled groups", ("size", "role", "status", "members"), rows)
