"""Reading and writing at computed places: embeddings, gathers, scatters, masks.

The axis that is looked into is pinned, as `position` when the places follow from constants alone (relative position
tables), else as `vocabulary`.
"""

from __future__ import annotations

import torch

from wsel_graph.ops.call import Axes, Axis, Call, Outputs, Value
from wsel_graph.ops.registry import propagates

aten = torch.ops.aten


def look_into(call: Call, axis: Axis, index: Value) -> None:
    """Pin an axis whose elements are addressed by the values of `index`."""
    call.pin(axis, "position" if index.constant else "vocabulary")


@propagates(aten.embedding)
def embedding(call: Call) -> Outputs:
    """`v e, ... -> ... e`."""
    weight, indices = call["weight"], call["indices"]
    call.pin(weight.axes[0], "position" if indices.constant else "vocabulary")
    return (*indices.axes, *weight.axes[1:])


@propagates(aten._embedding_bag, aten._embedding_bag_forward_only)
def embedding_bag(call: Call) -> Outputs:
    """`v e, n, b -> b e`: rows summed per bag."""
    weight = call["weight"]
    look_into(call, weight.axes[0], call["indices"])
    first = (call.pinned(call.shapes[0][0], "input"), weight.axes[1])
    return [first, *(call.pinned_axes(shape) for shape in call.shapes[1:])]


@propagates(aten.index, aten._unsafe_index)
def index(call: Call) -> Outputs:
    """Advanced indexing with tensors, masks and whole dims."""
    return indexed_axes(call, call["self"], call["indices"])


def indexed_axes(call: Call, x: Value, indices: list[Value | None]) -> Axes:
    """Axes of `x[indices]`; the dims looked into are pinned."""
    before: list[Axis] = []
    after: list[Axis] = []
    places: list[Axes] = []
    gap = False
    dim = 0
    for item in indices:
        if item is None:
            gap = gap or bool(places)
            (after if places else before).append(x.axes[dim])
            dim += 1
            continue
        split = gap
        places.append(_places(call, x, item, dim))
        dim += _mask_rank(item)
        if split:  # index tensors apart from each other: their dims move to the front
            before, after = [], [*before, *after]
    rest = (*after, *x.axes[dim:])
    return (*before, *call.broadcast(*places), *rest)


def _mask_rank(item: Value) -> int:
    return item.dim if _is_mask(item) else 1


def _is_mask(item: Value) -> bool:
    return item.mask


def _places(call: Call, x: Value, item: Value, dim: int) -> Axes:
    if not _is_mask(item):
        look_into(call, x.axes[dim], item)
        return item.axes
    for d in range(item.dim):
        call.couple(x.axes[dim + d], item.axes[d])
        call.pin(x.axes[dim + d], "opaque")
    free = [size for size in call.shape if size not in x.shape] or [call.shape[0]]
    return (call.pinned(free[0], "opaque"),)


@propagates(aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index_put)
def index_put(call: Call) -> Outputs:
    """`self[indices] = values`."""
    x, values = call["self"], call["values"]
    target = [*x.axes]
    dim = 0
    for item in call["indices"]:
        if item is None:
            dim += 1
            continue
        for d in range(dim, dim + _mask_rank(item)):
            call.pin(target[d], "opaque")
        dim += _mask_rank(item)
    for value in (values,):
        for axis in value.axes:
            if axis.size > 1 and not any(axis.size == own.size for own in target):
                call.pin(axis, "opaque")
    _couple_written(call, x, values)
    return tuple(x.axes)


def _couple_written(call: Call, x: Value, values: Value) -> None:
    """Trailing dims of what is written are those of the target, as far as their sizes agree."""
    for own, axis in zip(reversed(x.axes), reversed(values.axes), strict=False):
        if own.size == axis.size:
            call.unify(own, axis)
        elif axis.size != 1:
            call.pin(own, "opaque")
            call.pin(axis, "opaque")


@propagates(aten.index_select)
def index_select(call: Call) -> Outputs:
    """One index tensor along one dim."""
    x, dim = call["self"], call["dim"]
    look_into(call, x.axes[dim], call["index"])
    axes = list(x.axes)
    axes[dim] = call["index"].axes[0] if call["index"].dim else axes[dim]
    return tuple(axes)


