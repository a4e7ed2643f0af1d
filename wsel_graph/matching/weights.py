"""Values that depend on parameters and constants alone: views of them, and what was computed from several."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from wsel_graph.matching.components import Order
from wsel_graph.matching.leaves import Leaf
from wsel_graph.matching.signature import digest


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
