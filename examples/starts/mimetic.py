"""Mimetic initialisation of a BERT: attentions as `examples.paper.mimetic` makes them, the rest as its code does."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from examples.paper.mimetic import query_and_key, value_and_output
from wsel_graph.errors import WselError


def initialise(student: nn.Module, seed: int) -> None:
    """Initialise every attention in place. Positions stay as they are: the paper's are those of a grid of patches.

    Raises:
        WselError: If there is no attention as transformers' BERT has it (`self.query`, ..., `output.dense`).
    """
    found = [module for module in student.modules() if _is_attention(module)]
    if not found:
        raise WselError(f"mimetic: {type(student).__name__} has no attention of the kind of BERT's")
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for attention in found:
            _attention(attention, draw)


def _is_attention(module: Any) -> bool:
    inner, outer = getattr(module, "self", None), getattr(module, "output", None)
    return all(hasattr(inner, part) for part in ("query", "key", "value")) and hasattr(outer, "dense")


def _attention(module: Any, draw: torch.Generator) -> None:
    inner, dense = module.self, module.output.dense
    heads = int(inner.num_attention_heads)
    query_key = [query_and_key(dense.in_features, dense.in_features // heads, draw) for _ in range(heads)]
    value, output = value_and_output(dense.in_features, draw)
    rows = {
        inner.query: torch.cat([query.T for query, _ in query_key]),
        inner.key: torch.cat([key.T for _, key in query_key]),
        inner.value: value.T,
        dense: output.T,
    }
    for linear, weight in rows.items():
        linear.weight.copy_(weight)
        linear.bias.zero_()
