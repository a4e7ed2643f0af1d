"""Positions that a model makes where its weights are: known even where these are on the meta device."""

from __future__ import annotations

import torch
from torch import nn

import wsel_graph as ws


class Looking(nn.Module):
    """Looks at the positions that it makes on the device of its hidden state, as masks of language models do."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.embed, self.table, self.head = nn.Embedding(20, width), nn.Embedding(16, width), nn.Linear(width, 20)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = self.embed(ids)
        places = torch.arange(ids.shape[1], device=hidden.device)
        if (places.diff() == 1).all() and int(places[-1]) == ids.shape[1] - 1:
            hidden = hidden + self.table(places)
        return self.head(hidden)


def test_models_without_memory_are_traced() -> None:
    with torch.device("meta"):
        model = Looking()
    graph = ws.trace(model, torch.ones(2, 5, dtype=torch.int64))
    assert graph.captured.rung == "meta"
    real = ws.trace(Looking(), torch.ones(2, 5, dtype=torch.int64))
    assert real.captured.rung == "meta"
    assert {name: tensor.notation for name, tensor in graph.tensors.items()} == {
        name: tensor.notation for name, tensor in real.tensors.items()
    }
    assert graph.tensors["table.weight"].notation == "position hidden"
