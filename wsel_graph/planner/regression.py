"""Elements from which linear regression rebuilds the others best.

Greedy column subset selection by the exact criterion: every step takes the element that lowers the error of rebuilding
all elements most, computed on the residual of the second moments. Reference: Farahat, Elgohary, Ghodsi, Kamel, "Greedy
Column Subset Selection for Large-scale Data Sets", arXiv:1312.6838 (the criterion and its recursion).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

TIE = 1e-9
"""Gains that differ by less than this share count as equal: the first element wins, whatever rounding says."""

_ROUNDING = 16 * torch.finfo(torch.float64).eps
"""Per element: what is left of a rebuilt element's own second moment by rounding."""


def best_rebuilders(moments: Sequence[torch.Tensor], count: int) -> list[int]:
    """The elements to keep, ascending.

    Every matrix stands for one place where the elements are used. There the dropped elements are rebuilt by a linear
    regression of its own, without intercept; the error is its share of the place's mean square, summed over places.

    Args:
        moments: Mean products of all pairs of elements, each float64 `[size, size]`, positive semidefinite.
        count: How many to take; once all are rebuilt exactly, the rest are those with the largest mean square.

    The last element is a multiple of the first:

    >>> rows = torch.tensor([[1.0, 0.0, 2.0], [1.0, 3.0, 2.0]], dtype=torch.float64)
    >>> best_rebuilders([rows.T @ rows / 2], 2)
    [0, 1]
    """
    used = [matrix / matrix.trace() for matrix in moments if matrix.trace() > 0]
    size = moments[0].shape[0]
    left = torch.stack(used) if used else torch.zeros(0, size, size, dtype=torch.float64, device="cpu")
    start = left.diagonal(dim1=1, dim2=2).clone()
    floor = start * (_ROUNDING * size)
    chosen: list[int] = []
    while len(chosen) < count:
        gains = _gains(left, floor)
        best = float(gains.max())
        if best <= 0:
            break
        pick = int((gains >= best * (1 - TIE)).nonzero()[0])
        chosen.append(pick)
        _take(left, pick)
    energy = start.sum(0)
    energy[chosen] = -1
    rest = torch.argsort(energy, descending=True, stable=True)[: count - len(chosen)]
    return sorted([*chosen, *rest.tolist()])


def _gains(left: torch.Tensor, floor: torch.Tensor) -> torch.Tensor:
    """By how much each element would lower the error: the squared norm of its residual column over its own residual."""
    own = left.diagonal(dim1=1, dim2=2)
    alive = own > floor
    columns = torch.linalg.vector_norm(left, dim=2).square()
    return torch.where(alive, columns / torch.where(alive, own, 1.0), 0.0).sum(0)


def _take(left: torch.Tensor, pick: int) -> None:
    """Take out of the residuals, in place, all that one element explains."""
    for residual in left:
        own, column = float(residual[pick, pick]), residual[:, pick].clone()
        if own > 0:
            residual.addr_(column, column, alpha=-1 / own)
        residual[pick] = 0
        residual[:, pick] = 0
