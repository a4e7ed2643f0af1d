"""Composite functions that are recorded as one operator.

Below autograd, PyTorch takes composite functions apart before a dispatch mode sees them. Four kinds are
worth keeping whole: matrix products (the expand/view/bmm/view detour hides their batch axes), `einsum`
(its equation already names the axes), scaled dot product attention, and recurrent networks (unrolled, one
of them is tens of thousands of operators).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

aten = torch.ops.aten

Whole = tuple[Any, tuple[Any, ...], dict[str, Any]]
"""An operator with the arguments to record for it."""

Lower = Callable[[tuple[Any, ...], dict[str, Any]], Whole | None]


def _plain(op: Any) -> Lower:
    """Record the call as it is; one that writes to `out=` is taken apart, so that the write is seen."""
    return lambda args, kwargs: None if "out" in kwargs else (op, args, kwargs)


def _swapped_matmul(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Whole | None:
    return aten.matmul.default, (args[1], args[0]), {}


def _attention(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Whole | None:
    return aten.scaled_dot_product_attention.default, args, kwargs


def _einsum(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Whole | None:
    equation, *operands = args
    if not isinstance(equation, str):
        return None  # the sublist format: PyTorch takes it apart
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = list(operands[0])
    return aten.einsum.default, (equation, list(operands)), {}


def _recurrent(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Whole | None:
    if isinstance(args[1], torch.Tensor) and isinstance(args[2], (torch.Tensor, list, tuple)) and len(args) == 9:
        if isinstance(args[3], (list, tuple)):
            return None  # packed sequences: data, batch_sizes, hidden, weights
        return op, args, kwargs
    if isinstance(args[1], (list, tuple)) and isinstance(args[2], (list, tuple)):
        return op, args, kwargs
    return None


LOWER: dict[Any, Lower] = {
    F.linear: _plain(aten.linear.default),
    torch.matmul: _plain(aten.matmul.default),
    torch.Tensor.matmul: _plain(aten.matmul.default),
    torch.Tensor.__matmul__: _plain(aten.matmul.default),
    torch.Tensor.__rmatmul__: _swapped_matmul,
    torch.einsum: _einsum,
    F.scaled_dot_product_attention: _attention,
    torch.lstm: functools.partial(_recurrent, aten.lstm.input),
    torch.gru: functools.partial(_recurrent, aten.gru.input),
    torch.rnn_tanh: functools.partial(_recurrent, aten.rnn_tanh.input),
    torch.rnn_relu: functools.partial(_recurrent, aten.rnn_relu.input),
}


def lower(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Whole | None:
    """The operator and arguments to record for a composite call, or None to let it be taken apart."""
    rule = LOWER.get(func)
    return rule(args, kwargs) if rule is not None else None


def shortcut(lowered: Whole) -> Any:
    """The result of a whole operator on the meta device, from its shapes alone; None where PyTorch must be asked."""
    op, args, _ = lowered
    maker = _FROM_SHAPES.get(op)
    return maker(args) if maker is not None else None


def _recurrent_result(args: tuple[Any, ...]) -> Any:
    """PyTorch has no meta kernel for recurrent networks: it would unroll them step by step."""
    x, hidden, weights, bidirectional = args[0], args[1], args[2], args[7]
    if not any(weight.is_meta for weight in weights):
        return None
    states = list(hidden) if isinstance(hidden, (list, tuple)) else [hidden]
    size = states[0].shape[-1] * (2 if bidirectional else 1)
    output = x.new_empty((*x.shape[:-1], size), device="meta")
    return (output, *(torch.empty_like(state, device="meta") for state in states))


_FROM_SHAPES: dict[Any, Callable[[tuple[Any, ...]], Any]] = {
    aten.lstm.input: _recurrent_result,
    aten.gru.input: _recurrent_result,
    aten.rnn_tanh.input: _recurrent_result,
    aten.rnn_relu.input: _recurrent_result,
}
