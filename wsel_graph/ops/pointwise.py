"""Elementwise operators: the operands are broadcast, every axis passes through."""

from __future__ import annotations

import functools
from typing import Any

import torch

from wsel_graph.ops.call import Axes, Call, Outputs
from wsel_graph.ops.registry import propagates

aten = torch.ops.aten

# Elementwise operators that lack `torch.Tag.pointwise`.
UNTAGGED = (
    aten.hardswish, aten.hardsigmoid, aten.hardtanh, aten.celu, aten._prelu_kernel,
    aten.log_sigmoid_forward, aten.masked_fill, aten.where, aten.isclose, aten.polar, aten.complex, aten.real,
    aten.imag, aten.true_divide, aten.floor_divide, aten.__and__, aten.__or__, aten.__iand__, aten.__ior__,
    aten.dropout, aten.native_dropout, aten.alpha_dropout, aten.feature_dropout,
)  # fmt: skip

# Copies and conversions: every element stays in its place. `copy_` and `fill_` broadcast what they write.
COPIES = (
    aten.contiguous, aten.clone, aten._to_copy, aten.detach, aten.alias, aten.lift, aten.lift_fresh, aten.copy,
    aten.fill, aten.zero, aten.resolve_conj, aten.resolve_neg, aten._conj, aten._neg_view, aten.conj,
    aten._conj_physical, aten._autocast_to_reduced_precision, aten._autocast_to_full_precision, aten._fw_primal,
)  # fmt: skip


def broadcast_all(call: Call) -> Axes:
    """All tensor operands broadcast against each other."""
    return call.broadcast(*(value.axes for value in call.tensors))


@propagates(*UNTAGGED, *COPIES)
def pointwise(call: Call) -> Outputs:
    """Every output has the broadcast axes of the operands; one of another shape is scratch space."""
    axes = broadcast_all(call)
    sizes = tuple(axis.size for axis in axes)
    return [axes if shape == sizes else call.pinned_axes(shape) for shape in call.shapes]


@propagates(aten.rrelu_with_noise)
def random_slope(call: Call) -> Outputs:
    """In training mode every element draws a slope of its own."""
    axes = broadcast_all(call)
    if call["training"]:
        call.anchor(*axes)
    return axes


@propagates(aten.to, aten.type_as)
def convert(call: Call) -> Outputs:
    """The first operand in another type; a second one only names the type."""
    return call.tensors[0].axes


@propagates(aten.add)
def add(call: Call) -> Outputs:
    """A sum of two activations is where a residual stream shows itself."""
    axes = broadcast_all(call)
    if len(call.tensors) == 2 and not any(value.state or value.constant for value in call.tensors):
        for axis in axes:
            call.role(axis, "embed")
    return axes


@propagates(aten.prelu)
def prelu(call: Call) -> Outputs:
    """One slope for all, or one per channel (dim 1)."""
    x, weight = call["self"], call["weight"]
    if weight.dim and weight.axes[0].size > 1:
        call.unify(x.axes[1], weight.axes[0])
    return tuple(x.axes)


@functools.lru_cache(maxsize=4096)
def is_pointwise(op: Any) -> bool:
    """Whether PyTorch tags an overload of the operator, or of the one it is the in-place form of, as elementwise."""
    name = op._schema.name.partition("::")[2]
    packets = (op.overloadpacket, getattr(getattr(torch.ops, op.namespace), name.removesuffix("_"), None))
    return any(
        torch.Tag.pointwise in getattr(packet, overload).tags
        for packet in packets
        if packet is not None
        for overload in packet.overloads()
    )
