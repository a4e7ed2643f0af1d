"""Write the tables into this folder's README.md, from the rows in `rows/`.

    python -m examples.starts.readme            # write
    python -m examples.starts.readme --check    # only say whether it is as the rows make it

What stands between the two marks is replaced; the rest of the page is written by hand.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from examples.starts.network import NETWORKS
from examples.starts.rows import Row, read_rows
from examples.starts.table import tables

FOLDER = Path(__file__).parent
BEGIN, END = "<!-- tables: python -m examples.starts.readme -->", "<!-- end of tables -->"


def committed_rows() -> list[Row]:
    """All rows of this folder, networks in the order of `NETWORKS`."""
    rows = read_rows(sorted((FOLDER / "rows").glob("*.jsonl")))
    return sorted(rows, key=lambda row: NETWORKS.index(row.network))


def page(text: str, rows: Sequence[Row]) -> str:
    """The page with its tables made anew.

    Raises:
        ValueError: If the page lacks one of the two marks.
    """
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"the page needs the lines {BEGIN!r} and {END!r}, in this order")
    return f"{before}{BEGIN}\n\n{tables(rows)}\n\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="write the tables of this folder's README.md")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the page is not up to date")
    options = parser.parse_args(arguments)
    file = FOLDER / "README.md"
    text = file.read_text(encoding="utf-8")
    made = page(text, committed_rows())
    if options.check and made != text:
        sys.exit(f"{file.name} is not what its rows make of it: run python -m examples.starts.readme")
    if not options.check:
        file.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
