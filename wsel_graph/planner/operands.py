"""Reading a captured graph for scales: operators by name, their arguments, parameters and numbers among them."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import fx

from wsel_graph.capture.recorder import TensorInfo
from wsel_graph.capture.schemas import bind, written_parameters
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.coupling.propagate import is_coupled_state
from wsel_graph.matching.constants import constant_value
from wsel_graph.matching.operators import CUTS, is_factory, is_layout, keeps_place, name_of


def word(node: fx.Node) -> str:
    """The operator's name without namespace, overload and the sign of the in-place form; empty for other nodes."""
    return name_of(node.target).rpartition("::")[2].removesuffix("_") if node.op == "call_function" else ""


def arguments(node: fx.Node) -> Mapping[str, Any]:
    """The arguments of an operator by name, defaults included."""
    return bind(node.target, node.args, node.kwargs)


def moves(node: fx.Node) -> bool:
    """Whether a node only rearranges, cuts or copies the elements of its first operand."""
    return node.op == "call_function" and is_layout(node.target) and word(node) != "glu"


def takes_shape_only(node: fx.Node) -> bool:
    """Whether a node takes no more than shape and type from its operand."""
    return node.op == "call_function" and is_factory(name_of(node.target))


def stays(node: fx.Node) -> bool:
    """Whether a node is its operand in another type or another memory."""
    return node.op == "call_function" and (keeps_place(name_of(node.target)) or word(node) in ("alias", "detach"))


def shape(node: fx.Node) -> tuple[int, ...]:
    """The shape of a node's result; empty where it is no single tensor."""
    facts = node.meta.get("value")
    return tuple(facts.shape) if isinstance(facts, TensorInfo) else ()


def _writes(node: fx.Node) -> bool:
    return node.target is not operator.getitem and bool(written_parameters(node.target))


class Reader:
    """One model's graph, with what its nodes depend on."""

    def __init__(self, graph: ModelGraph) -> None:
        self.graph = graph
        self.nodes: list[fx.Node] = list(graph.captured.graph.nodes)
        self._coupled = {state.name for state in graph.captured.states if is_coupled_state(state)}

    def parameter(self, value: Any) -> fx.Node | None:
        """The node that fetches the parameter which a value is, apart from views and casts; None for other values."""
        while isinstance(value, fx.Node) and moves(value) and name_of(value.target) not in CUTS:
            value = value.args[0]
        fetched = isinstance(value, fx.Node) and value.op == "get_attr" and value.meta.get("state") in self._coupled
        return value if fetched else None

    def number(self, value: Any) -> float | None:
        """The number that a value is: a Python number, or a constant tensor of equal elements; None for others."""
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if not isinstance(value, fx.Node) or value in self.varying or value in self.fed:
            return None
        found = constant_value(value, self._known)
        if found is None or found.is_complex() or found.numel() == 0:
            return None
        first = found.flatten()[0]
        return float(first) if bool((found == first).all()) else None

    @cached_property
    def _known(self) -> dict[str, torch.Tensor]:
        fixed = {s.name: s.tensor for s in self.graph.captured.states if not is_coupled_state(s)}
        return fixed | dict(self.graph.captured.constants)

    @cached_property
    def varying(self) -> frozenset[fx.Node]:
        """Nodes that depend on a parameter."""
        return self._reached(lambda node: node.op == "get_attr" and node.meta.get("state") in self._coupled)

    @cached_property
    def fed(self) -> frozenset[fx.Node]:
        """Nodes that depend on an input."""
        return self._reached(lambda node: node.op == "placeholder")

    def _reached(self, starts: Any) -> frozenset[fx.Node]:
        found: set[fx.Node] = set()
        for node in self.nodes:
            if starts(node) or (not takes_shape_only(node) and any(source in found for source in node.all_input_nodes)):
                found.add(node)
        return frozenset(found)

    @cached_property
    def overwritten(self) -> frozenset[fx.Node]:
        """Nodes that are read after another operator wrote to their memory: they no longer hold their value."""
        order = {node: number for number, node in enumerate(self.nodes)}
        writes: dict[Any, int] = {}  # to the last write
        for node in self.nodes:
            if word(node) and _writes(node) and node.meta.get("storage") is not None:
                writes[node.meta["storage"]] = order[node]
        return frozenset(
            node
            for node in self.nodes
            if (last := writes.get(node.meta.get("storage"), -1)) > order[node]
            and any(order[user] > last for user in node.users)
        )
