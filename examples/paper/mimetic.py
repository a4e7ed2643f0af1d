"""Mimetic initialisation: Trockman and Kolter, "Mimetic Initialization of Self-Attention Layers", arXiv:2305.09828.

Their section 4. With Z of independent normal entries of variance 1 / d, and row vectors x W:

- queries and keys of every head: `W_q W_k^T` is about `a Z + b I`. A head's product has rank k, the head's width, so
  it is the best approximation of that rank: of `U S V^T`, `W_q = U_k S_k^(1/2)` and `W_k = V_k S_k^(1/2)`;
- values and the output of all heads together: `W_v W_proj = a Z - b I = U S V^T`, with `W_v = U S^(1/2)` and
  `W_proj = S^(1/2) V^T`;
- positions: the fixed two-dimensional sines and cosines, as a first value that is trained on.

The paper's `a = b = 0.7` for queries and keys, `a = b = 0.4` for values and the output.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

QUERY_KEY, VALUE_OUTPUT = 0.7, 0.4


def initialise(model: nn.Module, seed: int = 0) -> int:
    """Initialise every attention of a timm ViT in place (modules with `qkv`, `proj` and `num_heads`).

    Returns:
        How many were found.
    Raises:
        ValueError: If there is none.
    """
    draw = torch.Generator().manual_seed(seed)
    found = [
        module for module in model.modules() if all(hasattr(module, part) for part in ("qkv", "proj", "num_heads"))
    ]
    if not found:
        raise ValueError(f"mimetic: {type(model).__name__} has no attention with `qkv`, `proj` and `num_heads`")
    with torch.no_grad():
        for attention in found:
            _attention(attention, draw)
        if isinstance(getattr(model, "pos_embed", None), Tensor):
            _positions(model)
    return len(found)


def _attention(attention: Any, draw: torch.Generator) -> None:
    width = attention.proj.weight.shape[0]
    heads = int(attention.num_heads)
    query_key = [query_and_key(width, width // heads, draw) for _ in range(heads)]
    value, output = value_and_output(width, draw)
    rows = [*(query.T for query, _ in query_key), *(key.T for _, key in query_key), value.T]  # a Linear's weight is W^T
    attention.qkv.weight.copy_(torch.cat(rows))
    attention.proj.weight.copy_(output.T)
    for linear in (attention.qkv, attention.proj):
        if linear.bias is not None:
            linear.bias.zero_()


def query_and_key(width: int, head: int, draw: torch.Generator, scale: float = QUERY_KEY) -> tuple[Tensor, Tensor]:
    """`W_q` and `W_k` of one head, both `(width, head)`; their product is the best of its rank."""
    left, size, right = torch.linalg.svd(_target(width, scale, scale, draw))
    root = size[:head].sqrt()
    return (left[:, :head] * root).float(), (right[:head].T * root).float()


def value_and_output(width: int, draw: torch.Generator, scale: float = VALUE_OUTPUT) -> tuple[Tensor, Tensor]:
    """`W_v` and `W_proj` of all heads, both `(width, width)`."""
    left, size, right = torch.linalg.svd(_target(width, scale, -scale, draw))
    root = size.sqrt()
    return (left * root).float(), (root[:, None] * right).float()


def _target(width: int, noise: float, diagonal: float, draw: torch.Generator) -> Tensor:
    entries = torch.randn(width, width, generator=draw, dtype=torch.float64) / width**0.5
    target: Tensor = noise * entries + diagonal * torch.eye(width, dtype=torch.float64)
    return target


def _positions(model: Any) -> None:
    table, (height, width) = model.pos_embed, model.patch_embed.grid_size
    codes = sines(height, width, table.shape[-1])
    table.zero_()  # prefix tokens have no place
    table[0, -len(codes) :] = codes


def sines(height: int, width: int, channels: int) -> Tensor:
    """Codes of a grid, `(height * width, channels)`: a quarter each of sines and cosines of the row and of the column.

    Reference:
        Vaswani et al., arXiv:1706.03762, section 3.5, for either direction.
    """
    if channels % 4:
        raise ValueError(f"sines: {channels} channels do not divide by 4")
    rate = 10000 ** (-torch.arange(channels // 4, dtype=torch.float64) / (channels // 4))
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    angles = [place.reshape(-1, 1) * rate for place in (rows, columns)]
    return torch.cat([turn(angle) for angle in angles for turn in (torch.sin, torch.cos)], dim=1).float()
