"""Print the Markdown table of rows: for every network and method the mean over seeds, with its 95 % interval.

    python -m examples.starts.table rows.jsonl [more.jsonl ...]

`0.612 ± 0.010` is a mean and half the width of its interval by Student's t, over seeds. An interval of zero means that
the start leaves nothing to chance; other questions in the exam would still give other numbers. `seconds` is the mean
wall time of making the start, or of the training.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from examples.starts.interval import mean_interval
from examples.starts.rows import Row, read_rows

ABOUT = "Mean ± half the 95 % interval over seeds; the choice of the exam's questions is not in it."

T = TypeVar("T")
Column = tuple[str, int, str]
"""Training schedule, step, measure."""


def tables(rows: Sequence[Row]) -> str:
    """Markdown for all networks, one table for the starts and one for each training schedule."""
    parts = []
    for network in unique(row.network for row in rows):
        own = [row for row in rows if row.network == network]
        parts += [f"### {network}", *_of_network(own), _provenance(own)]
    return "\n\n".join(parts)


def _of_network(rows: Sequence[Row]) -> Iterator[str]:
    teacher = [row for row in rows if row.method == "teacher"]
    for training in unique(row.training for row in rows):
        own = [row for row in rows if row.training == training and row.method != "teacher"]
        if own:
            yield f"**{f'After training, learning rate {training}' if training else 'No training'}**"
            yield _table([*teacher, *own] if not training else own)


def _table(rows: Sequence[Row]) -> str:
    cells: dict[str, dict[Column, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        cells[row.method][row.training, row.step, row.measure].append(row)
    columns = unique((row.training, row.step, row.measure) for row in rows)
    columns.sort(key=lambda column: column[1])  # stable: measures stay in their order
    head = ["method", *(_title(column) for column in columns), "seeds", "seconds"]
    lines = [head, ["---", *["--:"] * (len(head) - 1)]]
    lines += [_line(method, columns, own) for method, own in cells.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _title(column: Column) -> str:
    training, step, measure = column
    return f"{measure}, {step} steps" if training else measure


def _line(method: str, columns: Sequence[Column], cells: dict[Column, list[Row]]) -> list[str]:
    counts = unique(len(cells[column]) for column in columns if column in cells)
    last = cells[max(cells, key=lambda column: column[1])]
    seconds = sum(row.seconds for row in last) / len(last)
    seeds = "-" if method == "teacher" else " to ".join(str(count) for count in sorted(counts))
    spent = "-" if method == "teacher" else f"{seconds:.1f}"
    values = [_cell([row.value for row in cells[column]]) if column in cells else "" for column in columns]
    return [method, *values, seeds, spent]


def _cell(values: Sequence[float]) -> str:
    mean, half = mean_interval(values)
    return f"{mean:.3f}" if len(values) == 1 else f"{mean:.3f} ± {half:.3f}"


def _provenance(rows: Sequence[Row]) -> str:
    """Versions and days of the rows, each way of making them on a line of its own."""
    made: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        made[", ".join(f"{name} {version}" for name, version in row.versions.items())].add(row.date)
    lines = (f"{versions} ({', '.join(sorted(days))})" for versions, days in made.items())
    return f"{ABOUT} Made with {'; and with '.join(lines)}."


def unique(values: Iterable[T]) -> list[T]:
    """Values once each, in the order of their first appearance."""
    return list(dict.fromkeys(values))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="print the Markdown table of rows of results")
    parser.add_argument("rows", type=Path, nargs="+", help="files that examples.starts.run wrote")
    print(tables(read_rows(parser.parse_args(arguments).rows)))


if __name__ == "__main__":
    main()
