"""Operators over spatial dims that leave batch and channels alone: pooling, resampling, sampling, padding."""

from __future__ import annotations

import torch

from wsel_graph.ops.call import Call, Outputs, Value
from wsel_graph.ops.registry import propagates

aten = torch.ops.aten


def keep_leading(call: Call, x: Value, count: int) -> Outputs:
    """The last `count` dims are spatial: pinned before and after."""
    for axis in x.axes[x.dim - count :]:
        call.pin(axis, "position")
    return [(*x.axes[: x.dim - count], *call.pinned_axes(shape[x.dim - count :], "position")) for shape in call.shapes]


def _single(outputs: Outputs) -> Outputs:
    return outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else outputs


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
        aten._upsample_bicubic2d_aa, aten.reflection_pad2d, aten.replication_pad2d, aten.mkldnn_max_pool2d,
        aten.fractional_max_pool2d, aten.max_unpool2d,
    ),
    3: (
        aten.avg_pool3d, aten.max_pool3d, aten.max_pool3d_with_indices, aten.adaptive_avg_pool3d,
        aten._adaptive_avg_pool3d, aten.adaptive_max_pool3d, aten.upsample_nearest3d, aten.upsample_trilinear3d,
        aten._upsample_nearest_exact3d, aten.reflection_pad3d, aten.replication_pad3d,
    ),
}  # fmt: skip

_COUNT = {op._qualified_op_name: count for count, ops in SPATIAL.items() for op in ops}


@propagates(*(op for ops in SPATIAL.values() for op in ops))
def spatial(call: Call) -> Outputs:
    """Pooling, resampling and padding along the last dims."""
    return _single(keep_leading(call, call.tensors[0], _COUNT[str(call.op._schema.name)]))


@propagates(aten.grid_sampler, aten.grid_sampler_2d, aten.grid_sampler_3d)
def grid_sample(call: Call) -> Outputs:
    """`n c *s, n *s' k -> n c *s'`: values are looked up at computed places."""
    x, grid = call["input"], call["grid"]
    for axis in (*x.axes[2:], grid.axes[-1]):
        call.pin(axis, "position")
    return (x.axes[0], x.axes[1], *grid.axes[1:-1])


@propagates(aten.affine_grid_generator)
def affine_grid(call: Call) -> Outputs:
    """`n 2 3 -> n h w 2`."""
    theta = call["theta"]
    for axis in theta.axes[1:]:
        call.pin(axis, "position")
    return (theta.axes[0], *call.pinned_axes(call.shape[1:], "position"))


@propagates("torchvision::roi_align", "torchvision::roi_pool")
def region_pool(call: Call) -> Outputs:
    """`n c h w, k 5 -> k c h' w'`."""
    x, regions = call["input"], call["rois"]
    for axis in (x.axes[0], *x.axes[2:], regions.axes[1]):
        call.pin(axis, "position")
    axes = (regions.axes[0], x.axes[1], *call.pinned_axes(call.shapes[0][2:], "position"))
    return axes if len(call.shapes) == 1 else [axes, axes]


@propagates("torchvision::nms")
def non_maximum_suppression(call: Call) -> Outputs:
    """The indices of the boxes that stay."""
    for value in call.tensors:
        for axis in value.axes:
            call.pin(axis, "opaque")
    return call.pinned_axes(call.shape)
