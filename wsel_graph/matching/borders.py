"""The borders of a model's blocks: graph nodes that hold the stream before and after every segment of a stage.

What a block changes is told by the stream on both of its sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from wsel_graph.axes import Axis, atoms, product
from wsel_graph.capture.recorder import TensorInfo
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.matching.layering import LONGEST
from wsel_graph.matching.segments import Item, last_of
from wsel_graph.matching.structure import Structure
from wsel_graph.ops import find_rule
from wsel_graph.ops.pointwise import is_pointwise, pointwise


@dataclass(frozen=True, slots=True)
class Border:
    """The stream between two segments.

    Attributes:
        node: Number of the graph node that holds it, in order of execution, zero-based.
        dims: Its dims that hold features, zero-based.
        features: What these dims are made of, laid out in order.
        positions: What all other dims are made of.
        shape: Sizes of these other dims.
    """

    node: int
    dims: tuple[int, ...]
    features: Axis
    positions: Axis
    shape: tuple[int, ...]

    def comparable(self, other: Border) -> bool:
        """Whether two borders hold the same features at the same positions, in the same order."""
        return self.features == other.features and (self.shape == other.shape or self.positions == other.positions)

    def rows(self, value: torch.Tensor) -> torch.Tensor:
        """The stream as `[positions, features]`."""
        moved = value.movedim(self.dims, tuple(range(-len(self.dims), 0)))
        return moved.reshape(-1, self.features.size)


def stage_borders(structure: Structure) -> dict[str, tuple[Border | None, ...]]:
    """For every stage, by name, what stands before its first segment and after each; None where nothing certain does.

    Dims and node numbers are those of any recording of the model.
    """
    finder = _Finder(structure)
    return {name: tuple(finder.of_stage(structure.items[number])) for number, name in structure.stage_names.items()}


def block_lengths(segments: int) -> list[int]:
    """How many segments may make a block of a stage: 1, and what divides the stage, as `layer_length` has it.

    >>> block_lengths(12)
    [1, 2, 3, 4, 6, 12]
    """
    return [length for length in range(1, min(segments, LONGEST) + 1) if segments % length == 0]


class _Finder:
    def __init__(self, structure: Structure) -> None:
        self._graph: ModelGraph = structure.graph
        self._components = structure.components
        self._nodes = {node.name: node for node in structure.graph.captured.graph.nodes}
        self._numbers = {name: number for number, name in enumerate(self._nodes)}
        self._parameter_atoms = {group.atom for group in structure.graph.groups}

    def of_stage(self, stage: Item) -> Iterator[Border | None]:
        before = self._before(stage.segments[0].nodes)
        yield None if before is None else self._border(before)
        for segment in stage.segments:
            node = self._nodes[self._components.nodes[last_of(self._components, segment.nodes)].fx]
            yield self._border(_after_activation(node))

    def _before(self, segment: Sequence[int]) -> fx.Node | None:
        """The value that the first segment starts from: where the way from the last node before it parts."""
        nodes, own = self._components.nodes, set(segment)
        sources = {edge.source for number in segment for edge in nodes[number].inputs if edge.source not in own}
        sources -= self._components.roots
        if sources:
            return _until_it_parts(self._nodes[nodes[max(sources)].fx])
        given = [node for node in self._nodes.values() if node.op == "placeholder" and _is_float(node)]
        return _until_it_parts(given[0]) if len(given) == 1 else None

    def _border(self, node: fx.Node) -> Border | None:
        axes = self._graph.node_axes(node.name)
        features = self._graph.stream(node.name) or self._graph.all_atoms(node.name) & self._parameter_atoms
        dims = tuple(dim for dim, axis in enumerate(axes) if not features.isdisjoint(atoms(axis)))
        if not dims:
            return None
        others = tuple(axis for dim, axis in enumerate(axes) if dim not in dims)
        laid = product(*(axes[dim] for dim in dims))
        return Border(self._numbers[node.name], dims, laid, product(*others), tuple(axis.size for axis in others))


def _after_activation(node: fx.Node) -> fx.Node:
    """The node after elementwise operators that alone read a value: the sum of a block, and its activation function."""
    while (user := _only_reader(node)) is not None and _is_elementwise(user.target) and _shape(user) == _shape(node):
        node = user
    return node


def _is_elementwise(operator: Any) -> bool:
    return hasattr(operator, "_schema") and (find_rule(operator) is pointwise or is_pointwise(operator))


def _until_it_parts(node: fx.Node) -> fx.Node:
    """The node after all operators of one operand: dropout, pooling, views."""
    while (user := _only_reader(node)) is not None:
        node = user
    return node


def _only_reader(node: fx.Node) -> fx.Node | None:
    """The one operator that reads a node, where it reads nothing else."""
    user = next(iter(node.users), None)
    alone = user is not None and len(node.users) == 1 and user.op == "call_function" and user.all_input_nodes == [node]
    return user if alone else None


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    facts = node.meta.get("value")
    return facts.shape if isinstance(facts, TensorInfo) else None


def _is_float(node: fx.Node) -> bool:
    facts = node.meta.get("value")
    return isinstance(facts, TensorInfo) and facts.dtype.is_floating_point
