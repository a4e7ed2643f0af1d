"""The component graph: components and joins, with edges along which activations flow.

A component is a place where parameters are used; a join is where two activations meet (add, mul, cat, contract).
Everything else - views, activation functions, masks, rotary codes, pooling - is dissolved into edges, so that two
implementations of one architecture give one graph. Labels carry neither names nor sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import networkx as nx

UNORDERED = frozenset({"add", "mul", "write"})
"""Joins whose operands may be exchanged."""

LIGHT = frozenset({"norm", "batch_norm", "scale", "shift"})
"""Components of one input that keep its axes; two blocks that differ in these alone are alike, though not equal."""

TURNED, ACROSS = "turned", "across"
"""Tags of a product whose last axis is another when it is used, and of one that was normalised along another axis."""

ROOTS = frozenset({"table", "token"})
"""Components without an input: a parameter that takes part as it is."""


Mark = tuple[str, str]
"""One part of a value: what happened to it in words that two implementations share, and a hash of all of it."""
Order = tuple[Mark, ...]
"""Parts of one value in the order in which they are laid together."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One parameter of a component.

    Attributes:
        tensor: First name of the parameter or buffer.
        dims: Its own dims in the order that the component gives them (a linear: out, in), the dims of size 1 that
            only broadcast left out; None when they are used in a way that no order describes.
        feature: Position in `dims` of the component's output features; None where they are not an axis of it.
        rows: Zero-based elements along the feature dim that belong to this part; None for all of them.
        shape: The tensor's own shape.
        rivals: All tensors that take part in one computed weight in the same way as this; empty where it is alone.
        again: Whether it takes part in that weight several times.
        groups: How many of `dims`, one after another, make each dim that the component sees, row-major: heads and
            their channels as two dims of a tensor. None where each makes one.
        at: Own dims of which the component sees one element, with that element: an expert of a stack.
    """

    tensor: str
    dims: tuple[int, ...] | None
    feature: int | None = None
    rows: tuple[int, ...] | None = None
    shape: tuple[int, ...] = ()
    rivals: tuple[str, ...] = field(default=(), compare=False)
    again: bool = field(default=False, compare=False)
    groups: tuple[int, ...] | None = None
    at: tuple[tuple[int, int], ...] = ()


def is_weight(slot: str) -> bool:
    """Whether a slot's name is a weight's, whatever the weight goes through.

    >>> is_weight("weight"), is_weight("weight through aten::exp 0"), is_weight("bias")
    (True, True, False)
    """
    return slot.partition(" ")[0] == "weight"


@dataclass(frozen=True, slots=True)
class Edge:
    """An activation that flows into a node.

    Attributes:
        source: The node that it comes from.
        argument: The operand that it is.
        tags: What it passes through, in words that two implementations share.
        trail: A hash of everything that it passes through, sizes and constants included.
        orders: Of the parts that are laid together on the way.
        part: Zero-based place of what it carries among the parts of its source; None where that is not taken apart.
    """

    source: int
    argument: str
    tags: frozenset[str] = frozenset()
    trail: str = ""
    orders: tuple[Order, ...] = field(default=(), compare=False)
    part: int | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A component, or a join (which has no slots)."""

    label: str
    inputs: tuple[Edge, ...]
    slots: tuple[tuple[str, Slot], ...]
    fx: str  # name of the graph node
    module: str  # path of the module that runs it
    part: tuple[int, int] = (0, 1)  # which part of a component that is cut, of how many
    settings: str = ""  # what two implementations share: strides, dilation, kernel, which input it reads
    reads: str = ""  # which input, or which part of one, it reads directly
    trail: str = ""  # a hash of the operator with all its settings, and of the fixed values that it reads
    orders: tuple[Order, ...] = field(default=(), compare=False)  # of parts in the fixed values that it reads

    @property
    def light(self) -> bool:
        """Whether it only rescales its one input."""
        return self.label in LIGHT and len(self.inputs) == 1

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of its parameters."""
        return tuple(slot.tensor for _, slot in self.slots)


@dataclass(frozen=True)
class ComponentGraph:
    """Nodes in order of execution, numbered from 0; `results` are the edges into the model's outputs."""

    nodes: tuple[Node, ...]
    results: tuple[Edge, ...]
    unused: tuple[str, ...] = field(default=())  # parameters that no component holds

    @cached_property
    def digraph(self) -> nx.DiGraph:
        """As a `networkx` graph, nodes with their labels."""
        import networkx as nx

        graph = nx.DiGraph()
        for number, node in enumerate(self.nodes):
            graph.add_node(number, label=node.label, fx=node.fx, module=node.module)
        for number, node in enumerate(self.nodes):
            graph.add_edges_from((edge.source, number) for edge in node.inputs)
        return graph

    @cached_property
    def roots(self) -> frozenset[int]:
        """Components without an input, and what only rescales them: learned values, the same for every example."""
        found: set[int] = set()
        for number, node in enumerate(self.nodes):
            if node.label in ROOTS or (node.light and node.inputs[0].source in found):
                found.add(number)
        return frozenset(found)

    @cached_property
    def _results(self) -> dict[int, list[Edge]]:
        found: dict[int, list[Edge]] = {}
        for edge in self.results:
            found.setdefault(edge.source, []).append(edge)
        return found

    def results_of(self, number: int) -> list[Edge]:
        """The model's outputs that come from a node."""
        return self._results.get(number, [])

    @cached_property
    def consumers(self) -> tuple[tuple[tuple[int, Edge], ...], ...]:
        """For every node, the nodes that read it and along which edge."""
        found: list[list[tuple[int, Edge]]] = [[] for _ in self.nodes]
        for number, node in enumerate(self.nodes):
            for edge in node.inputs:
                found[edge.source].append((number, edge))
        return tuple(map(tuple, found))
