"""Write `tests/zoo/pairs/README.md` from the rows of a full run.

python -m tests.zoo.pairs.table results.jsonl [more.jsonl ...]
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

Row = dict[str, Any]

INTRO = """# Pair zoo: the large network of a family initialises the small one

Published configurations, random weights, no hint of any kind: the matcher sees two networks and their example inputs.
`planned`: every tensor of the student is explained. `refused`: the error says which are not, and the numbers are those
of a plan that keeps them. Columns: share of the student's parameter elements that receive teacher values; tensors that
nothing in the teacher fits; seconds for tracing both models and planning on one CPU thread; whether the initialised
student computes finite numbers (only run where both models are small enough to be built with values).

Made by these two commands (tests use a fixed sample):

    python -m tests.zoo.pairs.run results.jsonl
    python -m tests.zoo.pairs.table results.jsonl
"""

KINDS = {"Inside a family": False, "Across families (what has no counterpart is kept)": True}


def main() -> None:
    """Read all rows, the latest of each pair, and write the page."""
    rows: dict[str, Row] = {}
    for path in sys.argv[1:]:
        for line in Path(path).read_text().splitlines():
            row = json.loads(line)
            rows[row["id"]] = row
    page = [INTRO, *_summary(rows.values())]
    for title, across in KINDS.items():
        page += _table(title, [row for row in rows.values() if row["across"] is across])
    (Path(__file__).parent / "README.md").write_text("\n".join(page) + "\n")


def _summary(rows: Iterable[Row]) -> list[str]:
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "timm", "torchvision", "transformers"))
    lines = [
        "## Result\n",
        f"{datetime.datetime.now(datetime.UTC).date()}; {versions}.\n",
        "| | pairs | planned | refused | crashed | median coverage | finite | not finite |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for title, across in KINDS.items():
        own = [row for row in rows if row["across"] is across]
        count = {status: sum(row["status"] == status for row in own) for status in ("planned", "refused", "CRASH")}
        covered = sorted(row["covered"] for row in own)[len(own) // 2] if own else 0
        lines.append(
            f"| {title} | {len(own)} | {count['planned']} | {count['refused']} | {count['CRASH']} "
            f"| {100 * covered:.1f} % | {sum(row['finite'] is True for row in own)} "
            f"| {sum(row['finite'] is False for row in own)} |"
        )
    return lines


def _table(title: str, rows: Iterable[Row]) -> list[str]:
    lines = [
        f"\n## {title}\n",
        "| teacher | student | status | covered | unexplained | kept, and why | s | finite |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        teacher, student = row["id"].split(" to ")
        kept = "; ".join(f"{number}: {reason}" for reason, number in list(row["kept"].items())[:3])
        lines.append(
            f"| {teacher} | {student} | {row['status']} | {100 * row['covered']:.2f} % | {row['unexplained']} "
            f"| {_cell(kept if row['status'] == 'planned' else row['note'])} | {row['seconds']:.1f} "
            f"| {'' if row['finite'] is None else 'yes' if row['finite'] else 'NO'} |"
        )
    return lines


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())[:300]


if __name__ == "__main__":
    main()
