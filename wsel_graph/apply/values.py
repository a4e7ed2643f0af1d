"""The values of one student tensor, made from a teacher that is read a part at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from wsel_graph.apply.memory import gathered, placed
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
    check_finite: bool = True,
) -> torch.Tensor:
    """What goes into one student tensor.

    Args:
        copies: All copies to this tensor; at least one.
        base: The student's own values, which stay where no copy goes; None where the copies fill everything.
        dtype: Of the result; that of `base`, or of what the teacher gives, where it is None.
        check_finite: Refuse values that are not finite, or would not be in this dtype.
    Returns:
        A tensor on the CPU; it may share memory with the source.
    Raises:
        PlanError: If a value is not a number, or is too large for the dtype.
    """
    if len(copies) == 1 and copies[0].region is None:
        values = _taken(copies[0], source)
        dtype = dtype or (values if base is None else base).dtype
        return cast(values, dtype, copies[0]) if check_finite else values.to(dtype)
    if base is None:
        dtype = dtype or _taken(copies[0], source).dtype
        target = torch.empty(copies[0].student_shape, dtype=dtype)
    else:
        target = base.detach().to("cpu", dtype, copy=True)
    for copy in copies:
        values = _taken(copy, source)
        placed(copy, target, cast(values, target.dtype, copy) if check_finite else values.to(target.dtype))
    return target


def _taken(copy: Copy, source: TensorSource) -> torch.Tensor:
    """The values of one copy, with what is added to them."""
    block = _block(copy, source)
    for other in copy.also:
        block = block + _block(other, source)
    return block


def _block(copy: Copy, source: TensorSource) -> torch.Tensor:
    mixed = {mix.dim for mix in copy.mix}
    lists = tuple(
        range(size) if dim in mixed else indices
        for dim, (indices, size) in enumerate(zip(copy.indices, copy.teacher_shape, strict=True))
    )
    read = source.read(copy.teacher, lists).detach().cpu()
    return gathered(replace(copy, indices=tuple(map(range, read.shape))), read)  # all that is read is taken


def cast(values: torch.Tensor, dtype: torch.dtype, copy: Copy) -> torch.Tensor:
    """The values in another dtype.

    Raises:
        PlanError: If a value is not a number, or becomes infinite.
    """
    made = values.to(dtype)
    wide = made.float() if made.dtype.itemsize == 1 else made  # eight bits: most of torch has no operators for them
    if bool(torch.isfinite(wide.sum())) or bool(torch.isfinite(wide).all()):
        return made
    given = values.float() if values.dtype.itemsize == 1 else values
    what = "holds values that are not finite (NaN or infinity)"
    if bool(torch.isfinite(given).all()):
        what = f"holds values that are too large for {dtype}"
    raise PlanError(
        f"teacher {copy.teacher} {what}, where {copy.student} takes its elements: nothing was written. Look at the "
        "checkpoint, or write another dtype"
    )
