"""Larger tensors from smaller ones: concatenation, stacking, repeats, padding."""

from __future__ import annotations

import math

import torch

from wsel_graph.axes import fixed
from wsel_graph.ops.call import UNIT, Axes, Axis, Call, Outputs, Value, concat, product
from wsel_graph.ops.registry import propagates
from wsel_graph.ops.views import with_axis

aten = torch.ops.aten


@propagates(aten.cat, aten.concat, aten.concatenate)
def cat(call: Call) -> Outputs:
    """Laid end to end along one dim; the other dims are the same in all. Empty vectors do not count."""
    tensors = [value for value in call["tensors"] if value.shape != (0,)] or call["tensors"][:1]
    dim = call["dim"] % tensors[0].dim
    for other in tensors[1:]:
        for d, axis in enumerate(other.axes):
            if d != dim:
                call.unify(tensors[0].axes[d], axis)
    return with_axis(tensors[0], dim, concat(*(value.axes[dim] for value in tensors)))


@propagates(aten.stack)
def stack(call: Call) -> Outputs:
    """A new dim whose positions are the operands."""
    tensors = call["tensors"]
    axes = list(call.broadcast(*(value.axes for value in tensors)))
    axes.insert(call["dim"] % (len(axes) + 1), fixed(len(tensors)))
    return tuple(axes)


@propagates(aten.block_diag)
def block_diag(call: Call) -> Outputs:
    """Matrices along the diagonal, zeros elsewhere; a vector is a row."""
    matrices = [(*[UNIT] * (2 - value.dim), *value.axes) for value in call["tensors"]]
    return concat(*(rows for rows, _ in matrices)), concat(*(columns for _, columns in matrices))


@propagates(aten.expand, aten.expand_as, aten.broadcast_to)
def expand(call: Call) -> Outputs:
    """Axes of size 1 are repeated without copying: the new axis is free, its elements are all equal."""
    old = _leading_units(call, call.tensors[0])
    return tuple(a if a.size == size else call.fresh(size) for a, size in zip(old, call.shape, strict=True))


def _leading_units(call: Call, x: Value) -> Axes:
    return (*[UNIT] * (len(call.shape) - x.dim), *x.axes)


@propagates(aten.repeat, aten.tile)
def repeat(call: Call) -> Outputs:
    """Whole tensor repeated along dims: the copy number varies slowest."""
    return tuple(
        product(call.fresh(size // axis.size), axis) if size else call.pinned(0, "opaque")
        for axis, size in zip(_leading_units(call, call["self"]), call.shape, strict=True)
    )


@propagates(aten.repeat_interleave.self_int)
def repeat_interleave(call: Call) -> Outputs:
    """Every element repeated in place: the copy number varies fastest."""
    x, dim = call["self"], call["dim"]
    copies = call.fresh(call["repeats"])
    if dim is None:
        (flat,) = call.solver.reshape(x.axes, [math.prod(x.shape)])
        return (product(flat, copies),)
    return with_axis(x, dim, product(x.axes[dim], copies))


@propagates(aten.meshgrid)
def meshgrid(call: Call) -> Outputs:
    """Every operand spread over its own dim."""
    axes = [value.axes[0] if value.dim else UNIT for value in call["tensors"]]
    if call.get("indexing", "ij") == "xy":
        axes[:2] = reversed(axes[:2])
    return [tuple(axes) for _ in call.shapes]


@propagates(aten.constant_pad_nd, aten.pad)
def pad(call: Call) -> Outputs:
    """A constant before and after, or a crop where the padding is negative; other modes pin what they pad."""
    x, amounts = call["self"], list(call["pad"])
    constant = call.get("mode", "constant") == "constant"
    axes = list(x.axes)
    for i in range(len(amounts) // 2):
        axes[-1 - i] = _padded(call, axes[-1 - i], amounts[2 * i], amounts[2 * i + 1], constant)
    return tuple(axes)


def _padded(call: Call, axis: Axis, before: int, after: int, constant: bool) -> Axis:
    if before == after == 0:
        return axis
    size = axis.size + before + after
    if not constant or call.solver.is_pinned(axis):
        call.pin(axis, "position")
        return call.pinned(size, "position")
    kept = call.span(axis, max(0, -before), axis.size + min(0, after))
    return concat(call.fresh(max(0, before)), kept, call.fresh(max(0, after)))
