"""Normalisations: statistics over an axis are the same for any order of its elements."""

from __future__ import annotations

import torch

from wsel_graph.ops.call import UNIT, Axes, Axis, Call, Outputs, Value
from wsel_graph.ops.registry import Unsupported, propagates

aten = torch.ops.aten


def _couple_channels(call: Call, channel: Axis, *names: str) -> None:
    for name in names:
        if (value := call.get(name)) is not None and value.shape != (0,):
            call.unify(channel, value.axes[0])


@propagates(
    aten.native_batch_norm, aten.batch_norm, aten.cudnn_batch_norm, aten.miopen_batch_norm,
    aten._native_batch_norm_legit, aten._native_batch_norm_legit_no_training, aten._native_batch_norm_legit_functional,
    aten._batch_norm_with_update, aten._batch_norm_no_update, aten._batch_norm_impl_index,
)  # fmt: skip
def batch_norm(call: Call) -> Outputs:
    """One scale, shift, mean and variance per channel."""
    x: Value = call.tensors[0]
    channel = x.axes[1]
    _couple_channels(call, channel, "weight", "bias", "running_mean", "running_var")
    call.consume(channel)
    return [x.axes, *(_statistics(call, shape, channel) for shape in call.shapes[1:])]


def _statistics(call: Call, shape: tuple[int, ...], channel: Axis) -> Axes:
    return (channel,) if shape == (channel.size,) else call.pinned_axes(shape)


@propagates(aten.instance_norm)
def instance_norm(call: Call) -> Outputs:
    """As batch norm, with statistics per sample."""
    x = call["input"]
    _couple_channels(call, x.axes[1], "weight", "bias", "running_mean", "running_var")
    call.consume(*x.axes[1:])
    return tuple(x.axes)


@propagates(aten.native_layer_norm, aten.layer_norm, aten.rms_norm, "aten::_fused_rms_norm")
def layer_norm(call: Call) -> Outputs:
    """Normalised over the last dims, which scale and shift share."""
    x = call["input"]
    count = len(call["normalized_shape"])
    last = x.axes[-count:]
    for name in ("weight", "bias"):
        if (value := call.get(name)) is not None:
            for axis, other in zip(last, value.axes, strict=True):
                call.unify(axis, other)
    call.consume(*last)
    statistics = (*x.axes[:-count], *([UNIT] * count))
    return [x.axes, *([statistics] * (len(call.shapes) - 1))]


@propagates(aten.native_group_norm)
def native_group_norm(call: Call) -> Outputs:
    """Channels are `(groups c)`; statistics per group."""
    groups = _group_norm(call, call["group"])
    x = call["input"]
    return [x.axes, (x.axes[0], groups), (x.axes[0], groups)]


@propagates(aten.group_norm)
def group_norm(call: Call) -> Outputs:
    """The composite form."""
    _group_norm(call, call["num_groups"])
    return tuple(call["input"].axes)


def _group_norm(call: Call, count: int) -> Axis:
    channel = call["input"].axes[1]
    groups, inner = call.split(channel, channel.size // count)
    _couple_channels(call, channel, "weight", "bias")
    call.consume(channel)
    if inner.size > 1:
        call.role(groups, "groups")
    return groups


@propagates(
    aten._softmax, aten.softmax, aten._log_softmax, aten.log_softmax, aten._safe_softmax, aten.special_softmax,
)  # fmt: skip
def softmax(call: Call) -> Outputs:
    """Every axis passes through."""
    return tuple(call["self"].axes)


@propagates(aten._masked_softmax)
def masked_softmax(call: Call) -> Outputs:
    """A mask of the same shape; smaller masks are placed by `mask_type`."""
    x, mask = call["self"], call["mask"]
    if mask.shape != x.shape:
        raise Unsupported("a softmax mask of another shape than its input")
    return call.broadcast(x.axes, mask.axes)


@propagates(aten._weight_norm, aten._weight_norm_interface)
def weight_norm(call: Call) -> Outputs:
    """A direction times a length per slice along one dim."""
    direction, length = call["v"], call["g"]
    axes = call.broadcast(direction.axes, length.axes)
    return [axes, length.axes][: len(call.shapes)]


@propagates(aten.renorm)
def renorm(call: Call) -> Outputs:
    """Slices along one dim are scaled down to a largest norm."""
    return tuple(call["self"].axes)
