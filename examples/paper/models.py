"""The networks of `models.yaml`, and where a teacher's values come from."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from examples.paper.experiment import ExperimentError, Model, catalogue


def build(name: str, classes: int | None = None, drop_path: float = 0.0) -> nn.Module:
    """A network as its library initialises it; `classes=None` leaves the number of classes at its default."""
    entry = catalogue("models.yaml")[name]
    options: dict[str, Any] = {key: _tuples(value) for key, value in entry.get("args", {}).items()}
    if classes is not None:
        options[entry.get("classes", "num_classes")] = classes
    if drop_path:
        options["drop_path_rate"] = drop_path
    module, _, attribute = entry["make"].partition(":")
    if module == "timm":
        made: nn.Module = timm.create_model(attribute, **options)
        return made
    built: nn.Module = getattr(importlib.import_module(module), attribute)(**options)
    return built


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def build_teacher(teacher: Model, runs: Path, seed: int = 0) -> nn.Module:
    """The teacher with its values, in evaluation mode.

    Args:
        teacher: Which network and weights.
        runs: The folder that `run:` weights are in.
        seed: Of the run that made them.
    Raises:
        ExperimentError: If there are no weights.
    """
    weights = teacher.weights or catalogue("models.yaml")[teacher.model].get("weights", "")
    kind, _, place = weights.partition(":")
    if kind == "timm":
        pretrained: nn.Module = timm.create_model(place, pretrained=True)
        return pretrained.eval()
    if kind not in ("run", "file"):
        raise ExperimentError(
            f"teacher {teacher.model}: no weights; write timm:TAG, run:EXPERIMENT or file:PATH, not {weights!r}"
        )
    file = checkpoint_of(runs, place, seed) if kind == "run" else Path(place)
    if not file.exists():
        hint = f"; run experiments/{place}.yaml first" if kind == "run" else ""
        raise ExperimentError(f"teacher {teacher.model}: {file} is not there{hint}")
    content = torch.load(file, map_location="cpu", weights_only=True)
    network = build(teacher.model, content["classes"])
    network.load_state_dict(content["student"])
    return network.eval()


def save(student: nn.Module, classes: int, file: Path) -> None:
    """Write what `build_teacher` reads."""
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"student": student.state_dict(), "classes": classes}, file)


def checkpoint_of(runs: Path, experiment: str, seed: int) -> Path:
    """Where a run keeps the student that it made."""
    return runs / experiment / f"seed{seed}" / "student.pt"
