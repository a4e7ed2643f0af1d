"""A plan as tables of text: what it does, on one screen. Whoever shows it chooses how: as text, or as HTML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wsel_graph import notebook
from wsel_graph.plan.model import Plan
from wsel_graph.plan.parts import Choice, Kept, LayerMap


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under a title; columns without a head have an empty one."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def plan_tables(plan: Plan) -> list[Table]:
    """Layer maps, coupled groups, kept tensors and notes; a table without rows is left out, but for the groups."""
    return [
        *([_layers(plan.layers)] if plan.layers else []),
        _choices(plan.choices),
        *([_kept(plan.kept)] if plan.kept else []),
        *([Table("Notes", ("",), tuple((note,) for note in plan.notes))] if plan.notes else []),
    ]


def headline(plan: Plan) -> str:
    """What a plan fills, counted in tensors and in elements."""
    filled = {copy.student for copy in plan.copies}
    elements = sum(math.prod(copy.target_shape) for copy in plan.copies if copy.parameter)
    own = sum(math.prod(kept.shape) for kept in plan.kept if kept.parameter)
    return (
        f"fills {len(filled)} tensors ({elements:,} parameter elements) from the teacher; {len(plan.kept)} tensors "
        f"({own:,} parameter elements) keep the student's own values"
    )


def as_text(plan: Plan) -> str:
    """The headline and the tables, in columns as wide as they need to be."""
    parts = [f"Plan: {headline(plan)}"]
    for table in plan_tables(plan):
        parts.extend(("", table.title, *_aligned(table)))
    return "\n".join(parts)


def as_html(plan: Plan) -> list[str]:
    """The tables, for a notebook."""
    return [notebook.table(table.title, table.columns, table.rows) for table in plan_tables(plan)]


def _aligned(table: Table) -> Iterator[str]:
    rows = [*([table.columns] if any(table.columns) else []), *table.rows]
    widths = [max(len(row[place]) for row in rows) for place in range(len(table.columns))] if rows else []
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _layers(layers: Iterable[LayerMap]) -> Table:
    rows = [
        (
            layer.stage or "(top level)",
            f"{len(layer.blocks)} of {layer.teacher_depth}",
            str(layer) + _influence(layer),
        )
        for layer in layers
    ]
    return Table("Layers (student <- teacher, numbered from 0)", ("stage", "blocks", "map"), tuple(rows))


def _influence(layer: LayerMap) -> str:
    """What decided between a teacher's blocks, where it was measured."""
    values = ("not known" if value is None else f"{value:.2g}" for value in layer.influence)
    return f"; influence of the teacher's blocks: {', '.join(values)}" if layer.influence else ""


def _choices(choices: Iterable[Choice]) -> Table:
    """Groups that make the same choice in the same way stand in one row."""
    alike: dict[tuple[str, int, int, str, str], list[Choice]] = {}
    for choice in choices:
        key = (choice.role, choice.teacher_size, choice.student_size, choice.method, choice.status)
        alike.setdefault(key, []).append(choice)
    rows = [
        (str(len(group)), role, f"{large} -> {small}", method, status, group[0].members[0])
        for (role, large, small, method, status), group in alike.items()
    ]
    columns = ("groups", "role", "teacher -> student", "elements", "status", "first place")
    return Table("Coupled groups", columns, tuple(rows))


def _kept(kept: Iterable[Kept]) -> Table:
    reasons: dict[str, list[Kept]] = {}
    for item in kept:
        reasons.setdefault(item.reason, []).append(item)
    rows = [
        (str(len(items)), f"{sum(math.prod(i.shape) for i in items):,}", reason, first(i.student for i in items))
        for reason, items in reasons.items()
    ]
    title = "Kept from the student's own initialisation"
    return Table(title, ("tensors", "elements", "why", "names"), tuple(rows))


def first(names: Iterable[str]) -> str:
    """The first three names, and dots where there are more.

    >>> first("abcd")
    'a, b, c, ...'
    """
    listed = list(names)
    return ", ".join(listed[:3]) + (", ..." if len(listed) > 3 else "")
