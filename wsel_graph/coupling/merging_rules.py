"""What every operator does with the elements of one axis: each by itself, a sum against weights, or something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import fx

from wsel_graph.axes import Atom, atoms
from wsel_graph.ops import (
    attention,
    contraction,
    convolution,
    factory,
    indexing,
    joins,
    normalization,
    order,
    parts,
    pointwise,
    recurrent,
    reduction,
    spatial,
    views,
)
from wsel_graph.ops.call import Call
from wsel_graph.ops.registry import PropagationRule


class Against(Exception):
    """What stands against a merge, in words that follow the name of the axis."""


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor argument: its graph node, the atoms of each of its dims, and whether it comes from weights alone."""

    node: fx.Node
    axes: tuple[frozenset[Atom], ...]
    weight: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One operator that takes in the axis; `arguments` are by the names of its schema."""

    atom: Atom
    arguments: Mapping[str, Any]
    call: Call

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def has(self, tensor: Tensor | None, *dims: int) -> bool:
        """Whether one of these dims of a tensor holds the axis."""
        return tensor is not None and any(self.atom in tensor.axes[dim] for dim in dims)

    @property
    def tensors(self) -> list[Tensor]:
        """All tensor arguments in schema order, lists opened."""
        values = (v if isinstance(v, (list, tuple)) else (v,) for v in self.arguments.values())
        return [item for value in values for item in value if isinstance(item, Tensor)]

    def resolved(self, axis: Any) -> frozenset[Atom]:
        """The atoms of an axis of `call`."""
        return frozenset(atoms(self.call.solver.resolve(axis)))


Reads = list[tuple[Tensor, int]]
"""Weights, each with the dim along which it is summed up against activations."""

_TWO = "is summed over in a product of two activations"
_NORM = "is normalised over"

_ELEMENTWISE_FAMILIES = {module.__name__ for module in (pointwise, views, joins, parts, indexing, spatial, factory)}
_ELEMENTWISE = {order.reorder, reduction.scan, reduction.arg_reduce}  # whose own dims are pinned
_NOT = {indexing.embedding_renorm, indexing.search, indexing.isin}


def works_elementwise(rule: PropagationRule) -> bool:
    """Whether an operator with this propagation rule takes every element of a free axis by itself."""
    return rule in _ELEMENTWISE or (rule.__module__ in _ELEMENTWISE_FAMILIES and rule not in _NOT)


# -- sums of products


def _contracted(step: Step, left: tuple[Tensor, int], right: tuple[Tensor, int]) -> Reads:
    """Two operands that are summed over a dim of each."""
    if not (step.has(*left) or step.has(*right)):
        return []
    weights = [side for side in (left, right) if side[0].weight]
    if not weights:
        raise Against(_TWO)
    if len(weights) == 2:
        raise Against("is summed over in a product of two weights")
    return weights


def _linear(step: Step) -> Reads:
    x, weight = step["input"], step["weight"]
    if not step.has(x, -1):
        return []
    if not weight.weight:
        raise Against(_TWO)
    return [(weight, -1)]


def _product(step: Step) -> Reads:
    left, right = step.tensors[-2:]  # what is added, if anything, comes first
    return _contracted(step, (left, -1), (right, -2 if len(right.axes) > 1 else -1))


def _convolution(step: Step) -> Reads:
    weight, groups = step["weight"], step["groups"]
    transposed = bool(step.arguments.get("transposed", False))
    dim = 0 if transposed else 1
    inner = step.call["weight"].shape[0] // groups if transposed else 2
    if not step.has(weight, dim) or inner == 1:  # with one channel per group, the groups are the channels
        return []
    if transposed and groups > 1:
        raise Against("is summed over within groups of a transposed convolution")
    if not weight.weight:
        raise Against(_TWO)
    return [(weight, dim)]


def _transposed_convolution(step: Step) -> Reads:
    return _convolution(Step(step.atom, {**step.arguments, "transposed": True}, step.call))


def _attention(step: Step) -> Reads:
    query, key, value = step["query"], step["key"], step["value"]
    if step.has(query, -1) or step.has(key, -1):
        raise Against(_TWO)
    if step.has(key, -2) or step.has(value, -2):
        raise Against(_NORM)
    return []


def _recurrent(step: Step) -> Reads:
    """Weights of two dims sum over the second; gates and states are computed element by element."""
    found: Reads = [(weight, 1) for weight in step["params"] if len(weight.axes) == 2 and step.has(weight, 1)]
    if not all(weight.weight for weight, _ in found):
        raise Against(_TWO)
    return found


# -- norms and reductions


def _channel_norm(step: Step) -> Reads:
    x = step.tensors[0]
    if step.has(x, *(dim for dim in range(len(x.axes)) if dim != 1)):
        raise Against(_NORM)
    return []


def _layer_norm(step: Step) -> Reads:
    count = len(step["normalized_shape"])
    if step.has(step["input"], *range(-count, 0)):
        raise Against(_NORM)
    return []


def _group_norm(step: Step) -> Reads:
    x, call = step["input"], step.call
    count = call["group"] if "group" in call.arguments else call["num_groups"]
    channel = call["input"].axes[1]
    inner = call.split(channel, channel.size // count)[1]  # split before, so this only reads it
    if step.atom in step.resolved(inner) or step.has(x, *range(2, len(x.axes))):
        raise Against(_NORM)
    return []


def _softmax(step: Step) -> Reads:
    if step.has(step["self"], step["dim"]):
        raise Against(_NORM)
    return []


def _weight_norm(step: Step) -> Reads:
    direction, dim = step["v"], step["dim"]
    if step.has(direction, *(d for d in range(len(direction.axes)) if d != dim)):
        raise Against(_NORM)
    return []


def _reduction(step: Step) -> Reads:
    call, x = step.call, step.call.tensors[0]
    if len(call.tensors) == 2:  # the larger of two, element by element
        return []
    dims = reduction.reduced_dims(call, x)
    if any(step.atom in step.resolved(x.axes[d]) for d in dims if d < x.dim):
        raise Against("is reduced to one value")
    return []


RULES: Mapping[PropagationRule, Callable[[Step], Reads]] = {
    contraction.linear: _linear,
    contraction.product_of_two: _product,
    contraction.add_product: _product,
    convolution.convolution: _convolution,
    convolution.convolution_nd: _convolution,
    convolution.convolution_transpose_nd: _transposed_convolution,
    attention.scaled_dot_product_attention: _attention,
    recurrent.recurrent: _recurrent,
    normalization.batch_norm: _channel_norm,
    normalization.instance_norm: _channel_norm,
    normalization.layer_norm: _layer_norm,
    normalization.native_group_norm: _group_norm,
    normalization.group_norm: _group_norm,
    normalization.softmax: _softmax,
    normalization.weight_norm: _weight_norm,
    reduction.reduce: _reduction,
    reduction.reduce_twice: _reduction,
    reduction.reduce_with_index: _reduction,
}
"""By the operator's propagation rule: the weights that read the axis there. Raises `Against` where a merge would not
leave the function as it is."""
