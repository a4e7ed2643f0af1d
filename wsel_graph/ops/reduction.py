"""Reductions, scans and orderings along axes.

A sum or maximum is the same for any order of its terms: the axis ends there, unpinned. What depends on the
order (`cumsum`), or tells places (`argmax`, the indices of `max` and `sort`), pins the axis.
"""

from __future__ import annotations

import torch

from wsel_graph.ops.call import UNIT, Axes, Call, Outputs, Value
from wsel_graph.ops.registry import Unsupported, propagates
from wsel_graph.ops.views import with_axis

aten = torch.ops.aten

SYMMETRIC = (
    aten.sum, aten.mean, aten.amax, aten.amin, aten.prod, aten.var, aten.std, aten.logsumexp, aten.norm, aten.nansum,
    aten.linalg_vector_norm, aten.any, aten.all, aten.nanmean, aten.count_nonzero, aten.special_logsumexp,
    aten._is_all_true, aten._is_any_true,
)  # fmt: skip

WITH_INDEX = (aten.max, aten.min, aten.median, aten.nanmedian, aten.mode, aten.kthvalue)

SCANS = (
    aten.cumsum, aten.cumprod, aten.logcumsumexp, aten._logcumsumexp, aten.cummax, aten.cummin, aten.argsort, aten.diff,
)  # fmt: skip

LOSSES = (
    aten.mse_loss, aten.smooth_l1_loss, aten.huber_loss, aten.soft_margin_loss, aten.binary_cross_entropy,
    aten.binary_cross_entropy_with_logits,
)  # fmt: skip


def reduced_dims(call: Call, x: Value) -> list[int]:
    """Dims that are reduced, non-negative; all when none is named."""
    dim = call.get("dim")
    if dim is None or (dim == [] and call.op._overloadname != "dims"):  # `any` and `all` over no dims leave all
        return list(range(x.dim))
    return [d % max(x.dim, 1) for d in (dim if isinstance(dim, (list, tuple)) else [dim])]


def without(call: Call, x: Value, dims: list[int]) -> Axes:
    """The axes left after reducing `dims`, size 1 kept when asked for."""
    if call.get("keepdim", False):
        return tuple(UNIT if d in dims else axis for d, axis in enumerate(x.axes))
    return tuple(axis for d, axis in enumerate(x.axes) if d not in dims)


@propagates(*SYMMETRIC)
def reduce(call: Call) -> Axes:
    """The reduced axes end here."""
    x = call.tensors[0]
    dims = reduced_dims(call, x)
    call.consume(*(x.axes[d] for d in dims if d < x.dim))
    return without(call, x, dims)


@propagates(aten.var_mean, aten.std_mean, aten.aminmax)
def reduce_twice(call: Call) -> Outputs:
    """Two results with the same axes."""
    return [reduce(call)] * 2


@propagates(*WITH_INDEX)
def reduce_with_index(call: Call) -> Outputs:
    """The value is symmetric; the index, when somebody uses it, is not."""
    x = call.tensors[0]
    if len(call.tensors) == 2:  # max(a, b) elementwise
        return call.broadcast(*(value.axes for value in call.tensors))
    dims = reduced_dims(call, x)
    if len(call.shapes) == 2 and call.used(1):
        for d in dims[: x.dim]:
            call.pin(x.axes[d], "opaque")
    return [without(call, x, dims)] * len(call.shapes)


@propagates(aten.argmax, aten.argmin)
def arg_reduce(call: Call) -> Outputs:
    """The result names positions of the axis; without a dim, of the flattened tensor."""
    x = call["self"]
    dims = reduced_dims(call, x)
    for d in dims[: x.dim]:
        call.pin(x.axes[d], "opaque")
    return without(call, x, dims)


@propagates(*SCANS)
def scan(call: Call) -> Outputs:
    """The order of the elements matters."""
    x = call["self"]
    if call.get("prepend") is not None or call.get("append") is not None:
        raise Unsupported("diff with something prepended or appended")
    if x.dim:
        call.pin(x.axes[call.get("dim", -1)], "opaque")
    return [
        tuple(a if a.size == size else call.pinned(size, "opaque") for a, size in zip(x.axes, shape, strict=True))
        for shape in call.shapes
    ]


@propagates(aten.sort, aten.topk, aten.msort)
def rank(call: Call) -> Outputs:
    """Elements of one dim by value, and, when somebody asks, where they were."""
    x: Value = call["self"]
    if not x.dim:
        return [()] * len(call.shapes)
    dim = call.get("dim", 0)
    if len(call.shapes) == 2 and call.used(1):
        call.pin(x.axes[dim], "opaque")
    call.consume(x.axes[dim])
    return [with_axis(x, dim, call.pinned(call.shape[dim], "opaque"))] * len(call.shapes)


@propagates(aten.histc, aten.bincount)
def histogram(call: Call) -> Outputs:
    """Elements are counted in bins: their order does not matter, that of the bins does."""
    call.consume(*call.broadcast(*(value.axes for value in call.tensors)))
    return call.pinned_axes(call.shape)


@propagates(aten.dist)
def distance(call: Call) -> Outputs:
    """The norm of a difference."""
    call.consume(*call.broadcast(*(value.axes for value in call.tensors)))
    return ()


@propagates(*LOSSES)
def loss(call: Call) -> Outputs:
    """Elementwise, then summed or averaged over everything unless `reduction` is 0."""
    axes = call.broadcast(*(value.axes for value in call.tensors))
    if call["reduction"] == 0:
        return axes
    call.consume(*axes)
    return ()


@propagates(aten.nll_loss_forward, aten.nll_loss2d_forward)
def class_loss(call: Call) -> Outputs:
    """`n c *s, n *s, c -> n *s` or a scalar: one class is looked up per place."""
    x, target, weight = call["self"], call["target"], call["weight"]
    dim = min(1, x.dim - 1)
    call.pin(x.axes[dim], "label")
    if weight is not None:
        call.unify(weight.axes[0], x.axes[dim])
    places = call.broadcast((*x.axes[:dim], *x.axes[dim + 1 :]), target.axes)
    call.consume(*(places if call["reduction"] else ()))
    return [() if call["reduction"] else places, ()]
