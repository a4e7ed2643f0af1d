"""Which dim of which input the positions of a value come from.

Two models lay their activations out differently: `(batch, channels, height, width)` in the one,
`(batch, height width, channels)` in the other. Sizes do not tell height from width, nor the batch from a sequence of
the same length. The atoms of the inputs do: views keep them, and where a convolution or a pooling makes new positions
along a dim, these are in the order of the old ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import fx

from wsel_graph.axes import Atom, Axis, Concat, atoms
from wsel_graph.capture.trace import Captured
from wsel_graph.coupling.propagate import Propagation
from wsel_graph.ops import Value, qualified_name
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
    """Where an atom of positions comes from.

    Attributes:
        inputs: Dims of inputs; several where inputs share an axis.
        line: Number of the run of positions that it is a part of, such as the rows of one resolution.
        place: Which part of that run, the slowest first.
    """

    inputs: frozenset[InputDim]
    line: int
    place: int


def find_origins(captured: Captured, walk: Propagation) -> dict[Atom, Origin]:
    """The origin of every atom of positions for which the graph shows one."""
    found = _Origins(walk)
    number = 0
    for node in captured.graph.nodes:
        if node.op == "placeholder":
            for dim, axis in enumerate(found.axes(node)):
                found.note(axis, frozenset({(number, dim)}))
            number += 1
        elif node.op == "call_function" and (count := _spatial_dims(node)):
            found.follow(node, count)
    return found.known


class _Origins:
    def __init__(self, walk: Propagation) -> None:
        self._walk = walk
        self._lines = 0
        self.known: dict[Atom, Origin] = {}

    def axes(self, node: fx.Node) -> list[Axis]:
        value = self._walk.values.get(node)
        first: Value | None = (value[0] if value else None) if isinstance(value, list) else value
        return [] if first is None else [self._walk.solver.resolve(axis) for axis in first.axes]

    def note(self, axis: Axis, inputs: frozenset[InputDim]) -> None:
        self._lines += 1
        for place, atom in enumerate(dict.fromkeys(atoms(axis))):
            if (known := self.known.get(atom)) is None:
                self.known[atom] = Origin(inputs, self._lines, place)
            elif not inputs <= known.inputs:
                self.known[atom] = replace(known, inputs=known.inputs | inputs)

    def follow(self, node: fx.Node, count: int) -> None:
        """What a spatial operator makes along a dim comes from where that dim of its operand came from."""
        before, after = self.axes(node.all_input_nodes[0]), self.axes(node)
        for old, new in zip(before[-count:], after[-count:], strict=False) if len(before) == len(after) else ():
            known = [self.known.get(atom) for atom in atoms(old)]
            inputs = {origin.inputs for origin in known if origin is not None}
            fresh = not isinstance(new, Concat) and not any(atom in self.known for atom in atoms(new))
            if fresh and len(inputs) == 1 and None not in known:
                self.note(new, inputs.pop())
