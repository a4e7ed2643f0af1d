"""Fourier transforms and matrix decompositions: they mix whole dims, so those are pinned."""

from __future__ import annotations

import torch

from wsel_graph.ops.call import Call, Outputs
from wsel_graph.ops.registry import propagates

aten = torch.ops.aten


@propagates(aten._fft_r2c, aten._fft_c2r, aten._fft_c2c)
def fourier(call: Call) -> Outputs:
    """Transformed dims are taken whole, the others pass through."""
    x = call["self"]
    dims = {dim % x.dim for dim in call["dim"]}
    for dim in dims:
        call.pin(x.axes[dim], "position")
    return tuple(call.pinned(call.shape[d], "position") if d in dims else axis for d, axis in enumerate(x.axes))


@propagates(aten.stft, aten.istft)
def short_time_fourier(call: Call) -> Outputs:
    """Time and frequency are taken whole."""
    x = call["self"]
    for axis in x.axes[1:]:
        call.pin(axis, "position")
    return (x.axes[0], *call.pinned_axes(call.shape[1:], "position"))


@propagates(
    aten.linalg_inv_ex, aten.linalg_matrix_exp, aten._linalg_svd, aten.linalg_qr, aten._linalg_det, aten.linalg_lu,
    aten.linalg_cholesky_ex, aten.linalg_householder_product, aten._linalg_solve_ex, aten.linalg_solve_triangular,
    aten._linalg_eigh, aten.linalg_matrix_power, aten._linalg_slogdet, aten.cross, aten.linalg_cross,
)  # fmt: skip
def matrix_function(call: Call) -> Outputs:
    """The last two dims of every operand are taken whole."""
    for value in call.tensors:
        for axis in value.axes:
            call.pin(axis, "opaque")
    results = [call.pinned_axes(shape) for shape in call.shapes]
    return results if len(results) > 1 else results[0]
