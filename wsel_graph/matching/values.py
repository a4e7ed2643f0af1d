"""What a value in a captured graph is to matching: fixed, made of parameters, or the flow of one node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch

from wsel_graph.matching.components import Order
from wsel_graph.matching.drafts import DraftEdge
from wsel_graph.matching.parts import Cut
from wsel_graph.matching.weights import Weights


@dataclass(frozen=True, slots=True)
class Fixed:
    """A value without parameters in it: an input, a constant, a mask, a rotary code.

    Attributes:
        direct: Whether it is an input as it came, apart from views, parts and casts.
        trail: A hash of how it was made.
        way: The same without the sizes of views.
        orders: Of the parts that were laid together.
        root: The input that it is, where it is direct.
        cuts: Where parts of that input were taken, first to last.
    """

    from_input: bool
    direct: bool = False
    trail: str = ""
    way: str = ""
    orders: tuple[Order, ...] = ()
    root: str = ""
    cuts: tuple[Cut, ...] = ()


@dataclass(frozen=True, slots=True)
class Flow:
    """A value that comes from exactly one node, through what has no parameters.

    Attributes:
        rows: Mask of the node's output features in it, one byte each as an int; None for all.
        index: The feature number of every element, where it is still known.
        direct: Whether nothing but views lies between, and nobody else reads the value.
        trail: A hash of everything that lies between.
        way: The same without the sizes of views.
        made: A hash of everything that it is made of, back to the inputs, without names and sizes of tensors.
        orders: Of the parts that were laid together in between.
        cuts: Where parts of it were taken whose features are not numbered, first to last.
    """

    source: int
    rows: int | None = None
    tags: frozenset[str] = frozenset()
    index: torch.Tensor | None = None
    direct: bool = False
    trail: str = ""
    way: str = ""
    made: str = ""
    orders: tuple[Order, ...] = ()
    cuts: tuple[Cut, ...] = ()

    def edge(self, argument: str) -> DraftEdge:
        """The edge that this value makes when a node reads it."""
        return DraftEdge(self.source, argument, self.tags, self.mask(), self.trail, self.orders, self.cuts)

    def mask(self) -> int | None:
        """The features in this value."""
        return self.rows if self.index is None else mask_of(self.index)


Value: TypeAlias = Fixed | Weights | Flow
Operand: TypeAlias = tuple[str, Value]


def mask_of(index: torch.Tensor) -> int:
    """One byte per feature that occurs; broadcast dims repeat, so one element of them is enough."""
    if index.numel() == 0:
        return 0
    compact = index[tuple(0 if stride == 0 else slice(None) for stride in index.stride())]
    flags = bytearray(int(compact.max()) + 1)
    for row in torch.unique(compact).tolist():
        flags[row] = 1
    return int.from_bytes(flags, "little")


def is_normalised(flow: Flow) -> bool:
    """Whether the value was divided by its size, as a library norm or written out."""
    written_out = "mean" in flow.tags and not flow.tags.isdisjoint({"sqrt", "pow"})
    return "norm" in flow.tags or written_out


def marked(flow: Flow, tags: frozenset[str]) -> Flow:
    """A flow with further tags."""
    return replace(flow, tags=flow.tags | tags) if tags else flow


def is_fixed(value: Value) -> bool:
    """Whether a value has no parameters in it."""
    return isinstance(value, Fixed)


def union(masks: Iterable[int | None]) -> int:
    """The features of several masks."""
    total = 0
    for mask in masks:
        total |= mask or 0
    return total


def apart(one: Value, other: Value) -> bool:
    """Whether two values are known to be different features of one node, so that writing one leaves the other."""
    if not (isinstance(one, Flow) and isinstance(other, Flow)) or one.source != other.source:
        return False
    return disjoint([one, other])


def disjoint(flows: Sequence[Flow]) -> bool:
    """Whether no two flows share a feature."""
    masks = [flow.mask() for flow in flows]
    if None in masks or len(masks) < 2:
        return False
    return sum(mask.bit_count() for mask in masks if mask) == union(masks).bit_count()


def common_index(flows: Sequence[Flow]) -> torch.Tensor | None:
    """The feature numbers of a sum, where all operands are numbered alike; None otherwise."""
    first = flows[0].index
    if first is None or any(flow.index is None or flow.tags for flow in flows):
        return None
    same = all(flow.index is not None and torch.equal(flow.index, first) for flow in flows)
    return first if same else None
