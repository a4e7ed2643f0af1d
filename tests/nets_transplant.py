"""Well-known architectures written once more, as somebody who never saw the libraries' code would write them.

Names, nesting and grouping differ from timm, torchvision, transformers and torch on purpose: separate or fused
projections, linears where the libraries convolve, norms and attention written out in plain operators. Each computes
the same function as a library's class when it holds the same values in its own arrangement.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(batch, tokens, heads * size) -> (batch, heads, tokens, size)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention with two matrix products; (batch, heads, tokens, size) -> (batch, tokens, channels)."""
    weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


class SplitAttention(nn.Module):
    """Self-attention with a linear each for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ask, self.offer, self.content = (nn.Linear(width, width) for _ in range(3))
        self.mix = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split_heads(part(x), self.heads) for part in (self.ask, self.offer, self.content))
        return self.mix(attend(q, k, v))


class PatchViT(nn.Module):
    """ViT on unfolded patches, with positions from an `nn.Embedding` or a bare parameter.

    Args:
        unfold: Cut the patches out and use a linear, instead of a convolution with a stride.
        embedding: Look positions up in an `nn.Embedding`, instead of adding a bare parameter.
    """

    def __init__(
        self, *, size: int, patch: int, width: int, heads: int, depth: int, hidden: int, classes: int,
        unfold: bool, embedding: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.patch, self.unfold = patch, unfold
        pixels, count = 3 * patch**2, (size // patch) ** 2 + 1
        self.to_tokens = nn.Linear(pixels, width) if unfold else nn.Conv2d(3, width, patch, patch)
        self.summary = nn.Parameter(torch.zeros(width))
        self.places = nn.Embedding(count, width) if embedding else nn.Parameter(torch.zeros(count, width))
        self.register_buffer("order", torch.arange(count), persistent=False)
        self.layers = nn.ModuleList(PatchViTLayer(width, heads, hidden) for _ in range(depth))
        self.last = nn.LayerNorm(width, eps=1e-6)
        self.readout = nn.Linear(width, classes)

    def tokens(self, image: Tensor) -> Tensor:
        if self.unfold:
            return self.to_tokens(F.unfold(image, self.patch, stride=self.patch).transpose(1, 2))
        return self.to_tokens(image).flatten(2).transpose(1, 2)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.cat((self.summary.expand(image.shape[0], 1, -1), self.tokens(image)), dim=1)
        x = x + (self.places(self.order) if isinstance(self.places, nn.Embedding) else self.places)
        for layer in self.layers:
            x = layer(x)
        return self.readout(self.last(x)[:, 0])


class PatchViTLayer(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.calm, self.calm_again = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.talk = SplitAttention(width, heads)
        self.think = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.talk(self.calm(x))
        return x + self.think(self.calm_again(x))


class TextStem(nn.Module):
    """Sum of token, position and segment embeddings, normalised. BERT's input side."""

    def __init__(self, vocabulary: int, length: int, width: int, eps: float) -> None:
        super().__init__()
        self.words, self.where, self.who = (nn.Embedding(n, width) for n in (vocabulary, length, 2))
        self.even = nn.LayerNorm(width, eps=eps)

    def forward(self, ids: Tensor) -> Tensor:
        segments, places = torch.zeros_like(ids), torch.arange(ids.shape[1], device=ids.device)
        return self.even(self.words(ids) + self.who(segments) + self.where(places))


