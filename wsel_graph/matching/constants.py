"""The values of what a forward pass computes from constants alone, such as position numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from wsel_graph.capture.recorder import TensorInfo
from wsel_graph.capture.trace import Captured
from wsel_graph.coupling.propagate import is_coupled_state
from wsel_graph.matching.operators import is_factory

LARGEST = 1 << 20
"""Elements of the largest value that is computed."""


def known_values(captured: Captured) -> dict[str, torch.Tensor]:
    """Constants, and the buffers that a model computes from its own configuration, by the names in its graph."""
    fixed = {state.name: state.tensor for state in captured.states if not is_coupled_state(state)}
    return fixed | dict(captured.constants)


def constant_value(node: fx.Node, known: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """The value of a graph node on the CPU; None where it depends on inputs, or is not known.

    Args:
        known: Constants and buffers by the names under which the graph fetches them.
    """
    facts = node.meta.get("value")
    if not isinstance(facts, TensorInfo) or torch.Size(facts.shape).numel() > LARGEST:
        return None
    if node.op == "get_attr":
        value = known.get(str(node.target))
        return None if value is None or value.is_meta else value.detach().cpu()
    if node.op != "call_function":
        return None
    try:
        return _computed(node, known)
    except Exception:
        return None  # an operator that does not run on the CPU, or a value that is not known


def _computed(node: fx.Node, known: Mapping[str, torch.Tensor]) -> torch.Tensor:
    shapes_only = is_factory(str(node.target._schema.name))  # type: ignore[union-attr]

    def value(operand: fx.Node) -> torch.Tensor:
        found = constant_value(operand, known)
        if found is None and shapes_only:
            facts = operand.meta["value"]
            found = torch.empty(facts.shape, dtype=facts.dtype, device="cpu")
        if found is None:
            raise ValueError(operand.name)
        return found

    args: Any = fx.node.map_arg(node.args, value)
    kwargs = {name: item for name, item in node.kwargs.items() if name != "device"}
    result = node.target(*args, **fx.node.map_arg(kwargs, value))  # type: ignore[operator]
    if not isinstance(result, torch.Tensor):
        raise TypeError(node.name)
    return result


def row_pattern(indices: torch.Tensor | None) -> str:
    """What rows a lookup reads: `one`, or `several`; nothing where that is not known.

    >>> row_pattern(torch.zeros(3, dtype=torch.int64)), row_pattern(torch.arange(3)), row_pattern(None)
    ('one row', 'several rows', '')
    """
    if indices is None or indices.numel() == 0:
        return ""
    first = indices.flatten()[0]
    return "one row" if bool((indices == first).all()) else "several rows"
