"""One progress bar for everything that takes long: in terminals, in notebooks, and nowhere else unless asked for."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from html import escape
from typing import TypeVar

from wsel_graph.notebook import bar

T = TypeVar("T")

PAUSE = 0.1
"""Seconds between two drawings in a notebook."""


def watched(items: Iterable[T], title: str, show: bool | None = None, total: int | None = None) -> Iterable[T]:
    """The same items, with a bar that moves as they are taken.

    Args:
        items: What is worked through, in order.
        title: What is going on, in a word or two.
        show: Whether to show it; None for where somebody looks: stderr is a terminal, or this is a notebook.
        total: How many items there are, where they have no length.

    >>> list(watched([1, 2], "Counting", show=False))
    [1, 2]
    """
    if not (somebody_looks() if show is None else show):
        return items
    count = len(items) if total is None and isinstance(items, Sized) else total
    if in_notebook():
        return _in_a_cell(items, title, count)
    from rich.console import Console  # who only applies plans does not load it
    from rich.progress import track

    return track(items, title, total=count, console=Console(stderr=True, force_jupyter=False))


def somebody_looks() -> bool:
    """Whether stderr is a terminal, or this is a notebook."""
    return sys.stderr.isatty() or in_notebook()


def in_notebook() -> bool:
    """Whether this code runs in a notebook's kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")


def _in_a_cell(items: Iterable[T], title: str, total: int | None) -> Iterator[T]:
    """Drawn by the notebook itself: rich would need a package of widgets for it."""
    shown = importlib.import_module("IPython.display")
    cell = shown.display(shown.HTML(_drawn(title, 0, total)), display_id=True)
    drawn, done = time.monotonic(), 0
    for item in items:
        yield item
        done += 1
        if time.monotonic() - drawn >= PAUSE:
            cell.update(shown.HTML(_drawn(title, done, total)))
            drawn = time.monotonic()
    cell.update(shown.HTML(_drawn(title, done, done)))


def _drawn(title: str, done: int, total: int | None) -> str:
    text = f"{title}: {done:,}" + ("" if total is None else f" of {total:,}")
    return f"<div>{escape(text)}</div>" + ("" if total is None else bar(done / max(1, total), text))
