"""Parameters as an operator sees them: transposed, cut or reshaped views, and what was computed from them."""

from __future__ import annotations

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
    span: tuple[int, int] | None = None
    path: tuple[str, ...] = ()
    kind: str = "parameter"
    way: str = ""
    again: bool = False

    def look(self) -> tuple[object, ...]:
        """How views show it, without sizes: the order of its dims, and which are cut at their beginning."""
        return (self.kind, None) if self.seen is None else (self.kind, self.dims(), [s > 0 for s in self.starts()])

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
        try:
            seen = change(self.leaves[0].seen)
        except Exception:
            return self.opaque(step)  # what cannot be replayed on strides is no plain view
        form = digest(self.form, step) if self.form else ""
        if isinstance(seen, (list, tuple)):
            return [Weights((replace(self.leaves[0], seen=part),), form=form) for part in seen]
        return Weights((replace(self.leaves[0], seen=seen),), form=form)

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
        return Weights(tuple(leaf if same_place else replace(leaf, seen=None, span=None) for leaf in leaves), form=form)

    def opaque(self, step: object = ()) -> Weights:
        """The same tensors, seen through something that is no view."""
        if not step and all(leaf.seen is None for leaf in self.leaves):
            return Weights(tuple(replace(leaf, span=None) for leaf in self.leaves), form=self.form)
        leaves = (replace(leaf, seen=None, span=None, way=digest(leaf.way, leaf.look(), step)) for leaf in self.leaves)
        return Weights(tuple(leaves), form=digest(self.shown(), step))


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
