"""Position tables of which the example inputs only need the beginning.

Code that takes `table[:, : x.shape[1]]` shows the positions of the example, and that the table has more. Nothing in the
graph says what the others are, but a table has one kind of rows: all of them are positions, in one order, as in a table
that is looked up. Without this, which rows are taken would depend on the length of the example.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import fx

from wsel_graph.axes import Atom, Axis, Concat, concat
from wsel_graph.capture.trace import Captured
from wsel_graph.coupling.propagate import Propagation

_SEEN = frozenset({"input", "position"})


def complete_tables(captured: Captured, walk: Propagation) -> None:
    """Make one axis of positions of those that the forward pass takes from a parameter and those that it leaves."""
    parameters = {state.name for state in captured.states if state.kind == "parameter" and state.name in walk.states}
    fetched: dict[str, list[fx.Node]] = {name: [] for name in parameters}
    for node in captured.graph.nodes:
        if node.op == "get_attr" and node.meta.get("state") in parameters:
            fetched[node.meta["state"]].append(node)
    for name, nodes in fetched.items():
        axes = tuple(map(walk.solver.resolve, walk.states[name]))
        if any(isinstance(axis, Concat) for axis in axes):
            taken = [_axes(walk, view) for node in nodes for view in _views(node)]
            walk.states[name] = tuple(_completed(walk, axis, taken) for axis in axes)


def _completed(walk: Propagation, axis: Axis, taken: list[tuple[Axis, ...]]) -> Axis:
    """An axis of which every value that is computed with holds the same beginning, at the example's positions."""
    if not isinstance(axis, Concat) or len(axis.parts) < 2:  # an axis of no elements has no parts
        return axis
    *before, seen, left = axis.parts
    mark = walk.solver.pinned.get(seen) if isinstance(seen, Atom) else None
    beginning = concat(*before, seen)
    if mark is None or mark.reason not in _SEEN or not all(beginning in axes for axes in taken):
        return axis
    return concat(*before, walk.solver.fresh(seen.size + left.size, pinned="position"))


def _views(node: fx.Node) -> Iterator[fx.Node]:
    """A node and the views of its memory, those that something is computed from."""
    readers = {user: user.meta.get("storage") == node.meta.get("storage") for user in node.users}
    if not all(readers.values()):
        yield node
    for reader, is_view in readers.items():
        if is_view:
            yield from _views(reader)


def _axes(walk: Propagation, node: fx.Node) -> tuple[Axis, ...]:
    value = walk.values[node]
    return () if isinstance(value, list) else tuple(map(walk.solver.resolve, value.axes))
