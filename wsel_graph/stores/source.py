"""What applying a plan needs of a teacher: names, shapes, and selected elements. Whole tensors are never asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from wsel_graph.plan import Indices


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What is known of a tensor before it is read."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class TensorSource(Protocol):
    """Named tensors that are read a part at a time. Opening one reads headers, not values."""

    @property
    def where(self) -> str:
        """What error messages call it: a path, or what kind of object it is."""

    def infos(self) -> dict[str, TensorInfo]:
        """Shape and dtype of every tensor, by name."""

    def read(self, name: str, indices: tuple[Indices, ...]) -> torch.Tensor:
        """The elements of every dim, as `stores.memory.select` gives them, in the stored dtype.

        Args:
            name: One of `infos()`.
            indices: One list per dim, zero-based.
        Returns:
            A tensor of shape `tuple(map(len, indices))`; it may share memory with the source, so do not write to it.
        Raises:
            PlanError: If the file cannot be read, or is not what its header promised.
        """

    def close(self) -> None:
        """Let go of files; harmless when repeated."""
