"""Convolutions of every kind, and their unfolded form.

With `groups`, channels are `(groups c)` on both sides; a depthwise convolution is the case where the inner
factor has size 1. Kernel axes are pinned as `kernel`; a spatial axis passes through only under a 1-wide kernel.
"""

from __future__ import annotations

import torch

from wsel_graph.ops.call import Axis, Call, Outputs, Value, product
from wsel_graph.ops.registry import propagates

aten = torch.ops.aten


def channels_out(call: Call, x: Axis, weight: Value, bias: Value | None, groups: int, transposed: bool) -> Axis:
    """Couple channels with the weight's axes; the output channels."""
    group, inner = call.split(x, x.size // groups)
    rows, columns = weight.axes[0], weight.axes[1]
    if transposed:  # weight: in, out / groups, kernel
        weight_group, weight_inner = call.split(rows, rows.size // groups)
        outer = columns
    else:  # weight: out, in / groups, kernel
        weight_group, outer = call.split(rows, rows.size // groups)
        weight_inner = columns
    call.unify(group, weight_group)
    call.unify(inner, weight_inner)
    call.consume(inner)
    if groups > 1 and inner.size > 1:
        call.role(group, "groups")
    out = product(group, outer)
    if bias is not None:
        call.unify(bias.axes[0], out)
    return out


@propagates(aten.convolution, aten.convolution_overrideable, aten._convolution)
def convolution(call: Call) -> Outputs:
    """`n (g i) *s, (g o) i *k, (g o) -> n (g o) *s'`."""
    x, weight, bias = call["input"], call["weight"], call["bias"]
    out = channels_out(call, x.axes[1], weight, bias, call["groups"], call["transposed"])
    spatial = tuple(_spatial(call, x, weight, dim) for dim in range(2, x.dim))
    return (x.axes[0], out, *spatial)


def _spatial(call: Call, x: Value, weight: Value, dim: int) -> Axis:
    axis = x.axes[dim]
    call.pin(weight.axes[dim], "kernel")
    passes = _nth(call["stride"], dim - 2) == 1 and _nth(call["padding"], dim - 2) == 0
    if passes and weight.shape[dim] == 1 and call.shape[dim] == axis.size:
        return axis
    call.pin(axis, "position")
    return call.pinned(call.shape[dim], "position")


def _nth(value: int | list[int], i: int) -> int:
    if isinstance(value, int):
        return value
    return value[i if len(value) > 1 else 0]


@propagates(aten.conv1d, aten.conv2d, aten.conv3d)
def convolution_nd(call: Call) -> Outputs:
    """The composite forms, with or without a batch axis."""
    return _composite(call, transposed=False)


@propagates(aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d)
def convolution_transpose_nd(call: Call) -> Outputs:
    """The composite transposed forms, with or without a batch axis."""
    return _composite(call, transposed=True)


def _composite(call: Call, transposed: bool) -> Outputs:
    x, weight, bias = call["input"], call["weight"], call["bias"]
    first = x.dim - (weight.dim - 2)
    out = channels_out(call, x.axes[first - 1], weight, bias, call["groups"], transposed)
    for axis in weight.axes[2:]:
        call.pin(axis, "kernel")
    for axis in x.axes[first:]:
        call.pin(axis, "position")
    return (*x.axes[: first - 1], out, *call.pinned_axes(call.shape[first:], "position"))


@propagates(aten.conv_tbc)
def convolution_tbc(call: Call) -> Outputs:
    """`time n i, kernel i o, o -> time' n o`."""
    x, weight = call["self"], call["weight"]
    call.unify(x.axes[2], weight.axes[1])
    call.consume(x.axes[2])
    call.unify(weight.axes[2], call["bias"].axes[0])
    call.pin(weight.axes[0], "kernel")
    call.pin(x.axes[0], "position")
    return (call.pinned(call.shape[0], "position"), x.axes[1], weight.axes[2])


@propagates("torchvision::deform_conv2d")
def deformable_convolution(call: Call) -> Outputs:
    """A convolution whose sampling places are computed: offsets and masks have kernel axes."""
    x, weight, offset, mask = call["input"], call["weight"], call["offset"], call["mask"]
    for value in (offset, mask):
        call.broadcast((x.axes[0],), value.axes[:1])
        for axis in value.axes[1:]:
            call.pin(axis, "kernel")
    if call["offset_groups"] > 1:
        call.pin(call.split(x.axes[1], x.axes[1].size // call["offset_groups"])[0], "kernel")
    out = channels_out(call, x.axes[1], weight, call["bias"], call["groups"], transposed=False)
    for axis in (*weight.axes[2:], *x.axes[2:]):
        call.pin(axis, "kernel")
    return (x.axes[0], out, *call.pinned_axes(call.shape[2:], "position"))


@propagates(aten.im2col)
def unfold_patches(call: Call) -> Outputs:
    """`n c h w -> n (c kh kw) positions`."""
    x = call["self"]
    for axis in x.axes[-2:]:
        call.pin(axis, "position")
    kernel = [call.pinned(size, "kernel") for size in call["kernel_size"]]
    return (*x.axes[:-3], product(x.axes[-3], *kernel), call.pinned(call.shape[-1], "position"))


@propagates(aten.col2im)
def fold_patches(call: Call) -> Outputs:
    """`n (c kh kw) positions -> n c h w`."""
    x = call["self"]
    rows, columns = call["kernel_size"]
    channels, kernel = call.split(x.axes[-2], rows * columns)
    call.pin(kernel, "kernel")
    call.pin(x.axes[-1], "position")
    return (*x.axes[:-2], channels, *call.pinned_axes(call.shape[-2:], "position"))
