"""Resampling a dim of a block of teacher values. Every kind is a matrix per grid axis, applied to that axis alone.

References: the half-pixel `bicubic` and `linear` of images, as timm resamples position tables; `pseudoinverse` is the
patch embedding resize of FlexiViT, Beyer et al., arXiv:2212.08013, equation 4, where the matrix of a 2-D
resize is the Kronecker product of one matrix per axis, and so is its pseudo-inverse; `sum` and `repeat` are what
timm does to the first convolution when the number of input channels changes.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from wsel_graph.plan import Resize
from wsel_graph.plan.copies import ResizeKind


def resized(block: torch.Tensor, resize: Resize) -> torch.Tensor:
    """The block with one dim resampled, in float32 at least.

    Args:
        block: Holds `resize.teacher_size` elements in dim `resize.dim`.
    Returns:
        `resize.student_size` elements there, all other dims as they were, the block's dtype.

    >>> resized(torch.tensor([[1.0, 2.0, 3.0]]), Resize("sum", 1, (3,), (1,)))
    tensor([[6.]])
    """
    lead, grid = resize.lead, resize.teacher_size - resize.lead - resize.trail
    rows = block.movedim(resize.dim, -1)
    before, middle, after = (rows.narrow(-1, *run) for run in ((0, lead), (lead, grid), (lead + grid, resize.trail)))
    values = middle.to(summed_dtype(block.dtype))
    values = values.reshape(*middle.shape[:-1], *resize.teacher_grid)
    first = middle.dim() - 1
    for axis, (large, small) in enumerate(zip(resize.teacher_grid, resize.student_grid, strict=True)):
        if large != small:
            weights = matrix(resize.kind, large, small).to(values)
            values = (values.movedim(first + axis, -1) @ weights.T).movedim(-1, first + axis)
    values = values.flatten(first).to(block.dtype)
    return torch.cat((before, values, after), -1).movedim(-1, resize.dim)


def summed_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which values of a dtype are added up: float32 at least.

    >>> summed_dtype(torch.bfloat16), summed_dtype(torch.float64), summed_dtype(torch.float8_e5m2)
    (torch.float32, torch.float64, torch.float32)
    """
    return torch.float32 if dtype.itemsize == 1 else torch.promote_types(dtype, torch.float32)


def matrix(kind: ResizeKind, large: int, small: int) -> torch.Tensor:
    """What turns `large` values into `small`, float64 `(small, large)`; `small` may be the larger number.

    >>> matrix("linear", 4, 2).tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    if kind == "sum":
        return torch.ones(small, large, dtype=torch.float64, device="cpu")
    if kind == "repeat":
        return torch.eye(large, dtype=torch.float64, device="cpu")[torch.arange(small, device="cpu") % large] * (
            large / small
        )
    if kind == "pseudoinverse":
        inverse: torch.Tensor = torch.linalg.pinv(matrix("bicubic-antialias", large, small).T)
        return inverse
    if large == 1:
        return torch.ones(small, 1, dtype=torch.float64, device="cpu")
    # The identity as an image whose width stays: torch's own weights are read off exactly. (An image of width 1
    # would be simpler, but torch's antialiased resize of those is wrong.)
    image = torch.eye(large, dtype=torch.float64, device="cpu")[None, None]
    mode = "bilinear" if kind == "linear" else "bicubic"
    antialias = kind == "bicubic-antialias"
    weights: torch.Tensor = F.interpolate(image, (small, large), mode=mode, align_corners=False, antialias=antialias)
    return weights.reshape(small, large)
