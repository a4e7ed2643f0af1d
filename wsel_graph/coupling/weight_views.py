"""Where a graph's values come straight from parameters and buffers, dim by dim."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass

from torch import fx

from wsel_graph.axes import AxisSolver, atoms
from wsel_graph.capture.schemas import bind
from wsel_graph.coupling.propagate import Propagation
from wsel_graph.errors import AxisConflictError
from wsel_graph.ops import Call, Unsupported, Value, find_rule, joins, parts, views

_REARRANGES = frozenset(
    {views.reshape, views.permute, views.transpose, views.transpose_last, views.reverse, views.movedim}
    | {parts.take_slice, parts.narrow, parts.select, parts.split, parts.unbind, joins.expand}
)
"""Rules of operators that put every element somewhere, unchanged."""

_HANDS_ON = frozenset(
    {"aten::contiguous", "aten::clone", "aten::_to_copy", "aten::detach", "aten::alias", "aten::to"}
)  # fmt: skip
"""Operators whose result is their operand."""


@dataclass(frozen=True, slots=True)
class WeightOrigin:
    """The parameters and buffers from which a value was computed, with no model input.

    Attributes:
        states: Their names.
        dims: For every dim, the dims of the one state that it is made of; None where values were computed with,
            so that elements may not be what they were.
    """

    states: frozenset[str]
    dims: tuple[frozenset[int], ...] | None


def find_weight_origins(graph: fx.Graph, walk: Propagation) -> Mapping[fx.Node, WeightOrigin]:
    """The origin of every value that no model input takes part in."""
    found: dict[fx.Node, WeightOrigin] = {}
    for node in graph.nodes:
        name = node.meta.get("state", "")
        if node.op == "get_attr" and name in walk.states and node.meta.get("storage") not in walk.written:
            found[node] = WeightOrigin(frozenset({name}), tuple(frozenset({d}) for d in range(len(walk.states[name]))))
        elif node.op == "call_function" and (sources := [n for n in node.all_input_nodes if n in found]):
            if node.target is operator.getitem:
                found[node] = found[sources[0]]
            elif _value(walk, node).state:
                states = frozenset().union(*(found[source].states for source in sources))
                found[node] = WeightOrigin(states, _moved(walk, node, found[sources[0]].dims))
    return found


def _value(walk: Propagation, node: fx.Node) -> Value:
    value = walk.values[node]
    empty = Value((), (), True, False, False, False)
    return (value[0] if value else empty) if isinstance(value, list) else value


def _name(node: fx.Node) -> str:
    return str(node.target._schema.name)  # type: ignore[union-attr]


def hands_on(node: fx.Node) -> bool:
    """Whether every element of the result is an element of the only operand."""
    rule = find_rule(node.target) if node.target is not operator.getitem else None
    same = rule is not None and _name(node) in _HANDS_ON
    return len(node.all_input_nodes) == 1 and (same or rule in _REARRANGES)


def _moved(
    walk: Propagation, node: fx.Node, dims: tuple[frozenset[int], ...] | None
) -> tuple[frozenset[int], ...] | None:
    """Which own dims of the state the dims of the result are made of."""
    if dims is None or not hands_on(node):
        return None
    if _name(node) in _HANDS_ON:
        return dims
    source = _value(walk, node.all_input_nodes[0])
    solver = AxisSolver()
    labels = [solver.fresh(size) for size in source.shape]
    marked = Value(tuple(labels), source.shape, False, True, False, False, source.contiguous)
    bound = bind(node.target, node.args, node.kwargs)
    arguments = {name: marked if isinstance(value, fx.Node) else value for name, value in bound.items()}
    facts = node.meta["value"]
    shapes = tuple(fact.shape for fact in (facts if isinstance(facts, tuple) else (facts,)))
    rule = find_rule(node.target)
    try:
        result = rule(Call(node.target, arguments, shapes, lambda index: False, solver, [], [])) if rule else None
    except (Unsupported, AxisConflictError):
        return None
    if result is None:
        return None
    owners = {atom: d for d, label in enumerate(labels) for atom in atoms(solver.resolve(label))}
    outputs = [result] if isinstance(result, tuple) else result
    made = [[{owners[a] for a in atoms(solver.resolve(axis)) if a in owners} for axis in axes] for axes in outputs]
    merged = [frozenset().union(*(dims[d] for axes in made for d in axes[i])) for i in range(len(made[0]))]
    return tuple(merged)
