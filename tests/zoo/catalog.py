"""One list of every third-party model that the oracles run on.

A hand-written toy network shows what its author thought of; the models here were written by others, so they
show what was forgotten. Each entry builds a model with random weights and example inputs, small enough for
one forward pass in float64 on a CPU. Some models make tensors of torch's default type while they run, and
RAFT and XGLM mix them with their weights: they need float64 as the default type during that pass.

Fresh models hide faults. Norms, layer scales, gates and biases start as constants, and permuting a constant
changes nothing: `build` adds noise to every constant. Batch norms that have seen no data let activations grow
with depth, up to 1e15, and what late layers add drowns in rounding: `build` runs the model once to settle
them, half way only, because a channel that happens not to vary must not be blown up.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from . import (
    timm_models,
    torchvision_models,
    transformers_models,
    transformers_sound_and_images,
    transformers_text,
)

NOISE = 0.1

Inputs = tuple[Any, ...] | dict[str, Any]
"""Positional arguments or keyword arguments of the model's forward."""

Builder = Callable[[str], tuple[nn.Module, Inputs]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A model that can be built on demand."""

    id: str
    """Unique, `library/name`."""
    library: str
    """`timm`, `torchvision` or `transformers`."""
    family: str
    """Where the library keeps it: the module in timm and torchvision, the model type in transformers."""
    build: Callable[[], tuple[nn.Module, Inputs]]
    """Makes the model, in eval mode, and its example inputs; the same ones at every call."""


_LIBRARIES: tuple[tuple[str, dict[str, tuple[str, ...]], Builder], ...] = (
    ("timm", timm_models.FAMILIES, timm_models.build),
    ("torchvision", torchvision_models.FAMILIES, torchvision_models.build),
    ("transformers", transformers_models.FAMILIES, transformers_models.build),
    ("transformers", transformers_text.FAMILIES, transformers_text.build),
    ("transformers", transformers_sound_and_images.FAMILIES, transformers_sound_and_images.build),
)


def entries() -> tuple[Entry, ...]:
    """Every model; nothing is built and no library imported before an entry's `build` is called."""
    return tuple(
        _entry(library, family, name, build)
        for library, families, build in _LIBRARIES
        for family, names in families.items()
        for name in names
    )


def sample() -> tuple[Entry, ...]:
    """One model of every family: the first of its row, which is the cheapest to run."""
    return tuple(
        _entry(library, family, names[0], build)
        for library, families, build in _LIBRARIES
        for family, names in families.items()
    )


def _entry(library: str, family: str, name: str, build: Builder) -> Entry:
    return Entry(f"{library}/{name}", library, family, partial(_build, build, name))


def _build(build: Builder, name: str) -> tuple[nn.Module, Inputs]:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model, inputs = build(name)
        model.eval()
        _add_noise_to_constants(model)
        _settle_batch_norms(model, inputs)
    return model, inputs


def _add_noise_to_constants(model: nn.Module) -> None:
    for tensor in (*_trainable(model), *_running_statistics(model)):
        if tensor.numel() and tensor.min() == tensor.max():
            tensor.add_(NOISE * torch.randn_like(tensor))


def _trainable(model: nn.Module) -> Iterator[Tensor]:
    """Parameters that training moves; a frozen constant is meant to be one."""
    return (parameter for parameter in model.parameters() if parameter.requires_grad)


def _running_statistics(model: nn.Module) -> Iterator[Tensor]:
    """Float buffers of batch norms; frozen ones also keep their weight and bias as buffers."""
    for module in model.modules():
        buffers = dict(module.named_buffers(recurse=False))
        if "running_var" in buffers:
            yield from (buffer for buffer in buffers.values() if buffer.is_floating_point())


def _settle_batch_norms(model: nn.Module, inputs: Inputs) -> None:
    """Runs a copy: some models keep tensors of their first run, in whatever type and order they were."""
    norms = _batch_norms(model)
    if not norms:
        return
    trial = copy.deepcopy(model)
    for norm in _batch_norms(trial):
        norm.train()
        norm.momentum = 0.5
    trial(*inputs) if isinstance(inputs, tuple) else trial(**inputs)
    for norm, settled in zip(norms, _batch_norms(trial), strict=True):
        norm.load_state_dict(settled.state_dict())


def _batch_norms(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]
