"""Parts of a tensor along one dim: slices, selections, splits, and writing to them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from wsel_graph.axes import fixed
from wsel_graph.ops.call import Axis, Call, Outputs
from wsel_graph.ops.registry import Unsupported, propagates
from wsel_graph.ops.views import with_axis

aten = torch.ops.aten


@propagates(aten.slice)
def take_slice(call: Call) -> Outputs:
    """A contiguous or strided range of one dim."""
    x, dim = call["self"], call["dim"]
    start = _clamp(call["start"], x.axes[dim].size)
    return with_axis(x, dim, strided_range(call, x.axes[dim], start, call.shape[dim % x.dim], call["step"]))


def _clamp(index: int | None, size: int) -> int:
    if index is None:
        return 0
    return max(0, min(size, index + size if index < 0 else index))


def strided_range(call: Call, axis: Axis, start: int, length: int, step: int) -> Axis:
    """`axis[start::step]`, `length` positions of it."""
    if length == axis.size:
        return axis
    if length == 0:
        return call.pinned(0, "opaque")
    if step == 1 or length == 1:
        return call.span(axis, start, start + length)
    if axis.size % step:
        call.pin(axis, "opaque")
        return call.pinned(length, "opaque")
    head, tail = call.split(axis, step)
    call.span(tail, start % step, start % step + 1)
    return call.span(head, start // step, start // step + length)


@propagates(aten.narrow)
def narrow(call: Call) -> Outputs:
    """A contiguous range of one dim."""
    x, dim, start = call["self"], call["dim"], call["start"]
    if not isinstance(start, int):
        raise Unsupported("narrow with a tensor as start")
    return with_axis(x, dim, strided_range(call, x.axes[dim], _clamp(start, x.axes[dim].size), call["length"], 1))


@propagates(aten.select)
def select(call: Call) -> Outputs:
    """One position of one dim; the dim goes."""
    x, dim = call["self"], call["dim"]
    _cut_out(call, x.axes[dim], call["index"])
    return with_axis(x, dim)


def _cut_out(call: Call, axis: Axis, index: int) -> None:
    index %= axis.size
    call.span(axis, index, index + 1)


@propagates(
    aten.split, aten.split_with_sizes, aten.chunk, aten.tensor_split, aten.unsafe_split, aten.unsafe_chunk,
    aten.unsafe_split_with_sizes,
)  # fmt: skip
def split(call: Call) -> Outputs:
    """One dim cut into consecutive parts."""
    x, dim = call["self"], call["dim"]
    parts = consecutive(call, x.axes[dim], [shape[dim % x.dim] for shape in call.shapes])
    return [with_axis(x, dim, part) for part in parts]


def consecutive(call: Call, axis: Axis, sizes: Sequence[int]) -> list[Axis]:
    """The parts of an axis that have these sizes. Cut in halves: cut off one by one, thousands would nest as deep."""
    if len(sizes) == 1:
        return [axis]
    half = len(sizes) // 2
    left, right = call.solver.cut(axis, sum(sizes[:half]))
    return [*consecutive(call, left, sizes[:half]), *consecutive(call, right, sizes[half:])]


@propagates(aten.unbind)
def unbind(call: Call) -> Outputs:
    """One dim taken apart into single positions."""
    x, dim = call["self"], call["dim"]
    call.unify(x.axes[dim], fixed(x.axes[dim].size))
    return [with_axis(x, dim) for _ in call.shapes]


@propagates(aten.glu)
def gated_half(call: Call) -> Outputs:
    """First half times the sigmoid of the second."""
    x, dim = call["self"], call["dim"]
    first, second = consecutive(call, x.axes[dim], [x.axes[dim].size // 2] * 2)
    call.unify(first, second)
    return with_axis(x, dim, first)


@propagates(aten.slice_scatter)
def slice_scatter(call: Call) -> Outputs:
    """`self` with a range replaced by `src`: the range is coupled with what replaces it."""
    x, src, dim = call["self"], call["src"], call["dim"]
    start = _clamp(call["start"], x.axes[dim].size)
    part = strided_range(call, x.axes[dim], start, src.axes[dim].size, call["step"])
    call.broadcast(with_axis(x, dim, part), src.axes)
    return tuple(x.axes)


@propagates(aten.select_scatter)
def select_scatter(call: Call) -> Outputs:
    """`self` with one position of one dim replaced by `src`."""
    x, dim = call["self"], call["dim"]
    _cut_out(call, x.axes[dim], call["index"])
    call.broadcast(with_axis(x, dim), call["src"].axes)
    return tuple(x.axes)
