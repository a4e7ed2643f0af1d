"""Example inputs on the command line: as given, else as the model's library tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from wsel_graph.errors import ExampleInputsError

HOW = "give them as --input 2x3x224x224, or --input input_ids=1x16:int64 for each keyword argument"


def parse_inputs(items: Sequence[str]) -> Any:
    """Tensors for `--input` texts: a tuple, or a dict when they are named.

    >>> parse_inputs(["2x3"])[0].shape, parse_inputs(["ids=1x4:int64"])["ids"].dtype
    (torch.Size([2, 3]), torch.int64)
    """
    named = [item.split("=", 1) for item in items if "=" in item]
    if len(dict(named)) < len(named) or (named and len(named) < len(items)):
        raise ExampleInputsError("give every input a name of its own (NAME=SHAPE), or none of them")
    if named:
        return {name: _tensor(text) for name, text in named}
    return tuple(_tensor(item) for item in items)


def _tensor(text: str) -> torch.Tensor:
    sizes, _, kind = text.partition(":")
    dtype = getattr(torch, kind or "float32", None)
    parts = sizes.split("x")
    if not isinstance(dtype, torch.dtype) or not all(p.isascii() and p.isdigit() and int(p) for p in parts):
        raise ExampleInputsError(f"{text!r} is no input: write sizes joined by x, and a dtype, such as 1x16:int64")
    shape = [int(part) for part in parts]
    generator = torch.Generator().manual_seed(0)
    if dtype.is_floating_point or dtype.is_complex:
        return torch.randn(shape, generator=generator).to(dtype)
    return torch.randint(0, 2, shape, generator=generator).to(dtype)
