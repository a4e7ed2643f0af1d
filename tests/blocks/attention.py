"""Attention on tokens: queries, keys and values are cut, coded, biased and joined in many ways."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from tests.blocks.base import MAX_TOKENS, Block, Options, divisor, divisors, flag, noise, pick


class Attention(Block):
    """Multi-head self-attention.

    `layout` names the order of the fused projection's axes; `code` what is done to queries and keys by position;
    `bias` what is added to the scores.
    """

    def __init__(
        self, c: int, n: int, k: int, *, heads: int, layout: str, code: str, bias: str, whole: bool, residual: bool
    ) -> None:
        super().__init__(c, n, counts=True)
        self.heads, self.layout, self.code, self.kind = heads, layout, code, bias
        self.whole, self.residual = whole, residual
        self.qkv, self.q, self.kv = nn.Linear(c, 3 * c), nn.Linear(c, c), nn.Linear(c, 2 * c, bias=False)
        self.proj = nn.Linear(c, c)
        self.table = noise(2 * MAX_TOKENS - 1, heads)
        self.talk = noise(heads, heads)
        self.norm = noise(c // heads)
        self.scale = noise(heads, 1, 1)

    @staticmethod
    def options(c: int) -> Options:
        fused = ("3hd", "chunk", "h3d", "hd3", "unbind", "3hd-permute", "in_proj", "einsum", "slices")
        layouts = (*fused, "separate", "q-kv")
        codes = ("none", "half", "interleaved", "complex", "norm", "scale", "partial", "learned")
        biases = ("none", "table", "causal", "mask", "alibi", "talk", "additive")
        return {
            "heads": divisor(c), "layout": pick(*layouts), "code": pick(*codes), "bias": pick(*biases), "whole": flag(),
            "residual": flag(),
        }  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.cut(x)
        q, k = (rotate(t, self.code, self.norm, self.scale) for t in (q, k))
        y = self.attend(q, k, v).transpose(1, 2).reshape(x.shape)
        return x + self.proj(y) if self.residual else self.proj(y)

    def cut(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Queries, keys and values, `batch heads n d`."""
        b, n, c = x.shape
        h, d = self.heads, c // self.heads

        def split(t: torch.Tensor) -> torch.Tensor:
            return t.view(b, n, h, d).transpose(1, 2)

        match self.layout:
            case "3hd":
                return tuple(self.qkv(x).reshape(b, n, 3, h, d).permute(2, 0, 3, 1, 4))
            case "3hd-permute":
                return self.qkv(x).view(b, n, 3 * h, d).permute(0, 2, 1, 3).chunk(3, dim=1)
            case "unbind":
                return self.qkv(x).unflatten(-1, (3, h, d)).permute(2, 0, 3, 1, 4).unbind(0)
            case "chunk":
                return tuple(split(t) for t in self.qkv(x).chunk(3, dim=-1))
            case "slices":
                y = self.qkv(x)
                return split(y[..., :c]), split(y[..., c : 2 * c]), split(y[..., 2 * c :])
            case "h3d":
                return self.qkv(x).view(b, n, h, 3 * d).transpose(1, 2).split(d, dim=-1)
            case "hd3":
                return tuple(self.qkv(x).view(b, n, h, d, 3).permute(4, 0, 2, 1, 3))
            case "q-kv":
                k, v = self.kv(x).view(b, n, 2, h, d).permute(2, 0, 3, 1, 4).unbind()
                return split(self.q(x)), k, v
            case "in_proj":
                weights = self.qkv.weight.chunk(3)
                return tuple(split(F.linear(x, w, p)) for w, p in zip(weights, self.qkv.bias.split(c), strict=True))
            case "einsum":
                weight = self.qkv.weight.view(3, h, d, c)
                return torch.einsum("bnc,thdc->tbhnd", x, weight).unbind(0)
        k, v = self.kv(x).chunk(2, -1)
        return split(self.q(x)), split(k), split(v)

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """`batch heads n d`."""
        bias = self.bias(q)
        if self.whole:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=self.kind == "causal")
        scores = (q / math.sqrt(q.shape[-1])) @ k.mT
        if bias is not None:
            scores = scores.masked_fill(~bias, float("-inf")) if bias.dtype == torch.bool else scores + bias
        if self.kind == "causal":
            scores = scores + torch.full(scores.shape[-2:], float("-inf")).triu(1).to(scores)
        weights = scores.softmax(dim=-1)
        if self.kind == "talk":
            weights = torch.einsum("bhnm,hg->bgnm", weights, self.talk)
        return weights @ v

    def bias(self, q: torch.Tensor) -> torch.Tensor | None:
        """What is added to the scores, broadcastable to `batch heads n n`; boolean for a mask."""
        n, h = q.shape[-2], self.heads
        places = torch.arange(n)
        match self.kind:
            case "table":
                index = places[:, None] - places[None, :] + MAX_TOKENS - 1
                return self.table[index.view(-1)].view(n, n, h).permute(2, 0, 1).contiguous().unsqueeze(0)
            case "mask":
                return (places[:, None] - places[None, :]).abs() < 3
            case "alibi":
                slopes = torch.tensor([2.0 ** -(i + 1) for i in range(h)]).to(q)
                return slopes.view(1, h, 1, 1) * -(places[:, None] - places[None, :]).abs()
            case "additive":
                return self.table[:n, :].t()[None, :, None, :]
        return None


