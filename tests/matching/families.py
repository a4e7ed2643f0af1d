"""Random families of networks for matching: one function, many implementations, and the truth about every tensor.

A `Net` computes what its `Spec` says. The values live in *canonical arrays*, whose axes have names ("s0.embed"); how
they are laid out as parameters (fused or separate, transposed, as 1x1 convolutions, interleaved) is the net's style,
drawn from a seed per place. Parameters have meaningless names in random order in one flat module. So the expected
student is known without asking the matcher: the teacher's canonical arrays, cut along their named axes, laid out in
the student's style.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Axes = tuple[str, ...]
Arrays = dict[str, Tensor]

LABELS, WORDS, PLACES, PIXELS = 5, 11, 6, 8
FIXED = {"labels": LABELS, "words": WORDS, "places": PLACES, "pixels": 3, "k": 3, "one": 1}
BATCH = 2
FORMS = ("linear", "matmul", "addmm", "conv", "einsum")
"""How one linear may be written."""


@dataclass(frozen=True)
class Kind:
    """One residual block: what it is, and what belongs to its structure (not to its implementation)."""

    what: str
    norm: str = "layer"
    post: bool = False
    act: str = "gelu"
    gated: bool = False
    shared_kv: bool = False  # grouped queries
    bias: bool = True
    scale: bool = False
    excite: bool = False


@dataclass(frozen=True)
class Stage:
    """Layers at one width; a layer is a run of kinds."""

    layers: tuple[tuple[Kind, ...], ...]

    def kept(self, numbers: Sequence[int]) -> Stage:
        """The same stage with some of its layers."""
        return Stage(tuple(self.layers[number] for number in numbers))


@dataclass(frozen=True)
class Spec:
    """A network: how it begins, its stages, how it ends."""

    stem: str  # words, tokens, image
    stages: tuple[Stage, ...]
    head: str = "mean"  # mean, each, tied
    positions: bool = True
    final_norm: bool = True
    decoder: Stage | None = None


class Sizes(dict[str, int]):
    """Sizes of named axes, drawn from a seed when first asked for: any at all, or at most those of `limit`."""

    def __init__(self, seed: int, limit: Mapping[str, int] | None = None) -> None:
        super().__init__(FIXED)
        self._seed, self._limit = seed, limit

    def __missing__(self, axis: str) -> int:
        low, high = _RANGES[axis.rpartition(".")[2]]
        if self._limit is not None:
            high = self._limit[axis]
        self[axis] = random.Random(f"{self._seed} {axis}").randint(low, high)
        return self[axis]


_RANGES = {
    "embed": (3, 12), "hidden": (3, 14), "heads": (2, 4), "dim": (2, 5), "rep": (2, 3), "squeeze": (2, 4),
    "cells": (2, 8),
}  # fmt: skip


class Net(nn.Module):
    """Computes a `Spec` at given sizes, in a style.

    Args:
        sizes: Size of every named axis that is not fixed.
        style: Seed of the implementation choices; None makes the plainest ones.
        names: Seed of the parameters' names and order.
    """

    def __init__(self, spec: Spec, sizes: Mapping[str, int], style: int | None, names: int = 0) -> None:
        super().__init__()
        self.spec, self.sizes, self.style = spec, sizes, style
        self.axes: dict[str, Axes] = {}
        self.recipes: dict[str, tuple[tuple[str, ...], Callable[..., Tensor], bool]] = {}
        self.words: dict[str, str] = {}
        self._source = random.Random(names)
        with torch.no_grad():
            self(*inputs(spec))
        self._shuffle()
        self.eval()

    # -- canonical arrays and parameters

    def array_shape(self, key: str) -> tuple[int, ...]:
        return tuple(self.sizes[axis] for axis in self.axes[key])

    def pack(self, arrays: Arrays) -> dict[str, Tensor]:
        """Every tensor by name, from canonical arrays."""
        return {
            self.words[place]: layout(*(arrays[key] for key in keys))
            for place, (keys, layout, _) in self.recipes.items()
        }

    def load(self, arrays: Arrays) -> Net:
        with torch.no_grad():
            for name, value in self.pack(arrays).items():
                getattr(self, name).copy_(value)
        return self

    def pick(self, place: str, *options: Any) -> Any:
        """An implementation choice."""
        return options[0] if self.style is None else random.Random(f"{self.style} {place}").choice(options)

    def hold(
        self, place: str, parts: Mapping[str, Axes], layout: Callable[..., Tensor], buffer: bool = False
    ) -> Tensor:
        """A parameter that holds canonical arrays in some layout."""
        if place not in self.recipes:
            self.axes.update(parts)
            self.recipes[place] = (tuple(parts), layout, buffer)
            self.words[place] = "".join(self._source.choices("bcdfghjklmnpqrstvwxz", k=7))
            value = layout(*(torch.ones(self.array_shape(key)) for key in parts)).contiguous()
            if buffer:
                self.register_buffer(self.words[place], value)
            else:
                self.register_parameter(self.words[place], nn.Parameter(value))
        return getattr(self, self.words[place])  # type: ignore[no-any-return]

    def _shuffle(self) -> None:
        for held in (self._parameters, self._buffers):
            items = list(held.items())
            self._source.shuffle(items)
            held.clear()
            held.update(items)

    def size(self, axes: Axes) -> int:
        return math.prod(self.sizes[axis] for axis in axes)

    # -- components

    def dense(
        self, x: Tensor, place: str, outs: Mapping[str, Axes], ins: Axes, bias: bool = True, woven: bool = False
    ) -> Tensor:
        """A linear on the last axis, of the outputs laid end to end, or woven head by head."""
        form = self.pick(f"{place} form", *FORMS)
        join = (lambda ts: torch.stack(ts, 1).flatten(0, 2)) if woven else torch.cat

        def weight(*arrays: Tensor) -> Tensor:
            each = [a.flatten(len(o)) for a, o in zip(arrays, outs.values(), strict=True)]
            w = join([e if woven else e.flatten(0, -2) for e in each])
            return w[:, :, None] if form == "conv" else w if form == "linear" else w.t()

        def vector(*arrays: Tensor) -> Tensor:
            return join([a[..., None] for a in arrays])[:, 0] if woven else torch.cat([a.flatten() for a in arrays])

        w = self.hold(f"{place}.weight", {f"{key}.weight": (*out, *ins) for key, out in outs.items()}, weight)
        b = self.hold(f"{place}.bias", {f"{key}.bias": out for key, out in outs.items()}, vector) if bias else None
        return _apply_dense(form, x, w, b)

    def norm(self, x: Tensor, place: str, axes: Axes, kind: str, dim: int = -1) -> Tensor:
        w = self.hold(f"{place}.weight", {f"{place}.weight": axes}, Tensor.flatten)
        b = self.hold(f"{place}.bias", {f"{place}.bias": axes}, Tensor.flatten) if kind != "rms" else None
        if kind == "batch":
            mean, var = (self.hold(f"{place}.{s}", {f"{place}.{s}": axes}, Tensor.flatten, True) for s in ("m", "v"))
            return F.batch_norm(x, mean, var, w, b)
        if dim != -1:
            return self.norm(x.movedim(dim, -1), place, axes, kind).movedim(-1, dim)
        form = self.pick(place, "function", "rsqrt", "var", "sqrt", "power", "negative")
        if form == "function":
            return F.rms_norm(x, w.shape, w, 1e-6) if b is None else F.layer_norm(x, w.shape, w, b, 1e-6)
        if b is None:
            return _divided(form, x, x.pow(2).mean(-1, keepdim=True) + 1e-6) * w
        centred = x - x.mean(-1, keepdim=True)
        variance = x.var(-1, keepdim=True, unbiased=False) if form == "var" else centred.pow(2).mean(-1, keepdim=True)
        return _divided(form, centred, variance + 1e-6) * w + b

    def conv(self, x: Tensor, place: str, out: Axes, ins: Axes, size: int = 3, stride: int = 1, depthwise: bool = False,
             bias: bool = False) -> Tensor:  # fmt: skip
        kernel = ("k",) * (x.dim() - 2) if size == 3 else ("one",) * (x.dim() - 2)
        axes = (*out, "one", *kernel) if depthwise else (*out, *ins, *kernel)
        w = self.hold(f"{place}.weight", {f"{place}.weight": axes}, lambda t: t)
        b = self.hold(f"{place}.bias", {f"{place}.bias": out}, lambda t: t) if bias else None
        run = F.conv1d if x.dim() == 3 else F.conv2d
        return run(x, w, b, stride=stride, padding=size // 2, groups=w.shape[0] if depthwise else 1)

    def act(self, x: Tensor, name: str) -> Tensor:
        if name == "silu" and self.pick("silu", True, False):
            return x * torch.sigmoid(x)
        return {"gelu": F.gelu, "relu": F.relu, "silu": F.silu, "tanh": torch.tanh}[name](x)

    # -- blocks on tokens (batch, tokens, channels)

    def attention(self, x: Tensor, place: str, own: str, e: str, kind: Kind, memory: Tensor | None = None,
                  memory_axis: str = "") -> Tensor:  # fmt: skip
        """`own` prefixes the axes that the block chooses itself."""
        heads: Axes = (f"{own}.heads",)
        rep: Axes = (f"{own}.rep",) if kind.shared_kv else ()
        dim: Axes = (f"{own}.dim",)
        outs = {f"{place}.q": heads + rep + dim, f"{place}.k": heads + dim, f"{place}.v": heads + dim}
        q, k, v = self._query_key_value(x, place, outs, e, kind, memory, memory_axis)
        h, r, d = self.size(heads), self.size(rep), self.size(dim)
        q, k, v = (t.unflatten(-1, (-1, d)).transpose(1, 2) for t in (q, k, v))
        if r > 1:
            k, v = (self._repeated(t, r) for t in (k, v))
        if self.pick(f"{place} sdpa", True, False):
            mixed = F.scaled_dot_product_attention(q, k, v)
        elif self.pick(f"{place} early", True, False):
            mixed = ((q * d**-0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
        else:
            scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(d)
            mixed = torch.einsum("bhqk,bhkd->bhqd", scores.softmax(-1), v)
        mixed = mixed.transpose(1, 2).reshape(*x.shape[:2], h * r * d)
        return self.dense(mixed, f"{place}.o", {f"{place}.o": (e,)}, heads + rep + dim, kind.bias)

    def _repeated(self, t: Tensor, times: int) -> Tensor:
        if self.pick("repeat", True, False):
            return t.repeat_interleave(times, 1)
        return t[:, :, None].expand(-1, -1, times, -1, -1).flatten(1, 2)

    def _query_key_value(self, x: Tensor, place: str, outs: dict[str, Axes], e: str, kind: Kind,
                         memory: Tensor | None, memory_axis: str) -> Sequence[Tensor]:  # fmt: skip
        keys = list(outs)
        fused = ["separate", "kv"] if memory is not None else ["separate", "kv", "all"]
        if memory is None and not kind.shared_kv:
            fused.append("woven")
        how = self.pick(f"{place} fused", *fused)
        other, ins = (x, e) if memory is None else (memory, memory_axis)
        if how == "woven":
            y = self.dense(x, f"{place}.qkv", outs, (e,), kind.bias, woven=True)
            h, d = (self.sizes[axis] for axis in outs[keys[0]])
            return [t.flatten(-2) for t in y.unflatten(-1, (h, 3, d)).unbind(-2)]
        if how == "all":
            y = self.dense(x, f"{place}.qkv", outs, (e,), kind.bias)
            return y.split([self.size(axes) for axes in outs.values()], -1)
        q = self.dense(x, keys[0], {keys[0]: outs[keys[0]]}, (e,), kind.bias)
        if how == "kv":
            both = self.dense(other, f"{place}.kv", {key: outs[key] for key in keys[1:]}, (ins,), kind.bias)
            return [q, *both.chunk(2, -1)]
        return [q, *(self.dense(other, key, {key: outs[key]}, (ins,), kind.bias) for key in keys[1:])]

    def mlp(self, x: Tensor, place: str, own: str, e: str, kind: Kind) -> Tensor:
        hidden: Axes = (f"{own}.hidden",)
        if kind.gated:
            outs = {f"{place}.gate": hidden, f"{place}.up": hidden}
            if self.pick(f"{place} fused", True, False):
                gate, up = self.dense(x, f"{place}.both", outs, (e,), kind.bias).chunk(2, -1)
            else:
                gate, up = (self.dense(x, key, {key: hidden}, (e,), kind.bias) for key in outs)
            y = (
                self.act(gate, kind.act) * up
                if self.pick(f"{place} order", True, False)
                else up * self.act(gate, kind.act)
            )
        else:
            y = self.act(self.dense(x, f"{place}.fc1", {f"{place}.fc1": hidden}, (e,), kind.bias), kind.act)
        if kind.what == "local":
            y = self.conv(y.transpose(1, 2), f"{place}.dw", hidden, hidden, depthwise=True, bias=True).transpose(1, 2)
            y = self.act(y, kind.act)
        return self.dense(y, f"{place}.fc2", {f"{place}.fc2": (e,)}, hidden, kind.bias)

    def recurrent(self, x: Tensor, place: str, own: str, e: str, kind: Kind) -> Tensor:
        return self.dense(
            self.gru(x, place, f"{own}.cells", e), f"{place}.out", {f"{place}.out": (e,)}, (f"{own}.cells",)
        )

    def gru(self, x: Tensor, place: str, cells: str, ins: str, *more: str) -> Tensor:
        """One layer, or several (`more` names the places of those above the first) in one call."""
        flat: list[Tensor] = []
        for name, source in ((place, ins), *((name, cells) for name in more)):
            for slot, inner in (("ih", (source,)), ("hh", (cells,)), ("bih", ()), ("bhh", ())):
                parts: dict[str, Axes] = {f"{name}.{gate}.{slot}": (cells, *inner) for gate in "rzn"}
                flat.append(self.hold(f"{name}.{slot}", parts, lambda *ts: torch.cat(ts)))
        start = x.new_zeros(1 + len(more), x.shape[0], self.sizes[cells])
        return torch.gru(x, start, flat, True, 1 + len(more), 0.0, False, False, True)[0]

    def branch(self, x: Tensor, place: str, own: str, e: str, kind: Kind, memory: Tensor | None, axis: str) -> Tensor:
        match kind.what:
            case "attention":
                return self.attention(x, place, own, e, kind)
            case "cross":
                return self.attention(x, place, own, e, kind, memory, axis)
            case "recurrent":
                return self.recurrent(x, place, own, e, kind)
            case "parallel":
                return self.attention(x, f"{place}.a", own, e, kind) + self.mlp(x, f"{place}.m", own, e, kind)
        return self.mlp(x, place, own, e, kind)

    def block(self, x: Tensor, place: str, own: str, e: str, kind: Kind, memory: Tensor | None = None,
              axis: str = "") -> Tensor:  # fmt: skip
        y = x if kind.post else self.norm(x, f"{place}.norm", (e,), kind.norm)
        y = self.branch(y, place, own, e, kind, memory, axis)
        if kind.scale:
            y = y * self.hold(f"{place}.scale", {f"{place}.scale": (e,)}, lambda t: t)
        y = x + y if self.pick(f"{place} sum", True, False) else y + x
        return self.norm(y, f"{place}.norm", (e,), kind.norm) if kind.post else y

    # -- blocks on images (batch, channels, height, width)

    def image_block(self, x: Tensor, place: str, own: str, before: str, e: str, kind: Kind, stride: int) -> Tensor:
        hidden = (f"{own}.hidden",)
        changed = before != e or stride > 1
        if kind.what == "next":
            y = self.conv(x, f"{place}.dw", (e,), (e,), depthwise=True, bias=True)
            y = self.norm(y, f"{place}.norm", (e,), "layer", dim=1)
            y = self.mlp(y.movedim(1, -1).flatten(1, 2), place, own, e, kind).unflatten(1, y.shape[2:]).movedim(-1, 1)
            return x + y
        y = self._conv_norm(
            x, f"{place}.1", hidden, (before,), 1 if kind.what == "mb" else 3, 1 if kind.what == "mb" else stride
        )
        y = F.relu(y)
        if kind.what == "mb":
            y = self.conv(y, f"{place}.dw", hidden, hidden, 3, stride, depthwise=True)
            y = F.relu(self.norm(y, f"{place}.dwn", hidden, "batch"))
        if kind.excite:
            y = y * self._excitation(y, place, own, hidden)
        y = self._conv_norm(y, f"{place}.2", (e,), hidden, 1 if kind.what == "mb" else 3, 1)
        short = self._conv_norm(x, f"{place}.short", (e,), (before,), 1, stride) if changed else x
        return F.relu(y + short)

    def _conv_norm(self, x: Tensor, place: str, out: Axes, ins: Axes, size: int, stride: int) -> Tensor:
        return self.norm(self.conv(x, place, out, ins, size, stride), f"{place}.norm", out, "batch")

    def _excitation(self, y: Tensor, place: str, own: str, hidden: Axes) -> Tensor:
        squeezed: Axes = (f"{own}.squeeze",)
        s = F.relu(self.dense(y.mean((2, 3))[:, None], f"{place}.s1", {f"{place}.s1": squeezed}, hidden))
        return torch.sigmoid(self.dense(s, f"{place}.s2", {f"{place}.s2": hidden}, squeezed))[:, 0, :, None, None]

    # -- the whole

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        if self.spec.stem == "image":
            return self._image(x)
        if self.spec.stem == "series":
            return self._series(x)
        x = self._stack(self._enter(x, "in", "s0.embed"), 0)
        for number in range(1, len(self.spec.stages)):
            x = self.dense(
                x, f"s{number}.enter", {f"s{number}.enter": (f"s{number}.embed",)}, (f"s{number - 1}.embed",)
            )
            x = self._stack(x, number)
        e = f"s{len(self.spec.stages) - 1}.embed"
        if self.spec.final_norm:
            x = self.norm(x, "norm", (e,), "layer")
        if self.spec.decoder is not None and y is not None:
            x, e = self._decoded(y, x, e), "d.embed"
        if self.spec.head == "tied":
            return F.linear(x, getattr(self, self.words["in.words"]))
        return self.dense(x.mean(1)[:, None] if self.spec.head == "mean" else x, "head", {"head": ("labels",)}, (e,))

    def _enter(self, x: Tensor, place: str, e: str) -> Tensor:
        if x.is_floating_point():
            x = self.dense(x, f"{place}.patch", {f"{place}.patch": (e,)}, ("pixels",))
        else:
            x = F.embedding(x, self.hold(f"{place}.words", {f"{place}.words": ("words", e)}, lambda t: t))
        if not self.spec.positions:
            return x
        form = self.pick(f"{place} places", "plain", "table", "cut", "unit")
        table = self.hold(
            f"{place}.places", {f"{place}.places": ("places", e)}, lambda t: t[None] if form == "unit" else t
        )
        if form == "table":
            return x + F.embedding(torch.arange(x.shape[1]), table)
        return x + (table[: x.shape[1]] if form == "cut" else table)

    def _stack(self, x: Tensor, number: int) -> Tensor:
        for layer, kinds in enumerate(self.spec.stages[number].layers):
            for part, kind in enumerate(kinds):
                own = f"s{number}.{kind.what}"
                x = self.block(x, f"s{number}.l{layer}.{part}", own, f"s{number}.embed", kind)
        return x

    def _decoded(self, y: Tensor, memory: Tensor, axis: str) -> Tensor:
        assert self.spec.decoder is not None
        x = self._enter(y, "out", "d.embed")
        for layer, kinds in enumerate(self.spec.decoder.layers):
            for part, kind in enumerate(kinds):
                x = self.block(x, f"d.l{layer}.{part}", f"d.{kind.what}", "d.embed", kind, memory, axis)
        return self.norm(x, "d.norm", ("d.embed",), "layer")

    def _image(self, x: Tensor) -> Tensor:
        x = F.relu(self._conv_norm(x, "in.conv", ("s0.embed",), ("pixels",), 3, 1))
        for number, stage in enumerate(self.spec.stages):
            before, e = f"s{max(0, number - 1)}.embed", f"s{number}.embed"
            if stage.layers[0][0].what == "next" and number:
                x, before = self.conv(x, f"s{number}.enter", (e,), (before,), 3, 2, bias=True), e
            for layer, kinds in enumerate(stage.layers):
                what, first = kinds[0].what, layer == 0
                stride = 2 if first and number and what != "next" else 1
                own, inner = f"s{number}.{what}", before if first else e
                x = self.image_block(x, f"s{number}.l{layer}.0", own, inner, e, kinds[0], stride)
        return self.dense(x.mean((2, 3))[:, None], "head", {"head": ("labels",)}, (e,))

    def _series(self, x: Tensor) -> Tensor:
        x = self.dense(x, "in.patch", {"in.patch": ("s0.embed",)}, ("pixels",))
        names = [f"s0.l{layer}.0" for layer in range(len(self.spec.stages[0].layers))]
        if self.pick("series", True, False):
            x = self.gru(x, names[0], "s0.cells", "s0.embed", *names[1:])
        else:
            for i, name in enumerate(names):
                x = self.gru(x, name, "s0.cells", "s0.cells" if i else "s0.embed")
        return self.dense(x, "head", {"head": ("labels",)}, ("s0.cells",))


def _divided(form: str, x: Tensor, square: Tensor) -> Tensor:
    """By the root of a square, in words of a norm that is written out."""
    match form:
        case "sqrt":
            return x / torch.sqrt(square)
        case "power":
            return x / square**0.5
        case "negative":
            return x * square.pow(-0.5)
    return x * torch.rsqrt(square)


def _apply_dense(form: str, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    if form == "linear":
        return F.linear(x, w, b)
    if form == "conv":
        return F.conv1d(x.transpose(1, 2), w, b).transpose(1, 2)
    if form == "addmm" and b is not None:
        return torch.addmm(b, x.flatten(0, -2), w).view(*x.shape[:-1], w.shape[1])
    y = torch.einsum("bnc,co->bno", x, w) if form == "einsum" else x @ w
    return y if b is None else y + b


def inputs(spec: Spec) -> tuple[Tensor, ...]:
    """Example inputs; they do not depend on sizes."""
    source = torch.Generator().manual_seed(1)
    if spec.stem == "image":
        return (torch.randn(BATCH, 3, PIXELS, PIXELS, generator=source),)
    if spec.stem == "words":
        ids = torch.randint(0, WORDS, (BATCH, PLACES), generator=source)
        return (ids, ids.flip(1)) if spec.decoder is not None else (ids,)
    x = torch.randn(BATCH, PLACES, 3, generator=source)
    return (x, x.flip(1)) if spec.decoder is not None else (x,)
