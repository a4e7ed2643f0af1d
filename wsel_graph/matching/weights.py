"""Parameters as an operator sees them: transposed, cut or reshaped views, and what was computed from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Leaf:
    """One parameter or buffer inside a weight argument.

    Attributes:
        name: Its first name.
        shape: Its own shape.
        seen: A meta view that shares the strides of what the operator sees; None after anything but views.
        span: First and last (excluded) position in a vector that was laid end to end from several; None otherwise.
        path: The operators, other than views, that it went through, with its place among their operands.
    """

    name: str
    shape: tuple[int, ...]
    seen: torch.Tensor | None
    span: tuple[int, int] | None = None
    path: tuple[str, ...] = ()

    def dims(self) -> tuple[int | None, ...] | None:
        """For every dim that the operator sees, the tensor's own dim; None for broadcast ones.

        The whole is None when dims were merged or split, so that no such answer exists.
        """
        if self.seen is None:
            return None
        own = {stride: dim for dim, stride in _strides(self.shape)}
        found: list[int | None] = []
        for size, stride in zip(self.seen.shape, self.seen.stride(), strict=True):
            if size == 1 or stride == 0:
                found.append(None)
                continue
            if stride not in own or size > self.shape[own[stride]]:
                return None
            found.append(own[stride])
        return tuple(found)

    def starts(self) -> tuple[int, ...]:
        """The first element that is seen along each own dim: other than zero where the tensor was cut."""
        offset = 0 if self.seen is None else int(self.seen.storage_offset())
        starts = [0] * len(self.shape)
        for dim, stride in _strides(self.shape):
            starts[dim], offset = divmod(offset, stride)
        return tuple(starts)


def _strides(shape: Sequence[int]) -> list[tuple[int, int]]:
    """(dim, stride) of a row-major tensor for its dims of more than one element, outermost first."""
    strides, step = [], 1
    for dim in reversed(range(len(shape))):
        if shape[dim] > 1:
            strides.append((dim, step))
        step *= shape[dim]
    return strides[::-1]


@dataclass(frozen=True, slots=True)
class Weights:
    """A value that depends on parameters and constants alone; `trail` is a hash of how it was made."""

    leaves: tuple[Leaf, ...]
    trail: str = ""

    @property
    def vector(self) -> bool:
        """Whether it is one tensor with at most one dim of more than one element."""
        return len(self.leaves) == 1 and sum(size > 1 for size in self.leaves[0].shape) <= 1

    def rearranged(self, change: Callable[[torch.Tensor], Any]) -> Any:
        """The value after a layout operator; a list where the operator gives several."""
        if len(self.leaves) != 1 or self.leaves[0].seen is None:
            return self.opaque()
        try:
            seen = change(self.leaves[0].seen)
        except Exception:
            return self.opaque()  # what cannot be replayed on strides is no plain view
        if isinstance(seen, (list, tuple)):
            return [Weights((replace(self.leaves[0], seen=part),)) for part in seen]
        return Weights((replace(self.leaves[0], seen=seen),))

    def through(self, word: str, *, same_place: bool) -> Weights:
        """The value after an operator that is no view; views are still known where every element keeps its place."""
        leaves = (replace(leaf, path=(*leaf.path, word)) for leaf in self.leaves)
        return Weights(tuple(leaf if same_place else replace(leaf, seen=None, span=None) for leaf in leaves))

    def opaque(self) -> Weights:
        """The same tensors, seen through something that is no view."""
        return Weights(tuple(replace(leaf, seen=None, span=None) for leaf in self.leaves))


def parameter(name: str, shape: Sequence[int]) -> Weights:
    """A parameter as it is."""
    return Weights((Leaf(name, tuple(shape), torch.empty(tuple(shape), device="meta")),))


def merged(values: Iterable[Weights]) -> Weights:
    """What was computed from several; a parameter that takes part twice counts as it does first."""
    leaves: dict[str, Leaf] = {}
    for value in values:
        for leaf in value.leaves:
            leaves.setdefault(leaf.name, leaf)
    return Weights(tuple(leaves.values()))


def laid_end_to_end(values: Iterable[tuple[Weights | None, int]]) -> Weights:
    """Vectors concatenated: each with its size, None for those without parameters."""
    leaves: list[Leaf] = []
    offset = 0
    for value, size in values:
        if value is not None:
            whole = value.leaves[0].seen is not None and len(value.leaves) == 1
            leaves.extend(replace(leaf, span=(offset, offset + size) if whole else None) for leaf in value.leaves)
        offset += size
    return Weights(tuple(leaves))
