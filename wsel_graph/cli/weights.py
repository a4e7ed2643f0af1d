"""Weights: read from files, and loaded strictly.

Pickled files are read with `weights_only=True`: a checkpoint must not run code.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from wsel_graph.capture.replicate import geometry
from wsel_graph.errors import PlanError

Tensors = dict[str, torch.Tensor]

IN_FOLDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Files that a folder is searched for, in this order."""

PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".tar")
LISTED = 10


# -- reading


def read_weights(path: str | Path) -> Tensors:
    """The tensors of a checkpoint, by name.

    Args:
        path: A `.safetensors` file, the index of a sharded one (`.json`), a pickled file (`.pt`, `.pth`, `.bin`,
            `.ckpt`), or a folder with one of the usual names in it.
    Raises:
        PlanError: If there is no such file, or it holds anything else.
    """
    file = Path(path)
    if file.is_dir():
        inside = next((file / name for name in IN_FOLDER if (file / name).is_file()), None)
        if inside is None:
            raise PlanError(f"the folder {file} holds none of {', '.join(IN_FOLDER)}: name the file")
        file = inside
    if not file.is_file():
        raise PlanError(f"there is no weights file {file}")
    if file.suffix == ".json":
        return _read_shards(file)
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    if file.suffix in PICKLED:
        return _read_pickled(file)
    raise PlanError(f"{file} is no weights file: .safetensors, .json (the index of shards), {', '.join(PICKLED)}")


def _read_safetensors(file: Path) -> Tensors:
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise PlanError(f"{file} is no whole safetensors file ({error}): fetch or write it again") from error


def _read_shards(index: Path) -> Tensors:
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(places.values()))
        names = [(name, Path(shard).name == shard) for name, shard in places.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlanError(f'{index} is no index of shards: it needs a "weight_map" from tensors to files') from error
    if odd := [places[name] for name, plain in names if not plain]:
        raise PlanError(f"{index} names {odd[0]!r}, which is not beside it")
    if missing := [shard for shard in shards if not (index.parent / shard).is_file()]:
        raise PlanError(f"{len(missing)} of {len(shards)} shards of {index} are missing: {_some(missing)}")
    found: Tensors = {}
    for shard in shards:
        tensors = read_weights(index.parent / shard)
        found.update({name: tensor for name, tensor in tensors.items() if places.get(name) == shard})
    if lost := [name for name in places if name not in found]:
        raise PlanError(f"{index} promises {len(lost)} tensors that its shards lack: {_some(lost)}")
    return found


def _read_pickled(file: Path) -> Tensors:
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise PlanError(
            f"{file} holds more than tensors, or is no checkpoint, and is not opened, because that could run any code. "
            "Load it in a program of your own and save its state dict with safetensors.torch.save_file."
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise PlanError(f"{file} is no whole checkpoint ({str(error).strip()[:200]})") from error
    return _state_dict(found, file)


def _state_dict(found: Any, file: Path) -> Tensors:
    """The state dict in a checkpoint: itself, or the only one among its entries."""
    if _has_tensors(found):
        return dict(found)
    inner = {str(key): value for key, value in found.items() if _has_tensors(value)} if isinstance(found, dict) else {}
    if len(inner) == 1:
        return dict(next(iter(inner.values())))
    what = f"several state dicts ({', '.join(sorted(inner))})" if inner else "no state dict"
    raise PlanError(f"{file} holds {what}: save the one that you mean in a file of its own")


def _has_tensors(found: Any) -> bool:
    return (
        isinstance(found, Mapping)
        and all(isinstance(key, str) for key in found)
        and any(isinstance(value, torch.Tensor) for value in found.values())
    )


# -- loading


def load_weights(model: nn.Module, path: str | Path, side: str) -> None:
    """Load a checkpoint into a model, strictly: every tensor of either must be in the other.

    Names that the model ties to one tensor may be left out but for one, as safetensors files do.

    Raises:
        PlanError: If names or shapes differ; lists both sides.
    """
    wanted = model.state_dict(keep_vars=True)
    state = unwrapped(read_weights(path), wanted)
    try:
        model.load_state_dict({**state, **_tied(wanted, state)}, strict=True)
    except RuntimeError as error:
        faults = "".join(f"\n  - {fault}" for fault in _faults(wanted, state))
        raise PlanError(
            f"the weights in {path} are not those of the {side}:{faults or f' {error}'}\n"
            f"Build the {side} with the arguments that the weights were made with (--{side}-arg KEY=VALUE), or rename "
            "the tensors."
        ) from error


def unwrapped(state: Tensors, wanted: Collection[str]) -> Tensors:
    """Names without the `module.` that data-parallel training puts before them, unless they are wanted that way."""
    wrapped = all(name.startswith("module.") for name in state) and not any(n.startswith("module.") for n in wanted)
    return {name.removeprefix("module."): tensor for name, tensor in state.items()} if wrapped else state


def _tied(wanted: Mapping[str, Any], state: Tensors) -> Tensors:
    """Values for names that the file leaves out because the model shares their tensor with another name."""
    tensors = {name: value for name, value in wanted.items() if isinstance(value, torch.Tensor) and value.numel()}
    known = {geometry(tensor): state[name] for name, tensor in tensors.items() if name in state}
    return {name: known[geometry(t)] for name, t in tensors.items() if name not in state and geometry(t) in known}


def _faults(wanted: Mapping[str, Any], state: Tensors) -> Iterator[str]:
    missing = [name for name in wanted if name not in state and name not in _tied(wanted, state)]
    if missing:
        yield f"{len(missing)} tensors are not in the file: {_some(missing)}"
    if extra := [name for name in state if name not in wanted]:
        yield f"{len(extra)} tensors of the file are not in the model: {_some(extra)}"
    for name, tensor in state.items():
        ours = getattr(wanted.get(name), "shape", None)
        if ours is not None and ours != tensor.shape:
            yield f"{name} is {list(tensor.shape)} in the file and {list(ours)} in the model"


def _some(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
