"""Blocks on images of shape `batch c h w`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.blocks.base import ACTIVATIONS, Block, Options, activation, divisor, divisors, flag, half, noise, pick, width


class Conv(Block):
    """A convolution: grouped, depthwise, dilated, transposed, with or without norm and residual."""

    def __init__(
        self, c: int, n: int, k: int, *, to: int, kernel: int, groups: int, norm: str, act: str, form: str
    ) -> None:
        out = c if form in ("depthwise", "grouped") else to * k
        super().__init__(out, n, counts=norm in ("group", "layer"))
        groups = {"depthwise": c, "grouped": groups}.get(form, 1)
        kind = nn.ConvTranspose2d if form == "transposed" else nn.Conv2d
        self.conv = kind(c, out, kernel, padding=kernel // 2, groups=groups, bias=norm == "none")
        self.norm = make_norm(norm, out)
        self.act = act

    @staticmethod
    def options(c: int) -> Options:
        norm = pick("none", "batch", "group", "layer", "instance", "local")
        form = pick("plain", "depthwise", "grouped", "transposed")
        return {
            "to": width(),
            "kernel": pick(1, 3),
            "groups": divisor(c),
            "norm": norm,
            "act": activation(),
            "form": form,
        }

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = ACTIVATIONS[self.act](self.norm(self.conv(x)))
        return y + x if y.shape == x.shape else y


class ChannelLast(nn.LayerNorm):
    """Layer norm over the channels of an image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def make_norm(name: str, c: int) -> nn.Module:
    """A norm for images of `c` channels."""
    match name:
        case "batch":
            return nn.BatchNorm2d(c)
        case "group":
            return nn.GroupNorm(divisors(c)[len(divisors(c)) // 2], c)
        case "layer":
            return ChannelLast(c)
        case "instance":
            return nn.InstanceNorm2d(c, affine=True)
        case "local":
            return nn.LocalResponseNorm(3)
    return nn.Identity()


class Residual(Block):
    """Bottleneck or basic block; the shortcut is the identity, a convolution, padding with zeros, or pooling."""

    def __init__(self, c: int, n: int, k: int, *, to: int, hidden: int, shortcut: str, expand: bool) -> None:
        out = c if shortcut == "identity" else c + to * k if shortcut == "pad" else to * k
        super().__init__(out, n)
        self.shortcut = shortcut
        h = hidden * k
        self.body = nn.Sequential(
            nn.Conv2d(c, h, 1, bias=False), nn.BatchNorm2d(h), nn.ReLU(inplace=True),
            nn.Conv2d(h, h, 3, padding=1, groups=h if expand else 1), nn.BatchNorm2d(h), nn.ReLU6(inplace=True),
            nn.Conv2d(h, out, 1), nn.BatchNorm2d(out),
        )  # fmt: skip
        self.project = nn.Conv2d(c, out, 1) if shortcut in ("conv", "pool") else None

    @staticmethod
    def options(c: int) -> Options:
        return {"to": width(), "hidden": width(), "shortcut": pick("identity", "conv", "pad", "pool"), "expand": flag()}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        if self.shortcut == "pad":
            extra = y.shape[1] - x.shape[1]
            x = F.pad(x, (0, 0, 0, 0, extra // 2, extra - extra // 2))
        elif self.project is not None:
            x = self.project(F.avg_pool2d(x, 3, 1, 1) if self.shortcut == "pool" else x)
        x += y
        return torch.relu_(x)


class SqueezeExcite(Block):
    """Channel, spatial and token gates on images."""

    def __init__(self, c: int, n: int, k: int, *, hidden: int, form: str) -> None:
        super().__init__(c, n, counts=form in ("spatial", "context"))
        self.form = form
        self.down, self.up = nn.Conv2d(c, hidden * k, 1), nn.Conv2d(hidden * k, c, 1)
        self.fc1, self.fc2 = nn.Linear(2 * c, hidden * k), nn.Linear(hidden * k, c)
        self.spatial = nn.Conv2d(2, 1, 3, padding=1)
        self.eca = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    @staticmethod
    def options(c: int) -> Options:
        return {"hidden": width(), "form": pick("conv", "linear", "spatial", "eca", "context", "hard")}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        match self.form:
            case "conv":
                return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))
            case "linear":
                pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)
                return x * self.fc2(torch.relu(self.fc1(pooled))).sigmoid()[:, :, None, None]
            case "spatial":
                return x * self.spatial(torch.cat([x.mean(1, True), x.amax(1, True)], 1)).sigmoid()
            case "eca":
                pooled = F.adaptive_avg_pool2d(x, 1).squeeze(-1).transpose(-1, -2)
                return x * self.eca(pooled).transpose(-1, -2).unsqueeze(-1).sigmoid()
            case "context":
                weights = x.mean(1).flatten(1).softmax(-1)
                context = torch.bmm(x.flatten(2), weights[..., None])[..., None]
                return x + self.up(torch.relu(self.down(context)))
        return x * F.hardsigmoid(self.up(F.hardswish(self.down(F.adaptive_avg_pool2d(x, 1)))))


class Branches(Block):
    """Several convolutions of one input or of parts of it, concatenated or summed."""

    def __init__(self, c: int, n: int, k: int, *, to: int, other: int, form: str) -> None:
        a, b = to * k, other * k
        grown = {"inception": a + b, "dense": c + a, "ghost": 2 * a, "nested": c + a + b}
        super().__init__(grown.get(form, c), n, counts=form == "sum")
        self.form, self.border = form, half(c, k)
        self.one, self.two = nn.Conv2d(c, a, 1), nn.Conv2d(c, b, 3, padding=1)
        self.cheap = nn.Conv2d(a, a, 3, padding=1, groups=a)
        self.inner = nn.Conv2d(self.border, self.border, 3, padding=1)
        self.rest = nn.Conv2d(c - self.border, c - self.border, 1)
        self.deep = nn.Conv2d(c + a, b, 1)

    @staticmethod
    def options(c: int) -> Options:
        forms = ("inception", "dense", "ghost", "split", "res2", "partial", "sum", "nested")
        return {"to": width(), "other": width(), "form": pick(*forms)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x[:, : self.border], x[:, self.border :]
        match self.form:
            case "inception":
                return torch.cat([self.one(x), torch.relu(self.two(x))], dim=1)
            case "dense":
                return torch.cat([x, torch.relu(self.one(x))], dim=1)
            case "ghost":
                primary = self.one(x)
                return torch.cat([primary, self.cheap(primary)], dim=1)
            case "split":
                return torch.cat([self.inner(left), self.rest(right)], dim=1)
            case "res2":
                first = self.inner(left)
                second = right + first if right.shape == first.shape else right
                return torch.cat([first, second], dim=1)
            case "partial":
                y = x.clone()
                y[:, : self.border] = self.inner(x[:, : self.border])
                return y
            case "sum":
                return x + self.one(x).mean(1, keepdim=True) * self.two(x).amax(1, keepdim=True)
        grown = torch.cat([x, self.one(x)], dim=1)
        return torch.cat([grown, self.deep(grown)], dim=1)


class ImageShuffle(Block):
    """Channels rearranged or moved to and from space."""

    def __init__(self, c: int, n: int, k: int, *, form: str, groups: int) -> None:
        super().__init__(c, n)
        self.form, self.groups, self.border = form, groups, half(c, k)
        self.coordinates = nn.Conv2d(c + 2, c, 1)
        self.deep = nn.Conv2d(c, 4 * c, 1)
        self.unshuffle = nn.Conv2d(4 * c, c, 1)
        self.unfold = nn.Linear(9 * c, c)
        self.register_buffer("blur", torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16)

    @staticmethod
    def options(c: int) -> Options:
        channels = ("shuffle", "two-way", "shift", "blur", "coordinates")
        space = ("pixel", "unpixel", "unfold", "window", "pool", "space")
        return {"form": pick(*channels, *space), "groups": divisor(c)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        g = self.groups
        match self.form:
            case "shuffle":
                return x.view(b, g, c // g, h, w).transpose(1, 2).contiguous().view(b, c, h, w)
            case "two-way":
                y = x.reshape(b, g, -1, h, w).permute(2, 0, 1, 3, 4)
                return torch.cat([y[i] for i in range(len(y))], dim=1)
            case "pixel":
                return F.avg_pool2d(F.pixel_shuffle(self.deep(x), 2), 2)
            case "unpixel":
                return self.unshuffle(F.pixel_unshuffle(F.interpolate(x, scale_factor=2, mode="bilinear"), 2))
            case "unfold":
                columns = F.unfold(x, 3, padding=1)
                return self.unfold(columns.mT).mT.reshape(b, c, h, w)
            case "shift":
                y = torch.zeros_like(x)
                y[:, : self.border, :, 1:] = x[:, : self.border, :, :-1]
                y[:, self.border :] = x[:, self.border :]
                return y
            case "blur":
                return F.conv2d(x, self.blur.expand(c, 1, 3, 3), padding=1, groups=c)
            case "coordinates":
                rows = torch.linspace(-1, 1, h).to(x)[None, None, :, None].expand(b, 1, h, w)
                columns = torch.linspace(-1, 1, w).to(x).expand(b, 1, h, w)
                return self.coordinates(torch.cat([x, rows, columns], 1))
            case "window":
                y = x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(-1, 4, c)
                y = y + y.mean(1, keepdim=True)
                return y.view(b, h // 2, w // 2, 2, 2, c).permute(0, 5, 1, 3, 2, 4).reshape(x.shape)
            case "pool":
                return F.interpolate(F.max_pool2d(x, 2), size=(h, w)) + F.avg_pool2d(x, 3, 1, 1)
        y = x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(b, 4 * c, h // 2, w // 2)
        return F.interpolate(self.unshuffle(y), scale_factor=2)


class Generated(Block):
    """Kernels that are computed: mixed from a bank, standardised, merged, or made from the input."""

    def __init__(self, c: int, n: int, k: int, *, form: str, groups: int) -> None:
        super().__init__(c, n, counts=form in ("standard", "demodulate"))
        self.form, self.groups = form, groups
        self.bank, self.gate = noise(3, c, c, 3, 3), nn.Linear(c, 3)
        self.weight, self.small, self.scale = noise(c, c, 3, 3), noise(c, c, 1, 1), noise(c, 1, 1, 1)
        self.kernels = nn.Conv2d(c, groups * 9, 1)
        self.branch = nn.ParameterList([noise(c, 1, 3, 3), noise(c, 1, 1, 1)])

    @staticmethod
    def options(c: int) -> Options:
        forms = ("bank", "standard", "merge", "involution", "identity", "list", "demodulate")
        return {"form": pick(*forms), "groups": divisor(c)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        match self.form:
            case "bank":
                gates = self.gate(x.mean((2, 3))).softmax(-1)
                kernels = (gates @ self.bank.view(3, -1)).view(b * c, c, 3, 3)
                return F.conv2d(x.reshape(1, b * c, h, w), kernels, padding=1, groups=b).view(b, c, h, w)
            case "standard":
                mean = self.weight.mean((1, 2, 3), keepdim=True)
                var = self.weight.var((1, 2, 3), keepdim=True, unbiased=False)
                return F.conv2d(x, (self.weight - mean) * torch.rsqrt(var + 1e-3) * self.scale, padding=1)
            case "merge":
                return F.conv2d(x, self.weight + F.pad(self.small, [1, 1, 1, 1]), padding=1)
            case "identity":
                weight = self.weight.clone()
                for i in range(c):
                    weight[i, i, 1, 1] += 1
                return F.conv2d(x, weight, padding=1)
            case "list":
                return sum(F.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=c) for weight in self.branch)
            case "demodulate":
                style = 1 + x.mean((2, 3))[:, None, :, None, None] * self.weight
                style = style * torch.rsqrt(style.pow(2).sum((2, 3, 4), keepdim=True) + 1e-3)
                return F.conv2d(x.reshape(1, -1, h, w), style.flatten(0, 1), padding=1, groups=b).view_as(x)
        g = self.groups
        kernels = self.kernels(x).view(b, g, 1, 9, h, w)
        patches = F.unfold(x, 3, padding=1).view(b, g, c // g, 9, h, w)
        return (kernels * patches).sum(3).view(b, c, h, w)


class ImageAttention(Block):
    """Attention over pixels or over channels, from convolutions."""

    def __init__(self, c: int, n: int, k: int, *, heads: int, form: str) -> None:
        super().__init__(c, n, counts=form == "channels")
        self.heads, self.form = heads, form
        self.qkv, self.proj = nn.Conv2d(c, 3 * c, 1), nn.Conv2d(c, c, 1)
        self.position = nn.Conv2d(c, c, 3, padding=1, groups=c)
        self.table = noise(heads, 16)
        self.rows, self.columns = noise(c, 4, 1), noise(c, 1, 4)

    @staticmethod
    def options(c: int) -> Options:
        return {"heads": divisor(c), "form": pick("pixels", "channels", "bias", "separable", "convolved")}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        if self.form == "separable":
            x = x + self.rows + self.columns
        q, k, v = self.qkv(x).reshape(b, 3, self.heads, c // self.heads, h * w).unbind(1)
        if self.form == "channels":
            y = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)).softmax(-1) @ v
        else:
            scores = q.transpose(-2, -1) @ k
            if self.form == "bias":
                scores = scores + self.table[:, : h * w][:, None]
            y = v @ scores.softmax(-1).transpose(-2, -1)
        y = y.reshape(b, c, h, w)
        return x + self.proj(y + self.position(v.reshape(b, c, h, w)) if self.form == "convolved" else y)


IMAGE_BLOCKS: tuple[type[Block], ...] = (
    Conv,
    Residual,
    SqueezeExcite,
    Branches,
    ImageShuffle,
    Generated,
    ImageAttention,
)
