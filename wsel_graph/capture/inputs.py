"""Example inputs: one tensor, a tuple, a dict of keyword arguments, or a shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from wsel_graph.errors import ExampleInputsError

_HOW = (
    "Pass a tensor, a tuple of positional arguments, a dict of keyword arguments, or a shape such as (2, 3, 224, 224)."
)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Arguments of one forward call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def map(self, convert: Any) -> Inputs:
        """The same arguments with every tensor converted."""
        args, kwargs = pytree.tree_map_only(torch.Tensor, convert, (self.args, self.kwargs))
        return Inputs(args, kwargs)

    def describe(self) -> str:
        """Dtype and shape of every tensor, for messages."""
        leaves = pytree.tree_flatten_with_path((self.args, self.kwargs))[0]
        parts = [f"{_label(path)}={describe_tensor(leaf)}" for path, leaf in leaves if isinstance(leaf, torch.Tensor)]
        return ", ".join(parts) or "no tensor"


def describe_tensor(tensor: torch.Tensor) -> str:
    """`float32[2, 3]`."""
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def _label(path: tuple[Any, ...]) -> str:
    keys = [getattr(key, "key", getattr(key, "idx", None)) for key in path[1:]]
    prefix = "" if isinstance(keys[0], str) else "input "
    return prefix + ".".join(str(key) for key in keys)


def tensor_labels(inputs: Inputs) -> list[tuple[str, torch.Tensor]]:
    """Every tensor among the arguments, with a readable label."""
    leaves = pytree.tree_flatten_with_path((inputs.args, inputs.kwargs))[0]
    return [(_label(path), leaf) for path, leaf in leaves if isinstance(leaf, torch.Tensor)]


def normalize_inputs(example_inputs: Any, dtype: torch.dtype = torch.float32) -> Inputs:
    """Turn any accepted form of example inputs into call arguments.

    Args:
        example_inputs: A tensor; a tuple or list (positional arguments); a mapping (keyword
            arguments); or a shape, as ints, which stands for one tensor of `dtype` from a fixed seed.
        dtype: Element type of a tensor made from a shape.
    Raises:
        ExampleInputsError: If there is nothing to call the model with.
    """
    if example_inputs is None:
        raise ExampleInputsError(f"no example inputs: the model must run once to be traced. {_HOW}")
    if isinstance(example_inputs, Inputs):
        return example_inputs
    if isinstance(example_inputs, torch.Tensor):
        return Inputs((example_inputs,), {})
    if isinstance(example_inputs, Mapping):
        return Inputs((), dict(example_inputs))
    if isinstance(example_inputs, Sequence) and not isinstance(example_inputs, str):
        items = tuple(example_inputs)
        if not items:
            raise ExampleInputsError(f"example inputs are empty: the model must run once to be traced. {_HOW}")
        if all(type(item) is int for item in items):
            return Inputs((_noise(items, dtype),), {})
        return Inputs(items, {})
    raise ExampleInputsError(f"example inputs of type {type(example_inputs).__name__} are not understood. {_HOW}")


def _noise(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    if any(size < 1 for size in shape):
        raise ExampleInputsError(f"the shape {shape} has a size below 1. {_HOW}")
    return torch.randn(shape, generator=generator, device="cpu").to(dtype)
