"""Tensors in memory: a module, or a state dict."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from wsel_graph.plan import Indices
from wsel_graph.stores.source import TensorInfo


def named_tensors(source: nn.Module | Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Parameters and buffers of a module under every name they have, or the tensors of a state dict."""
    if not isinstance(source, nn.Module):
        return dict(source)
    return dict(source.named_parameters(remove_duplicate=False)) | dict(source.named_buffers(remove_duplicate=False))


def select(tensor: torch.Tensor, indices: tuple[Indices, ...]) -> torch.Tensor:
    """The elements of every dim: a slice where they are regular, a gather where not.

    >>> select(torch.arange(12).reshape(3, 4), (range(0, 3, 2), (0, 3))).tolist()
    [[0, 3], [8, 11]]
    """
    for dim, items in enumerate(indices):
        if isinstance(items, range):
            if len(items) != tensor.shape[dim]:
                tensor = tensor[(slice(None),) * dim + (slice(items.start, items.stop, items.step),)]
        else:
            tensor = tensor.index_select(dim, torch.tensor(items, dtype=torch.int64, device=tensor.device))
    return tensor


class MemorySource:
    """A module or a state dict as a source.

    >>> MemorySource({"weight": torch.eye(3)}).read("weight", (range(0, 3, 2), (0, 1, 2))).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """

    def __init__(self, tensors: nn.Module | Mapping[str, torch.Tensor]) -> None:
        self.where = f"the {type(tensors).__name__}"
        self.tensors = named_tensors(tensors)

    def infos(self) -> dict[str, TensorInfo]:
        """Shape and dtype of every tensor, by name."""
        return {name: TensorInfo(tuple(tensor.shape), tensor.dtype) for name, tensor in self.tensors.items()}

    def read(self, name: str, indices: tuple[Indices, ...]) -> torch.Tensor:
        """The elements of every dim, on the tensor's device."""
        return select(self.tensors[name].detach(), indices)

    def close(self) -> None:
        """Nothing to let go of."""
