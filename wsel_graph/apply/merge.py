"""Weighted sums of teacher elements: what one dim of a block holds where elements are merged."""

from __future__ import annotations

import torch

from wsel_graph.plan import Mix


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
        weights = torch.tensor([mix.weights[place][term] for place in longer], dtype=torch.float64, device="cpu").to(
            block
        )
        taken = rows[torch.tensor([mix.indices[place][term] for place in longer], device=block.device)]
        result[torch.tensor(longer, device=block.device)] += taken * weights.reshape(-1, *[1] * (rows.dim() - 1))
    return result.movedim(0, mix.dim)
