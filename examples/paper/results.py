"""Results as JSON lines: one row for each number, with what it takes to make it again."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

Key = tuple[str, int, str, float, int, str]


@dataclass(frozen=True, slots=True)
class Row:
    """One number."""

    experiment: str
    seed: int
    phase: str
    """`untrained`, `tune` (on held-out training images), or `run` (on the test part)."""
    lr: float
    step: int
    measure: str
    value: float
    seconds: float
    """Training time so far; before training, of making the start."""
    device: str
    versions: dict[str, str]
    date: str
    """Day, in ISO form."""

    @property
    def key(self) -> Key:
        """What the value is of."""
        return (self.experiment, self.seed, self.phase, self.lr, self.step, self.measure)


def read_rows(paths: Iterable[Path]) -> list[Row]:
    """Rows of several files.

    Raises:
        ValueError: If a line is no row, or two rows are of the same thing.
    """
    rows: dict[Key, Row] = {}
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
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)


def today() -> str:
    """The day, in ISO form."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


@cache
def versions() -> dict[str, str]:
    """Of what decides the numbers."""
    return {"python": platform.python_version()} | {name: version(name) for name in ("torch", "timm")}


def device_name(device: torch.device) -> str:
    """The hardware, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' if threads > 1 else ''} of {_processor()} ({os.cpu_count()} cores)"


@cache
def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
