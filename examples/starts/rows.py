"""Raw results as JSON lines: one row for each number."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

TUNING, VALIDATION_LOSS = "tuning ", "validation loss"
"""What the `training` of a row begins with where a learning rate was tried, and its measure: smaller is better."""


@dataclass(frozen=True, slots=True)
class Row:
    """One number, and what it takes to make it again."""

    network: str
    method: str
    seed: int
    training: str
    """Learning rate; empty before training; `tuning ` and the rate where it was tried out."""
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


def best_rates(rows: Iterable[Row], families: Mapping[str, str]) -> dict[str, float]:
    """The learning rate of least validation loss for every method; of a family, for its best method only.

    Args:
        rows: Of one network.
        families: The family of every method; empty where it has none.
    """
    tried: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for row in rows:
        if row.measure == VALIDATION_LOSS and row.method in families:
            rate = float(row.training.removeprefix(TUNING))
            tried[families[row.method] or row.method].append((row.value, rate, row.method))
    best = [min(own) for own in tried.values()]
    return {method: rate for loss, rate, method in best if math.isfinite(loss)}
