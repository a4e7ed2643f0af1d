"""Operators that only run other operators.

Below autograd these have usually been taken apart. They have not where a model turns autograd off as a whole
(`torch.inference_mode`), and higher-order operators (attention with a score function, control flow) never are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from torch._C import DispatchKey
from torch._ops import HigherOrderOperator, OpOverload


@cache
def body(op: Any) -> Callable[..., Any] | None:
    """What runs the operators that `op` is made of; None for one that is not made of others.

    >>> import torch
    >>> body(torch.ops.aten.matmul.default) is None, body(torch.ops.aten.mm.default) is None
    (False, True)
    """
    if isinstance(op, HigherOrderOperator):
        kernel: Callable[..., Any] | None = op.py_kernels.get(DispatchKey.CompositeExplicitAutograd)
        return kernel
    if isinstance(op, OpOverload) and op.has_kernel_for_dispatch_key(DispatchKey.CompositeImplicitAutograd):
        return op.decompose
    return None
