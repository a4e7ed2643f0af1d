"""Logs of a run: CSV always, TensorBoard where it is installed."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Sequence
from pathlib import Path


def write(folder: Path, name: str, history: Sequence[dict[str, float]]) -> None:
    """Write all that was seen; the last of it to TensorBoard too."""
    if not history:
        return
    part = folder / f"{name}.part"
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(history[0]))
        writer.writeheader()
        writer.writerows(history)
    part.replace(folder / name)
    if importlib.util.find_spec("tensorboard") is not None:
        _tensorboard(folder, history[-1])


def _tensorboard(folder: Path, seen: dict[str, float]) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for name, value in seen.items():
            writer.add_scalar(name, value, int(seen["step"]))
