"""Views and rearrangements: reshape, permute, slices, joins, repeats."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from wsel_graph.axes import fixed
from wsel_graph.ops.call import UNIT, Axes, Axis, Call, Outputs, Value, concat, product
from wsel_graph.ops.registry import Unsupported, propagates

aten = torch.ops.aten


@propagates(
    aten.view.default, aten._unsafe_view, aten.reshape, aten._reshape_alias, aten.view_copy.default,
    aten._reshape_copy, aten.flatten, aten.unflatten, aten.squeeze, aten.squeeze_, aten.squeeze_copy, aten.unsqueeze,
    aten.unsqueeze_, aten.unsqueeze_copy, aten.ravel, aten.view_as_real_copy, aten.atleast_1d, aten.atleast_2d,
)  # fmt: skip
def reshape(call: Call) -> Outputs:
    """Row-major order is kept; only the grouping of dims changes."""
    x: Value = call.tensors[0]
    return tuple(call.solver.reshape(x.axes, call.shape))


@propagates(aten.view.dtype, aten.view_copy.dtype)
def reinterpret(call: Call) -> Outputs:
    """Bytes read as another type: fine when the element size stays."""
    x = call["self"]
    if x.shape != call.shape:
        raise Unsupported("view(dtype) that changes the number of elements")
    return tuple(x.axes)


@propagates(aten.view_as_complex)
def view_as_complex(call: Call) -> Outputs:
    """The last axis holds real and imaginary part."""
    x = call["self"]
    call.unify(x.axes[-1], fixed(2))
    return tuple(x.axes[:-1])


@propagates(aten.view_as_real)
def view_as_real(call: Call) -> Outputs:
    """A last axis of real and imaginary part."""
    return (*call["self"].axes, fixed(2))


@propagates(aten.as_strided, aten.as_strided_)
def as_strided(call: Call) -> Outputs:
    """A row-major reading of all elements of a row-major tensor is a reshape; anything else is not followed."""
    x = call["self"]
    size, stride = list(call["size"]), list(call["stride"])
    row_major = all(stride[i] == math.prod(size[i + 1 :]) for i in range(len(size)) if size[i] != 1)
    if not (x.contiguous and row_major) or math.prod(size) != math.prod(x.shape) or call.get("storage_offset"):
        raise Unsupported("as_strided that is not a reshape of a contiguous tensor")
    return tuple(call.solver.reshape(x.axes, size))


# -- order of dims


@propagates(aten.permute, aten.permute_copy)
def permute(call: Call) -> Outputs:
    """Dims in the order given."""
    x = call["self"]
    return tuple(x.axes[dim] for dim in call["dims"])


@propagates(aten.transpose, aten.transpose_, aten.transpose_copy, aten.swapaxes, aten.swapdims)
def transpose(call: Call) -> Outputs:
    """Two dims change places."""
    axes = list(call["self"].axes)
    first, second = list(call.arguments.values())[1:3]
    axes[first], axes[second] = axes[second], axes[first]
    return tuple(axes)


@propagates(aten.t, aten.t_, aten.t_copy, aten.numpy_T, aten.mT, aten.adjoint, aten.matrix_H, aten.mH)
def reverse_last(call: Call) -> Outputs:
    """The last two dims change places (all dims for `numpy_T`, which only 2-D tensors use)."""
    axes = call["self"].axes
    return (*axes[:-2], *reversed(axes[-2:]))


@propagates(aten.movedim, aten.moveaxis)
def movedim(call: Call) -> Outputs:
    """Some dims move to new places, the others keep their order."""
    axes = call["self"].axes
    source, target = ([d] if isinstance(d, int) else d for d in list(call.arguments.values())[1:3])
    moved = {t % len(axes): s % len(axes) for s, t in zip(source, target, strict=True)}
    rest = iter(d for d in range(len(axes)) if d not in moved.values())
    return tuple(axes[moved[d] if d in moved else next(rest)] for d in range(len(axes)))


@propagates(aten.unfold)
def unfold(call: Call) -> Outputs:
    """Sliding windows over one dim; the place in the window becomes the last dim."""
    axes = list(call["self"].axes)
    if axes:
        dim = call["dimension"]
        call.pin(axes[dim], "position")
        axes[dim] = call.pinned(call.shape[dim % len(axes)], "position")
    return (*axes, call.pinned(call.shape[-1], "kernel"))


# -- parts


def with_axis(x: Value, dim: int, *replacement: Axis) -> Axes:
    """The axes of `x` with the one at `dim` replaced."""
    dim %= x.dim
    return (*x.axes[:dim], *replacement, *x.axes[dim + 1 :])


@propagates(aten.slice, aten.slice_copy)
def take_slice(call: Call) -> Outputs:
    """A contiguous or strided range of one dim."""
    x, dim, step = call["self"], call["dim"], call["step"]
    length = call.shape[dim % x.dim]
    start = _clamp(call["start"], x.axes[dim].size)
    return with_axis(x, dim, strided_range(call, x.axes[dim], start, length, step))


def _clamp(index: int | None, size: int) -> int:
    if index is None:
        return 0
    return max(0, min(size, index + size if index < 0 else index))


def strided_range(call: Call, axis: Axis, start: int, length: int, step: int) -> Axis:
    """`axis[start::step]`, `length` positions of it."""
    if length == axis.size:
        return axis
    if step == 1:
        return call.span(axis, start, start + length)
    phase, whole = start % step, axis.size // step * step
    first = start - phase
    if length <= 1 or axis.size != whole or length > (axis.size - first) // step:
        call.pin(axis, "opaque")
        return call.pinned(length, "opaque")
    head, tail = call.split(axis, step)
    call.span(tail, phase, phase + 1)
    return call.span(head, first // step, first // step + length)


@propagates(aten.narrow, aten.narrow_copy)
def narrow(call: Call) -> Outputs:
    """A contiguous range of one dim."""
    x, dim, start = call["self"], call["dim"], call["start"]
    if not isinstance(start, int):
        raise Unsupported("narrow with a tensor as start")
    axis = x.axes[dim]
    start %= max(axis.size, 1)
    return with_axis(x, dim, call.span(axis, start, start + call["length"]))


@propagates(aten.select, aten.select_copy)
def select(call: Call) -> Outputs:
    """One position of one dim; the dim goes."""
    x, dim, index = call["self"], call["dim"], call["index"]
    index %= x.axes[dim].size
    call.span(x.axes[dim], index, index + 1)
    return with_axis(x, dim)


@propagates(
    aten.split, aten.split_with_sizes, aten.chunk, aten.tensor_split, aten.unsafe_split, aten.unsafe_chunk,
    aten.unsafe_split_with_sizes, aten.split_copy, aten.split_with_sizes_copy,
)  # fmt: skip
def split(call: Call) -> Outputs:
    """One dim cut into consecutive parts."""
    x, dim = call["self"], call.get("dim", 0)
    return [with_axis(x, dim, part) for part in _parts(call, x.axes[dim], [s[dim % x.dim] for s in call.shapes])]


def _parts(call: Call, axis: Axis, sizes: Sequence[int]) -> list[Axis]:
    parts = []
    for size in sizes:
        part, axis = call.solver.cut(axis, size)
        parts.append(part)
    return parts


@propagates(aten.unbind, aten.unbind_copy)
def unbind(call: Call) -> Outputs:
    """One dim taken apart into single positions."""
    x, dim = call["self"], call["dim"]
    _parts(call, x.axes[dim], [1] * x.axes[dim].size)
    return [with_axis(x, dim) for _ in call.shapes]


@propagates(aten.glu)
def gated_half(call: Call) -> Outputs:
    """First half times the sigmoid of the second."""
    x, dim = call["self"], call["dim"]
    first, second = _parts(call, x.axes[dim], [x.axes[dim].size // 2] * 2)
    call.unify(first, second)
    return with_axis(x, dim, first)


@propagates(aten.slice_scatter, aten.select_scatter)
def scatter_part(call: Call) -> Outputs:
    """`self` with a part replaced by `src`: the part is coupled with what replaces it."""
    x, src, dim = call["self"], call["src"], call["dim"]
    axis = x.axes[dim]
    if "index" in call.arguments:
        index = call["index"] % axis.size
        call.span(axis, index, index + 1)
        written = with_axis(x, dim)
    else:
        start = _clamp(call["start"], axis.size)
        written = with_axis(x, dim, strided_range(call, axis, start, src.axes[dim].size, call["step"]))
    call.broadcast(written, src.axes)
    return tuple(x.axes)


# -- joins and repeats


@propagates(aten.cat, aten.concat, aten.concatenate)
def cat(call: Call) -> Outputs:
    """Laid end to end along one dim; the other dims are the same in all."""
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


@propagates(aten.expand, aten.expand_copy, aten.expand_as, aten.broadcast_to)
def expand(call: Call) -> Outputs:
    """Axes of size 1 are repeated without copying: the new axis is free, its elements are all equal."""
    x: Value = call.tensors[0]
    old = (*[UNIT] * (len(call.shape) - x.dim), *x.axes)
    return tuple(a if a.size == size else call.fresh(size) for a, size in zip(old, call.shape, strict=True))


@propagates(aten.repeat, aten.tile)
def repeat(call: Call) -> Outputs:
    """Whole tensor repeated along dims: the copy number varies slowest."""
    x: Value = call["self"]
    old = (*[UNIT] * (len(call.shape) - x.dim), *x.axes)
    return tuple(
        product(call.fresh(size // axis.size), axis) if axis.size else call.pinned(size, "opaque")
        for axis, size in zip(old, call.shape, strict=True)
    )


@propagates(aten.repeat_interleave.self_int)
def repeat_interleave(call: Call) -> Outputs:
    """Every element repeated in place: the copy number varies fastest."""
    x, dim = call["self"], call["dim"]
    if dim is None:
        (flat,) = call.solver.reshape(x.axes, [math.prod(x.shape)])
        return (product(flat, call.fresh(call["repeats"])),)
    return with_axis(x, dim, product(x.axes[dim], call.fresh(call["repeats"])))


@propagates(aten.meshgrid)
def meshgrid(call: Call) -> Outputs:
    """Every operand spread over its own dim."""
    axes = [value.axes[0] if value.dim else UNIT for value in call["tensors"]]
    if call.get("indexing", "ij") == "xy":
        axes[:2] = reversed(axes[:2])
    return [tuple(axes) for _ in call.shapes]


# -- order along an axis


@propagates(aten.roll, aten.flip, aten.rot90)
def reorder(call: Call) -> Outputs:
    """Elements move along dims: the order matters there."""
    x = call["self"]
    dims = call["dims"] or range(x.dim)
    for dim in dims:
        call.pin(x.axes[dim], "position")
    return call.pinned_axes(call.shape, "position") if call.shape != x.shape else tuple(x.axes)


@propagates(aten.tril, aten.triu, aten.tril_, aten.triu_)
def triangle(call: Call) -> Outputs:
    """Which elements stay depends on both last positions."""
    x = call["self"]
    for axis in x.axes[-2:]:
        call.pin(axis, "position")
    return tuple(x.axes)


@propagates(aten.diagonal, aten.diag, aten.diag_embed, aten.diagonal_copy)
def diagonal(call: Call) -> Outputs:
    """Pairs up positions of two dims: both are taken whole."""
    x = call["self"]
    dim1, dim2 = call.get("dim1", -2), call.get("dim2", -1)
    pinned = {dim1 % x.dim, dim2 % x.dim} if x.dim > 1 and len(call.shape) < x.dim else {x.dim - 1}
    for dim in pinned:
        call.pin(x.axes[dim], "opaque")
    kept = [axis for d, axis in enumerate(x.axes) if d not in pinned]
    return (*kept, *call.pinned_axes(call.shape[len(kept) :]))


# -- channels and space


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
    axis = call.span(axis, max(0, -before), axis.size + min(0, after))
    return concat(*(call.fresh(before) for _ in range(before > 0)), axis, *(call.fresh(after) for _ in range(after > 0)))