def _aligned(call: Call, x: Value, other: Value, dim: int) -> None:
    """Dims of a gather or scatter operand other than `dim` run along those of `x`."""
    for d, (own, axis) in enumerate(zip(x.axes, other.axes, strict=True)):
        if d != dim % max(x.dim, 1) and not (own.size == axis.size == 1):
            call.couple(own, axis)


@propagates(aten.gather)
def gather(call: Call) -> Outputs:
    """`out[i][j] = self[index[i][j]][j]`."""
    x, dim, places = call["self"], call["dim"], call["index"]
    if x.dim:
        look_into(call, x.axes[dim], places)
        _aligned(call, x, places, dim)
    return tuple(places.axes)


@propagates(aten.take_along_dim)
def take_along_dim(call: Call) -> Outputs:
    """As gather, dims broadcast."""
    x, dim, places = call["self"], call["dim"], call["indices"]
    if dim is None:
        for axis in x.axes:
            call.pin(axis, "opaque")
        return tuple(places.axes)
    look_into(call, x.axes[dim], places)
    dim %= x.dim
    other = [axis for d, axis in enumerate(x.axes) if d != dim]
    axes = list(call.broadcast(other, [axis for d, axis in enumerate(places.axes) if d != dim]))
    axes.insert(dim, places.axes[dim])
    return tuple(axes)


@propagates(aten.scatter, aten.scatter_, aten.scatter_add, aten.scatter_add_, aten.scatter_reduce, aten.scatter_reduce_)
def scatter(call: Call) -> Outputs:
    """`self[index[i][j]][j] = src[i][j]`."""
    x, dim = call["self"], call["dim"]
    for value in (call["index"], call.get("src")):
        if isinstance(value, Value) and x.dim:
            _aligned(call, x, value, dim)
            call.pin(value.axes[dim], "opaque")
    if x.dim:
        call.pin(x.axes[dim], "opaque")
    return tuple(x.axes)


@propagates(
    aten.index_add, aten.index_add_, aten.index_copy, aten.index_copy_, aten.index_fill, aten.index_fill_,
    aten.index_reduce,
)  # fmt: skip
def index_write(call: Call) -> Outputs:
    """Slices of one dim are written at computed places."""
    x, dim = call["self"], call["dim"]
    source = call.get("source")
    call.pin(x.axes[dim], "opaque")
    if isinstance(source, Value) and source.dim == x.dim:
        _aligned(call, x, source, dim)
        call.pin(source.axes[dim], "opaque")
    return tuple(x.axes)


@propagates(aten.nonzero, aten.unique_dim, aten._unique2, aten.unique_consecutive, aten.masked_select, aten.take)
def data_dependent(call: Call) -> Outputs:
    """Sizes or places follow from values: nothing is followed through."""
    for value in call.tensors:
        for axis in value.axes:
            call.pin(axis, "opaque")
    results = [call.pinned_axes(shape) for shape in call.shapes]
    return results if len(results) > 1 else results[0]


@propagates(aten.masked_scatter, aten.masked_scatter_, aten.put, aten.put_)
def masked_scatter(call: Call) -> Outputs:
    """Elements are written in running order."""
    for value in call.tensors:
        for axis in value.axes:
            call.pin(axis, "opaque")
    return tuple(call["self"].axes)


@propagates(aten.one_hot)
def one_hot(call: Call) -> Outputs:
    """A new axis whose positions are the values."""
    return (*call["self"].axes, call.pinned(call.shape[-1], "opaque"))


@propagates(aten.bucketize, aten.searchsorted)
def search(call: Call) -> Outputs:
    """Places in a sorted axis; the result looks like the values searched for."""
    boundaries = call.get("boundaries") or call.get("sorted_sequence")
    if isinstance(boundaries, Value):
        for axis in boundaries.axes:
            call.pin(axis, "opaque")
    return tuple(call["self"].axes)


@propagates(aten.isin)
def isin(call: Call) -> Outputs:
    """The result looks like the elements."""
    elements, others = call.tensors[0], call.tensors[1:]
    for value in others:
        for axis in value.axes:
            call.pin(axis, "opaque")
    return tuple(elements.axes)


