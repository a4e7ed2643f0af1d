"""The paper's numbers beside ours: `python -m examples.paper.table 3`, or `all`; `small` for the small setting whole.

The paper's stand in `numbers.yaml`, ours are read from `rows/`. A cell that was not run says so; nothing else is shown
as ours. `81.2 ± 0.4` is a mean over seeds and half the width of its 95 % interval by Student's t.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from examples.paper import small
from examples.paper.experiment import HERE, catalogue
from examples.paper.results import Row, read_rows
from examples.paper.summary import finals, markdown, percent, provenance
from examples.starts.interval import mean_interval

ROWS = HERE / "rows"
NOT_RUN = "not run"
BEGIN, END = "<!-- small: written by a command -->", "<!-- end -->"
SMALL_COLUMNS = ("ViT", "ConvNeXt")


@dataclass
class Ours:
    """Final accuracies of runs, and which of them a table has shown."""

    rows: Iterable[Row]
    shown: dict[str, list[Row]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.final = finals(self.rows)

    def cell(self, experiments: Any) -> str:
        """The mean over seeds; of several experiments the median of their means."""
        if experiments is None:
            return ""
        names = [experiments] if isinstance(experiments, str) else list(experiments)
        if not all(name in self.final for name in names):
            return NOT_RUN
        self.shown |= {name: self.final[name] for name in names}
        if len(names) > 1:
            means = (mean_interval([row.value for row in self.final[name]])[0] for name in names)
            return f"{100 * median(means):.1f}"
        return percent([row.value for row in self.final[names[0]]])

    def about(self) -> str:
        """What was shown: which seeds, on what, when."""
        rows = [row for own in self.shown.values() for row in own]
        return provenance(rows) if rows else "None of ours was run."


def table(number: str, rows: Sequence[Row]) -> str:
    """One table of the paper as Markdown.

    Raises:
        KeyError: If there are no numbers of it.
    """
    content = catalogue("numbers.yaml")[number]
    published, tried = Ours(rows), Ours(rows)
    head = ["", *(f"{column}, {whose}" for column in content["columns"] for whose in ("paper", "ours"))]
    lines = [
        [label, *(text for paper, name in cells for text in (f"{paper:.1f}", published.cell(name)))]
        for label, cells in content["rows"].items()
    ]
    parts = [f"### {content['title']}", markdown(head, lines), published.about()]
    if "small" in content:
        columns = content.get("small_columns") or [
            SMALL_COLUMNS[place % 2] if len(content["columns"]) == 2 else column
            for place, column in enumerate(content["columns"])
        ]
        own = [[label, *map(tried.cell, names)] for label, names in content["small"].items()]
        parts += ["The same question in the small setting:", markdown(["", *columns], own), tried.about()]
    return "\n\n".join(parts)


def write_readme(rows: Sequence[Row], file: Path = HERE / "README.md") -> None:
    """Put the tables of the small setting between the two marks of a README."""
    text = file.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    file.write_text(f"{before}{BEGIN}\n\n{small.tables(rows)}\n\n{END}{after}", encoding="utf-8")


def titles() -> Mapping[str, str]:
    """What can be printed."""
    return {number: content["title"] for number, content in catalogue("numbers.yaml").items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    known = "; ".join(f"{number}: {title.partition(': ')[2]}" for number, title in titles().items())
    parser = argparse.ArgumentParser(description="print the paper's numbers beside ours", epilog=known)
    names = [*titles(), "all", "small", "readme"]
    about = "such as 3 or 4a; all; small; readme: write the small setting's tables into README.md"
    parser.add_argument("number", choices=names, metavar="TABLE", help=about)
    parser.add_argument("--rows", type=Path, nargs="*", help="files of rows; all of rows/ without it")
    options = parser.parse_args(arguments)
    rows = read_rows(options.rows if options.rows is not None else sorted(ROWS.glob("*.jsonl")))
    if options.number == "readme":
        write_readme(rows)
        return
    if options.number == "small":
        print(small.tables(rows))
        return
    numbers = list(titles()) if options.number == "all" else [options.number]
    print("\n\n".join(table(number, rows) for number in numbers))


if __name__ == "__main__":
    main()
