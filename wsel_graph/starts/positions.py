"""Whether the positions of two activations, one of each model, correspond in order.

Two models may lay out the same positions in other ways: batch first or sequence first, rows and columns apart or
flattened, in windows or not. Rows of the two are compared only where the axes prove that they follow each other in
the same order: axes that come from the models' inputs are the same input dim, and the others agree in size, factor by
factor, between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wsel_graph.axes import Atom, Axis, Concat, Product
from wsel_graph.coupling.graph import ModelGraph

Step = tuple[str, int]
"""An input dim such as `0:1`, or nothing where an axis is not one, and a size."""


def same_positions(
    student: tuple[ModelGraph, str, Iterable[int]], teacher: tuple[ModelGraph, str, Iterable[int]]
) -> bool:
    """Whether row-major positions of two results correspond.

    Args:
        student: The graph, the name of a graph node, and the dims of its result that hold channels (zero-based).
        teacher: The same of the other model.
    """
    ours, theirs = _merged(_steps(*student)), _merged(_steps(*teacher))
    keys = [[step[0] for step in steps if not isinstance(step[1], list)] for steps in (ours, theirs)]
    if keys[0] != keys[1] or len(ours) != len(theirs):
        return False
    return all(one[0] == other[0] and _refine(one[1], other[1]) for one, other in zip(ours, theirs, strict=True))


def _steps(graph: ModelGraph, node: str, channels: Iterable[int]) -> list[Step]:
    origins = _origins(graph)
    left_out = set(channels)
    axes = [axis for dim, axis in enumerate(graph.axes_at(node)) if dim not in left_out]
    return [step for axis in axes for step in _flat(axis, origins) if step[1] != 1]


def _origins(graph: ModelGraph) -> dict[Axis, str]:
    placeholders = [node for node in graph.captured.graph.nodes if node.op == "placeholder"]
    found: dict[Axis, str] = {}
    for number, node in enumerate(placeholders):
        for dim, axis in enumerate(graph.axes_at(node.name)):
            if isinstance(axis, Atom):
                found.setdefault(axis, f"{number}:{dim}")
    return found


def _flat(axis: Axis, origins: dict[Axis, str]) -> list[Step]:
    if isinstance(axis, Product):
        return [step for factor in axis.factors for step in _flat(factor, origins)]
    if isinstance(axis, Concat):
        return [("", axis.size)]
    return [(origins.get(axis, ""), axis.size)]


def _merged(steps: Sequence[Step]) -> list[tuple[str, int | list[int]]]:
    """Input dims one by one, and between them the sizes of everything else together."""
    found: list[tuple[str, int | list[int]]] = []
    for key, size in steps:
        if key:
            found.append((key, size))
        elif found and isinstance(found[-1][1], list):
            found[-1][1].append(size)
        else:
            found.append(("", [size]))
    return found


def _refine(one: int | list[int], other: int | list[int]) -> bool:
    """Whether one row of sizes splits the factors of the other, or they are the same.

    >>> _refine([56, 56], [3136]), _refine([8, 7, 8, 7], [8, 8, 7, 7]), _refine(3, 3)
    (True, False, True)
    """
    if isinstance(one, int) or isinstance(other, int):
        return one == other
    ends = [_running(sizes) for sizes in (one, other)]
    return ends[0][-1] == ends[1][-1] and (set(ends[0]) <= set(ends[1]) or set(ends[1]) <= set(ends[0]))


def _running(sizes: Sequence[int]) -> list[int]:
    found, total = [], 1
    for size in sizes:
        total *= size
        found.append(total)
    return found
