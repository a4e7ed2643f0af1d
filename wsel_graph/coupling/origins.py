"""Which dim of which input the positions of a value come from.

Two models lay their activations out differently: `(batch, channels, height, width)` in the one,
`(batch, height width, channels)` in the other. Sizes do not tell height from width, nor the batch from a sequence of
the same length. The atoms of the inputs do: views keep them, and where a convolution or a pooling makes new positions
along a dim, these are in the order of the old ones.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import fx

from wsel_graph.axes import UNIT, Atom, Axis, Concat, atoms
from wsel_graph.capture.trace import Captured
from wsel_graph.coupling.propagate import Propagation
from wsel_graph.ops import Value, qualified_name
from wsel_graph.ops.pointwise import is_pointwise
from wsel_graph.ops.spatial import SPATIAL

InputDim = tuple[int, int]
"""Which input tensor, and which dim of it; both zero-based."""

_POOLINGS = {qualified_name(op): count for count, ops in SPATIAL.items() for op in ops}
_CONVOLUTIONS = frozenset({"aten::convolution", "aten::_convolution", "aten::conv1d", "aten::conv2d", "aten::conv3d"})


def _spatial_dims(node: fx.Node) -> int:
    """Along how many last dims an operator makes new positions in the order of the old ones; 0 for other operators."""
    name = str(getattr(getattr(node.target, "_schema", None), "name", ""))
    if name in _CONVOLUTIONS:
        return len(node.args[1].meta["value"].shape) - 2  # type: ignore[union-attr]
    if name == "aten::constant_pad_nd":
        return len(node.meta["value"].shape)
    return _POOLINGS.get(name, 0)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where positions come from.

    Attributes:
        inputs: Dims of inputs; several where inputs share an axis.
        line: Number of the run of positions that it is a part of, such as the rows of one resolution.
        place: Which part of that run, the slowest first.
    """

    inputs: frozenset[InputDim]
    line: int
    place: int


@dataclass(frozen=True, slots=True)
class Origins:
    """What a graph shows of where positions come from.

    Attributes:
        atoms: Of the atoms of positions.
        runs: Of whole runs that are no single atom, such as a sequence whose first element is used on its own.
        units: Of dims of one position, which have no atom: by graph node and dim.
    """

    atoms: Mapping[Atom, Origin]
    runs: Mapping[Axis, Origin]
    units: Mapping[tuple[str, int], frozenset[InputDim]]

    def dim(self, axis: Axis) -> InputDim | None:
        """The one dim of an input that the positions of an atom come from; None where there is not just one."""
        known = self.atoms.get(axis) if isinstance(axis, Atom) else None
        return next(iter(known.inputs)) if known is not None and len(known.inputs) == 1 else None


def find_origins(captured: Captured, walk: Propagation) -> Origins:
    """The origin of all positions for which the graph shows one."""
    found = _Finder(walk)
    number = 0
    for node in captured.graph.nodes:
        if node.op == "placeholder":
            for dim, axis in enumerate(found.axes(node)):
                found.note(node, dim, axis, frozenset({(number, dim)}))
            number += 1
        elif node.op == "call_function":
            if count := _spatial_dims(node):
                found.follow(node, count)
            found.keep_units(node)
    return Origins(found.atoms, found.runs, found.units)


class _Finder:
    def __init__(self, walk: Propagation) -> None:
        self._walk = walk
        self._lines = 0
        self.atoms: dict[Atom, Origin] = {}
        self.runs: dict[Axis, Origin] = {}
        self.units: dict[tuple[str, int], frozenset[InputDim]] = {}

    def axes(self, node: fx.Node) -> list[Axis]:
        value = self._walk.values.get(node)
        first: Value | None = (value[0] if value else None) if isinstance(value, list) else value
        return [] if first is None else [self._walk.solver.resolve(axis) for axis in first.axes]

    def note(self, node: fx.Node, dim: int, axis: Axis, inputs: frozenset[InputDim]) -> None:
        """The positions of a dim of a node's result come from these dims of inputs."""
        if axis == UNIT:
            self.units[node.name, dim] = inputs
            return
        self._lines += 1
        parts = list(dict.fromkeys(atoms(axis)))
        for place, atom in enumerate(parts):
            if (known := self.atoms.get(atom)) is None:
                self.atoms[atom] = Origin(inputs, self._lines, place)
            elif not inputs <= known.inputs:
                self.atoms[atom] = replace(known, inputs=known.inputs | inputs)
        if parts and not isinstance(axis, Atom):
            before = self.runs.get(axis)
            self.runs[axis] = Origin(inputs | before.inputs if before else inputs, self._lines, len(parts) - 1)

    def follow(self, node: fx.Node, count: int) -> None:
        """What a spatial operator makes along a dim comes from where that dim of its operand came from."""
        operand = node.all_input_nodes[0]
        before, after = self.axes(operand), self.axes(node)
        if len(before) != len(after):
            return
        for dim in range(len(after) - count, len(after)):
            fresh = not isinstance(after[dim], Concat) and not any(atom in self.atoms for atom in atoms(after[dim]))
            if fresh and (inputs := self._inputs(operand, dim, before[dim])):
                self.note(node, dim, after[dim], inputs)

    def _inputs(self, node: fx.Node, dim: int, axis: Axis) -> frozenset[InputDim]:
        """Where all positions of a dim come from; nothing where that is not known, or not one place."""
        if axis == UNIT:
            return self.units.get((node.name, dim), frozenset())
        if (run := self.runs.get(axis)) is not None:
            return run.inputs
        known = [self.atoms.get(atom) for atom in atoms(axis)]
        inputs = {origin.inputs for origin in known if origin is not None}
        return inputs.pop() if len(inputs) == 1 and None not in known else frozenset()

    def keep_units(self, node: fx.Node) -> None:
        """Dims of one position go on through what computes element by element, or keeps the shape as norms do."""
        axes = self.axes(node)
        lone = [dim for dim, axis in enumerate(axes) if axis == UNIT and (node.name, dim) not in self.units]
        sources = [source for source in node.all_input_nodes if len(self.axes(source)) == len(axes)]
        if not lone or not sources or not _keeps_dims(node):
            return
        for dim in lone:
            known = {self.units[source.name, dim] for source in sources if (source.name, dim) in self.units}
            if len(known) == 1:
                self.units[node.name, dim] = known.pop()


_KEEPING = frozenset(
    {
        "aten::native_batch_norm", "aten::batch_norm", "aten::_native_batch_norm_legit_no_training", "aten::clone",
        "aten::cudnn_batch_norm", "aten::native_layer_norm", "aten::native_group_norm", "aten::dropout",
        "aten::detach", "aten::_to_copy", "aten::convolution", "aten::conv1d", "aten::conv2d", "aten::conv3d",
    }
)  # fmt: skip
"""Operators besides the elementwise ones that keep the order of dims."""


def _keeps_dims(node: fx.Node) -> bool:
    if node.target is operator.getitem:
        return True  # of a norm's result; other results have no dims that are known
    name = str(getattr(getattr(node.target, "_schema", None), "name", ""))
    return name in _KEEPING or is_pointwise(node.target)
