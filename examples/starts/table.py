"""Print the Markdown tables of rows: for every network and method the mean over seeds, with its 95 % interval.

    python -m examples.starts.table rows.jsonl [more.jsonl ...]

`0.612 ± 0.010` is a mean and half the width of its interval by Student's t, over seeds. An interval of zero means that
the start leaves nothing to chance; other questions in the exam would still give other numbers. `seconds` is the mean
wall time of making the start, or of the training. `kept`: the share of the teacher's quality above random, by the
first measure: (method - random) / (teacher - random). `to random`: the first stop at which the mean reaches that of the
random initialisation after the last step; 0 is the start itself.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import TypeVar

from examples.starts.interval import mean_interval
from examples.starts.methods import METHODS
from examples.starts.rows import TUNING, Row, read_rows

ABOUT = "Mean ± half the 95 % interval over seeds; the choice of the exam's questions is not in it."
TEACHER, RANDOM, PAPER = "teacher", "random", "paper"
THEIRS = (RANDOM, "mimetic", PAPER)

T = TypeVar("T")


def tables(rows: Sequence[Row]) -> str:
    """Markdown for all networks: the targets, then for each network its starts and what training makes of them."""
    networks = [Network([row for row in rows if row.network == name]) for name in unique(row.network for row in rows)]
    parts = ["### What was reached", _table([TARGETS, *(network.reached() for network in networks)])]
    for network in networks:
        parts += [f"### {network.name}", *network.tables()]
    return "\n\n".join(parts)


TARGETS = ["network", "kept: paper", "kept: best of ours", "times", "after training: random", "paper", "best of ours",
           "to random"]  # fmt: skip


class Network:
    """The rows of one network."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.name = rows[0].network
        self.rows = rows
        self._cells: dict[tuple[str, int, str], list[Row]] = defaultdict(list)
        for row in rows:
            if not row.training.startswith(TUNING):
                self._cells[row.method, row.step, row.measure].append(row)
        known = unique(row.method for row in rows if row.method != TEACHER)
        self.methods = sorted(known, key=[*METHODS, *known].index)
        self.measures = unique(measure for _, _, measure in self._cells)
        self.steps = sorted({step for _, step, _ in self._cells})

    # -- numbers

    def mean(self, method: str, step: int, measure: str | None = None) -> float | None:
        """Mean over seeds, by default of the first measure; None without rows."""
        rows = self._cells.get((method, step, measure or self.measures[0]))
        return fmean(row.value for row in rows) if rows else None

    def cell(self, method: str, step: int, measure: str) -> str:
        """`mean ± half`; empty without rows."""
        rows = self._cells.get((method, step, measure))
        return _cell([row.value for row in rows]) if rows else ""

    def kept(self, method: str) -> float | None:
        """Share of the teacher's quality above random before any training."""
        own, teacher = self.mean(method, 0), self.mean(TEACHER, 0)
        floor = max((found for name in self._random() if (found := self.mean(name, 0)) is not None), default=None)
        if own is None or teacher is None or floor is None:
            return None
        return (own - floor) / (teacher - floor)

    def to_random(self, method: str) -> int | None:
        """The first stop at which the mean is that of the random initialisation after the last step."""
        last = self.steps[-1]
        goal = max((found for name in self._random() if (found := self.mean(name, last)) is not None), default=None)
        ways = ((step, self.mean(method if step else method.split(" + ")[0], step)) for step in self.steps)
        return next((step for step, own in ways if own is not None and goal is not None and own >= goal), None)

    def _ours(self, step: int) -> list[str]:
        """Methods past random, mimetic and the paper's, of as many seeds as any: a lucky seed is not the best."""
        seeds = {name: len(self._cells.get((name, step, self.measures[0]), ())) for name in self.methods}
        ours = [name for name in self.methods if not name.startswith(THEIRS) and seeds[name]]
        return [name for name in ours if seeds[name] == max(seeds[each] for each in ours)]

    def _random(self) -> list[str]:
        return [name for name in self.methods if name.startswith(RANDOM) and " + " not in name]

    # -- Markdown

    def reached(self) -> list[str]:
        """One line of the table of targets."""
        before = max(
            ((kept, name) for name in self._ours(0) if (kept := self.kept(name)) is not None), default=(0.0, "")
        )
        paper = self.kept(PAPER)
        times = "" if paper is None else f"{before[0] / paper:.1f}" if paper > 0 else "paper keeps nothing"
        line = [self.name, _share(paper), f"{_share(before[0])} ({before[1]})", times]
        last, measure = self.steps[-1], self.measures[0]
        if not last:
            return [*line, *["not trained"] * 4]
        trained = [(found, name) for name in self._ours(last) if (found := self.mean(name, last)) is not None]
        best = max(trained, default=(0.0, ""))[1]
        means = {name: found for name in self.methods if (found := self.mean(name, last)) is not None}
        theirs = [max((means[name], name) for name in means if name.startswith(kind))[1] for kind in (RANDOM, PAPER)]
        cells = [self.cell(name, last, measure) for name in (*theirs, best)]
        verdict = "apart" if all(self._apart(best, name, last) for name in theirs) else "not apart"
        steps = self.to_random(best)
        return [*line, *cells[:2], f"{cells[2]} ({best}; {verdict})", f"{steps} of {last}"]

    def _apart(self, one: str, other: str, step: int) -> bool:
        """Whether the first's interval lies above the second's."""
        rows = [self._cells[name, step, self.measures[0]] for name in (one, other)]
        (high, above), (low, below) = (mean_interval([row.value for row in own]) for own in rows)
        return high - above > low + below

    def tables(self) -> Iterator[str]:
        """The starts, the training, and where the rows come from."""
        yield "**No training**"
        head = ["method", *self.measures, "kept", "seeds", "seconds"]
        names = [name for name in (TEACHER, *self.methods) if self.mean(name, 0) is not None]
        yield _table([head, *(self._untrained(name) for name in names)])
        if last := self.steps[-1]:
            yield f"**After training for {last} steps, each start at its own learning rate**"
            stops = [step for step in self.steps if step]
            head = ["method", "rate", *(f"{self.measures[0]}, {step} steps" for step in stops)]
            head += [f"{measure}, {last}" for measure in self.measures[1:]]
            names = [name for name in self.methods if self.mean(name, last) is not None]
            yield _table([[*head, "to random", "seeds", "seconds"], *(self._trained(name, stops) for name in names)])
        yield self._provenance()

    def _untrained(self, method: str) -> list[str]:
        cells = [self.cell(method, 0, measure) for measure in self.measures]
        rows = self._cells[method, 0, self.measures[0]]
        if method == TEACHER:
            return [method, *cells, "1", "-", "-"]
        return [method, *cells, _share(self.kept(method)), str(len(rows)), f"{fmean(row.seconds for row in rows):.1f}"]

    def _trained(self, method: str, stops: Sequence[int]) -> list[str]:
        rows = self._cells[method, stops[-1], self.measures[0]]
        cells = [self.cell(method, step, self.measures[0]) for step in stops]
        cells += [self.cell(method, stops[-1], measure) for measure in self.measures[1:]]
        steps, rates = self.to_random(method), unique(row.training for row in rows)
        about = ["-" if steps is None else str(steps), str(len(rows)), f"{fmean(row.seconds for row in rows):.1f}"]
        return [method, ", ".join(rates), *cells, *about]

    def _provenance(self) -> str:
        """Versions and days of the rows, each way of making them on a line of its own."""
        made: dict[str, set[str]] = defaultdict(set)
        for row in self.rows:
            made[", ".join(f"{name} {version}" for name, version in row.versions.items())].add(row.date)
        lines = (f"{versions} ({', '.join(sorted(days))})" for versions, days in made.items())
        return f"{ABOUT} Made with {'; and with '.join(lines)}."


def _table(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---", *["--:"] * (len(head) - 1)], *rest])


def _cell(values: Sequence[float]) -> str:
    mean, half = mean_interval(values)
    return f"{mean:.3f}" if len(values) == 1 else f"{mean:.3f} ± {half:.3f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def unique(values: Iterable[T]) -> list[T]:
    """Values once each, in the order of their first appearance."""
    return list(dict.fromkeys(values))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="print the Markdown tables of rows of results")
    parser.add_argument("rows", type=Path, nargs="+", help="files that examples.starts.run wrote")
    print(tables(read_rows(parser.parse_args(arguments).rows)))


if __name__ == "__main__":
    main()
