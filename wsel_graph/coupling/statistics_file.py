"""Statistics as safetensors files: tensors, and JSON metadata that says what they are; read strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from wsel_graph.coupling.statistics import GroupStatistics, Statistics
from wsel_graph.errors import PlanError
from wsel_graph.plan.files import replacing

FORMAT, VERSION = "wsel-statistics", "1"
_FIELDS = ("count", "mean", "magnitude", "variance")
_SECOND = "second_moments"


def save_statistics(statistics: Statistics, path: str | Path) -> None:
    """Write statistics; the file is there whole or not at all.

    Raises:
        OSError: If the file cannot be written.
    """
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    for key, group in statistics.groups.items():
        tensors |= {f"{key} {name}": getattr(group, name).contiguous() for name in _FIELDS}
        if group.second_moments is not None:
            tensors[f"{key} {_SECOND}"] = group.second_moments.contiguous()
    influence: dict[str, list[int]] = {}
    for number, (stage, lengths) in enumerate(statistics.influence.items()):
        influence[stage] = list(lengths)
        for length, values in lengths.items():
            tensors[f"influence {number} {length}"] = torch.tensor(values, dtype=torch.float64, device="cpu")
    header = {
        "shapes": statistics.shapes,
        "groups": {key: group.places for key, group in statistics.groups.items()},
        "influence": influence,
    }
    with replacing(path) as file:
        metadata = {"format": FORMAT, "version": VERSION, "statistics": json.dumps(header)}
        save_file(tensors, file, metadata)


def load_statistics(path: str | Path) -> Statistics:
    """Read statistics that `Statistics.save` wrote.

    Raises:
        PlanError: If there is no such file, or it does not hold statistics in every detail.
    """
    metadata, tensors = _open(path)
    if metadata.get("format") != FORMAT:
        raise PlanError(f"{path} holds no statistics: write them with ws.statistics(teacher, batches).save(path)")
    if metadata.get("version") != VERSION:
        raise PlanError(
            f"{path} holds statistics of version {metadata.get('version')!r}, this wsel_graph reads version {VERSION}: "
            "collect them anew, or use the wsel_graph that wrote them"
        )
    try:
        header = json.loads(metadata["statistics"])
        groups = {key: _group(tensors, key, tuple(places)) for key, places in header["groups"].items()}
        influence = {
            stage: {length: tuple(tensors.pop(f"influence {number} {length}").tolist()) for length in lengths}
            for number, (stage, lengths) in enumerate(header["influence"].items())
        }
        shapes = {name: tuple(shape) for name, shape in header["shapes"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PlanError(f"{path}: the statistics in it are incomplete ({error}); collect them anew") from error
    if tensors:
        raise PlanError(f"{path}: {next(iter(tensors))!r} is no part of statistics; collect them anew")
    return Statistics(shapes, groups, influence)


def _open(path: str | Path) -> tuple[Mapping[str, str], dict[str, torch.Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise PlanError(
            f"the statistics {path} cannot be read: {error}. Give a file that Statistics.save wrote, or collect them "
            "anew"
        ) from error


def _group(tensors: dict[str, torch.Tensor], key: str, places: tuple[str, ...]) -> GroupStatistics:
    fields: dict[str, Any] = {name: tensors.pop(f"{key} {name}") for name in _FIELDS}
    found = GroupStatistics(places, **fields, second_moments=tensors.pop(f"{key} {_SECOND}", None))
    shape = len(places), found.size
    second = found.second_moments
    if any(fields[name].shape != shape for name in _FIELDS[1:]) or fields["count"].shape != shape[:1]:
        raise ValueError(f"{key} has moments of another shape than {list(shape)}")
    if second is not None and second.shape != (*shape, shape[1]):
        raise ValueError(f"{key} has second moments of another shape than {[*shape, shape[1]]}")
    return found
