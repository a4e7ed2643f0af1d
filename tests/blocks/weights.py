"""Linears whose weight is not simply a parameter: sliced, joined, tied, normalised, factored, low-rank, buffered."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from tests.blocks.base import Block, Options, half, noise, pick, width


class Computed(Block):
    """A linear with a weight made in the forward pass."""

    FORMS = (
        "slice", "cat", "blocks", "transposed", "standard", "norm", "lora", "masked", "stack", "kron", "softmax",
        "flat", "gathered", "symmetric", "written", "scaled", "prefix", "diagonal", "chunks", "detached", "bits",
    )  # fmt: skip

    def __init__(self, c: int, n: int, k: int, *, form: str, to: int) -> None:
        super().__init__(c, n, counts=form in ("standard", "norm", "softmax", "bits"))
        h = to * k
        self.form, self.rows, self.columns = form, half(h, k), half(c, k)
        self.weight, self.more, self.bias = noise(h, c), noise(h + 2 * k, c + 3 * k), noise(h)
        self.down, self.up = noise(2 * k, c), noise(h, 2 * k)
        self.back, self.square, self.scale = nn.Linear(h, c), noise(c, c), noise(c)
        self.flat, self.both = noise(h * c), noise(2, h, c)
        self.register_buffer("mask", torch.ones(h, c).tril())
        self.register_buffer("average", torch.rand(c) + 0.5)

    @staticmethod
    def options(c: int) -> Options:
        return {"form": pick(*Computed.FORMS), "to": width()}

    def made(self) -> torch.Tensor:
        """The weight, `h c`."""
        h, c = self.weight.shape
        match self.form:
            case "slice":
                return self.more[:h, :c]
            case "prefix":
                return self.more[-h:][..., -c:]
            case "cat":
                return torch.cat([self.weight[: self.rows], self.more[self.rows : h, :c]], dim=0)
            case "blocks":
                zeros = torch.zeros(self.rows, c - self.columns).to(self.weight)
                top = torch.cat([self.weight[: self.rows, : self.columns], zeros], 1)
                return torch.cat([top, self.weight[self.rows :]], 0)
            case "transposed":
                return self.weight.t().contiguous().t()
            case "standard":
                return (self.weight - self.weight.mean(1, keepdim=True)) / (self.weight.std(1, keepdim=True) + 0.1)
            case "norm":
                return self.weight / self.weight.norm(dim=0) * self.average
            case "lora":
                return self.weight + self.up @ self.down
            case "masked":
                return self.weight * self.mask
            case "stack":
                return torch.stack([self.weight[i] * (1 + self.bias[i]) for i in range(h)])
            case "softmax":
                return self.weight.softmax(dim=0) * self.scale
            case "flat":
                return self.flat.view(h, c)
            case "gathered":
                return self.more[torch.arange(h).flip(0), :c]
            case "written":
                weight = torch.zeros(h, c).to(self.weight)
                weight[: self.rows] = self.weight[: self.rows]
                weight[self.rows :, : self.columns] += self.more[self.rows : h, : self.columns]
                return weight
            case "scaled":
                return self.weight * self.scale * self.bias[:, None].exp()
            case "chunks":
                return self.both.sum(0) + self.both[0] * self.both[1]
            case "detached":
                return self.weight.detach() + self.weight.data * self.scale.data
            case "bits":
                return torch.sign(self.weight) * self.weight.abs().mean()
        return self.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        match self.form:
            case "symmetric":
                return x + F.linear(x, self.square + self.square.T)
            case "diagonal":
                return x + F.linear(x, torch.diag(self.scale) + self.square)
            case "kron":
                return x + F.linear(x, torch.outer(self.scale, self.average))
        return x + self.back(torch.relu(F.linear(x, self.made(), self.bias)))


class Parametrized(Block):
    """Linears and convolutions under PyTorch's own parametrizations."""

    def __init__(self, c: int, n: int, k: int, *, form: str, to: int) -> None:
        super().__init__(c, n, counts=True)
        first = nn.Linear(c, to * k)
        if form == "weight":
            first = parametrizations.weight_norm(first)
        elif form == "weight-in":
            first = parametrizations.weight_norm(first, dim=1)
        elif form == "spectral":
            first = parametrizations.spectral_norm(first)
        elif form == "orthogonal":
            first = parametrizations.orthogonal(nn.Linear(c, c))
        elif form == "old":
            with warnings.catch_warnings(action="ignore", category=FutureWarning):
                first = nn.utils.weight_norm(first)
        self.first, self.second = first, nn.Linear(first.out_features, c)

    @staticmethod
    def options(c: int) -> Options:
        return {"form": pick("weight", "weight-in", "spectral", "orthogonal", "old"), "to": width()}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(torch.tanh(self.first(x)))


class Quantized(Block):
    """Codebooks: the nearest code by argmin, by softmax, or a hashed table."""

    def __init__(self, c: int, n: int, k: int, *, form: str, codes: int) -> None:
        super().__init__(c, n)
        self.form = form
        self.codes = noise(codes, c)

    @staticmethod
    def options(c: int) -> Options:
        return {"form": pick("nearest", "soft", "embedding", "onehot"), "codes": pick(5, 6, 4)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        distance = x.pow(2).sum(-1, keepdim=True) - 2 * x @ self.codes.t() + self.codes.pow(2).sum(1)
        match self.form:
            case "nearest":
                return x + self.codes[distance.argmin(-1)]
            case "soft":
                return x + (-distance).softmax(-1) @ self.codes
            case "embedding":
                return x + F.embedding(distance.argmin(-1), self.codes)
        return x + F.one_hot(distance.argmin(-1), len(self.codes)).to(x) @ self.codes


WEIGHT_BLOCKS: tuple[type[Block], ...] = (Computed, Parametrized, Quantized)
