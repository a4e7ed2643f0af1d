"""Reading and writing at computed places: embeddings, gathers, scatters, masks.

The axis that is looked into is pinned, as `position` when the places follow from constants alone (relative position
tables), else as `vocabulary`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from wsel_graph.ops.call import UNIT, Axes, Axis, Call, Outputs, Value
from wsel_graph.ops.registry import propagates
from wsel_graph.ops.views import with_axis

aten = torch.ops.aten


def look_into(call: Call, axis: Axis, index: Value) -> None:
    """Pin an axis whose elements are addressed by the values of `index`."""
    call.pin(axis, "position" if index.constant else "vocabulary")


# -- tables


@propagates(aten.embedding)
def embedding(call: Call) -> Outputs:
    """`v e, ... -> ... e`."""
    weight, indices = call["weight"], call["indices"]
    look_into(call, weight.axes[0], indices)
    return (*indices.axes, *weight.axes[1:])


@propagates(aten.embedding_renorm)
def embedding_renorm(call: Call) -> Outputs:
    """The rows looked up are scaled down to a largest norm."""
    look_into(call, call["self"].axes[0], call["indices"])
    return tuple(call["self"].axes)


@propagates(aten._embedding_bag, aten._embedding_bag_forward_only, aten.embedding_bag)
def embedding_bag(call: Call) -> Outputs:
    """`v e, n, b -> b e`: rows summed per bag; offsets cut the list of indices into bags."""
    weight = call["weight"]
    look_into(call, weight.axes[0], call["indices"])
    call.pin_all(*(value for value in call.tensors if value is not weight), reason="input")
    sums = (call.pinned(call.shape[0], "input"), weight.axes[1])
    return [sums if shape == call.shape else call.pinned_axes(shape) for shape in call.shapes]


# -- `x[...]`


@propagates(aten.index, aten._unsafe_index)
def index(call: Call) -> Outputs:
    """Advanced indexing with tensors, masks and whole dims."""
    x, indices = call["self"], call["indices"]
    before, after = _untouched(x, indices)
    count = call.shape[-1 - len(after)] if len(call.shape) > len(after) else 1
    return (*before, *_places(call, x, indices, count, ordered=True), *after)


@propagates(aten.index_put, aten._index_put_impl, aten._unsafe_index_put)
def index_put(call: Call) -> Outputs:
    """`self[indices] = values`. Of two writes to one place the last one stays: the order of places matters.

    Where one value goes to all places that a mask chooses, it does not.
    """
    x, indices, values = call["self"], call["indices"], call["values"]
    before, after = _untouched(x, indices)
    count = values.shape[-1 - len(after)] if values.dim > len(after) else 1
    places = _places(call, x, indices, count, ordered=count > 1 or sum(item is not None for item in indices) > 1)
    for axis in places:
        call.pin(axis, "opaque")
    call.broadcast((*before, *places, *after), values.axes)
    return tuple(x.axes)


def _untouched(x: Value, indices: Sequence[Value | None]) -> tuple[Axes, Axes]:
    """Axes of `x` that no index looks into: those before and after the dims that the indices make.

    Index tensors side by side put their dims in their own place, others in front.
    """
    kept: list[tuple[int, Axis]] = []
    used: list[int] = []
    dim = 0
    for place, item in enumerate(indices):
        if item is None:
            kept.append((place, x.axes[dim]))
        else:
            used.append(place)
        dim += _rank(item)
    first = used[0] if used[-1] - used[0] == len(used) - 1 else 0
    before = tuple(axis for place, axis in kept if place < first)
    after = tuple(axis for place, axis in kept if place >= first)
    return before, (*after, *x.axes[dim:])


def _rank(item: Value | None) -> int:
    """How many dims an index takes up."""
    return item.dim if item is not None and item.mask else 1


def _places(call: Call, x: Value, indices: Sequence[Value | None], count: int, *, ordered: bool) -> Axes:
    """The dims that the indices make together; a mask makes one of `count` places.

    Which places a mask chooses is the same for any order of its elements that `x` shares; in which order it names
    them is not.
    """
    made: list[Axes] = []
    dim = 0
    for item in indices:
        looked = x.axes[dim : dim + _rank(item)]
        dim += _rank(item)
        if item is None:
            continue
        if item.mask:
            call.broadcast(looked, item.axes)
            if ordered:
                call.pin_all(item)
            made.append((call.pinned(count, "opaque"),))
        else:
            look_into(call, looked[0], item)
            made.append(item.axes)
    return call.broadcast(*made)


# -- one index tensor along one dim


@propagates(aten.index_select)
def index_select(call: Call) -> Outputs:
    """One index tensor along one dim."""
    x, dim, places = call["self"], call["dim"], call["index"]
    if not x.dim:
        return ()
    look_into(call, x.axes[dim], places)
    return with_axis(x, dim, places.axes[0] if places.dim else UNIT)


@propagates(aten.gather)
def gather(call: Call) -> Outputs:
    """`out[i][j] = self[index[i][j]][j]`."""
    x, dim, places = call["self"], call["dim"], call["index"]
    if x.dim and places.dim:
        look_into(call, x.axes[dim], places)
        _align(call, x, places, dim)
    else:
        call.pin_all(x)
    return tuple(places.axes)


def _align(call: Call, x: Value, other: Value, dim: int) -> None:
    """Dims of a gather or scatter operand other than `dim` run along those of `x`, from their start."""
    for d, (own, axis) in enumerate(zip(x.axes, other.axes, strict=True)):
        if d != dim % x.dim:
            length = min(own.size, axis.size)
            call.unify(call.span(own, 0, length), call.span(axis, 0, length))


@propagates(aten.take_along_dim)
def take_along_dim(call: Call) -> Outputs:
    """As gather, dims broadcast."""
    x, dim, places = call["self"], call["dim"], call["indices"]
    if dim is None:
        call.pin_all(x)
        return tuple(places.axes)
    look_into(call, x.axes[dim], places)
    axes = list(call.broadcast(with_axis(x, dim, UNIT), with_axis(places, dim, UNIT)))
    axes[dim] = places.axes[dim]
    return tuple(axes)


@propagates(aten.scatter, aten.scatter_add, aten.scatter_reduce)
def scatter(call: Call) -> Outputs:
    """`self[index[i][j]][j] = src[i][j]`."""
    x, dim = call["self"], call["dim"]
    written = [value for value in (call["index"], call.get("src")) if isinstance(value, Value)]
    if not all(value.dim == x.dim > 0 for value in written):
        call.pin_all(x, *written)
        return tuple(x.axes)
    for value in written:
        _align(call, x, value, dim)
    for value in (x, *written):
        call.pin(value.axes[dim], "opaque")
    return tuple(x.axes)


@propagates(aten.index_add, aten.index_copy, aten.index_fill, aten.index_reduce)
def index_write(call: Call) -> Outputs:
    """Slices of one dim are written at computed places."""
    x, dim, source = call["self"], call["dim"], call.get("source")
    call.pin_all(call["index"])
    if not x.dim or (source is not None and source.dim != x.dim):
        call.pin_all(*call.tensors)
        return tuple(x.axes)
    call.pin(x.axes[dim], "opaque")
    if source is not None:
        _align(call, x, source, dim)
        call.pin(source.axes[dim], "opaque")
    return tuple(x.axes)


@propagates(aten.take)
def take(call: Call) -> Outputs:
    """Places in the flattened tensor."""
    call.pin_all(call["self"])
    return tuple(call["index"].axes)


# -- sizes or places that follow from values


@propagates(
    aten.nonzero, aten.nonzero_static, aten.unique_dim, aten._unique, aten._unique2, aten.unique_consecutive,
    aten.unique_dim_consecutive, aten.masked_select, aten.repeat_interleave.Tensor, aten.where.default,
)  # fmt: skip
def data_dependent(call: Call) -> Outputs:
    """Nothing is followed through."""
    call.pin_all(*call.tensors)
    return [call.pinned_axes(shape) for shape in call.shapes]


@propagates(aten.masked_scatter, aten.put)
def running_write(call: Call) -> Outputs:
    """Elements are written in running order."""
    call.pin_all(*call.tensors)
    return tuple(call["self"].axes)


@propagates(aten.one_hot)
def one_hot(call: Call) -> Outputs:
    """A new axis whose positions are the values."""
    return (*call["self"].axes, call.pinned(call.shape[-1], "opaque"))


@propagates(aten.bucketize, aten.searchsorted)
def search(call: Call) -> Outputs:
    """Places in a sorted last axis, in one of many sequences or in the only one."""
    wanted, sequence, order = call["self"], call.get("sorted_sequence", call.get("boundaries")), call.get("sorter")
    call.pin(sequence.axes[-1], "opaque")
    if order is not None:
        call.broadcast(sequence.axes, order.axes)
    if not isinstance(wanted, Value):
        return ()
    if sequence.dim > 1:
        call.broadcast(sequence.axes[:-1], wanted.axes[:-1])
    return wanted.axes


@propagates(aten.isin)
def isin(call: Call) -> Outputs:
    """Whether each element is among others, in whatever order these stand."""
    elements = call.get("elements")
    return elements.axes if elements is not None else ()