class TorchBert(nn.Module):
    """BERT's body around torch's own `nn.TransformerEncoder`."""

    def __init__(self, *, vocabulary: int, length: int, width: int, heads: int, depth: int, hidden: int) -> None:
        super().__init__()
        self.stem = TextStem(vocabulary, length, width, 1e-12)
        layer = nn.TransformerEncoderLayer(
            width, heads, hidden, activation="gelu", layer_norm_eps=1e-12, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.encoder(self.stem(ids))


class PlainBert(nn.Module):
    """BERT's body with separate projections and attention from matrix products."""

    def __init__(self, *, vocabulary: int, length: int, width: int, heads: int, depth: int, hidden: int) -> None:
        super().__init__()
        self.stem = TextStem(vocabulary, length, width, 1e-12)
        self.floors = nn.ModuleList(PlainBertLayer(width, heads, hidden) for _ in range(depth))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.stem(ids)
        for floor in self.floors:
            x = floor(x)
        return x


class PlainBertLayer(nn.Module):
    """A post-norm transformer block."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.talk = SplitAttention(width, heads)
        self.calm, self.calm_again = nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)
        self.widen, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.calm(x + self.talk(x))
        return self.calm_again(x + self.narrow(F.gelu(self.widen(x))))


class RootMeanSquare(nn.Module):
    """RMSNorm in plain operators, in float32 like transformers' own, whatever the type of the values."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps, self.gain = eps, nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        narrow = x.float()
        return self.gain * (narrow * torch.rsqrt(narrow.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype)


def rotate(x: Tensor, base: float) -> Tensor:
    """Rotary positions on (batch, heads, tokens, size): the two halves of `size` are the pairs. Angles in float32."""
    size = x.shape[-1]
    speed = 1 / base ** (torch.arange(0, size, 2, device=x.device).float() / size)
    angle = torch.arange(x.shape[-2], device=x.device).float()[:, None] * speed
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    left, right = x.chunk(2, dim=-1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)


class FusedLlama(nn.Module):
    """LLaMA with one linear for queries, keys and values, and one for gate and up."""

    def __init__(self, *, vocabulary: int, width: int, heads: int, kv: int, size: int, depth: int, hidden: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.tower = nn.ModuleList(FusedLlamaLayer(width, heads, kv, size, hidden) for _ in range(depth))
        self.final = RootMeanSquare(width, 1e-6)
        self.speak = nn.Linear(width, vocabulary, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids)
        for layer in self.tower:
            x = layer(x)
        return self.speak(self.final(x))


class FusedLlamaLayer(nn.Module):
    """Grouped-query causal attention and a gated MLP, both with fused projections."""

    def __init__(self, width: int, heads: int, kv: int, size: int, hidden: int) -> None:
        super().__init__()
        self.heads, self.kv, self.size = heads, kv, size
        self.before, self.between = RootMeanSquare(width, 1e-6), RootMeanSquare(width, 1e-6)
        self.project = nn.Linear(width, (heads + 2 * kv) * size, bias=False)
        self.merge = nn.Linear(heads * size, width, bias=False)
        self.widen = nn.Linear(width, 2 * hidden, bias=False)
        self.back = nn.Linear(hidden, width, bias=False)

    def attention(self, x: Tensor) -> Tensor:
        sizes = [self.heads * self.size, self.kv * self.size, self.kv * self.size]
        parts = self.project(x).split(sizes, dim=-1)
        q, k, v = (split_heads(part, n) for part, n in zip(parts, (self.heads, self.kv, self.kv), strict=True))
        repeats = self.heads // self.kv
        q, k = rotate(q, 10000.0), rotate(k, 10000.0)
        k, v = (part.repeat_interleave(repeats, dim=1) for part in (k, v))
        scores = q @ k.transpose(-2, -1) / math.sqrt(self.size)
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        return self.merge((scores.masked_fill(future, -math.inf).softmax(-1) @ v).transpose(1, 2).flatten(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.before(x))
        gate, up = self.widen(self.between(x)).chunk(2, dim=-1)
        return x + self.back(F.silu(gate) * up)


class NanoGpt(nn.Module):
    """A GPT-2 in the style of a small teaching repository: linears, fused attention kernel, tied readout."""

    def __init__(self, *, vocabulary: int, length: int, width: int, heads: int, depth: int, hidden: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.trunk = nn.Sequential(*(NanoGptBlock(width, heads, hidden) for _ in range(depth)))
        self.final = nn.LayerNorm(width)
        self.unembed = nn.Linear(width, vocabulary, bias=False)
        self.unembed.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        return self.unembed(self.final(self.trunk(x)))


class NanoGptBlock(nn.Module):
    """Pre-norm causal block."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_a, self.norm_m = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(self.norm_a(x)).chunk(3, dim=-1))
        x = x + self.merge(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm_m(x)), approximate="tanh"))


class PlainMixer(nn.Module):
    """MLP-Mixer with its two MLPs written out, on unfolded patches."""

    def __init__(
        self, *, size: int, patch: int, width: int, depth: int, token: int, channel: int, classes: int
    ) -> None:
        super().__init__()
        self.patch = patch
        self.entry = nn.Linear(3 * patch**2, width)
        self.rounds = nn.ModuleList(PlainMixerRound((size // patch) ** 2, width, token, channel) for _ in range(depth))
        self.calm = nn.LayerNorm(width, eps=1e-6)
        self.answer = nn.Linear(width, classes)

    def forward(self, image: Tensor) -> Tensor:
        x = self.entry(F.unfold(image, self.patch, stride=self.patch).transpose(1, 2))
        for part in self.rounds:
            x = part(x)
        return self.answer(self.calm(x).mean(1))


class PlainMixerRound(nn.Module):
    """Mix tokens, then channels."""

    def __init__(self, places: int, width: int, token: int, channel: int) -> None:
        super().__init__()
        self.even_1, self.even_2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.across_in, self.across_out = nn.Linear(places, token), nn.Linear(token, places)
        self.along_in, self.along_out = nn.Linear(width, channel), nn.Linear(channel, width)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.across_out(F.gelu(self.across_in(self.even_1(x).mT)))
        x = x + mixed.mT
        return x + self.along_out(F.gelu(self.along_in(self.even_2(x))))


class PlainResMlp(nn.Module):
    """ResMLP with scales and shifts as bare parameters of the blocks."""

    def __init__(self, *, size: int, patch: int, width: int, depth: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.entry = nn.Conv2d(3, width, patch, patch)
        self.rounds = nn.ModuleList(PlainResMlpRound((size // patch) ** 2, width, hidden) for _ in range(depth))
        self.gain, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.answer = nn.Linear(width, classes)

    def forward(self, image: Tensor) -> Tensor:
        x = self.entry(image).flatten(2).mT
        for part in self.rounds:
            x = part(x)
        return self.answer((x * self.gain + self.shift).mean(1))


class PlainResMlpRound(nn.Module):
    """Mix tokens with one linear, then channels with an MLP; both scaled per channel."""

    def __init__(self, places: int, width: int, hidden: int) -> None:
        super().__init__()
        self.gain_1, self.gain_2 = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))
        self.shift_1, self.shift_2 = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.scale_1, self.scale_2 = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))
        self.across = nn.Linear(places, places)
        self.widen, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.scale_1 * self.across((x * self.gain_1 + self.shift_1).mT).mT
        return x + self.scale_2 * self.narrow(F.gelu(self.widen(x * self.gain_2 + self.shift_2)))


class DeepLstm(nn.Module):
    """One `nn.LSTM` with several layers."""

    def __init__(self, *, features: int, width: int, depth: int, classes: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(features, width, depth, batch_first=True)
        self.readout = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.rnn(x)[0])


class StackedLstm(nn.Module):
    """Several `nn.LSTM` of one layer each."""

    def __init__(self, *, features: int, width: int, depth: int, classes: int) -> None:
        super().__init__()
        sizes = [features] + [width] * (depth - 1)
        self.cells = nn.ModuleList(nn.LSTM(size, width, batch_first=True) for size in sizes)
        self.answer = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        for cell in self.cells:
            x, _ = cell(x)
        return self.answer(x)
