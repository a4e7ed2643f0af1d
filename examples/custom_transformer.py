"""A transformer of your own with one tensor for queries, keys and values: which rows are which is found in the graph.

python examples/custom_transformer.py

Queries, keys and values are interleaved per head here, and two query heads share one key head.

Prints:

    blocks.0.qkv.weight: '(heads ((queries head_dim1) + head_dim1 + head_dim2)) embed'
    key heads of the teacher that the student takes: [0, 2]
    verified: True
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import wsel_graph as ws


class Block(nn.Module):
    def __init__(self, width: int, heads: int, size: int = 4) -> None:
        super().__init__()
        self.heads, self.size = heads, size  # key heads, and channels of each
        self.qkv = nn.Linear(width, heads * 4 * size)  # two query heads, one key head, one value head
        self.mix, self.norm = nn.Linear(2 * heads * size, width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        every = self.qkv(x).unflatten(-1, (self.heads, 4 * self.size)).transpose(1, 2)  # batch, heads, tokens, 4 size
        q, k, v = every.split((2 * self.size, self.size, self.size), dim=-1)
        q = q.unflatten(-1, (2, self.size)).transpose(2, 3).flatten(1, 2)  # batch, 2 heads, tokens, size
        k, v = (part.repeat_interleave(2, dim=1) for part in (k, v))
        x = x + self.mix(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Network(nn.Module):
    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(6, width), nn.Linear(width, 3)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.embed(x)).mean(1))


def main() -> None:
    teacher, student = Network(32, 4, 4), Network(16, 2, 2)
    tokens = torch.randn(2, 5, 6)
    graph = ws.trace(teacher, tokens)
    print(f"blocks.0.qkv.weight: {graph.tensors['blocks.0.qkv.weight'].notation!r}")
    plan = ws.plan(student, graph, tokens)
    rows = [row for copy in plan.copies if copy.student == "blocks.0.qkv.weight" for row in copy.indices[0]]
    print("key heads of the teacher that the student takes:", sorted({row // 16 for row in rows}))  # 16 rows each
    ws.apply(plan, student, teacher)
    print("verified:", ws.verify(student, tokens).ok)


if __name__ == "__main__":
    main()
