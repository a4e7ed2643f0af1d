"""Operators that look at values and give no tensor: reading an element out, checks, leaving PyTorch."""

from __future__ import annotations

import torch

from wsel_graph.ops.call import Call, Outputs
from wsel_graph.ops.registry import propagates

aten = torch.ops.aten


@propagates(
    aten._local_scalar_dense, aten.item, aten.is_nonzero, aten._assert_async, aten._assert_scalar,
    aten._linalg_check_errors,
)  # fmt: skip
def read_scalar(call: Call) -> Outputs:
    """One element: there is no axis to follow."""
    return []


@propagates(aten.equal, aten.allclose, aten._assert_tensor_metadata)
def compare_whole(call: Call) -> Outputs:
    """The answer is the same for any order that both operands share."""
    call.broadcast(*(value.axes for value in call.tensors))
    return []


@propagates("wsel_graph::leaves_torch")
def leaves_torch(call: Call) -> Outputs:
    """Python reads the values: what it does with them is out of sight, so every axis is taken whole."""
    call.pin_all(*call.tensors)
    return []
