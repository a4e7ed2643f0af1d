"""Models whose tensors are spread over ranks: told without loading what PyTorch spreads them with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from wsel_graph.errors import CaptureError


def is_sharded(tensor: object) -> bool:
    """Whether a tensor is a `DTensor`."""
    loaded = sys.modules.get("torch.distributed.tensor")  # where nobody has loaded it, nothing is one
    return loaded is not None and isinstance(tensor, loaded.DTensor)


def flat_parameters(source: object) -> str | None:
    """The path of a module whose parameters FSDP1 laid into one flat tensor; None where there is none."""
    return next((path or "(top level)" for path, _ in _instances(source, "FullyShardedDataParallel")), None)


def fully_sharded(source: object) -> list[Any]:
    """The modules that `fully_shard` was called on."""
    return [module for _, module in _instances(source, "FSDPModule")]


def _instances(source: object, kind: str) -> Iterator[tuple[str, nn.Module]]:
    loaded = sys.modules.get("torch.distributed.fsdp")
    if loaded is not None and hasattr(loaded, kind) and isinstance(source, nn.Module):
        yield from ((path, part) for path, part in source.named_modules() if isinstance(part, getattr(loaded, kind)))


def refuse_sharded(model: nn.Module) -> None:
    """Captures run a copy of the model, and a part of a model that is spread over ranks cannot be copied.

    Raises:
        CaptureError: If the model is sharded, or holds a `DistributedDataParallel`, which cannot be copied either.
    """
    for path, part in model.named_modules():
        if isinstance(part, DistributedDataParallel):
            place = f"{path}.module" if path else "module"
            raise CaptureError(f"{path or 'the model'} is a {type(part).__name__}: pass the model in it (`.{place}`).")
    states = (*model.named_parameters(), *model.named_buffers())
    sharded = next((name for name, tensor in states if is_sharded(tensor)), None)
    if sharded is not None or fully_sharded(model) or flat_parameters(model) is not None:
        what = f" ({sharded} is a DTensor)" if sharded is not None else ""
        raise CaptureError(
            f"the model is sharded over ranks{what}, and captures run a copy of the model. Plan before you shard, with "
            "the model as it is or on the meta device (`with torch.device('meta')`); then shard it and call "
            "`apply(plan, student, teacher)`, which fills every shard in place."
        )
