"""A diagnosis as text."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table

from wsel_graph.starts.diagnosis import BlockRow, Diagnosis

_WIDTH = 140


def text(found: Diagnosis) -> str:
    """Tables of scales and gradients, warnings, notes, and the first learning rate."""
    console = Console(file=io.StringIO(), width=_WIDTH, force_terminal=False, no_color=True)
    console.print("Activations: root mean square, and explained variance of the teacher's")
    console.print(_activations(found))
    if any(row.slope is not None for row in found.blocks):
        console.print(f"\nGradients, of {_losses(found)}", highlight=False, markup=False)
        console.print(_gradients(found))
    for title, lines in (("Warnings", found.warnings), ("Notes", found.notes)):
        if lines:
            console.print("\n".join((f"\n{title}", *(f"- {line}" for line in lines))), highlight=False, markup=False)
    if found.rate is not None:
        console.print(f"\n{found.rate}", highlight=False, markup=False)
    file = console.file
    return file.getvalue().strip() if isinstance(file, io.StringIO) else ""


def _losses(found: Diagnosis) -> str:
    values = [("student", found.student_loss), ("fresh", found.fresh_loss)]
    shown = ", ".join(f"{name} {value:.3g}" for name, value in values if value is not None)
    return f"{found.loss} ({shown})"


def _activations(found: Diagnosis) -> Table:
    columns = (
        "block",
        "student",
        "teacher",
        "fresh",
        "explained",
        "spanned",
        "operators: least",
        "median",
        "dead units",
    )
    rows = [
        (
            row.name,
            *map(number, (row.student, row.teacher, row.fresh, row.explained, row.spanned, row.least, row.median)),
            f"{row.dead} of {row.units}" if row.units else "",
        )
        for row in found.blocks
    ]
    return _table(columns, rows)


def _gradients(found: Diagnosis) -> Table:
    columns = (
        "block",
        "by output",
        "by weights",
        "norm / weights' norm",
        "fresh: by output",
        "by weights",
        "norm / norm",
    )
    return _table(columns, [(row.name, *_slopes(row)) for row in found.blocks])


def _slopes(row: BlockRow) -> tuple[str, ...]:
    return tuple(
        number(value)
        for slope in (row.slope, row.fresh_slope)
        for value in ((None,) * 3 if slope is None else (slope.output, slope.weights, slope.ratio))
    )


def number(value: float | None) -> str:
    """Three digits; nothing for None."""
    return "" if value is None else f"{value:.3g}"


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, overflow="fold", justify="right" if place else "left")
    for row in rows:
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    return table
