"""Operators that use parameters, as components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import fx

from wsel_graph.capture.recorder import TensorInfo
from wsel_graph.capture.schemas import bind
from wsel_graph.capture.trace import Captured
from wsel_graph.matching import operators as ops
from wsel_graph.matching.constants import LARGEST, constant_value, known_values, row_pattern
from wsel_graph.matching.drafts import Draft, Reading
from wsel_graph.matching.growth import Growth
from wsel_graph.matching.reading import as_equation_says, is_cut_later, read_once
from wsel_graph.matching.signature import digest
from wsel_graph.matching.values import Fixed, Flow, Operand, Value, is_fixed, is_normalised
from wsel_graph.matching.weights import Weights


class Uses:
    """Makes a component of every operator that uses parameters."""

    def __init__(self, captured: Captured, growth: Growth) -> None:
        self._captured, self._growth = captured, growth

    def component(self, node: fx.Node, name: str, operands: list[Operand]) -> Value | None:
        """The result of an operator that is a component; None for others."""
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
        if name == "aten::index" and isinstance(values.get("self"), Weights) and all(is_fixed(v) for _, v in others):
            fixed = [value for _, value in others if isinstance(value, Fixed)]
            if not any(value.from_input for value in fixed):
                return None
            label = "embedding" if all(value.direct for value in fixed) else "table"
            return self._growth.new(node, Draft.holding(label, {"weight": held[0]}))
        flows = [value for _, value in others if isinstance(value, Flow)]
        if len(flows) == len(held) == 1 and ops.is_pointwise_op(node.target):
            if held[0].vector:
                argument = next(argument for argument, value in operands if isinstance(value, Weights))
                return self._rescaled(node, name, flows[0], (argument, held[0]))
            if name in ("aten::add", "aten::add_") and bind(node.target, node.args, node.kwargs)["alpha"] == 1:
                return self._shifted(node, flows[0], held[0])
        return None

    def _shifted(self, node: fx.Node, flow: Flow, added: Weights) -> Flow | None:
        """A bias of several dims: an element for each that an einsum makes, of heads and their channels."""
        inner = self._growth.drafts[flow.source]
        straight = any(source.name == inner.at for source in node.all_input_nodes)
        if not (straight and flow.direct and not flow.tags and inner.can_take_bias and len(added.leaves) == 1):
            return None
        leaf = added.leaves[0]
        if leaf.seen is None or leaf.folds is not None or leaf.seen.dim() < -min(inner.made, default=0):
            return None
        shape = node.meta["value"].shape
        sizes = [shape[place] if place in inner.made else 1 for place in range(-leaf.seen.dim(), 0)]
        if not inner.made or list(leaf.seen.shape) != sizes:
            return None
        others = [dim for dim in range(leaf.seen.dim()) if dim - leaf.seen.dim() not in inner.made]
        seen = leaf.seen.permute([*others, *inner.made])[(0,) * len(others)]
        inner.add_slot("bias", replace(leaf, seen=seen, folds=(len(inner.made),)))
        return replace(flow, direct=read_once(node))

    def _rescaled(self, node: fx.Node, name: str, flow: Flow, operand: tuple[str, Weights]) -> Flow:
        """A vector added (a bias, where one can stand) or multiplied (a norm's, where the input was normalised)."""
        argument, vector = operand
        inner = self._growth.drafts[flow.source]
        slot = _added_as(node, name, argument) if ops.is_additive(name) else _multiplied_as(name, argument)
        plain = slot == "bias" and not vector.leaves[0].path and bind(node.target, node.args, node.kwargs)["alpha"] == 1
        if plain and flow.direct and not flow.tags and inner.can_take_bias:
            inner.add_slot("bias", vector.leaves[0])
            return replace(flow, direct=read_once(node))
        label = "shift" if ops.is_additive(name) else ops.join_label(name)
        if ops.is_multiplicative(name):
            label = "norm" if is_normalised(flow) else "scale"
        return self._growth.new(
            node, Draft.holding(label, {slot: vector}, [replace(flow, tags=frozenset()).edge("self")])
        )

    def _scaled_and_shifted(self, node: fx.Node, values: dict[str, Value]) -> Value | None:
        """`addcmul`: a vector plus an activation times a vector."""
        bias = values["self"]
        factors = [values["tensor1"], values["tensor2"]]
        flow = next((factor for factor in factors if isinstance(factor, Flow)), None)
        weight = next((factor for factor in factors if isinstance(factor, Weights)), None)
        if flow is None or weight is None or not isinstance(bias, Weights) or not (weight.vector and bias.vector):
            return None
        if bind(node.target, node.args, node.kwargs)["value"] != 1:
            return None
        label = "norm" if is_normalised(flow) else "scale"
        edges = [replace(flow, tags=frozenset()).edge("self")]
        return self._growth.new(node, Draft.holding(label, {"weight": weight, "bias": bias}, edges))

    def _product(self, node: fx.Node, operands: list[Operand], weight: Weights, data: Value) -> Flow:
        """An activation times a parameter. On the right, the parameter lies (in, out); on the left, (out, in)."""
        right = isinstance(operands[-1][1], Weights)
        einsum, made = ops.name_of(node.target) == "aten::einsum", ()  # type: bool, tuple[int, ...]
        if right and not einsum and len(weight.leaves) == 1:
            weight = weight.rearranged(lambda seen: seen.mT if seen.dim() > 1 else seen)
        if einsum:
            weight, right, made = as_equation_says(node, operands, weight)
        edges = [data.edge("input")] if isinstance(data, Flow) else []
        draft = Draft.holding("linear", {"weight": weight}, edges)
        draft.made = made
        draft.features = node.meta["value"].shape[-1] if right else None
        return self._growth.new(node, draft, self._index(node, draft, -1))

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
        flow = self._growth.as_flow(node, data) if data is not None else None
        draft = Draft.holding(label, held, [flow.edge("input")] if flow is not None and label != "table" else [])
        draft.shape_up(node)
        if isinstance(data, Fixed) and data.direct:
            draft.reads = Reading(data.root, data.cuts, data.trail)
        if label == "table":
            draft.settings += row_pattern(self._constant(node, form.data))
        return self._growth.new(node, draft, self._index(node, draft, 1 if form.label == "conv" else -1))

    def way(self, name: str) -> str:
        """What tells a constant from others: its values, where they are known."""
        value = self.known.get(name)
        if value is None or value.is_meta or value.numel() > LARGEST:
            return name
        return digest(tuple(value.shape), value.detach().cpu().flatten().tolist())

    def _constant(self, node: fx.Node, argument: str) -> torch.Tensor | None:
        """The value of an operand that is computed from constants alone."""
        operand = bind(node.target, node.args, node.kwargs).get(argument)
        return constant_value(operand, self.known) if isinstance(operand, fx.Node) else None

    @cached_property
    def known(self) -> dict[str, torch.Tensor]:
        """Constants, and the buffers that a model computes from its own configuration."""
        return known_values(self._captured)

    def _recurrent(self, node: fx.Node, values: dict[str, Value]) -> Value | None:
        """One component per layer: a stack of layers and layers one by one are the same."""
        bound = bind(node.target, node.args, node.kwargs)
        params = [value for name, value in values.items() if name.startswith("params[")]
        data = values.get("input")
        flow = self._growth.as_flow(node, data) if data is not None else None
        if bound["has_biases"] and all(isinstance(value, Weights) for value in params):
            kinds: Sequence[str] = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        else:
            kinds = ("weight_ih", "weight_hh")
        directions = ("", "_reverse") if bound["bidirectional"] else ("",)
        names = [kind + direction for direction in directions for kind in kinds]
        if len(params) != len(names) * bound["num_layers"]:
            return None  # projections: an LSTM form of its own
        label = "recurrent:" + ops.join_label(ops.name_of(node.target))
        initial = {name: value for name, value in values.items() if name.startswith("hx")}  # learnt ones too
        flows = {name: self._growth.as_flow(node, value) for name, value in initial.items()}
        states = [value.edge(name) for name, value in flows.items() if value is not None]
        for layer in range(bound["num_layers"]):
            own = params[layer * len(names) : (layer + 1) * len(names)]
            held = {name: value for name, value in zip(names, own, strict=True) if isinstance(value, Weights)}
            edges = [flow.edge("input")] if flow is not None else []
            flow = self._growth.new(node, Draft.holding(label, held, edges + states))
        return flow

    def _index(self, node: fx.Node, draft: Draft, dim: int) -> torch.Tensor | None:
        """Number the output features, where some later operator takes part of them."""
        facts = node.meta["value"]
        if draft.features is None or not isinstance(facts, TensorInfo) or not is_cut_later(node):
            return None
        dim %= len(facts.shape)
        numbers = torch.arange(draft.features, dtype=torch.int32, device="cpu")
        return numbers.view(-1, *([1] * (len(facts.shape) - dim - 1))).expand(facts.shape)


def _added_as(node: fx.Node, name: str, argument: str) -> str:
    """What a vector is called that is added to an activation: a bias, unless a sign or a factor tells it from one."""
    word = name.partition("::")[2].removesuffix("_")
    positive = {"add": ("self", "other"), "sub": ("self",), "rsub": ("other",)}[word]
    slot = "bias negated" if argument not in positive else "bias" if word == "add" else "bias less the input"
    alpha = bind(node.target, node.args, node.kwargs).get("alpha", 1)
    return f"{slot} times {alpha}" if alpha != 1 and argument == ("self" if word == "rsub" else "other") else slot


def _multiplied_as(name: str, argument: str) -> str:
    """What a vector is called that is put together with an activation in another way: a weight, unless one divides."""
    if not (ops.is_multiplicative(name) and "div" in name):
        return "weight"
    return "weight inverted" if argument == "other" else "weight over the input"
