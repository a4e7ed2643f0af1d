"""In which order neighbouring positions are laid end to end before a parameter reads them (patch merging).

`cat((x[:, 0::2, 0::2], x[:, 1::2, 0::2], ...), -1)` gives four times the channels, one run for every neighbour. Axes do
not tell which run is which; where the slices start does.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping

from torch import fx

from wsel_graph.capture.schemas import bind
from wsel_graph.capture.trace import Captured
from wsel_graph.ops.pointwise import is_pointwise

Order = tuple[tuple[int, ...], ...]
"""For every run, where it begins along each dim that is cut, the slowest dim first."""

_NORMS = frozenset({"aten::native_layer_norm", "aten::layer_norm", "aten::rms_norm", "aten::_fused_rms_norm"})


def find_orders(captured: Captured) -> Mapping[str, Order]:
    """The order of neighbours that each parameter reads; no entry where it reads none."""
    found: dict[str, Order] = {}
    for node in captured.graph.nodes:
        held = [state for state in map(_state, node.all_input_nodes) if state is not None]
        data = _data(node)
        if held and data is not None and (order := _order(data)) is not None:
            found |= dict.fromkeys(held, order)
    return found


def _name(node: fx.Node) -> str:
    return str(getattr(getattr(node.target, "_schema", None), "name", ""))


def _is_view(node: fx.Node) -> bool:
    sources = node.all_input_nodes
    return len(sources) == 1 and node.meta.get("storage") == sources[0].meta.get("storage")


def _state(node: fx.Node) -> str | None:
    """The parameter or buffer of which a node is a view."""
    while _is_view(node):
        node = node.all_input_nodes[0]
    return node.meta.get("state") if node.op == "get_attr" else None


def _data(node: fx.Node) -> fx.Node | None:
    """The only operand that is no parameter."""
    others = [source for source in node.all_input_nodes if _state(source) is None]
    return others[0] if len(others) == 1 else None


def _keeps(node: fx.Node) -> bool:
    moved = _is_view(node) or _name(node) in _NORMS or node.target is operator.getitem
    return moved or _name(node) in ("aten::clone", "aten::reshape", "aten::_unsafe_view") or is_pointwise(node.target)


def _order(node: fx.Node) -> Order | None:
    """Back from what a parameter reads to a `cat` of neighbours."""
    while _name(node) != "aten::cat":
        before = _data(node)
        if before is None or not _keeps(node):
            return None
        node = before
    runs = [_offsets(part) for part in node.args[0] if isinstance(part, fx.Node)]  # type: ignore[union-attr]
    dims = sorted(runs[0]) if runs else []
    if not dims or any(sorted(run) != dims for run in runs):
        return None
    return tuple(tuple(run[dim] for dim in dims) for run in runs)


def _offsets(node: fx.Node) -> dict[int, int]:
    """Where the strided slices that made a value begin, by dim."""
    found: dict[int, int] = {}
    while len(node.all_input_nodes) == 1 and _keeps(node):
        if _name(node) == "aten::slice":
            bound = bind(node.target, node.args, node.kwargs)
            if bound["step"] > 1:
                found[int(bound["dim"])] = int(bound["start"] or 0)
        node = node.all_input_nodes[0]
    return found
