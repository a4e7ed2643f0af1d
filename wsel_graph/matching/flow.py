"""From a captured graph to its component graph: follow every activation, dissolve what holds no parameters."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import fx

from wsel_graph.capture.recorder import TensorInfo
from wsel_graph.capture.trace import Captured
from wsel_graph.coupling.propagate import bind, is_coupled_state, written_parameters
from wsel_graph.matching import operators as ops
from wsel_graph.matching.components import ComponentGraph
from wsel_graph.matching.constants import constant_value, row_pattern
from wsel_graph.matching.drafts import Draft, DraftEdge, finish
from wsel_graph.matching.signature import digest
from wsel_graph.matching.weights import Weights, laid_end_to_end, merged, parameter


@dataclass(frozen=True, slots=True)
class Fixed:
    """A value without parameters in it: an input, a constant, a mask, a rotary code.

    Attributes:
        direct: Whether it is an input as it came, apart from views and casts.
        trail: A hash of how it was made.
    """

    from_input: bool
    direct: bool = False
    trail: str = ""


@dataclass(frozen=True, slots=True)
class Flow:
    """A value that comes from exactly one node, through what has no parameters.

    Attributes:
        rows: Mask of the node's output features in it, one byte each as an int; None for all.
        index: The feature number of every element, where it is still known.
        direct: Whether nothing but views lies between, and nobody else reads the value.
        trail: A hash of everything that lies between.
    """

    source: int
    rows: int | None = None
    tags: frozenset[str] = frozenset()
    index: torch.Tensor | None = None
    direct: bool = False
    trail: str = ""

    def edge(self, argument: str) -> DraftEdge:
        """The edge that this value makes when a node reads it."""
        return DraftEdge(self.source, argument, self.tags, self.mask(), self.trail)

    def mask(self) -> int | None:
        """The features in this value."""
        return self.rows if self.index is None else _mask(self.index)


Value: TypeAlias = Fixed | Weights | Flow
Operand: TypeAlias = tuple[str, Value]


def _mask(index: torch.Tensor) -> int:
    """One byte per feature that occurs; broadcast dims repeat, so one element of them is enough."""
    compact = index[tuple(0 if stride == 0 else slice(None) for stride in index.stride())]
    flags = bytearray(int(compact.max()) + 1 if compact.numel() else 1)
    for row in torch.unique(compact).tolist() if compact.numel() else ():
        flags[row] = 1
    return int.from_bytes(flags, "little")


def component_graph(captured: Captured) -> ComponentGraph:
    """The components and joins of one recorded forward pass, in order of execution."""
    return _Walk(captured).run()


class _Walk:
    def __init__(self, captured: Captured) -> None:
        self._captured = captured
        self._states = {state.name: state for state in captured.states}
        self._values: dict[fx.Node, Value | list[Value]] = {}
        self._stamps: dict[fx.Node, int] = {}
        self._memory: dict[Any, Value] = {}  # what storages hold since the last write
        self._writes: dict[Any, list[tuple[int, Value]]] = {}  # when a storage was written, and what
        self._bases: dict[Any, fx.Node] = {}  # the first node that held a storage
        self._drafts: list[Draft] = []

    def run(self) -> ComponentGraph:
        for stamp, node in enumerate(self._captured.graph.nodes):
            self._stamps[node] = stamp
            if node.op in ("placeholder", "get_attr"):
                self._bases.setdefault(node.meta.get("storage"), node)
            if node.op == "placeholder":
                self._values[node] = Fixed(from_input=True, direct=True, trail=f"input {stamp}")
            elif node.op == "get_attr":
                self._values[node] = self._attribute(node)
            elif node.op == "call_function":
                self._values[node] = self._called(node)
        flows = [self._read(node) for node in self._captured.outputs]
        results = [flow.edge(f"{i}") for i, flow in enumerate(flows) if isinstance(flow, Flow)]
        names = [state.name for state in self._captured.states if is_coupled_state(state)]
        return finish(self._drafts, results, names)

    def _attribute(self, node: fx.Node) -> Value:
        state = self._states.get(node.meta.get("state", ""))
        if state is None or not is_coupled_state(state):
            return Fixed(from_input=False, trail=str(node.target))
        return parameter(state.name, state.tensor.shape)

    # -- reading and writing memory

    def _read(self, node: fx.Node) -> Value:
        value = self._values[node]
        own = value[0] if isinstance(value, list) else value
        storage = node.meta.get("storage")
        later = [written for stamp, written in self._writes.get(storage, ()) if stamp > self._stamps[node]]
        return own if all(_apart(own, written) for written in later) else self._memory[storage]

    def _note_memory(self, node: fx.Node, result: Value | list[Value]) -> None:
        """A write through a view changes what every other view of that memory holds."""
        written = _written(node)
        if not written:
            self._note_new_memory(node)
            return
        value = result[0] if isinstance(result, list) else result
        for target in written:
            storage = target.meta.get("storage")
            base = self._bases.get(storage, target)
            held = value
            if _numel(target.meta["value"]) < _numel(base.meta["value"]):
                held = self._gathered(node, self._read(base), value)
            self._memory[storage] = held
            self._writes.setdefault(storage, []).append((self._stamps[node], value))

    def _note_new_memory(self, node: fx.Node) -> None:
        """A result that shares no memory with an operand: whatever was at this address before is gone."""
        storage = node.meta.get("storage")
        if all(operand.meta.get("storage") != storage for operand in node.all_input_nodes):
            self._memory.pop(storage, None)
            self._writes.pop(storage, None)
            self._bases[storage] = node

    def _gathered(self, node: fx.Node, before: Value, written: Value) -> Value:
        """Memory that is written part by part holds all that was written."""
        flows = [(str(i), v) for i, v in enumerate((before, written)) if isinstance(v, Flow)]
        if not flows:
            return written if isinstance(before, Fixed) else before
        if len({flow.source for _, flow in flows}) > 1:
            return self._join(node, "write", flows)
        return Flow(flows[0][1].source, tags=flows[0][1].tags)

    # -- one operator

    def _called(self, node: fx.Node) -> Value | list[Value]:
        if node.target is operator.getitem:
            source, index = node.args
            parts = self._values[source]  # type: ignore[index]
            value = parts[index] if isinstance(parts, list) and len(parts) > index else self._read(source)  # type: ignore[operator, index, arg-type]
            if all(operand.meta.get("storage") != node.meta.get("storage") for operand in source.all_input_nodes):  # type: ignore[union-attr]
                self._note_new_memory(node)
            return self._trailed(node, _passed_on(value, node), [("", value)])
        operands = self._operands(node)
        result = self._result(node, ops.name_of(node.target), operands)
        if isinstance(result, list):
            result = [self._trailed(node, part, operands) for part in result]
        else:
            result = self._trailed(node, result, operands)
        self._note_memory(node, result)
        return result

    def _trailed(self, node: fx.Node, value: Value, operands: list[Operand]) -> Value:
        """The value with what this node adds to its trail; a node of the component graph begins a new one."""
        if isinstance(value, Weights) or (isinstance(value, Flow) and self._drafts[value.source].at == node.name):
            return value
        return replace(value, trail=_trail(node, operands))

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
        if name == "aten::scaled_dot_product_attention" and (flows or weights):
            return self._attention(node, dict(operands))
        if weights and (made := self._component(node, name, operands)) is not None:
            return made
        if not flows:
            return self._without_flow(node, operands, weights)
        if ops.is_layout(node.target) and len(operands) == 1 and name != "aten::glu":
            return self._rearranged(node, name, flows[0])
        if name == "aten::glu":
            return self._gated(node, flows[0])
        flowing = [(argument, self._as_flow(node, value)) for argument, value in operands if not _is_fixed(value)]
        flowing = [(argument, _marked(flow, ops.operand_tags(name, argument))) for argument, flow in flowing if flow]
        return self._combined(node, name, [(argument, flow) for argument, flow in flowing if flow is not None])

    def _without_flow(self, node: fx.Node, operands: list[Operand], weights: list[Weights]) -> Value | list[Value]:
        fixed = [value for _, value in operands if isinstance(value, Fixed)]
        from_input = any(value.from_input for value in fixed)
        if not weights:
            same = ops.is_layout(node.target) or ops.name_of(node.target) == "aten::clamp"
            return Fixed(from_input, direct=same and any(value.direct for value in fixed))
        if from_input:
            return self._combined(node, "", [("", self._table(node, value)) for value in weights])
        if ops.name_of(node.target) == "aten::cat" and len(node.meta["value"].shape) == 1:
            sizes = [item.meta["value"].shape[0] for item in node.args[0]]  # type: ignore[union-attr]
            given = [value if isinstance(value, Weights) else None for _, value in operands]
            return laid_end_to_end(zip(given, sizes, strict=True))
        if len(weights) == 1 and ops.is_layout(node.target):
            return weights[0].rearranged(lambda seen: _replay(node, seen))  # type: ignore[no-any-return]
        return merged(weights)

    # -- flows without parameters

    def _rearranged(self, node: fx.Node, name: str, flow: Flow) -> Value | list[Value]:
        if flow.index is None:
            flow = _marked(flow, _cut_words(node, name))
        if flow.index is None or ops.keeps_place(name):
            return _passed_on(flow, node)
        try:
            index = _replay(node, flow.index)
        except RuntimeError:
            return _passed_on(replace(flow, rows=flow.mask(), index=None), node)
        if isinstance(index, (list, tuple)):
            return [replace(flow, index=part, direct=False, trail=str(i)) for i, part in enumerate(index)]
        return _passed_on(replace(flow, index=index), node)

    def _gated(self, node: fx.Node, flow: Flow) -> Value:
        """`glu`: the first half times the sigmoid of the second."""
        halves = [replace(flow, direct=False)] * 2
        if flow.index is not None:
            parts = flow.index.chunk(2, int(bind(node.target, node.args, node.kwargs)["dim"]))
            halves = [replace(flow, index=part, direct=False) for part in parts]
        gate = replace(halves[1], tags=flow.tags | {"act", "sigmoid"})
        return self._combined(node, "aten::mul", [("self", halves[0]), ("other", gate)])

    def _combined(self, node: fx.Node, name: str, flows: list[tuple[str, Flow]]) -> Value:
        """One flow goes on, several of one node are one again, and those of different nodes meet in a join."""
        sources = {flow.source for _, flow in flows}
        product = name in ops.PRODUCTS or (ops.is_multiplicative(name) and _disjoint([flow for _, flow in flows]))
        if len(sources) > 1 or (product and len(flows) > 1):
            label = "contract" if name in ops.PRODUCTS else ops.join_label(name)
            return self._join(node, label, _in_order(node, name, flows))
        tags = ops.tags_of(node.target).union(*(flow.tags for _, flow in flows))
        first = flows[0][1]
        if len(flows) == 1 and first.index is not None and ops.is_pointwise_op(node.target):
            facts = node.meta["value"]
            if isinstance(facts, TensorInfo) and facts.shape == tuple(first.index.shape):
                return replace(first, tags=tags, direct=False)
        masks = [flow.mask() for _, flow in flows]
        rows = None if None in masks else _union(masks)
        return Flow(first.source, rows, tags)

    def _join(self, node: fx.Node, label: str, flows: Sequence[tuple[str, Flow]]) -> Flow:
        edges: list[DraftEdge] = []
        for argument, flow in flows:
            inner = self._drafts[flow.source]
            if label == inner.label == "add" and flow.direct and not flow.tags and not inner.slots:
                edges.extend(inner.edges)  # sums of sums are one sum
                inner.dead = True
            else:
                edges.append(flow.edge(argument))
        draft = Draft(label, edges)
        index = _common_index([flow for _, flow in flows]) if label == "add" else None
        if index is not None:
            draft.features = self._drafts[flows[0][1].source].features
        return self._new(node, draft, index)

    def _new(self, node: fx.Node, draft: Draft, index: torch.Tensor | None = None) -> Flow:
        draft.at, draft.module = node.name, str(node.meta.get("module") or "")
        draft.trail = _trail(node, [item for item in self._operands(node) if _is_fixed(item[1])])
        self._drafts.append(draft)
        return Flow(len(self._drafts) - 1, index=index, direct=_read_once(node))

    def _attention(self, node: fx.Node, given: dict[str, Value]) -> Value:
        """Query with key, plus a learned bias, and the result with value."""
        flow = {name: self._as_flow(node, value) for name, value in given.items() if not _is_fixed(value)}
        found = [(name, flow[name]) for name in ("query", "key") if name in flow]
        scores = self._join(node, "contract", [(name, f) for name, f in found if f is not None])
        if (mask := flow.get("attn_mask")) is not None:
            scores = self._join(node, "add", [("self", replace(scores, direct=False)), ("other", mask)])
        value = flow.get("value")
        return self._join(node, "contract", [("self", scores), *([("other", value)] if value is not None else [])])

    # -- parameters

    def _as_flow(self, node: fx.Node, value: Value) -> Flow | None:
        if isinstance(value, Weights):
            return self._table(node, value)
        return value if isinstance(value, Flow) else None

    def _table(self, node: fx.Node, value: Weights) -> Flow:
        """A parameter that takes part as it is."""
        draft = Draft("table", [])
        for i, leaf in enumerate(value.leaves):
            draft.add_slot("weight" if i == 0 else f"weight{i}", leaf)
        return self._new(node, draft)

    def _component(self, node: fx.Node, name: str, operands: list[Operand]) -> Value | None:
        form = ops.FORMS.get(name)
        values = dict(operands)
        if form is not None:
            return self._formed(node, form, values)
        if name == "aten::addcmul":
            return self._scaled_and_shifted(node, values)
        others = [(argument, value) for argument, value in operands if not isinstance(value, Weights)]
        held = [value for _, value in operands if isinstance(value, Weights)]
        if name in ops.PRODUCTS and len(held) == len(others) == 1:
            return self._product(node, operands, held[0], others[0][1])
        if name == "aten::index" and isinstance(values.get("self"), Weights) and all(_is_fixed(v) for _, v in others):
            fixed = [value for _, value in others if isinstance(value, Fixed)]
            if not any(value.from_input for value in fixed):
                return None
            label = "embedding" if all(value.direct for value in fixed) else "table"
            return self._new(node, Draft.holding(label, {"weight": held[0]}))
        flows = [value for _, value in others if isinstance(value, Flow)]
        if len(flows) == len(held) == 1 and held[0].vector and ops.is_pointwise_op(node.target):
            return self._rescaled(node, name, flows[0], held[0])
        return None

    def _rescaled(self, node: fx.Node, name: str, flow: Flow, vector: Weights) -> Flow:
        """A vector added (a bias, where one can stand) or multiplied (a norm's, where the input was normalised)."""
        inner = self._drafts[flow.source]
        if ops.is_additive(name) and flow.direct and not flow.tags and inner.can_take_bias:
            inner.add_slot("bias", vector.leaves[0])
            return replace(flow, direct=_read_once(node))
        label = "shift" if ops.is_additive(name) else ops.join_label(name)
        if ops.is_multiplicative(name):
            label = "norm" if _is_normalised(flow) else "scale"
        slot = "bias" if label == "shift" else "weight"
        return self._new(node, Draft.holding(label, {slot: vector}, [replace(flow, tags=frozenset()).edge("self")]))

    def _scaled_and_shifted(self, node: fx.Node, values: dict[str, Value]) -> Value | None:
        """`addcmul`: a vector plus an activation times a vector."""
        bias = values["self"]
        factors = [values["tensor1"], values["tensor2"]]
        flow = next((factor for factor in factors if isinstance(factor, Flow)), None)
        weight = next((factor for factor in factors if isinstance(factor, Weights)), None)
        if flow is None or weight is None or not isinstance(bias, Weights) or not (weight.vector and bias.vector):
            return None
        label = "norm" if _is_normalised(flow) else "scale"
        edges = [replace(flow, tags=frozenset()).edge("self")]
        return self._new(node, Draft.holding(label, {"weight": weight, "bias": bias}, edges))

    def _product(self, node: fx.Node, operands: list[Operand], weight: Weights, data: Value) -> Flow:
        """An activation times a parameter. On the right, the parameter lies (in, out); on the left, (out, in)."""
        right = isinstance(operands[-1][1], Weights)
        einsum = ops.name_of(node.target) == "aten::einsum"
        if right and not einsum and len(weight.leaves) == 1:
            weight = weight.rearranged(lambda seen: seen.mT if seen.dim() > 1 else seen)
        if einsum:
            weight, right = _as_equation_says(node, operands, weight)
        edges = [data.edge("input")] if isinstance(data, Flow) else []
        draft = Draft.holding("linear", {"weight": weight}, edges)
        draft.features = node.meta["value"].shape[-1] if right else None
        return self._new(node, draft, self._index(node, draft, -1))

    def _formed(self, node: fx.Node, form: ops.Form, values: dict[str, Value]) -> Value | None:
        slots = {slot: values[argument] for argument, slot in form.slots if argument in values}
        held = {slot: value for slot, value in slots.items() if isinstance(value, Weights)}
        data = values.get(form.data)
        if form.label == "recurrent":
            return self._recurrent(node, values)
        if not held or (form.label in ("linear", "conv") and "weight" not in held):
            return None
        label = form.label
        if label == "embedding":
            label = "embedding" if isinstance(data, Fixed) and data.direct else "table"
        if isinstance(slots.get("bias"), Flow):
            return None
        flow = self._as_flow(node, data) if data is not None else None
        draft = Draft.holding(label, held, [flow.edge("input")] if flow is not None and label != "table" else [])
        draft.shape_up(node)
        if isinstance(data, Fixed) and data.direct:
            draft.settings += f" {data.trail}"
        if label == "table":
            draft.settings += row_pattern(self._constant(node, form.data))
        return self._new(node, draft, self._index(node, draft, 1 if form.label == "conv" else -1))

    def _constant(self, node: fx.Node, argument: str) -> torch.Tensor | None:
        """The value of an operand that is computed from constants alone."""
        operand = bind(node.target, node.args, node.kwargs).get(argument)
        return constant_value(operand, self._known) if isinstance(operand, fx.Node) else None

    @cached_property
    def _known(self) -> dict[str, torch.Tensor]:
        """Constants, and the buffers that a model computes from its own configuration."""
        fixed = {state.name: state.tensor for state in self._captured.states if not is_coupled_state(state)}
        return fixed | dict(self._captured.constants)

    def _recurrent(self, node: fx.Node, values: dict[str, Value]) -> Value | None:
        """One component per layer: a stack of layers and layers one by one are the same."""
        bound = bind(node.target, node.args, node.kwargs)
        params = [value for name, value in values.items() if name.startswith("params[")]
        data = values.get("input")
        flow = self._as_flow(node, data) if data is not None else None
        if bound["has_biases"] and all(isinstance(value, Weights) for value in params):
            kinds: Sequence[str] = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        else:
            kinds = ("weight_ih", "weight_hh")
        directions = ("", "_reverse") if bound["bidirectional"] else ("",)
        names = [kind + direction for direction in directions for kind in kinds]
        if len(params) != len(names) * bound["num_layers"]:
            return None  # projections: an LSTM form of its own
        label = "recurrent:" + ops.join_label(ops.name_of(node.target))
        for layer in range(bound["num_layers"]):
            own = params[layer * len(names) : (layer + 1) * len(names)]
            held = {name: value for name, value in zip(names, own, strict=True) if isinstance(value, Weights)}
            flow = self._new(node, Draft.holding(label, held, [flow.edge("input")] if flow is not None else []))
        return flow

    def _index(self, node: fx.Node, draft: Draft, dim: int) -> torch.Tensor | None:
        """Number the output features, where some later operator takes part of them."""
        facts = node.meta["value"]
        if draft.features is None or not isinstance(facts, TensorInfo) or not _is_cut(node):
            return None
        dim %= len(facts.shape)
        numbers = torch.arange(draft.features, dtype=torch.int32, device="cpu")
        return numbers.view(-1, *([1] * (len(facts.shape) - dim - 1))).expand(facts.shape)


# -- facts about graph nodes


def _trail(node: fx.Node, operands: Sequence[Operand]) -> str:
    """A hash of an operator with its settings, and of the trails of its operands."""
    settings = fx.node.map_arg((node.args, dict(node.kwargs)), lambda _: None)
    trails = [(argument, "" if isinstance(value, Weights) else value.trail) for argument, value in operands]
    return digest(str(node.target), settings, trails)


def _is_normalised(flow: Flow) -> bool:
    """Whether the value was divided by its size, as a library norm or written out."""
    written_out = "mean" in flow.tags and not flow.tags.isdisjoint({"sqrt", "pow"})
    return "norm" in flow.tags or written_out


def _cut_words(node: fx.Node, name: str) -> frozenset[str]:
    """From where a part of an axis is taken: the first position, the second, ..."""
    if name not in ("aten::select", "aten::slice"):
        return frozenset()
    source, result = node.all_input_nodes[0].meta["value"], node.meta["value"]
    if not isinstance(source, TensorInfo) or _numel(source) == _numel(result):
        return frozenset()
    bound = bind(node.target, node.args, node.kwargs)
    start = bound.get("index") if name == "aten::select" else bound.get("start")
    return frozenset({f"from {start or 0}"})


def _marked(flow: Flow, tags: frozenset[str]) -> Flow:
    return replace(flow, tags=flow.tags | tags) if tags else flow


def _is_fixed(value: Value) -> bool:
    return isinstance(value, Fixed)


def _read_once(node: fx.Node) -> bool:
    return len(node.users) == 1


def _passed_on(value: Value, node: fx.Node) -> Value:
    return replace(value, direct=value.direct and _read_once(node)) if isinstance(value, Flow) else value


def _written(node: fx.Node) -> list[fx.Node]:
    bound = bind(node.target, node.args, node.kwargs)
    found = [bound[name] for name in written_parameters(node.target)]
    return [value for value in found if isinstance(value, fx.Node)]


def _numel(facts: Any) -> int:
    return torch.Size(facts.shape).numel() if isinstance(facts, TensorInfo) else 0


def _replay(node: fx.Node, value: torch.Tensor) -> Any:
    """The operator run on another tensor in the place of its one operand."""
    return node.target(*fx.node.map_arg(node.args, lambda _: value), **node.kwargs)  # type: ignore[operator]


def _is_cut(node: fx.Node) -> bool:
    """Whether some operator takes a part of this value, with nothing but views and elementwise operators between."""
    todo, seen = list(node.users), set()
    while todo:
        user = todo.pop()
        if user in seen or user.op != "call_function":
            continue
        seen.add(user)
        if ops.name_of(user.target) in ops.CUTS:
            return True
        passes = user.target is operator.getitem or ops.is_layout(user.target) or ops.is_pointwise_op(user.target)
        if passes and len(seen) < 16:
            todo.extend(user.users)
    return False


def _union(masks: Iterable[int | None]) -> int:
    total = 0
    for mask in masks:
        total |= mask or 0
    return total


def _apart(one: Value, other: Value) -> bool:
    """Whether two values are known to be different features of one node, so that writing one leaves the other."""
    if not (isinstance(one, Flow) and isinstance(other, Flow)) or one.source != other.source:
        return False
    return _disjoint([one, other])


def _disjoint(flows: Sequence[Flow]) -> bool:
    """Whether no two flows share a feature."""
    masks = [flow.mask() for flow in flows]
    if None in masks or len(masks) < 2:
        return False
    return sum(mask.bit_count() for mask in masks if mask) == _union(masks).bit_count()


def _common_index(flows: Sequence[Flow]) -> torch.Tensor | None:
    """The feature numbers of a sum, where all operands are numbered alike; None otherwise."""
    first = flows[0].index
    if first is None or any(flow.index is None or flow.tags for flow in flows):
        return None
    same = all(flow.index is not None and torch.equal(flow.index, first) for flow in flows)
    return first if same else None


def _as_equation_says(node: fx.Node, operands: list[Operand], weight: Weights) -> tuple[Weights, bool]:
    """The weight of an einsum in the order (out, in), and whether its output features come last in the result."""
    inputs, _, output = str(node.args[0]).replace(" ", "").partition("->")
    held = next(place for place, (_, value) in enumerate(operands) if isinstance(value, Weights))
    own, data = inputs.split(",")[held], inputs.split(",")[1 - held]
    out = [letter for letter in own if letter in output and letter not in data]
    into = [letter for letter in own if letter in data and letter not in output]
    if len(own) != 2 or len(out) != 1 or len(into) != 1:
        return weight.opaque(), False
    order = (own.index(out[0]), own.index(into[0]))
    return weight.rearranged(lambda seen: seen.permute(order)), output.endswith(out[0])


def _in_order(node: fx.Node, name: str, flows: list[tuple[str, Flow]]) -> list[tuple[str, Flow]]:
    """The operand whose axis comes last in the result comes last; an einsum may name it first."""
    if name != "aten::einsum" or len(flows) != 2:
        return flows
    equation = str(node.args[0]).replace(" ", "")
    inputs, _, output = equation.partition("->")
    first = inputs.split(",")[0]
    return flows[::-1] if output and output[-1] in first else flows
