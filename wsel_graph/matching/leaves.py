"""One parameter as an operator sees it: transposed, cut, or with dims merged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Leaf:
    """One parameter or buffer inside a weight argument.

    Attributes:
        name: Its first name.
        shape: Its own shape.
        seen: A meta view that shares the strides of what the operator sees; None after anything but views.
        folds: How many dims of `seen`, one after another, make each dim that the operator sees, row-major; None where
            each makes one. A reshape that copies merges dims which no strides describe.
        span: First and last (excluded) position in a vector that was laid end to end from several; None otherwise.
        path: The operators, other than views, that it went through, with its place among their operands.
        kind: Whether it is a parameter or a buffer.
        way: A hash of the path that knows all settings, and what the other operands were, without names and sizes of
            tensors. Where several leaves of one value have the same way, exchanging them leaves the value as it is.
        again: Whether it takes part several times.
    """

    name: str
    shape: tuple[int, ...]
    seen: torch.Tensor | None
    folds: tuple[int, ...] | None = None
    span: tuple[int, int] | None = None
    path: tuple[str, ...] = ()
    kind: str = "parameter"
    way: str = ""
    again: bool = False

    def look(self) -> tuple[object, ...]:
        """How views show it, without sizes: the order of its dims, and which are cut at their beginning."""
        if self.seen is None:
            return (self.kind, None)
        return (self.kind, self.dims(), [s > 0 for s in self.starts()], *([self.merges()] if self.folds else []))

    def dims(self) -> tuple[int | None, ...] | None:
        """For every dim that the operator sees, the tensor's own dim; None for broadcast ones.

        The whole is None when dims were merged or split, so that no such answer exists.
        """
        if self.seen is None or self.folds is not None:
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

    def merges(self) -> tuple[tuple[int, ...], ...] | None:
        """For every dim that the operator sees, the own dims that it merges, row-major; none for those of size 1.

        The whole is None where an own dim is cut, or parts of it stand apart.
        """
        if self.seen is None or self.seen.storage_offset() or self.seen.numel() != math.prod(self.shape):
            return None
        spans = [(step, step * size) for size, step in zip(self.seen.shape, self.seen.stride(), strict=True)]
        found: list[tuple[int, ...]] = []
        for count in self.folds or (1,) * len(spans):
            group, spans = [span for span in spans[:count] if span[0] < span[1]], spans[count:]
            dims = _own_dims_in(group, _strides(self.shape), self.shape)
            if dims is None:
                return None
            found.append(dims)
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


def _own_dims_in(
    spans: Sequence[tuple[int, int]], strides: Sequence[tuple[int, int]], shape: Sequence[int]
) -> tuple[int, ...] | None:
    """Own dims that spans of addresses, outermost first, make up one after another; None where they cut one apart.

    >>> _own_dims_in([(6, 12), (1, 6)], [(0, 3), (1, 1)], (4, 3)), _own_dims_in([(6, 12)], [(0, 3), (1, 1)], (4, 3))
    ((0, 1), None)
    """
    runs: list[tuple[int, int]] = []
    for low, high in spans:
        joins = bool(runs) and runs[-1][0] == high
        runs = [*runs[:-1], (low, runs[-1][1])] if joins else [*runs, (low, high)]
    found: list[int] = []
    for low, high in runs:
        inside = [(dim, step) for dim, step in strides if low <= step < high]  # outermost first
        if not inside or inside[-1][1] != low or inside[0][1] * shape[inside[0][0]] != high:
            return None
        found.extend(dim for dim, _ in inside)
    return tuple(found)
