"""Tensors made in the forward pass.

Constant-filled tensors look the same under any permutation: their axes are free. Tensors with values of their
own (`arange`, `eye`, random numbers) are anchored: what meets them is tied to fixed values.
"""

from __future__ import annotations

import torch

from wsel_graph.ops.call import Call, Outputs
from wsel_graph.ops.registry import propagates

aten = torch.ops.aten

FILLED = (
    aten.zeros, aten.ones, aten.full, aten.empty, aten.empty_permuted, aten.empty_strided, aten.scalar_tensor,
    aten.zeros_like, aten.ones_like, aten.full_like, aten.empty_like,
    aten.new_zeros, aten.new_ones, aten.new_full, aten.new_empty, aten.new_empty_strided,
)  # fmt: skip

VALUED = (
    aten.arange, aten.linspace, aten.logspace, aten.eye, aten.range, aten.tril_indices, aten.triu_indices,
    aten.rand, aten.randn, aten.randint, aten.randperm, aten.normal, aten.rand_like, aten.randn_like, aten.randint_like,
    aten.bernoulli, aten.bernoulli_, aten.normal_, aten.uniform_, aten.normal_functional, aten.exponential_,
    aten.multinomial, aten.hann_window, aten.hamming_window, aten.blackman_window, aten.bartlett_window,
    aten.kaiser_window, aten.random_, aten.poisson,
)  # fmt: skip


@propagates(*FILLED)
def filled(call: Call) -> Outputs:
    """Equal elements: free axes."""
    return tuple(call.fresh(size) for size in call.shape)


def valued(call: Call) -> Outputs:
    """Values that depend on the position: anchored axes."""
    axes = tuple(call.anchored(size) for size in call.shape)
    for value in call.tensors:
        if value.shape == call.shape:
            for axis, other in zip(axes, value.axes, strict=True):
                call.unify(axis, other)
        else:
            for axis in value.axes:
                call.pin(axis, "opaque")
    return axes


propagates(*VALUED)(valued)
