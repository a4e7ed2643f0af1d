"""Raw results as JSON lines: one row for each number."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One number, and what it takes to make it again."""

    network: str
    method: str
    seed: int
    training: str
    """Name of the schedule; empty before training."""
    step: int
    """Training steps behind the student."""
    measure: str
    value: float
    seconds: float
    """Wall time: at step 0 of making the start, later of the training so far. The exam is not in it."""
    versions: dict[str, str]
    date: str
    """Day, in ISO form."""

    @property
    def key(self) -> tuple[str, str, int, str, int, str]:
        """What a value is of; no two rows of a table share it."""
        return (self.network, self.method, self.seed, self.training, self.step, self.measure)


def read_rows(paths: Iterable[Path]) -> list[Row]:
    """Rows of several files.

    Raises:
        ValueError: If a line is no row, or two rows are of the same thing.
    """
    rows: dict[tuple[str, str, int, str, int, str], Row] = {}
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = Row(**json.loads(line))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}:{number}: not a row of results ({error}): {line[:80]}") from error
            if row.key in rows:
                raise ValueError(f"{path}:{number}: a second row of {row.key}; remove one of the two")
            rows[row.key] = row
    return list(rows.values())


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a file; it is created if it is not there."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)
