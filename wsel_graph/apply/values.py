"""The values of one student tensor, made from a teacher that is read a part at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch

from wsel_graph.apply.finite import finite, not_finite
from wsel_graph.apply.gather import combined
from wsel_graph.apply.memory import placed
from wsel_graph.errors import PlanError
from wsel_graph.plan import Copy
from wsel_graph.stores.source import TensorSource


def covered(copies: Iterable[Copy], shape: tuple[int, ...]) -> bool:
    """Whether copies that do not overlap fill a tensor of this shape."""
    return sum(math.prod(copy.target_shape) for copy in copies) == math.prod(shape)


def filled(
    copies: Sequence[Copy],
    base: torch.Tensor | None,
    source: TensorSource,
    dtype: torch.dtype | None = None,
    *,
    check_finite: bool = True,
) -> torch.Tensor:
    """What goes into one student tensor.

    Args:
        copies: All copies to this tensor; at least one.
        base: The student's own values, which stay where no copy goes; None where the copies fill everything.
        dtype: Of the result; that of `base`, or of what the teacher gives, where it is None.
        check_finite: Refuse values that are not finite in the result's dtype.
    Returns:
        A tensor on the CPU; it may share memory with the source.
    Raises:
        PlanError: If a value is not a number, or is too large for the dtype.
    """
    if len(copies) == 1 and copies[0].region is None:
        return _values(copies[0], source, dtype or (None if base is None else base.dtype), check_finite)
    if base is None:
        dtype = dtype or source.infos()[copies[0].teacher].dtype
        target = torch.empty(copies[0].student_shape, dtype=dtype, device="cpu")
    else:
        target = base.detach().to("cpu", dtype, copy=True)
    for copy in copies:
        placed(copy, target, _values(copy, source, target.dtype, check_finite))
    return target


def _values(copy: Copy, source: TensorSource, dtype: torch.dtype | None, check_finite: bool) -> torch.Tensor:
    given = combined(copy, source).detach().cpu()
    made = given if dtype is None else given.to(dtype)
    if check_finite and not finite(made):
        raise PlanError(f"{not_finite(copy, source, made.dtype)}. Nothing was written.")
    return made
