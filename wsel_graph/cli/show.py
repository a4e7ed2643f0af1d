"""What a command shows: tables or one JSON document on stdout, progress on stderr when somebody looks at it."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

WIDTH = 110
"""Columns of the text where stdout is no terminal."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a command: what `--json` prints, what people read, and the exit code."""

    document: Any
    parts: Sequence[RenderableType | str]
    code: int = 0


class _Console(Console):
    """Leaves a reader that went away to `guarded`; rich itself would end the program."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def print_answer(answer: Answer, as_json: bool) -> int:
    """Print one form of the answer on stdout; gives the exit code."""
    if as_json:
        print(json.dumps(finite(answer.document), allow_nan=False))
        return answer.code
    terminal = sys.stdout.isatty()
    console = _Console(file=sys.stdout, width=None if terminal else WIDTH)
    for part in answer.parts:
        if isinstance(part, str):
            console.print(Text(part), soft_wrap=True)
        else:
            console.print(part)
    return answer.code


def finite(data: Any) -> Any:
    """The same data without infinities, which JSON lacks: they become null.

    >>> finite({"error": float("inf"), "sizes": (1, 2.5)})
    {'error': None, 'sizes': [1, 2.5]}
    """
    if isinstance(data, float) and not math.isfinite(data):
        return None
    if isinstance(data, Mapping):
        return {str(key): finite(value) for key, value in data.items()}
    return [finite(item) for item in data] if isinstance(data, (list, tuple)) else data


@contextmanager
def working(text: str) -> Iterator[None]:
    """Say what takes time, on a terminal; what model code prints meanwhile goes to stderr, never into the answer."""
    console = Console(stderr=True)
    with redirect_stdout(sys.stderr):
        if not console.is_terminal:
            yield
            return
        with console.status(Text(f"{text} ...")):
            yield


def warn(text: str) -> None:
    """One line for people, on stderr."""
    print(f"note: {text}", file=sys.stderr)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> RenderableType:
    """A titled table; text is never cut, and brackets are no markup."""
    made = Table(box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return Group("", Text(title), made)  # a table's own title would be wrapped to the width of the table


def some(names: Iterable[str], limit: int = 3) -> str:
    """The first names, and dots where there are more."""
    listed = list(names)
    return ", ".join(listed[:limit]) + (", ..." if len(listed) > limit else "")
