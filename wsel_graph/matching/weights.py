"""Parameters as an operator sees them: transposed, cut or reshaped views, and what was computed from them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from wsel_graph.matching.components import Order
from wsel_graph.matching.signature import digest


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


@dataclass(frozen=True, slots=True)
class Weights:
    """A value that depends on parameters and constants alone.

    Attributes:
        trail: A hash of how it was made.
        form: A hash of how it is made up.
        orders: Of the parts that were laid together.
    """

    leaves: tuple[Leaf, ...]
    trail: str = ""
    form: str = ""
    orders: tuple[Order, ...] = ()

    def shown(self) -> str:
        """A hash of how it is made up: its form, or how views show the one tensor that it is."""
        return self.form or digest(*(leaf.look() for leaf in self.leaves))

    @property
    def vector(self) -> bool:
        """Whether it is one tensor with at most one dim of more than one element."""
        return len(self.leaves) == 1 and sum(size > 1 for size in self.leaves[0].shape) <= 1

    def rearranged(self, change: Callable[[torch.Tensor], Any], step: object = ()) -> Any:
        """The value after a layout operator; a list where the operator gives several."""
        if len(self.leaves) != 1 or self.leaves[0].seen is None:
            return self.opaque(step)
        leaf, before = self.leaves[0], self.leaves[0].seen
        if leaf.folds is not None:
            return self._turned(change, step)
        try:
            seen = change(before)
        except Exception:  # what cannot be replayed on strides is no plain view
            return self._reshaped(change, step)
        form = digest(self.form, step) if self.form else ""
        parts = seen if isinstance(seen, (list, tuple)) else [seen]
        if not all(_shares_memory(part, before) for part in parts):
            return self._folded(tuple(seen.shape), step) if isinstance(seen, torch.Tensor) else self.opaque(step)
        made = [Weights((replace(leaf, seen=part),), form=form) for part in parts]
        return made if isinstance(seen, (list, tuple)) else made[0]

    def folded(self, counts: Sequence[int]) -> Weights:
        """The one tensor with so many dims, one after another, seen as one; opaque where that was done before."""
        if all(count == 1 for count in counts):
            return self
        if len(self.leaves) != 1 or self.leaves[0].seen is None or self.leaves[0].folds is not None:
            return self.opaque(("folded", tuple(counts)))
        return replace(self, leaves=(replace(self.leaves[0], folds=tuple(counts)),))

    def _reshaped(self, change: Callable[[torch.Tensor], Any], step: object) -> Weights:
        """The value after a reshape of its copy."""
        seen = self.leaves[0].seen
        copied = torch.empty([] if seen is None else seen.shape, device="meta")
        try:
            made = change(copied)
        except Exception:
            return self.opaque(step)
        plain = isinstance(made, torch.Tensor) and made.is_contiguous() and made.numel() == copied.numel()
        return self._folded(tuple(made.shape), step) if plain else self.opaque(step)

    def _folded(self, shape: Sequence[int], step: object) -> Weights:
        """The value after a reshape that copies: dims that are merged are known, others are not."""
        seen = self.leaves[0].seen
        counts = None if seen is None else _merged_counts(tuple(seen.shape), shape)
        return self.opaque(step) if counts is None else self.folded(counts)

    def _turned(self, change: Callable[[torch.Tensor], Any], step: object) -> Weights:
        """Merged dims in another order; opaque after anything else."""
        leaf = self.leaves[0]
        if leaf.seen is None or leaf.folds is None:
            return self.opaque(step)
        ends = list(itertools.accumulate(leaf.folds))
        groups = [list(range(end - count, end)) for end, count in zip(ends, leaf.folds, strict=True)]
        sizes = [math.prod(leaf.seen.shape[dim] for dim in group) for group in groups]
        whole = torch.empty(sizes, device="meta")
        try:
            turned = change(whole)
        except Exception:
            return self.opaque(step)
        plain = isinstance(turned, torch.Tensor) and _shares_memory(turned, whole) and min(sizes) > 1
        strides = list(whole.stride())
        if not plain or sorted(turned.stride()) != sorted(strides) or turned.shape.numel() != whole.numel():
            return self.opaque(step)
        order = [strides.index(stride) for stride in turned.stride()]
        if [sizes[place] for place in order] != list(turned.shape):
            return self.opaque(step)
        seen = leaf.seen.permute([dim for place in order for dim in groups[place]])
        counts = tuple(leaf.folds[place] for place in order)
        return replace(self, leaves=(replace(leaf, seen=seen, folds=counts),))

    def through(self, word: str, *, same_place: bool, step: object = ()) -> Weights:
        """The value after an operator that is no view; views are still known where every element keeps its place.

        Args:
            word: The operator, with this operand's place where operands may not be exchanged.
            step: Its settings, and what its other operands are.
        """
        leaves = (
            replace(leaf, path=(*leaf.path, word), way=digest(leaf.way, leaf.look(), word, step))
            for leaf in self.leaves
        )
        form = digest(self.shown(), word, step)
        return Weights(
            tuple(leaf if same_place else replace(leaf, seen=None, folds=None, span=None) for leaf in leaves), form=form
        )

    def opaque(self, step: object = ()) -> Weights:
        """The same tensors, seen through something that is no view."""
        if not step and all(leaf.seen is None for leaf in self.leaves):
            return Weights(tuple(replace(leaf, span=None) for leaf in self.leaves), form=self.form)
        leaves = (
            replace(leaf, seen=None, folds=None, span=None, way=digest(leaf.way, leaf.look(), step))
            for leaf in self.leaves
        )
        return Weights(tuple(leaves), form=digest(self.shown(), step))


def _unseen(leaf: Leaf) -> Leaf:
    return replace(leaf, seen=None, folds=None, span=None)


def _shares_memory(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(one.untyped_storage()._cdata == other.untyped_storage()._cdata)


def _merged_counts(before: Sequence[int], after: Sequence[int]) -> tuple[int, ...] | None:
    """How many dims of one shape, one after another, make each dim of the other; None where that is not so.

    >>> _merged_counts((6, 2, 3), (6, 6)), _merged_counts((6, 4), (3, 8))
    ((1, 2), None)
    """
    counts, place = [], 0
    for size in after:
        start, product = place, 1
        while place < len(before) and (product < size or place == start):
            product *= before[place]
            place += 1
        if product != size:
            return None
        counts.append(place - start)
    return tuple(counts) if place == len(before) else None


def parameter(name: str, shape: Sequence[int], kind: str = "parameter") -> Weights:
    """A parameter or buffer as it is."""
    return Weights((Leaf(name, tuple(shape), torch.empty(tuple(shape), device="meta"), kind=kind),))


def merged(values: Iterable[Weights]) -> Weights:
    """What was computed from several; a parameter that takes part twice counts as it does first."""
    found: dict[str, list[Leaf]] = {}
    forms = []
    for value in values:
        forms.append(value.shown())
        for leaf in value.leaves:
            found.setdefault(leaf.name, []).append(leaf)
    leaves = (
        own[0] if len(own) == 1 else replace(own[0], way=digest(sorted(leaf.way for leaf in own)), again=True)
        for own in found.values()
    )
    return Weights(tuple(leaves), form=digest(sorted(forms)) if len(forms) > 1 else forms[0])


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
