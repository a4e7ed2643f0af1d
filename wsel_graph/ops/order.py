"""Operators for which the order along an axis matters, and diagonals, which pair up the positions of two dims."""

from __future__ import annotations

import torch

from wsel_graph.ops.call import Axes, Axis, Call, Outputs, concat
from wsel_graph.ops.registry import propagates

aten = torch.ops.aten


@propagates(aten.roll, aten.flip)
def reorder(call: Call) -> Outputs:
    """Elements move along dims; a roll without dims moves them through the flattened tensor."""
    x = call["self"]
    for dim in call["dims"] or range(x.dim):
        call.pin(x.axes[dim], "position")
    return tuple(x.axes)


@propagates(aten.rot90)
def rotate(call: Call) -> Outputs:
    """Two dims are reversed or change places."""
    axes = list(call["self"].axes)
    first, second = call["dims"]
    for dim in (first, second):
        call.pin(axes[dim], "position")
    if call["k"] % 2:
        axes[first], axes[second] = axes[second], axes[first]
    return tuple(axes)


@propagates(aten.tril, aten.triu)
def triangle(call: Call) -> Outputs:
    """Which elements stay depends on both last positions."""
    x = call["self"]
    for axis in x.axes[-2:]:
        call.pin(axis, "position")
    return tuple(x.axes)


def paired(call: Call, rows: Axis, columns: Axis, offset: int) -> Axis:
    """The axis along a diagonal: row `i` meets column `i + offset`."""
    row, column = max(0, -offset), max(0, offset)
    length = max(0, min(rows.size - row, columns.size - column))
    if length == 0:
        return call.pinned(0, "opaque")
    axis = call.span(rows, row, row + length)
    call.unify(axis, call.span(columns, column, column + length))
    return axis


@propagates(aten.diagonal)
def diagonal(call: Call) -> Axes:
    """`... n n -> ... n`: both dims are read in the same order."""
    x = call["self"]
    first, second = call["dim1"] % x.dim, call["dim2"] % x.dim
    axis = paired(call, x.axes[first], x.axes[second], call["offset"])
    return (*(a for d, a in enumerate(x.axes) if d not in (first, second)), axis)


@propagates(aten.diagonal_scatter)
def diagonal_scatter(call: Call) -> Outputs:
    """`self` with a diagonal replaced by `src`."""
    call.broadcast(diagonal(call), call["src"].axes)
    return tuple(call["self"].axes)


@propagates(aten.trace)
def trace(call: Call) -> Outputs:
    """The sum along the diagonal."""
    x = call["self"]
    call.consume(paired(call, x.axes[0], x.axes[1], 0))
    return ()


def embedded(call: Call, axis: Axis, offset: int) -> tuple[Axis, Axis]:
    """Rows and columns of a matrix of zeros that has `axis` as a diagonal."""
    zeros = call.fresh(abs(offset))
    after, before = concat(axis, zeros), concat(zeros, axis)
    return (after, before) if offset > 0 else (before, after)


@propagates(aten.diag_embed)
def diag_embed(call: Call) -> Outputs:
    """`... n -> ... n n`, zeros off the diagonal."""
    x = call["self"]
    first, second = call["dim1"] % (x.dim + 1), call["dim2"] % (x.dim + 1)
    rows, columns = embedded(call, x.axes[-1], call["offset"])
    rest = iter(x.axes[:-1])
    return tuple({first: rows, second: columns}.get(d) or next(rest) for d in range(x.dim + 1))


@propagates(aten.diag)
def diag(call: Call) -> Outputs:
    """A matrix from a vector, or the diagonal of a matrix."""
    x, offset = call["self"], call["diagonal"]
    if x.dim == 1:
        return embedded(call, x.axes[0], offset)
    rows, columns = x.axes
    return (paired(call, rows, columns, offset),)
