"""What the rows of a looked-up position table mean, read from the integers that look it up.

A table that is looked up by fixed integers has a structure only if these integers show one:

- row `i` for position `i` (plus a constant): a line of positions,
- for every pair of positions (i, j) of a grid of h x w, the row `(yi - yj + h - 1) * (2w - 1) + (xi - xj + w - 1)`: a
  grid of (2h - 1) x (2w - 1) relative positions, row-major, extra rows behind it (Swin, BEiT). The same with both signs
  exchanged is also one; a line of relative positions is the case h = 1.

Everything else (buckets of distances, absolute distances, token types) has no neighbours to interpolate between.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from wsel_graph.coupling.graph import ModelGraph

MAX_STEPS = 500
"""Graph nodes that are run, at most, to know the integers that look up one table."""


@dataclass(frozen=True, slots=True)
class Table:
    """The meaning of the rows of a table: `lead` single rows, a row-major grid, single rows behind it."""

    kind: str  # "line" of positions, or "relative" positions
    grid: tuple[int, ...]
    lead: int = 0
    reverse: bool = False  # relative positions that count backwards


def find_table(graph: ModelGraph, name: str) -> Table | str | None:
    """The structure of a table, or why none can be found; None for a table that nothing looks up."""
    for node in graph.captured.graph.nodes:
        if node.op != "call_function" or (index := _looks_up(node, name)) is None:
            continue
        values = _value(graph, index, [MAX_STEPS])
        if values is None:
            return "it is looked up by integers that only running the model shows"
        rows = graph.tensors[name].shape[0]
        table = _line(values) or relative_table(values, rows)
        return table or "the integers that look it up show no line or grid of positions (buckets, or types)"
    return None


def _looks_up(node: fx.Node, name: str) -> fx.Node | None:
    """The integers with which a node looks up rows of a table; None when it does not."""
    operator = getattr(getattr(node.target, "_schema", None), "name", "")
    if operator not in ("aten::index", "aten::embedding", "aten::index_select"):
        return None
    table = node.args[0]
    if not isinstance(table, fx.Node) or table.meta.get("state") != name:
        return None
    index: Any = node.args[2] if operator == "aten::index_select" else node.args[1]
    if isinstance(index, (list, tuple)):
        index = index[0] if len(index) == 1 else None
    return index if isinstance(index, fx.Node) else None


def _value(graph: ModelGraph, node: fx.Node, budget: list[int]) -> torch.Tensor | None:
    """The value of a node that depends on nothing but the model's own integers."""
    budget[0] -= 1
    if node.op == "get_attr":
        return _constant(graph, node)
    if node.op != "call_function" or budget[0] < 0:
        return None
    inputs = {each: _value(graph, each, budget) for each in node.all_input_nodes}
    if any(value is None for value in inputs.values()):
        return None
    args = fx.node.map_arg(node.args, inputs.__getitem__)
    kwargs = {key: inputs[value] if isinstance(value, fx.Node) else value for key, value in node.kwargs.items()}
    kwargs |= {"device": torch.device("cpu")} if "device" in kwargs else {}
    try:
        result = node.target(*args, **kwargs)  # type: ignore[operator]
    except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError):
        return None
    return result if isinstance(result, torch.Tensor) else None


def _constant(graph: ModelGraph, node: fx.Node) -> torch.Tensor | None:
    states = {state.name: state.tensor for state in graph.captured.states}
    tensor = states.get(node.meta.get("state", ""))
    if tensor is None:
        tensor = graph.captured.constants.get(str(node.target))
    if tensor is None or tensor.device.type == "meta" or tensor.is_floating_point():
        return None
    return tensor.detach().cpu()


def _line(values: torch.Tensor) -> Table | None:
    """Row `i` plus a constant for position `i`, for every sample alike."""
    samples = values.reshape(-1, values.shape[-1]) if values.dim() and values.numel() else None
    if samples is None or samples.shape[1] < 2 or bool((samples != samples[:1]).any()):
        return None
    first = int(samples[0, 0])
    steps = torch.arange(first, first + samples.shape[1], device="cpu")
    return Table("line", (), lead=first) if torch.equal(samples[0], steps) else None


def relative_table(values: torch.Tensor, rows: int) -> Table | None:
    """The grid of relative positions whose rows the integers look up, for every pair of positions.

    Args:
        values: Row numbers for all pairs of positions, in any shape; prefix tokens come first.
        rows: Rows of the table.

    >>> relative_table(torch.tensor([[1, 0], [2, 1]]), 3)
    Table(kind='relative', grid=(1, 3), lead=0, reverse=False)
    """
    tokens = math.isqrt(values.numel())
    if tokens * tokens != values.numel() or tokens < 2:
        return None
    pairs = values.reshape(tokens, tokens).to(torch.int64)
    for prefix, height, width in _candidates(tokens, rows):
        wanted, inner = relative_rows(height, width), pairs[prefix:, prefix:]
        for reverse, expected in ((False, wanted), (True, wanted.T)):
            if torch.equal(inner, expected):
                return Table("relative", (2 * height - 1, 2 * width - 1), 0, reverse)
    return None


def _candidates(tokens: int, rows: int) -> Iterator[tuple[int, int, int]]:
    """Prefix tokens and the height and width of the grid that could be meant."""
    for prefix in range(min(3, tokens - 1)):
        cells = tokens - prefix
        for height in range(1, cells + 1):
            if cells % height == 0 and (2 * height - 1) * (2 * (cells // height) - 1) <= rows:
                yield prefix, height, cells // height


def relative_rows(height: int, width: int) -> torch.Tensor:
    """Row number for every pair of cells of a grid, `(height * width, height * width)`.

    >>> relative_rows(1, 2).tolist()
    [[1, 0], [2, 1]]
    """
    y, x = (
        axis.flatten()
        for axis in torch.meshgrid(torch.arange(height, device="cpu"), torch.arange(width, device="cpu"), indexing="ij")
    )
    return (y[:, None] - y + height - 1) * (2 * width - 1) + x[:, None] - x + width - 1
