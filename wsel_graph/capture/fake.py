"""Refuse tensors without values that only stand for others: those of `FakeTensorMode`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree

from wsel_graph.errors import CaptureError

INSTEAD = (
    "Call this outside of the mode, on real models, or on models that are built on the meta device "
    "(`with torch.device('meta'):`), which need no memory either; example inputs may be given as a shape."
)


def refuse_fake(**given: Any) -> None:
    """Refuse to work inside `FakeTensorMode`, or on what was made there.

    Args:
        given: By what they are called: modules, state dicts, and nests of tensors.
    Raises:
        CaptureError: If the mode is on, or one of them holds fake tensors.

    >>> refuse_fake(student=nn.Linear(2, 2))
    """
    if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None:
        raise CaptureError(f"torch's FakeTensorMode is on, in which no values can be read or written. {INSTEAD}")
    for what, holder in given.items():
        for name, tensor in _tensors(holder):
            if isinstance(tensor, FakeTensor):
                raise CaptureError(
                    f"{what}: {name} is a fake tensor, made in torch's FakeTensorMode: it has no values. {INSTEAD}"
                )


def _tensors(holder: Any) -> list[tuple[str, Any]]:
    if isinstance(holder, nn.Module):
        return [*holder.named_parameters(), *holder.named_buffers()]
    if isinstance(holder, Mapping):
        return list(holder.items())
    return [(f"tensor {number}", leaf) for number, leaf in enumerate(pytree.tree_leaves(holder))]
