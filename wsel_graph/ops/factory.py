"""Tensors made in the forward pass.

Constant-filled tensors look the same under any permutation: their axes are free. Tensors with values of their
own (`arange`, random numbers) are anchored: what meets them is tied to fixed values.
"""

from __future__ import annotations

import torch

from wsel_graph.ops.call import Call, Outputs, concat
from wsel_graph.ops.registry import propagates

aten = torch.ops.aten

FILLED = (
    aten.zeros, aten.ones, aten.full, aten.empty, aten.empty_permuted, aten.empty_strided, aten.scalar_tensor,
    aten.zeros_like, aten.ones_like, aten.full_like, aten.empty_like,
    aten.new_zeros, aten.new_ones, aten.new_full, aten.new_empty, aten.new_empty_strided,
)  # fmt: skip

VALUED = (
    aten.arange, aten.linspace, aten.logspace, aten.range, aten.tril_indices, aten.triu_indices, aten.fft_fftfreq,
    aten.fft_rfftfreq, aten.hann_window, aten.hamming_window, aten.blackman_window, aten.bartlett_window,
    aten.kaiser_window, aten.rand, aten.randn, aten.randint, aten.randperm, aten.rand_like, aten.randn_like,
    aten.randint_like,
)  # fmt: skip

# Random numbers drawn element by element, from the operands or into the first one.
SAMPLED = (
    aten.normal, aten.normal_functional, aten.uniform, aten.exponential, aten.random, aten.bernoulli, aten.poisson,
    aten.binomial, aten.cauchy, aten.log_normal, aten.geometric, aten._standard_gamma, aten._sample_dirichlet,
)  # fmt: skip


@propagates(*FILLED)
def filled(call: Call) -> Outputs:
    """Equal elements: free axes."""
    return tuple(call.fresh(size) for size in call.shape)


@propagates(*VALUED)
def valued(call: Call) -> Outputs:
    """Values that depend on the position: anchored axes."""
    return tuple(call.anchored(size) for size in call.shape)


@propagates(*SAMPLED)
def sampled(call: Call) -> Outputs:
    """Values that depend on the position and on the operands there."""
    return call.broadcast(*(value.axes for value in call.tensors), [call.anchored(size) for size in call.shape])


@propagates(aten.multinomial)
def multinomial(call: Call) -> Outputs:
    """`... categories -> ... samples`: the elements drawn are places of categories."""
    call.pin_all(call["self"])
    return call.pinned_axes(call.shape)


@propagates(aten.eye)
def eye(call: Call) -> Outputs:
    """The same order of rows and columns leaves an identity matrix as it is."""
    rows, columns = call.shape
    shared = call.fresh(min(rows, columns))
    return tuple(concat(shared, call.fresh(size - shared.size)) for size in (rows, columns))
