"""One progress bar for everything that takes long: in terminals, in notebooks, and nowhere else unless asked for.

What ends within a second shows none. What takes longer says so in the log `wsel_graph`, shown or not.
"""

from __future__ import annotations

import importlib
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from html import escape
from typing import TypeVar

from wsel_graph.notebook import bar

T = TypeVar("T")
Draw = Callable[[int], None]
"""Shows how many items are done."""

LOG = logging.getLogger("wsel_graph")

PATIENCE = 1.0
"""Seconds before anything is shown."""

PAUSE = 0.1
"""Seconds between two drawings."""


def tracked(items: Iterable[T], title: str, show: bool | None = None, total: int | None = None) -> Iterator[T]:
    """The same items, with a bar that moves as they are taken.

    Args:
        items: What is worked through, in order.
        title: What is going on, in a word or two.
        show: Whether to show a bar; None for where somebody looks: stderr is a terminal, or this is a notebook.
        total: How many items there are, where they have no length.

    >>> list(tracked([1, 2], "Counting"))
    [1, 2]
    """
    count = len(items) if total is None and isinstance(items, Sized) else total
    shown = somebody_looks() if show is None else show
    start, done, draw, close = time.monotonic(), 0, None, None
    drawn = start
    try:
        for item in items:
            yield item
            done += 1
            now = time.monotonic()
            if shown and now - start > PATIENCE and now - drawn >= PAUSE:
                if draw is None:
                    draw, close = _notebook_bar(title, count) if in_notebook() else _terminal_bar(title, count)
                draw(done)
                drawn = now
        if draw is not None:
            draw(done)
    finally:
        if close is not None:
            close()
    if (seconds := time.monotonic() - start) > PATIENCE:
        LOG.info("%s: %d steps in %.1f s", title, done, seconds)


def somebody_looks() -> bool:
    """Whether stderr is a terminal, or this is a notebook."""
    return sys.stderr.isatty() or in_notebook()


def in_notebook() -> bool:
    """Whether this code runs in a notebook's kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")


def _terminal_bar(title: str, total: int | None) -> tuple[Draw, Callable[[], None]]:
    from rich.console import Console  # who only applies plans does not load it
    from rich.progress import Progress

    shown = Progress(console=Console(stderr=True, force_jupyter=False))
    shown.start()
    task = shown.add_task(title, total=total)
    return lambda done: shown.update(task, completed=done), shown.stop


def _notebook_bar(title: str, total: int | None) -> tuple[Draw, Callable[[], None]]:
    """Drawn by the notebook itself: rich would need a package of widgets for it."""
    shown = importlib.import_module("IPython.display")
    cell = shown.display(shown.HTML(_drawn(title, 0, total)), display_id=True)
    return lambda done: cell.update(shown.HTML(_drawn(title, done, total))), lambda: None


def _drawn(title: str, done: int, total: int | None) -> str:
    text = f"{title}: {done:,}" + ("" if total is None else f" of {total:,}")
    return f"<div>{escape(text)}</div>" + ("" if total is None else bar(done / max(1, total), text))
