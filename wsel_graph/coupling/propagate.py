"""Walk a captured graph once and let every operator's rule state what it knows about axes."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import fx

from wsel_graph.axes import Axis, AxisSolver
from wsel_graph.capture.recorder import TensorInfo
from wsel_graph.capture.schemas import bind, written_parameters
from wsel_graph.capture.trace import Captured, State
from wsel_graph.coupling.stub import rule_stub
from wsel_graph.errors import AxisConflictError
from wsel_graph.ops import Axes, Call, Outputs, Unsupported, Value, find_rule, qualified_name
from wsel_graph.ops.factory import FILLED
from wsel_graph.ops.pointwise import is_pointwise, pointwise
from wsel_graph.ops.registry import PropagationRule

_FILLED_NAMES = frozenset(qualified_name(op) for op in FILLED)


@dataclass(slots=True)
class Propagation:
    """What one walk over a graph found; axes are unresolved, ask `solver.resolve`."""

    solver: AxisSolver = field(default_factory=AxisSolver)
    states: dict[str, Axes] = field(default_factory=dict)
    outputs: list[Axes] = field(default_factory=list)
    values: dict[fx.Node, Value | list[Value]] = field(default_factory=dict)
    roles: list[tuple[Axis, str]] = field(default_factory=list)
    consumed: list[Axis] = field(default_factory=list)
    consumed_at: dict[fx.Node, list[Axis]] = field(default_factory=dict)  # the same, by the node that consumes them
    unknown: dict[str, str] = field(default_factory=dict)  # operator -> text of the rule that would teach it
    written: set[int] = field(default_factory=set)  # storages that some operator writes to


def is_coupled_state(state: State) -> bool:
    """Whether a state is carried over by selection: floating point and part of the state dict.

    Integer tensors, masks and non-persistent buffers are configuration; the student computes its own.
    """
    dtype = state.tensor.dtype
    return state.persistent and not state.mask and (dtype.is_floating_point or dtype.is_complex)


def propagate(captured: Captured) -> Propagation:
    """Give every value of the graph its axes."""
    walk = Propagation()
    states = {state.name: state for state in captured.states}
    for node in captured.graph.nodes:
        walk.solver.node = node.name
        if node.op == "placeholder":
            walk.values[node] = _value(walk, node, pinned="input", from_input=True)
        elif node.op == "get_attr" and "value" in node.meta:
            walk.values[node] = _attribute(walk, node, states)
        elif node.op == "call_function":
            walk.values[node] = _called(walk, node)
        elif node.op == "output":
            walk.outputs = [_one(walk.values[out]).axes for out in captured.outputs]
    return walk


def _one(value: Value | list[Value]) -> Value:
    return value[0] if isinstance(value, list) else value


def _value(
    walk: Propagation, node: fx.Node, *, pinned: str | None = None, anchored: str | None = None,
    from_input: bool = False, from_state: bool = False,
) -> Value:  # fmt: skip
    facts: TensorInfo = node.meta["value"]
    axes = tuple(walk.solver.fresh(size, pinned=pinned, anchored=anchored) for size in facts.shape)
    return Value(
        axes, facts.shape, not (from_input or from_state), from_state, _is_mask(facts), False, facts.contiguous
    )


def _is_mask(facts: TensorInfo) -> bool:
    return facts.dtype in (torch.bool, torch.uint8)


def _attribute(walk: Propagation, node: fx.Node, states: Mapping[str, State]) -> Value:
    state = states.get(node.meta.get("state", ""))
    if state is None or not is_coupled_state(state):
        return _value(walk, node, anchored="fixed values")
    value = _value(walk, node, from_state=True)
    walk.states[state.name] = value.axes
    return value


def _called(walk: Propagation, node: fx.Node) -> Value | list[Value]:
    if node.target is operator.getitem:
        source, index = node.args
        parts = walk.values[source]  # type: ignore[index]
        return parts[index] if isinstance(parts, list) else parts  # type: ignore[index]
    if not (node.all_input_nodes or node.meta["value"]):
        return []  # no tensor goes in or comes out: profiling, assertions on numbers
    arguments = _bound_values(walk, node)
    written = [arguments[name] for name in written_parameters(node.target) if isinstance(arguments[name], Value)]
    call = _make_call(walk, node, arguments)
    before = len(walk.consumed)
    outputs = _apply_rule(walk, node, call)
    if len(walk.consumed) > before:
        walk.consumed_at[node] = walk.consumed[before:]
    if not node.meta["value"]:
        return []  # nothing but a check or a Python number
    result = _wrap(walk, node, call, outputs)
    if torch.Tag.inplace_view not in node.target.tags:  # type: ignore[union-attr]
        _couple_written(walk, written, result)
    return result


def _couple_written(walk: Propagation, written: list[Value], result: Value | list[Value]) -> None:
    """What an operator writes to is its result: every view of that memory must follow."""
    for value in written:
        for output in result if isinstance(result, list) else [result]:
            if output.shape == value.shape:
                for axis, other in zip(value.axes, output.axes, strict=True):
                    walk.solver.unify(axis, other)


def _bound_values(walk: Propagation, node: fx.Node) -> dict[str, Any]:
    """Arguments by name, with values for nodes."""

    def to_value(argument: Any) -> Any:
        value = _one(walk.values[argument])
        if value.filled and argument.meta.get("storage") in walk.written:
            return replace(value, filled=False)
        return value

    bound = bind(node.target, node.args, node.kwargs)
    arguments = {name: fx.node.map_arg(value, to_value) for name, value in bound.items()}
    return {name: list(v) if isinstance(v, (list, tuple)) else v for name, v in arguments.items()}


def _make_call(walk: Propagation, node: fx.Node, arguments: dict[str, Any]) -> Call:
    arguments = {name: value for name, value in arguments.items() if name not in out_parameters(node.target)}
    value = node.meta["value"]
    facts = value if isinstance(value, tuple) else (value,)
    shapes = tuple(fact.shape if fact is not None else () for fact in facts)
    _note_write(walk, node)
    return Call(node.target, arguments, shapes, _usage(node), walk.solver, walk.roles, walk.consumed)


def rebuilt_call(walk: Propagation, node: fx.Node) -> Call:
    """The call of a node as its rule saw it, for questions after the walk; axes are to be resolved."""
    return _make_call(walk, node, _bound_values(walk, node))


def _usage(node: fx.Node) -> Callable[[int], bool]:
    def used(index: int) -> bool:
        return any(user.target is operator.getitem and user.args[1] == index and user.users for user in node.users)

    return used


@functools.lru_cache(maxsize=4096)
def out_parameters(op: Any) -> tuple[str, ...]:
    """Names of the arguments that only receive the result (`out=`)."""
    written = written_parameters(op)
    return tuple(a.name for a in op._schema.arguments if a.kwarg_only and a.name in written)


def _note_write(walk: Propagation, node: fx.Node) -> None:
    bound = bind(node.target, node.args, node.kwargs)
    for name in written_parameters(node.target):
        if isinstance(bound[name], fx.Node):
            walk.written.add(bound[name].meta.get("storage", 0))


def _apply_rule(walk: Propagation, node: fx.Node, call: Call) -> Outputs:
    rule = _rule_of(node.target)
    if rule is None:
        return _opaque(walk, node, call, "no propagation rule")
    try:
        return rule(call)
    except (Unsupported, AxisConflictError) as error:
        return _opaque(walk, node, call, str(error))
    except Exception as error:
        if rule.__module__.startswith("wsel_graph.ops."):
            return _opaque(walk, node, call, f"its rule does not cover this form ({type(error).__name__}: {error})")
        error.add_note(f"while propagating {node.format_node()} in module {node.meta.get('module') or '(top level)'}")
        raise


def _rule_of(op: Any) -> PropagationRule | None:
    rule = find_rule(op)
    return pointwise if rule is None and is_pointwise(op) else rule


def _opaque(walk: Propagation, node: fx.Node, call: Call, why: str) -> Outputs:
    """Nothing is known: take every axis that takes part whole, and say how to teach the operator."""
    for value in call.tensors:
        for axis in value.axes:
            walk.solver.pin(axis, "opaque")
    walk.unknown.setdefault(qualified_name(node.target), rule_stub(node, why))
    results = [call.pinned_axes(shape) for shape in call.shapes]
    return results if isinstance(node.meta.get("value"), tuple) else (results or [()])[0]


def _wrap(walk: Propagation, node: fx.Node, call: Call, outputs: Outputs) -> Value | list[Value]:
    facts = node.meta["value"]
    from_input = any(not (value.state or value.constant) for value in call.tensors)
    from_state = any(value.state for value in call.tensors)

    def wrap(axes: Axes, fact: TensorInfo) -> Value:
        if tuple(axis.size for axis in axes) != fact.shape:
            raise AxisConflictError(
                f"the propagation rule of {node.target} gave axes of sizes {[a.size for a in axes]} to a result of "
                f"shape {list(fact.shape)} (graph node {node.name}); correct the rule"
            )
        return Value(
            axes, fact.shape, not (from_input or from_state), from_state and not from_input, _is_mask(fact),
            str(node.target._schema.name) in _FILLED_NAMES, fact.contiguous,  # type: ignore[union-attr]
        )  # fmt: skip

    if isinstance(facts, TensorInfo):
        return wrap(outputs if isinstance(outputs, tuple) else outputs[0], facts)
    several = outputs if isinstance(outputs, list) else [outputs]
    absent = Value((), (), True, False, False, False)
    return [absent if fact is None else wrap(axes, fact) for axes, fact in zip(several, facts, strict=True)]
