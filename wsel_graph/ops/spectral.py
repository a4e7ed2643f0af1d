"""Fourier transforms and matrix decompositions: they mix whole dims, so those are pinned."""

from __future__ import annotations

import torch

from wsel_graph.ops.call import Axes, Call, Outputs
from wsel_graph.ops.registry import propagates

aten = torch.ops.aten


@propagates(aten._fft_r2c, aten._fft_c2r, aten._fft_c2c)
def fourier(call: Call) -> Outputs:
    """Transformed dims are taken whole, the others pass through."""
    x = call["self"]
    dims = {dim % x.dim for dim in call["dim"]}
    for dim in sorted(dims):
        call.pin(x.axes[dim], "position")
    return tuple(call.pinned(call.shape[d], "position") if d in dims else axis for d, axis in enumerate(x.axes))


@propagates(aten.stft, aten.istft)
def short_time_fourier(call: Call) -> Outputs:
    """Nothing is followed."""
    call.pin_all(*call.tensors, reason="position")
    return call.pinned_axes(call.shape, "position")


@propagates(
    aten.linalg_inv_ex, aten.linalg_matrix_exp, aten._linalg_svd, aten.linalg_qr, aten._linalg_det, aten.linalg_lu,
    aten.linalg_cholesky_ex, aten._linalg_eigh, aten._linalg_slogdet, aten.linalg_matrix_power, aten.linalg_eig,
    aten.linalg_lu_factor_ex, aten._linalg_eigvals, aten.linalg_pinv, aten.cholesky, aten.cholesky_inverse, aten.geqrf,
)  # fmt: skip
def matrix_function(call: Call) -> Outputs:
    """The last two dims are taken whole, batch dims pass through."""
    x, *others = call.tensors
    if others:  # tolerances
        return whole_matrices(call)
    for axis in x.axes[-2:]:
        call.pin(axis, "opaque")
    return [_batched(call, x.axes[:-2], shape) for shape in call.shapes]


def _batched(call: Call, batch: Axes, shape: tuple[int, ...]) -> Axes:
    if tuple(axis.size for axis in batch) != shape[: len(batch)]:  # a result that was not asked for
        return call.pinned_axes(shape)
    return (*batch, *call.pinned_axes(shape[len(batch) :]))


@propagates(
    aten._linalg_solve_ex, aten.linalg_householder_product, aten.triangular_solve,
    aten.linalg_lstsq, aten.linalg_lu_solve, aten.lu_unpack, aten.cholesky_solve, aten.ormqr,
)  # fmt: skip
def whole_matrices(call: Call) -> Outputs:
    """Several operands, whose dims are matched in ways of their own: all are taken whole."""
    call.pin_all(*call.tensors)
    return [call.pinned_axes(shape) for shape in call.shapes]


@propagates(aten.linalg_solve_triangular)
def triangular_system(call: Call) -> Outputs:
    """`A X = B`, or `X A = B` for `left=False`: batch dims and the right hand sides are independent of each other."""
    matrix, known = call["self"].axes, call["B"].axes
    unknown, side = (-2, -1) if call["left"] else (-1, -2)
    for axis in (*matrix[-2:], known[unknown]):
        call.pin(axis, "opaque")
    batch = call.broadcast(matrix[:-2], known[:-2])
    whole = call.pinned(call.shape[unknown], "opaque")
    return (*batch, whole, known[side]) if call["left"] else (*batch, known[side], whole)


@propagates(aten.linalg_cross, aten.cross)
def cross(call: Call) -> Outputs:
    """Vector products along one dim of size 3."""
    axes = call.broadcast(call["self"].axes, call["other"].axes)
    dim = call["dim"] if call["dim"] is not None else [axis.size for axis in axes].index(3)
    call.pin(axes[dim], "opaque")
    return axes
