"""Weighted sums of teacher elements: what one dim of a block holds where elements are merged."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from wsel_graph.plan import Copy, Mix
from wsel_graph.plan.serial import form_fault


def merged(block: torch.Tensor, mix: Mix) -> torch.Tensor:
    """The block with one dim merged; the terms of every sum are added in their order, so that results repeat.

    Args:
        block: Holds all teacher elements in dim `mix.dim`.
    Returns:
        `len(mix.indices)` elements there, all other dims as they were, the block's dtype.

    >>> merged(torch.tensor([[1.0, 2.0, 5.0]]), Mix(1, ((0, 2), (1,)), ((0.5, 0.5), (1.0,))))
    tensor([[3., 2.]])
    """
    rows = block.movedim(mix.dim, 0)
    result = torch.zeros(len(mix.indices), *rows.shape[1:], dtype=block.dtype, device=block.device)
    for term in range(max(map(len, mix.indices), default=0)):
        longer = [place for place, own in enumerate(mix.indices) if len(own) > term]
        weights = torch.tensor([mix.weights[place][term] for place in longer], dtype=torch.float64).to(block)
        taken = rows[torch.tensor([mix.indices[place][term] for place in longer], device=block.device)]
        result[torch.tensor(longer, device=block.device)] += taken * weights.reshape(-1, *[1] * (rows.dim() - 1))
    return result.movedim(0, mix.dim)


def merge_faults(copy: Copy, part: Copy) -> Iterator[str]:
    """Everything that would keep the sums of one of the sources of a copy from being right."""
    if part is not copy and (part.also or _target(part) != _target(copy)):
        yield f"{copy.student}: what is added from teacher {part.teacher} does not go to the same place as the rest"
    if (fault := form_fault(part)) is not None:
        yield f"{copy.student}: {fault}"
        return
    dims = [mix.dim for mix in part.mix]
    resized = {resize.dim for resize in part.resize}
    for number, mix in enumerate(part.mix):
        if not 0 <= mix.dim < len(part.indices) or mix.dim in dims[:number] or mix.dim in resized:
            yield (
                f"{copy.student}: dim {mix.dim} of teacher {part.teacher} cannot be merged: there is no such dim, "
                "or it is merged twice or resampled too"
            )
            continue
        yield from _mix_faults(part, mix)


def _target(copy: Copy) -> tuple[object, ...]:
    return copy.student, copy.student_shape, copy.target_shape, copy.region, copy.parameter


def _mix_faults(copy: Copy, mix: Mix) -> Iterator[str]:
    large, needed = copy.teacher_shape[mix.dim], len(copy.indices[mix.dim])
    if len(mix.indices) != needed:
        yield f"{copy.student}: {len(mix.indices)} merged elements of dim {mix.dim}, the index list has {needed}"
    if any(not 0 <= element < large for own in mix.indices for element in own):
        yield f"{copy.student}: dim {mix.dim} merges elements outside the teacher's 0..{large - 1}"
    if not all(math.isfinite(weight) for own in mix.weights for weight in own):
        yield f"{copy.student}: a weight of the merged dim {mix.dim} is not finite"