def rotate(t: torch.Tensor, code: str, weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Queries or keys with a position code or a norm on `head_dim`."""
    n, d = t.shape[-2:]
    if code in ("half", "interleaved", "complex", "partial") and d % 2:
        return t
    angles = torch.arange(n)[:, None] * (10.0 ** (-torch.arange(0, d, 2) / d))[None]
    cos, sin = angles.cos().to(t), angles.sin().to(t)
    match code:
        case "half":
            first, second = t.chunk(2, dim=-1)
            rotated = torch.cat((-second, first), dim=-1)
            return t * torch.cat((cos, cos), -1) + rotated * torch.cat((sin, sin), -1)
        case "interleaved":
            rotated = torch.stack((-t[..., 1::2], t[..., ::2]), dim=-1).flatten(-2)
            return t * cos.repeat_interleave(2, -1) + rotated * sin.repeat_interleave(2, -1)
        case "complex":
            pairs = torch.view_as_complex(t.unflatten(-1, (-1, 2)).contiguous())
            return torch.view_as_real(pairs * torch.complex(cos, sin)).flatten(-2)
        case "partial":
            half = d // 2
            return torch.cat([t[..., :half] * cos - t[..., half:] * sin, t[..., half:]], -1)
        case "norm":
            return t * torch.rsqrt(t.pow(2).mean(-1, keepdim=True) + 1e-3) * weight
        case "scale":
            return F.normalize(t, dim=-1) * scale.exp().clamp(max=10)
        case "learned":
            return t + weight
    return t


class GroupedQueries(Block):
    """Grouped-query and multi-query attention: fewer heads for keys and values, repeated in one of many ways."""

    def __init__(self, c: int, n: int, k: int, *, pair: tuple[int, int], form: str, fused: bool) -> None:
        super().__init__(c, n, counts=form not in ("group", "einsum"))
        heads, share = pair
        self.heads, self.form, self.fused = heads, form, fused
        self.kept, d = heads // share, c // heads
        self.q, self.k, self.v = nn.Linear(c, c), nn.Linear(c, self.kept * d), nn.Linear(c, self.kept * d, bias=False)
        self.qkv = nn.Linear(c, c + 2 * self.kept * d)
        self.o = nn.Linear(c, c, bias=False)

    @staticmethod
    def options(c: int) -> Options:
        forms = ("interleave", "expand", "native", "group", "einsum", "index", "stack", "repeat")
        several = [h for h in divisors(c) if h > 1] or [1]
        pairs = [(h, s) for h in several for s in divisors(h) if s > 1 or h == 1]
        return {"pair": pick(*pairs), "form": pick(*forms), "fused": flag()}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, c = x.shape
        h, g = self.heads, self.kept
        if self.fused:
            q, k, v = self.qkv(x).split([c, g * c // h, g * c // h], dim=-1)
        else:
            q, k, v = self.q(x), self.k(x), self.v(x)
        q = q.view(b, n, h, -1).transpose(1, 2)
        k, v = (t.view(b, n, g, -1).transpose(1, 2) for t in (k, v))
        return x + self.o(self.attend(q, k, v).transpose(1, 2).flatten(2))

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """`batch heads n d`."""
        (b, h, n, d), g = q.shape, self.kept
        if self.form == "native":
            return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        if self.form in ("group", "einsum"):
            rows = q.view(b, g, h // g, n, d)
            if self.form == "einsum":
                weights = torch.einsum("bgrnd,bgmd->bgrnm", rows, k).softmax(-1)
                return torch.einsum("bgrnm,bgmd->bgrnd", weights, v).reshape(b, h, n, d)
            return ((rows @ k[:, :, None].mT).softmax(-1) @ v[:, :, None]).flatten(1, 2)
        k, v = (self.spread(t, h // g) for t in (k, v))
        return F.scaled_dot_product_attention(q, k, v)

    def spread(self, t: torch.Tensor, times: int) -> torch.Tensor:
        """Every head of `batch heads n d`, `times` times."""
        b, g, n, d = t.shape
        match self.form:
            case "interleave":
                return t.repeat_interleave(times, dim=1)
            case "expand":
                return t[:, :, None].expand(b, g, times, n, d).reshape(b, g * times, n, d)
            case "index":
                return t[:, torch.arange(g * times) // times]
            case "stack":
                return torch.stack([t] * times, dim=2).flatten(1, 2)
        return t.repeat(1, times, 1, 1)


class Library(Block):
    """PyTorch's own attention modules."""

    def __init__(self, c: int, n: int, k: int, *, heads: int, form: str, first: bool) -> None:
        super().__init__(c, n, counts=True)
        self.form = form
        if form == "layer":
            self.layer = nn.TransformerEncoderLayer(c, heads, 2 * c, batch_first=True, norm_first=first)
        elif form == "decoder":
            self.layer = nn.TransformerDecoderLayer(c, heads, 6 * k, batch_first=True, norm_first=first)
        else:
            self.layer = nn.MultiheadAttention(c, heads, batch_first=form != "late", add_bias_kv=first)

    @staticmethod
    def options(c: int) -> Options:
        return {
            "heads": divisor(c),
            "form": pick("mha", "layer", "decoder", "weights", "late", "cross"),
            "first": flag(),
        }

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        match self.form:
            case "layer":
                return self.layer(x)
            case "decoder":
                return self.layer(x, x[:, :2])
            case "weights":
                y, weights = self.layer(x, x, x, need_weights=True, average_attn_weights=False)
                return y + weights.amax((1, 2, 3))[:, None, None]
            case "late":
                rows = x.transpose(0, 1)
                return self.layer(rows, rows, rows, need_weights=False)[0].transpose(0, 1)
            case "cross":
                return x + self.layer(x, x[:, 1:] * 2, x[:, 1:], need_weights=False)[0]
        return x + self.layer(x, x, x, need_weights=False)[0]


class LinearAttention(Block):
    """Attention without softmax over tokens, and attention over channels."""

    def __init__(self, c: int, n: int, k: int, *, heads: int, form: str) -> None:
        super().__init__(c, n, counts=form in ("kernel", "channels"))
        self.heads, self.form = heads, form
        self.qkv, self.proj = nn.Linear(c, 3 * c), nn.Linear(c, c)
        self.temperature = noise(heads, 1, 1)
        self.decay = noise(heads)

    @staticmethod
    def options(c: int) -> Options:
        return {"heads": divisor(c), "form": pick("kernel", "channels", "retention", "scan", "pool")}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        match self.form:
            case "kernel":
                q, k = F.elu(q) + 1, F.elu(k) + 1
                y = (q @ (k.mT @ v)) / (q @ k.sum(-2)[..., None])
            case "channels":
                weights = (F.normalize(q.mT, dim=-1) @ F.normalize(k.mT, dim=-1).mT * self.temperature).softmax(-1)
                y = (weights @ v.mT).mT
            case "retention":
                places = torch.arange(n)
                decay = torch.sigmoid(self.decay)[:, None, None] ** (places[:, None] - places).clamp(min=0).to(x)
                y = (q @ k.mT * decay.tril()) @ v
            case "scan":
                y = q * (k * v).cumsum(2)
            case _:
                y = v * k.softmax(-2).mul(q).sum(-2, keepdim=True)
        return x + self.proj(y.transpose(1, 2).reshape(b, n, c))


ATTENTION_BLOCKS: tuple[type[Block], ...] = (Attention, GroupedQueries, Library, LinearAttention)
