"""From a captured graph to its component graph: follow every activation, dissolve what holds no parameters."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import fx

from wsel_graph.capture.recorder import TensorInfo
from wsel_graph.capture.schemas import bind
from wsel_graph.capture.trace import Captured
from wsel_graph.coupling.propagate import is_coupled_state
from wsel_graph.matching import operators as ops
from wsel_graph.matching.components import TURNED, ComponentGraph
from wsel_graph.matching.drafts import finish
from wsel_graph.matching.growth import Growth
from wsel_graph.matching.orders import laid_together, orders_of, way_of
from wsel_graph.matching.parts import base_of, cut_of
from wsel_graph.matching.reading import (
    compared_with,
    cut_words,
    in_order,
    moves_last_dim,
    normalised_across,
    numel,
    passed_on,
    renamed_equation,
    replay,
    replayed_dims,
    step_of,
    trail_of,
    written_at,
    written_by,
)
from wsel_graph.matching.uses import Uses
from wsel_graph.matching.values import Fixed, Flow, Operand, Value, apart, disjoint, is_fixed, marked, union
from wsel_graph.matching.weights import Weights, laid_end_to_end, merged, parameter


def component_graph(captured: Captured, numbers: Sequence[int] | None = None) -> ComponentGraph:
    """The components and joins of one recorded forward pass, in order of execution.

    Args:
        numbers: Of the results, so that two models number alike what corresponds; as they come where it is None.
    """
    return _Walk(captured).run(range(len(captured.outputs)) if numbers is None else numbers)


class _Walk:
    def __init__(self, captured: Captured) -> None:
        self._captured = captured
        self._states = {state.name: state for state in captured.states}
        self._values: dict[fx.Node, Value | list[Value]] = {}
        self._stamps: dict[fx.Node, int] = {}
        self._memory: dict[Any, Value] = {}  # what storages hold since the last write
        self._writes: dict[Any, list[tuple[int, Value]]] = {}  # when a storage was written, and what
        self._places: dict[Any, frozenset[str]] = {}  # where a storage was written last
        self._bases: dict[Any, fx.Node] = {}  # the first node that held a storage
        self._growth = Growth()
        self._uses = Uses(captured, self._growth)

    def run(self, numbers: Sequence[int]) -> ComponentGraph:
        for stamp, node in enumerate(self._captured.graph.nodes):
            self._stamps[node] = stamp
            if node.op in ("placeholder", "get_attr"):
                self._bases.setdefault(node.meta.get("storage"), node)
            if node.op == "placeholder":
                way = f"input {node.meta.get('label', stamp)}"
                self._values[node] = Fixed(from_input=True, direct=True, trail=way, way=way, root=way)
            elif node.op == "get_attr":
                self._values[node] = self._attribute(node)
            elif node.op == "call_function":
                self._values[node] = self._called(node)
        flows = dict(zip(numbers, map(self._read, self._captured.outputs), strict=True))
        results = [flow.edge(f"{number}") for number, flow in sorted(flows.items()) if isinstance(flow, Flow)]
        names = [state.name for state in self._captured.states if is_coupled_state(state)]
        return finish(self._growth.drafts, results, names)

    def _attribute(self, node: fx.Node) -> Value:
        state = self._states.get(node.meta.get("state", ""))
        if state is None or not is_coupled_state(state):
            return Fixed(from_input=False, trail=str(node.target), way=self._uses.way(str(node.target)))
        return parameter(state.name, state.tensor.shape, state.kind)

    # -- reading and writing memory

    def _read(self, node: fx.Node) -> Value:
        value = self._values[node]
        own = value[0] if isinstance(value, list) else value
        storage = node.meta.get("storage")
        later = [written for stamp, written in self._writes.get(storage, ()) if stamp > self._stamps[node]]
        return own if all(apart(own, written) for written in later) else self._memory[storage]

    def _note_memory(self, node: fx.Node, result: Value | list[Value]) -> None:
        """A write through a view changes what every other view of that memory holds."""
        written = written_by(node)
        if not written:
            self._note_new_memory(node)
            return
        value = result[0] if isinstance(result, list) else result
        for target in written:
            storage = target.meta.get("storage")
            base = self._bases.get(storage, target)
            held, place = value, written_at(target)
            if numel(target.meta["value"]) < numel(base.meta["value"]):
                held = self._gathered(node, self._read(base), value, (self._places.get(storage, frozenset()), place))
            self._memory[storage] = held
            self._places[storage] = frozenset() if self._joined_by(held, node) else place
            self._writes.setdefault(storage, []).append((self._stamps[node], value))

    def _note_new_memory(self, node: fx.Node) -> None:
        """A result that shares no memory with an operand: whatever was at this address before is gone."""
        storage = node.meta.get("storage")
        if all(operand.meta.get("storage") != storage for operand in node.all_input_nodes):
            self._memory.pop(storage, None)
            self._writes.pop(storage, None)
            self._places.pop(storage, None)
            self._bases[storage] = node

    def _gathered(
        self, node: fx.Node, before: Value, written: Value, places: tuple[frozenset[str], frozenset[str]]
    ) -> Value:
        """Memory that is written part by part holds all that was written, told apart by the places of the parts."""
        if not isinstance(before, Flow) and not isinstance(written, Flow):
            held = [before.opaque()] if isinstance(before, Weights) else []
            if isinstance(written, Weights):
                held.append(written.through("write", same_place=False, step=sorted(places[1])))
            return merged(held) if held else written
        made = [self._growth.table(node, v) if isinstance(v, Weights) else v for v in (before, written)]
        flows = [(str(i), v) for i, v in enumerate(made) if isinstance(v, Flow)]
        if len({flow.source for _, flow in flows}) > 1:
            placed = [(name, marked(flow, places[int(name)])) for name, flow in flows]
            return self._growth.join(node, "write", placed)
        return Flow(flows[0][1].source, tags=flows[0][1].tags, made=flows[0][1].made)

    def _joined_by(self, value: Value, node: fx.Node) -> bool:
        """Whether a value is what a node of the component graph gives that a graph node made."""
        return isinstance(value, Flow) and self._growth.drafts[value.source].at == node.name

    # -- one operator

    def _called(self, node: fx.Node) -> Value | list[Value]:
        if node.target is operator.getitem:
            source, index = node.args
            parts = self._values[source]  # type: ignore[index]
            value = parts[index] if isinstance(parts, list) and len(parts) > index else self._read(source)  # type: ignore[operator, index, arg-type]
            value = self._cut(node, value)
            if all(operand.meta.get("storage") != node.meta.get("storage") for operand in source.all_input_nodes):  # type: ignore[union-attr]
                self._note_new_memory(node)
            return self._trailed(node, passed_on(value, node), [("", value)])
        self._growth.operands = operands = self._operands(node)
        result = self._result(node, ops.name_of(node.target), operands)
        if isinstance(result, list):
            result = [self._trailed(node, part, operands) for part in result]
        else:
            result = self._trailed(node, result, operands)
        self._note_memory(node, result)
        return result

    def _trailed(self, node: fx.Node, value: Value, operands: list[Operand]) -> Value:
        """The value with what this node adds to its trail; a node of the component graph begins a new one."""
        if isinstance(value, Flow) and self._joined_by(value, node):
            return replace(value, orders=orders_of(node, operands)) if laid_together(node) else value
        trail = trail_of(node, operands)
        if isinstance(value, Weights):
            return replace(value, trail=trail, orders=orders_of(node, operands))
        return replace(value, trail=trail, way=way_of(node, operands), orders=orders_of(node, operands))

    def _operands(self, node: fx.Node) -> list[Operand]:
        found: list[Operand] = []
        for name, value in bind(node.target, node.args, node.kwargs).items():
            if isinstance(value, fx.Node):
                found.append((name, self._read(value)))
            elif isinstance(value, (list, tuple)):
                found.extend(
                    (f"{name}[{i}]", self._read(item)) for i, item in enumerate(value) if isinstance(item, fx.Node)
                )
        return found

    def _result(self, node: fx.Node, name: str, operands: list[Operand]) -> Value | list[Value]:
        flows = [value for _, value in operands if isinstance(value, Flow)]
        weights = [value for _, value in operands if isinstance(value, Weights)]
        if ops.is_factory(name):
            return Fixed(from_input=False)
        if name in ("aten::copy_", "aten::copy"):
            operands = [(argument, value) for argument, value in operands if argument != "self"]
            flows = [value for _, value in operands if isinstance(value, Flow)]
            weights = [value for _, value in operands if isinstance(value, Weights)]
        if name == "aten::scaled_dot_product_attention" and (flows or weights):
            return self._growth.attention(node, dict(operands))
        if weights and (made := self._uses.component(node, name, operands)) is not None:
            return made
        if not flows:
            return self._without_flow(node, operands, weights)
        if ops.is_layout(node.target) and len(operands) == 1 and name != "aten::glu":
            return self._rearranged(node, name, flows[0])
        if name == "aten::glu":
            return self._gated(node, flows[0])
        flowing = [(argument, self._growth.as_flow(node, value)) for argument, value in operands if not is_fixed(value)]
        tagged = [
            (argument, marked(flow, ops.operand_tags(name, argument) | _factor(node, name, argument)))
            for argument, flow in flowing
            if flow is not None
        ]
        if name in ops.SUMS_OF_PRODUCTS:
            return self._added_product(node, dict(tagged))
        if name in ops.MIXES and "weight" not in dict(tagged):
            name = "aten::add"  # (1 - w) x + w y, for a number or a constant w
        return self._combined(node, name, tagged)

    def _added_product(self, node: fx.Node, flows: dict[str, Flow]) -> Value:
        """`addcmul`: a product and a sum, as they are when they are written out."""
        factors = [(argument, flow) for argument, flow in flows.items() if argument != "self"]
        if not factors:
            return self._combined(node, "aten::add", [*flows.items()])
        product = self._combined(node, "aten::mul", factors)
        if not isinstance(product, Flow):
            return product
        value = bind(node.target, node.args, node.kwargs).get("value", 1)
        sign = frozenset({"neg"}) if isinstance(value, (int, float)) and value < 0 else frozenset()
        terms: list[tuple[str, Flow]] = [("self", flows["self"])] if "self" in flows else []
        return self._combined(node, "aten::add", [*terms, ("other", marked(product, sign))])

    def _without_flow(self, node: fx.Node, operands: list[Operand], weights: list[Weights]) -> Value | list[Value]:
        fixed = [value for _, value in operands if isinstance(value, Fixed)]
        from_input = any(value.from_input for value in fixed)
        if not weights:
            cuts = cut_of(node, self._uses.known)
            same = cuts or ops.is_layout(node.target) or ops.name_of(node.target) == "aten::clamp"
            whole = next((value for value in fixed if value.direct), None) if same else None
            if whole is None:
                return Fixed(from_input)
            return Fixed(from_input, direct=True, root=whole.root, cuts=(*whole.cuts, *cuts))
        if from_input:
            return self._combined(node, "", [("", self._growth.table(node, value)) for value in weights])
        if ops.name_of(node.target) == "aten::cat" and len(node.meta["value"].shape) == 1:
            sizes = [item.meta["value"].shape[0] for item in node.args[0]]  # type: ignore[union-attr]
            given = [value if isinstance(value, Weights) else None for _, value in operands]
            return laid_end_to_end(zip(given, sizes, strict=True))
        if len(weights) == 1 and ops.is_layout(node.target):
            step = ops.name_of(node.target), replayed_dims(node)
            return weights[0].rearranged(lambda seen: replay(node, seen), step)  # type: ignore[no-any-return]
        return merged(
            value.through(
                ops.operand_word(ops.name_of(node.target), place),
                same_place=_keeps_shape(node, value, operands),
                step=step_of(node, value, operands),
            )
            for place, value in enumerate(weights)
        )

    # -- flows without parameters

    def _rearranged(self, node: fx.Node, name: str, flow: Flow) -> Value | list[Value]:
        if flow.index is None:
            flow = marked(flow, cut_words(node, name))
            if cuts := cut_of(node, self._uses.known):
                flow = replace(flow, cuts=(*flow.cuts, *cuts), direct=False)
        if self._growth.drafts[flow.source].label == "contract" and moves_last_dim(node):
            flow = replace(flow, tags=flow.tags ^ {TURNED})
        if flow.index is None or ops.keeps_place(name):
            return passed_on(flow, node)
        try:
            index = replay(node, flow.index)
        except RuntimeError:
            return passed_on(replace(flow, rows=flow.mask(), index=None), node)
        if isinstance(index, (list, tuple)):
            return [replace(flow, index=part, direct=False, trail=str(i)) for i, part in enumerate(index)]
        return passed_on(replace(flow, index=index), node)

    def _cut(self, node: fx.Node, value: Value) -> Value:
        """A value with the part that an operator takes of it, where its features are not numbered."""
        if isinstance(value, Weights) or (isinstance(value, Flow) and value.index is not None):
            return value
        cuts = (*value.cuts, *cut_of(node, self._uses.known))
        if cuts == value.cuts:
            return value
        if isinstance(value, Flow):
            return replace(value, cuts=cuts, direct=False)
        return replace(value, cuts=cuts) if value.direct else value

    def _gated(self, node: fx.Node, flow: Flow) -> Value:
        """`glu`: the first half times the sigmoid of the second."""
        base = base_of(node.all_input_nodes[0]).name
        halves = [replace(flow, cuts=(*flow.cuts, (base, place)), direct=False) for place in range(2)]
        if flow.index is not None:
            parts = flow.index.chunk(2, int(bind(node.target, node.args, node.kwargs)["dim"]))
            halves = [replace(flow, index=part, direct=False) for part in parts]
        gate = marked(halves[1], frozenset({"act", "sigmoid"}))
        return self._combined(node, "aten::mul", [("self", halves[0]), ("other", gate)])

    def _combined(self, node: fx.Node, name: str, flows: list[tuple[str, Flow]]) -> Value:
        """One flow goes on, several of one node are one again, and those of different nodes meet in a join."""
        sources = {flow.source for _, flow in flows}
        product = name in ops.PRODUCTS or (_keeps_apart(name, flows) and disjoint([flow for _, flow in flows]))
        if len(sources) > 1 or (product and len(flows) > 1):
            label = "contract" if name in ops.PRODUCTS else ops.join_label(name)
            if name == "aten::einsum" and len(flows) > 2:
                label = f"contract {renamed_equation(str(node.args[0]))}"
            return self._growth.join(node, label, in_order(node, name, flows))
        words = normalised_across(node) | compared_with(node)
        tags = ops.tags_of(node.target).union(*(flow.tags for _, flow in flows), words)
        first = flows[0][1]
        if len(flows) == 1 and first.index is not None and ops.is_pointwise_op(node.target):
            facts = node.meta["value"]
            if isinstance(facts, TensorInfo) and facts.shape == tuple(first.index.shape):
                return replace(first, tags=tags, direct=False)
        masks = [flow.mask() for _, flow in flows]
        rows = None if None in masks else union(masks)
        cuts = first.cuts if all(flow.cuts == first.cuts for _, flow in flows) else ()
        return self._cut(node, Flow(first.source, rows, tags, made=first.made, cuts=cuts))


def _keeps_apart(name: str, flows: list[tuple[str, Flow]]) -> bool:
    """Whether parts of one node that meet play different parts: a value and its gate, a mean and an exponential.

    Sums of parts as they are only mix channels, as rotary codes do, in one of several ways to write them.
    """
    bent = ["act" in flow.tags for _, flow in flows]
    return ops.is_multiplicative(name) or (ops.is_additive(name) and any(bent) and not all(bent))


def _keeps_shape(node: fx.Node, value: Weights, operands: list[Operand]) -> bool:
    """Whether an elementwise operator leaves a parameter as it lies: no other parameter, no other shape."""
    seen = value.leaves[0].seen
    facts = node.meta["value"]
    alone = len(value.leaves) == 1 and sum(isinstance(other, Weights) for _, other in operands) == 1
    same = seen is not None and isinstance(facts, TensorInfo) and tuple(seen.shape) == facts.shape
    return alone and same and ops.is_pointwise_op(node.target)


def _factor(node: fx.Node, name: str, argument: str) -> frozenset[str]:
    """The factor by which `add` multiplies its second operand."""
    alpha = bind(node.target, node.args, node.kwargs).get("alpha") if ops.is_additive(name) else None
    return frozenset({f"times {alpha}"}) if argument == "other" and alpha not in (None, 1) else frozenset()
