"""One state dict written in every form that a teacher may come in."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file

State = Mapping[str, torch.Tensor]
Writer = Callable[[State, Path], Path]


def safetensors(state: State, folder: Path) -> Path:
    save_file(dict(state), folder / "teacher.safetensors", metadata={"format": "pt"})
    return folder / "teacher.safetensors"


def pickled(state: State, folder: Path) -> Path:
    torch.save(dict(state), folder / "teacher.pt")
    return folder / "teacher.pt"


def old_pickled(state: State, folder: Path) -> Path:
    torch.save(dict(state), folder / "teacher.pth", _use_new_zipfile_serialization=False)
    return folder / "teacher.pth"


def in_a_checkpoint(state: State, folder: Path) -> Path:
    torch.save({"epoch": 3, "model": dict(state), "lr": 0.1}, folder / "teacher.ckpt")
    return folder / "teacher.ckpt"


def shards(state: State, folder: Path, suffix: str = ".safetensors") -> Path:
    """Two shards and their index, as transformers names them."""
    stem = "model" if suffix == ".safetensors" else "pytorch_model"
    places = {name: f"{stem}-{1 + number % 2:05}-of-00002{suffix}" for number, name in enumerate(state)}
    for shard in set(places.values()):
        part = {name: tensor for name, tensor in state.items() if places[name] == shard}
        save_file(part, folder / shard) if suffix == ".safetensors" else torch.save(part, folder / shard)
    index = folder / f"{stem}{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": places}))
    return index


def pickled_shards(state: State, folder: Path) -> Path:
    return shards(state, folder, ".bin")


def transformers_folder(state: State, folder: Path) -> Path:
    (folder / "config.json").write_text("{}")
    return shards(state, folder).parent


def data_parallel(state: State, folder: Path) -> Path:
    return safetensors({f"module.{name}": tensor for name, tensor in state.items()}, folder)


def distributed(state: State, folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(dict(state), checkpoint_id=folder / "teacher", no_dist=True)
    return folder / "teacher"


def distributed_nested(state: State, folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"model": dict(state), "step": 4}, checkpoint_id=folder / "teacher", no_dist=True)
    return folder / "teacher"


WRITERS: tuple[Writer, ...] = (
    safetensors, pickled, old_pickled, in_a_checkpoint, shards, pickled_shards, transformers_folder, data_parallel,
    distributed, distributed_nested,
)  # fmt: skip
