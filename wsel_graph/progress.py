"""Progress of what may take longer than a second: a bar in a terminal or a notebook, lines in the log otherwise.

The log is `wsel_graph`, level INFO.
"""

from __future__ import annotations

import importlib
import logging
import sys
import time
from collections.abc import Iterable, Sized
from contextlib import suppress
from html import escape
from typing import Any, Protocol, TypeVar

from wsel_graph.notebook import bar

Item = TypeVar("Item")

LOG = logging.getLogger("wsel_graph")

PATIENCE = 1.0
"""Seconds before anything is shown."""

PAUSE = 0.1
"""Seconds between two drawings in a notebook."""


class Bar(Protocol):
    """Something that shows how many items are through."""

    def show(self, done: int) -> None:
        """Move to a number of items."""

    def close(self) -> None:
        """Leave it as it is."""


def tracked(items: Iterable[Item], title: str, progress: bool | None = None) -> Iterable[Item]:
    """The items, while a bar shows how many are through.

    Args:
        items: What is worked through, in order; with a length, the bar knows how far it is.
        title: What is going on, in a word or two.
        progress: Show a bar; None for where somebody looks: stderr is a terminal, or this is a notebook. What ends
            within a second shows none.

    >>> list(tracked([1, 2], "Counting"))
    [1, 2]
    """
    start, done = time.perf_counter(), 0
    wanted = (sys.stderr.isatty() or in_notebook()) if progress is None else progress
    shown: Bar | None = None
    try:
        for item in items:
            if wanted and shown is None and time.perf_counter() - start >= PATIENCE:
                shown = _bar(title, len(items) if isinstance(items, Sized) else None)
            if shown is not None:
                shown.show(done)
            yield item
            done += 1
        if shown is not None:
            shown.show(done)
    finally:
        if shown is not None:
            shown.close()
    seconds = time.perf_counter() - start
    if seconds > PATIENCE:
        LOG.info("%s: %d steps in %.1f s", title, done, seconds)


def in_notebook() -> bool:
    """Whether this code runs in a notebook's kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")


def _bar(title: str, total: int | None) -> Bar:
    return _CellBar(title, total) if in_notebook() else _TerminalBar(title, total)


class _TerminalBar:
    """Drawn by rich, on stderr."""

    def __init__(self, title: str, total: int | None) -> None:
        from rich.console import Console  # who only applies plans does not load it
        from rich.progress import Progress

        self._progress = Progress(console=Console(stderr=True, force_jupyter=False))
        self._progress.start()
        self._task = self._progress.add_task(title, total=total)

    def show(self, done: int) -> None:
        self._progress.update(self._task, completed=done)

    def close(self) -> None:
        self._progress.stop()


class _CellBar:
    """Drawn by the notebook itself: rich would need a package of widgets for it."""

    def __init__(self, title: str, total: int | None) -> None:
        self._title, self._total, self._drawn = title, total, 0.0
        self._shown: Any = importlib.import_module("IPython.display")
        self._cell: Any = None

    def show(self, done: int) -> None:
        last = self._total is not None and done == self._total
        if not last and time.monotonic() - self._drawn < PAUSE:
            return
        self._drawn = time.monotonic()
        html = self._shown.HTML(_drawn(self._title, done, self._total))
        if self._cell is None:
            self._cell = self._shown.display(html, display_id=True)
        else:
            with suppress(AttributeError):  # a front end without updates
                self._cell.update(html)

    def close(self) -> None:
        self._cell = None


def _drawn(title: str, done: int, total: int | None) -> str:
    text = f"{title}: {done:,}" + ("" if total is None else f" of {total:,}")
    return f"<div>{escape(text)}</div>" + ("" if total is None else bar(done / max(1, total), text))
