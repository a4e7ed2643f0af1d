"""Whether the positions of two activations, one of each model, correspond in order.

Two models may lay out the same positions in other ways: batch first or sequence first, rows and columns apart or
flattened, in windows or not, a summary token first or last. Rows of the two are compared only where the axes say that
they follow each other in the same order: axes that come from the models' inputs are the same input dim, what is laid
end to end has the same parts, and the others agree in size, factor by factor, and in the input dim that they were
made from where it is known. Axes know no order within themselves: of two models of which one turns something around,
nothing is compared after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from wsel_graph.axes import Atom, Axis, Concat, Product
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.starts.parameters import schema_name

Factor = tuple[int, str]
"""A size, and the input dim that an axis was made from (by a strided convolution, say), where it is known."""

Step = tuple[str, Factor]
"""An input dim such as `0:1`, parts laid end to end, or nothing where an axis is neither; and a factor."""

Run = tuple[str, list[Factor]]

_TURNING = frozenset({"aten::flip", "aten::fliplr", "aten::flipud", "aten::rot90"})
_STRIDED = frozenset(
    {
        "aten::convolution", "aten::_convolution", "aten::max_pool2d", "aten::avg_pool2d", "aten::max_pool1d",
        "aten::avg_pool1d", "aten::max_pool3d", "aten::avg_pool3d", "aten::max_pool2d_with_indices",
        "aten::upsample_nearest2d", "aten::upsample_bilinear2d", "aten::constant_pad_nd",
    }
)  # fmt: skip
"""Operators whose spatial dims are made from those of their input, in order."""


def same_positions(
    student: tuple[ModelGraph, str, Iterable[int]], teacher: tuple[ModelGraph, str, Iterable[int]]
) -> bool:
    """Whether row-major positions of two results correspond.

    Args:
        student: The graph, the name of a graph node, and the dims of its result that hold channels (zero-based).
        teacher: The same of the other model.
    """
    ours, theirs = _merged(_steps(*student)), _merged(_steps(*teacher))
    if len(ours) != len(theirs) or _turns(*student[:2]) != _turns(*teacher[:2]):
        return False
    return all(one[0] == other[0] and _refine(one[1], other[1]) for one, other in zip(ours, theirs, strict=True))


def _turns(graph: ModelGraph, node: str) -> bool:
    """Whether something is turned around on the way to a node."""
    nodes = {one.name: one for one in graph.captured.graph.nodes}
    waiting, seen = [nodes[node]], set()
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            waiting.extend(one.all_input_nodes)
    return any(schema_name(one) in _TURNING for one in seen)


def _steps(graph: ModelGraph, node: str, channels: Iterable[int]) -> list[Step]:
    origins = _origins(graph)
    left_out = set(channels)
    axes = [axis for dim, axis in enumerate(graph.axes_at(node)) if dim not in left_out]
    return [step for axis in axes for step in _flat(axis, origins) if step[1][0] != 1]


def _origins(graph: ModelGraph) -> dict[Axis, str]:
    """The input dim that an axis is, such as `0:1`, or that it was made from, dim by dim: `~0:1`."""
    placeholders = [node for node in graph.captured.graph.nodes if node.op == "placeholder"]
    found: dict[Axis, str] = {}
    for number, node in enumerate(placeholders):
        for dim, axis in enumerate(graph.axes_at(node.name)):
            if isinstance(axis, Atom):
                found.setdefault(axis, f"{number}:{dim}")
    for node in graph.captured.graph.nodes:
        if schema_name(node) in _STRIDED:
            before = graph.axes_at(node.all_input_nodes[0].name)
            for axis, source in zip(graph.axes_at(node.name)[2:], before[2:], strict=False):
                if isinstance(axis, Atom) and (origin := found.get(source)):
                    found.setdefault(axis, "~" + origin.removeprefix("~"))
    return found


def _flat(axis: Axis, origins: dict[Axis, str]) -> list[Step]:
    if isinstance(axis, Product):
        return [step for factor in axis.factors for step in _flat(factor, origins)]
    if isinstance(axis, Concat):
        parts = (_merged(_flat(part, origins)) for part in axis.parts)
        return [(" + ".join(map(_part, parts)), (axis.size, ""))]
    origin = origins.get(axis, "")
    return [("", (axis.size, origin))] if origin.startswith("~") else [(origin, (axis.size, ""))]


def _part(merged: list[Run]) -> str:
    return " ".join(f"{key}={math.prod(size for size, _ in factors)}" for key, factors in merged)


def _merged(steps: Sequence[Step]) -> list[Run]:
    """Input dims one by one, and between them the factors of everything else together."""
    found: list[Run] = []
    for key, factor in steps:
        if not key and found and not found[-1][0]:
            found[-1][1].append(factor)
        else:
            found.append((key, [factor]))
    return found


def _refine(one: Sequence[Factor], other: Sequence[Factor]) -> bool:
    """Whether one row of factors splits the other, or they are the same, made from the same where it is known.

    >>> _refine([(56, ""), (56, "")], [(3136, "")]), _refine([(8, ""), (7, "")], [(7, ""), (8, "")])
    (True, False)
    >>> _refine([(7, "~0:2"), (7, "~0:3")], [(7, "~0:3"), (7, "~0:2")])
    False
    """
    ends = [_running(factors) for factors in (one, other)]
    if list(ends[0])[-1] != list(ends[1])[-1] or not (
        ends[0].keys() <= ends[1].keys() or ends[1].keys() <= ends[0].keys()
    ):
        return False
    both = [(ends[0][part], ends[1][part]) for part in ends[0].keys() & ends[1].keys()]
    return all(not a[1] or not b[1] or a[0] != b[0] or a[1] == b[1] for a, b in both)


def _running(factors: Sequence[Factor]) -> dict[int, Factor]:
    found, total = {}, 1
    for factor in factors:
        total *= factor[0]
        found[total] = factor
    return found
