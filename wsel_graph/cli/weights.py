"""Weights: read from files, and loaded strictly."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wsel_graph.capture.replicate import geometry
from wsel_graph.errors import PlanError
from wsel_graph.stores import open_source

Tensors = dict[str, torch.Tensor]

LISTED = 10


# -- reading


def read_weights(path: str | Path, wanted: Collection[tuple[str, ...]] = ()) -> Tensors:
    """The tensors of a checkpoint, by name.

    Args:
        path: Any that `stores.open_source` takes.
        wanted: As `stores.open_source` has it: names in wrappers are found.
    Raises:
        PlanError: If there is no such file, or it holds anything else.
    """
    source = open_source(path, wanted)
    try:
        return {name: source.read(name, tuple(map(range, info.shape))) for name, info in source.infos().items()}
    finally:
        source.close()


# -- loading


def load_weights(model: nn.Module, path: str | Path, side: str) -> None:
    """Load a checkpoint into a model, strictly: every tensor of either must be in the other.

    Names that the model ties to one tensor may be left out but for one, as safetensors files do.

    Raises:
        PlanError: If names or shapes differ; lists both sides. Or if values are not of the model's kind: the integers
            of a quantized checkpoint are codes, not weights.
    """
    wanted = model.state_dict(keep_vars=True)
    state = read_weights(path, alike(wanted))
    if odd := list(_lossy(wanted, state)):
        listed = "".join(f"\n  - {fault}" for fault in odd[:LISTED]) + ("\n  - ..." if len(odd) > LISTED else "")
        raise PlanError(f"{path} holds other values than those of the {side}, which a cast would not give:{listed}")
    try:
        model.load_state_dict({**state, **_tied(wanted, state)}, strict=True)
    except RuntimeError as error:
        faults = "".join(f"\n  - {fault}" for fault in _faults(wanted, state))
        raise PlanError(
            f"the weights in {path} are not those of the {side}:{faults or f' {error}'}\n"
            f"Build the {side} with the arguments that the weights were made with (--{side}-arg KEY=VALUE), or rename "
            "the tensors."
        ) from error


def alike(state: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Names of a state dict by the tensor that they name; a checkpoint may leave out all but one of them.

    >>> alike({"embed": (weight := torch.ones(2)), "head": weight, "bias": torch.ones(1)})
    [('embed', 'head'), ('bias',)]
    """
    groups: dict[object, list[str]] = {}
    for name, value in state.items():
        shared = isinstance(value, torch.Tensor) and value.numel()
        groups.setdefault(geometry(value) if shared else name, []).append(name)
    return [tuple(names) for names in groups.values()]


def _lossy(wanted: Mapping[str, Any], state: Tensors) -> Iterator[str]:
    """Tensors that `load_state_dict` would cast to something else without a word."""
    for name, tensor in state.items():
        ours = wanted.get(name)
        if not isinstance(ours, torch.Tensor) or tensor.dtype == ours.dtype:
            continue
        if tensor.is_complex() and not ours.is_complex():
            yield f"{name} is {tensor.dtype} in the file, {ours.dtype} in the model: its imaginary part would be lost"
        elif _weighs(ours) != _weighs(tensor):
            advice = "dequantize the file first" if _weighs(ours) else "save the file anew"
            yield f"{name} is {tensor.dtype} in the file, {ours.dtype} in the model: {advice}"


def _weighs(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


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
