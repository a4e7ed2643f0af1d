"""Elementwise operators: the operands are broadcast, every axis passes through."""

from __future__ import annotations

from typing import Any

import torch

from wsel_graph.ops.call import Axes, Call, Outputs
from wsel_graph.ops.registry import propagates

aten = torch.ops.aten

# Elementwise operators that lack `torch.Tag.pointwise`, and copies, which keep every element in place.
UNTAGGED = (
    aten.hardswish_,
    aten.hardswish,
    aten.hardsigmoid,
    aten.hardsigmoid_,
    aten.hardtanh,
    aten.hardtanh_,
    aten.celu,
    aten.celu_,
    aten.selu,
    aten.selu_,
    aten.relu6,
    aten.relu6_,
    aten.rrelu_with_noise,
    aten._prelu_kernel,
    aten.prelu,
    aten.silu_,
    aten.mish_,
    aten.type_as,
    aten.to,
    aten.contiguous,
    aten.clone,
    aten._to_copy,
    aten.detach,
    aten.detach_,
    aten.alias,
    aten.lift,
    aten.lift_fresh,
    aten.lift_fresh_copy,
    aten.copy,
    aten.copy_,
    aten.fill,
    aten.fill_,
    aten.zero_,
    aten.dropout,
    aten.dropout_,
    aten.feature_dropout,
    aten.alpha_dropout,
    aten.masked_fill,
    aten.masked_fill_,
    aten.where,
    aten.isclose,
    aten.resolve_conj,
    aten.resolve_neg,
    aten._conj,
    aten._neg_view,
    aten.conj,
    aten.real,
    aten.imag,
    aten.view_as,
    aten.positive,
    aten._autocast_to_reduced_precision,
    aten._autocast_to_full_precision,
    aten._fw_primal,
    aten._conj_physical,
    aten.square_,
    aten.true_divide,
    aten.bitwise_not_,
    aten.log_sigmoid_forward,
    aten.nan_to_num_,
    aten.floor_divide,
    aten.floor_divide_,
)


def broadcast_all(call: Call) -> Axes:
    """All tensor operands broadcast against each other."""
    return call.broadcast(*(value.axes for value in call.tensors))


@propagates(*UNTAGGED)
def pointwise(call: Call) -> Outputs:
    """Every output has the broadcast axes of the operands."""
    axes = broadcast_all(call)
    if len(call.shapes) == 1:
        return axes
    return [axes if len(shape) == len(axes) else call.pinned_axes(shape) for shape in call.shapes]


@propagates(aten.add, aten.add_)
def add(call: Call) -> Outputs:
    """A sum of two activations is where a residual stream shows itself."""
    axes = broadcast_all(call)
    if len(call.tensors) == 2 and not any(value.state or value.constant for value in call.tensors):
        for axis in axes:
            call.role(axis, "embed")
    return axes


@propagates(aten.native_dropout)
def native_dropout(call: Call) -> Outputs:
    """Value and mask have the axes of the input."""
    return [call["input"].axes, call["input"].axes]


def is_pointwise(op: Any) -> bool:
    """Whether PyTorch tags the overload as elementwise."""
    return torch.Tag.pointwise in op.tags
