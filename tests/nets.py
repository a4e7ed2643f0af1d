"""Small networks that tests share: each shows one thing, and every size is an argument."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

INPUT = 7  # features of every token that the sequence networks take


def mlp(width: int, labels: int = 3, inputs: int = 4) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, labels)
    )


class Attention(nn.Module):
    """Self-attention with separate or fused projections, grouped keys, and rotary codes on request."""

    def __init__(self, dim: int, heads: int, head_dim: int, *, kv: int | None = None, rope: bool = False) -> None:
        super().__init__()
        self.heads, self.kv, self.head_dim, self.rope = heads, kv or heads, head_dim, rope
        self.q = nn.Linear(dim, heads * head_dim)
        self.k = nn.Linear(dim, self.kv * head_dim)
        self.v = nn.Linear(dim, self.kv * head_dim)
        self.o = nn.Linear(heads * head_dim, dim)

    def _heads(self, x: torch.Tensor, heads: int) -> torch.Tensor:
        return x.unflatten(-1, (heads, self.head_dim)).transpose(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = self._heads(self.q(x), self.heads)
        k, v = (self._heads(project(x), self.kv) for project in (self.k, self.v))
        if self.rope:
            q, k = rotate(q), rotate(k)
        if self.kv != self.heads:
            k, v = (t.repeat_interleave(self.heads // self.kv, 1) for t in (k, v))
        scores = q @ k.transpose(-1, -2) / math.sqrt(self.head_dim)
        return self.o((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


def rotate(x: torch.Tensor) -> torch.Tensor:
    """Rotary position code, the first half of a head against the second."""
    positions, half = torch.arange(x.shape[-2]), x.shape[-1] // 2
    angles = positions[:, None] * 10000 ** (-torch.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()], -1)


class Block(nn.Module):
    """Pre-norm attention and a two-layer MLP, each added to the stream."""

    def __init__(self, dim: int, attention: Attention, hidden: int, norm: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(dim) if norm else nn.Identity() for _ in range(2))
        self.attn = attention
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Transformer(nn.Module):
    """An encoder over `(batch, length, INPUT)`; `sine` adds fixed position codes."""

    def __init__(
        self, dim: int = 16, heads: int = 2, head_dim: int = 8, *, depth: int = 2, hidden: int | None = None,
        kv: int | None = None, rope: bool = False, sine: bool = False, norm: bool = True, labels: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        self.sine = sine
        self.stem = nn.Linear(INPUT, dim)
        attentions = (Attention(dim, heads, head_dim, kv=kv, rope=rope) for _ in range(depth))
        self.blocks = nn.ModuleList(Block(dim, attention, hidden or 2 * dim, norm) for attention in attentions)
        self.head = nn.Linear(dim, labels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        if self.sine:
            x = x + sine_code(x.shape[1], x.shape[2])
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1))


def sine_code(length: int, dim: int) -> torch.Tensor:
    """The position code of "Attention Is All You Need"."""
    angles = torch.arange(length)[:, None] * 10000 ** (-torch.arange(0, dim, 2) / dim)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


class ConvNet(nn.Module):
    """Convolutions with batch norm, one residual block and one depthwise convolution; images of 3 channels."""

    def __init__(self, width: int, labels: int = 3) -> None:
        super().__init__()
        self.stem, self.bn1 = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.point = nn.Conv2d(width, 2 * width, 1)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.back = nn.Conv2d(2 * width, width, 1)
        self.head = nn.Linear(width, labels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.stem(x)))
        x = x + self.back(F.relu(self.bn2(self.point(self.depthwise(x)))))
        return self.head(x.mean((2, 3)))


class Language(nn.Module):
    """An embedding, one block and a vocabulary projection, which may be tied to the embedding."""

    def __init__(self, dim: int, *, tied: bool, vocabulary: int = 11) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim)
        self.block = Block(dim, Attention(dim, 2, dim // 2), 2 * dim, norm=True)
        self.head = nn.Linear(dim, vocabulary, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.embed(ids)))


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter and running statistic a value of its own; variances stay positive."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.dtype)
                tensor.copy_(noise.abs() + 0.5 if name.endswith("running_var") else 0.3 * noise)
    return model


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of all parameters and buffers, by name."""
    return {name: tensor.detach().clone() for name, tensor in (*model.named_parameters(), *model.named_buffers())}


def same_tensors(model: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    """Whether every parameter and buffer is bit for bit what it was."""
    now = snapshot(model)
    return now.keys() == before.keys() and all(torch.equal(now[name], before[name]) for name in now)
