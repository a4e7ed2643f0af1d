"""Run a model wholly in float64, whatever dtypes its code asks for.

Many models compute norms, softmax or rotary codes in float32 on purpose (`x.to(torch.float32)`). In a
float64 check this rounding would hide faults of its own size, so requests for narrower floating types are
answered with float64.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from wsel_graph.capture.composites import body

_WIDE = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex32: torch.complex128,
    torch.complex64: torch.complex128,
}


def _widen(value: Any) -> Any:
    return _WIDE.get(value, value) if isinstance(value, torch.dtype) else value


class Double(TorchDispatchMode):
    """While active, float64 is the default type, and whoever asks for a narrower one gets float64 (complex128)."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self._defaults: list[torch.dtype] = []

    def __enter__(self) -> Self:
        self._defaults.append(torch.get_default_dtype())
        torch.set_default_dtype(torch.float64)
        return super().__enter__()  # type: ignore[no-any-return]

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch.set_default_dtype(self._defaults.pop())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (run := body(func)) is not None:
            with self:
                return run(*args, **(kwargs or {}))
        args, kwargs = pytree.tree_map(_widen, (args, kwargs or {}))
        return func(*args, **kwargs)
