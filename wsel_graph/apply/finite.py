"""Values that are not finite: found at the cost of a sum, and named by where they are."""

from __future__ import annotations

import cmath

import torch

from wsel_graph.plan import Copy, Indices
from wsel_graph.stores import TensorSource


def finite(values: torch.Tensor) -> bool:
    """Whether all values are finite.

    A sum of finite values may overflow, but a sum that is finite has no infinity or NaN in it: only where it is not,
    the values are looked at one by one.

    >>> finite(torch.tensor([3e38, 3e38])), finite(torch.tensor([1.0, float("inf")]))
    (True, False)
    """
    if values.dtype.itemsize == 1:  # eight bits: most of torch has no operators for them
        values = values.float()
    return cmath.isfinite(values.sum().item()) or bool(torch.isfinite(values).all())


def not_finite(copy: Copy, source: TensorSource, dtype: torch.dtype) -> str:
    """What to say of a copy whose values are not finite in the dtype that they are written in."""
    for part in copy.sources:
        indices = list(part.indices)
        for mix in part.mix:
            indices[mix.dim] = tuple(sorted({element for own in mix.indices for element in own}))
        values = source.read(part.teacher, tuple(indices))
        values = values.float() if values.dtype.itemsize == 1 else values
        if not finite(values):
            place = (~torch.isfinite(values)).nonzero()[0].tolist()
            element = [_element(items, at) for items, at in zip(indices, place, strict=True)]
            return (
                f"teacher {part.teacher} {element} is {values[tuple(place)].item()}, and {copy.student} would take it. "
                "Use a checkpoint that is whole, or pass check_finite=False to copy such values as they are"
            )
    return (
        f"values of teacher {copy.teacher} are too large for {dtype}, in which student {copy.student} would take them: "
        "they would become infinite. Take a wider dtype, or pass check_finite=False"
    )


def _element(items: Indices, at: int) -> int:
    return items[at]
