"""Operators over spatial dims that leave batch and channels alone: pooling, resampling, sampling, padding."""

from __future__ import annotations

from collections.abc import Collection

import torch

from wsel_graph.ops.call import Call, Outputs, Value, product
from wsel_graph.ops.registry import propagates, qualified_name
from wsel_graph.ops.views import with_axis

aten = torch.ops.aten


SPATIAL = {
    1: (
        aten.avg_pool1d, aten.max_pool1d, aten.adaptive_avg_pool1d, aten.adaptive_max_pool1d, aten.upsample_nearest1d,
        aten.upsample_linear1d, aten._upsample_nearest_exact1d, aten.reflection_pad1d, aten.replication_pad1d,
        aten.max_pool1d_with_indices,
    ),
    2: (
        aten.avg_pool2d, aten.max_pool2d, aten.max_pool2d_with_indices, aten.adaptive_avg_pool2d,
        aten._adaptive_avg_pool2d, aten.adaptive_max_pool2d, aten.upsample_nearest2d, aten.upsample_bilinear2d,
        aten.upsample_bicubic2d, aten._upsample_nearest_exact2d, aten._upsample_bilinear2d_aa,
        aten._upsample_bicubic2d_aa, "aten::_upsample_lanczos2d_aa", aten.reflection_pad2d, aten.replication_pad2d,
        aten.mkldnn_max_pool2d,
    ),
    3: (
        aten.avg_pool3d, aten.max_pool3d, aten.max_pool3d_with_indices, aten.adaptive_avg_pool3d,
        aten._adaptive_avg_pool3d, aten.adaptive_max_pool3d, aten.upsample_nearest3d, aten.upsample_trilinear3d,
        aten._upsample_nearest_exact3d, aten.reflection_pad3d, aten.replication_pad3d,
    ),
}  # fmt: skip

_COUNT = {qualified_name(op): count for count, ops in SPATIAL.items() for op in ops}


@propagates(*(op for ops in SPATIAL.values() for op in ops))
def spatial(call: Call) -> Outputs:
    """Pooling, resampling and padding along the last dims."""
    x, count = call.tensors[0], _COUNT[str(call.op._schema.name)]
    return keep_leading(call, x, count, _untouched(call, x, count))


def _untouched(call: Call, x: Value, count: int) -> set[int]:
    """Spatial dims along which a pooling takes every position by itself."""
    kernel = call.get("kernel_size")
    if not kernel or (len(call.shapes) > 1 and call.used(1)):  # indices count positions in all dims
        return set()
    sizes = kernel * count if len(kernel) == 1 else kernel
    dims = range(x.dim - count, x.dim)
    return {dim for dim, size in zip(dims, sizes, strict=True) if size == 1 and call.shape[dim] == x.shape[dim]}


def keep_leading(call: Call, x: Value, count: int, untouched: Collection[int] = ()) -> Outputs:
    """The last `count` dims are spatial: pinned before and after, unless nothing happens along them."""
    spatial_dims = [dim for dim in range(x.dim - count, x.dim) if dim not in untouched]
    for dim in spatial_dims:
        call.pin(x.axes[dim], "position")
    return [
        tuple(call.pinned(shape[dim], "position") if dim in spatial_dims else axis for dim, axis in enumerate(x.axes))
        for shape in call.shapes
    ]


@propagates(aten.max_unpool2d, aten.max_unpool3d)
def max_unpool(call: Call) -> Outputs:
    """Values go back to the places that a pooling reported."""
    x = call["self"]
    call.broadcast(x.axes, call["indices"].axes)
    return keep_leading(call, x, len(call["output_size"]))


@propagates(aten.fractional_max_pool2d, aten.fractional_max_pool3d)
def fractional_max_pool(call: Call) -> Outputs:
    """Pooling in windows placed at random, `n c k` of them."""
    x, samples = call["self"], call["random_samples"]
    count = len(call["output_size"])
    call.pin(samples.axes[-1], "position")
    call.broadcast(x.axes[: x.dim - count], samples.axes[:-1])
    return keep_leading(call, x, count)


@propagates(aten.grid_sampler, aten.grid_sampler_2d, aten.grid_sampler_3d)
def grid_sample(call: Call) -> Outputs:
    """`n c *s, n *s' k -> n c *s'`: values are looked up at computed places."""
    x, grid = call["input"], call["grid"]
    for axis in (*x.axes[2:], grid.axes[-1]):
        call.pin(axis, "position")
    call.unify(x.axes[0], grid.axes[0])
    return (x.axes[0], x.axes[1], *grid.axes[1:-1])


@propagates(aten.affine_grid_generator)
def affine_grid(call: Call) -> Outputs:
    """`n 2 3 -> n h w 2`."""
    theta = call["theta"]
    for axis in theta.axes[1:]:
        call.pin(axis, "position")
    return (theta.axes[0], *call.pinned_axes(call.shape[1:], "position"))


# -- space and channels


@propagates(aten.pixel_shuffle)
def pixel_shuffle(call: Call) -> Outputs:
    """`(c r r) h w -> c (h r) (w r)`."""
    x, factor = call["self"], call["upscale_factor"]
    channels, place = call.split(x.axes[-3], factor * factor)
    for axis in (place, *x.axes[-2:]):
        call.pin(axis, "position")
    return (*x.axes[:-3], channels, *call.pinned_axes(call.shape[-2:], "position"))


@propagates(aten.pixel_unshuffle)
def pixel_unshuffle(call: Call) -> Outputs:
    """`c (h r) (w r) -> (c r r) h w`."""
    x, factor = call["self"], call["downscale_factor"]
    for axis in x.axes[-2:]:
        call.pin(axis, "position")
    channels = product(x.axes[-3], call.pinned(factor * factor, "position"))
    return (*x.axes[:-3], channels, *call.pinned_axes(call.shape[-2:], "position"))


@propagates(aten.channel_shuffle, aten.native_channel_shuffle)
def channel_shuffle(call: Call) -> Outputs:
    """`n (g c) ... -> n (c g) ...`."""
    x = call["self"]
    groups, inner = call.split(x.axes[1], x.axes[1].size // call["groups"])
    return with_axis(x, 1, product(inner, groups))


# -- regions


@propagates("torchvision::roi_align", "torchvision::roi_pool")
def region_pool(call: Call) -> Outputs:
    """`n c h w, k 5 -> k c h' w'`; the first of 5 numbers names the sample."""
    x, regions = call["input"], call["rois"]
    for axis in (x.axes[0], *x.axes[2:], regions.axes[1]):
        call.pin(axis, "position")
    axes = (regions.axes[0], x.axes[1], *call.pinned_axes(call.shape[2:], "position"))
    return [axes] * len(call.shapes)


@propagates("torchvision::nms")
def non_maximum_suppression(call: Call) -> Outputs:
    """The indices of the boxes that stay."""
    call.pin_all(*call.tensors)
    return call.pinned_axes(call.shape)
