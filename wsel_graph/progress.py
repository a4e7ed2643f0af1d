"""Progress of what may take longer than a second: a bar on a terminal, lines in the log `wsel_graph` otherwise."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")

LOG = logging.getLogger("wsel_graph")

PATIENCE = 1.0
"""Seconds before anything is shown."""


def tracked(items: Sequence[Item], title: str, progress: bool | None) -> Iterable[Item]:
    """The items, while a bar shows how many are through.

    Args:
        progress: Show a bar; by default where stderr is a terminal. What ends within a second shows none.

    >>> list(tracked([1, 2], "Counting", None))
    [1, 2]
    """
    start = time.perf_counter()
    bar = _with_bar(items, title) if (sys.stderr.isatty() if progress is None else progress) else items
    yield from bar
    seconds = time.perf_counter() - start
    if seconds > PATIENCE:
        LOG.info("%s: %d steps in %.1f s", title, len(items), seconds)


def _with_bar(items: Sequence[Item], title: str) -> Iterator[Item]:
    start, bar, task = time.perf_counter(), None, None
    try:
        for number, item in enumerate(items):
            if bar is None and time.perf_counter() - start > PATIENCE:
                from rich.console import Console
                from rich.progress import Progress

                bar = Progress(console=Console(stderr=True))
                bar.start()
                task = bar.add_task(title, total=len(items))
            if bar is not None and task is not None:
                bar.update(task, completed=number)
            yield item
        if bar is not None and task is not None:
            bar.update(task, completed=len(items))
    finally:
        if bar is not None:
            bar.stop()
