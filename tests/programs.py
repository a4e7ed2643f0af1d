"""Random tensor programs: straight-line code over a few parameters, drawn line by line.

Where `blocks.py` composes what people build, this composes what PyTorch allows: any operator after any other, on sizes
that coincide or share factors. A program prints as the source of a module, so a counterexample is its own repro.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from hypothesis import strategies as st
from torch import nn

SIZES = (4, 6, 2, 3, 8, 5, 1, 12)
MAX_ELEMENTS = 2048
LENGTHS = (6, 10, 16, 24, 3)

T = TypeVar("T")


class Inapplicable(Exception):
    """The operator fits none of the values at hand."""


def _noise(shape: Sequence[int], seed: int) -> torch.Tensor:
    """Normal float32 values that depend on nothing but shape and seed."""
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


@dataclass(frozen=True)
class Program:
    """Straight-line code: `lines` compute from `x0, x1, ...` and `self.p0, self.p1, ...`."""

    inputs: tuple[tuple[int, ...], ...]
    parameters: tuple[tuple[int, ...], ...]
    lines: tuple[str, ...]
    results: tuple[str, ...]

    def __repr__(self) -> str:
        arguments = ", ".join(f"x{i}" for i in range(len(self.inputs)))
        made = [f"self.p{i} = nn.Parameter(torch.randn{shape})" for i, shape in enumerate(self.parameters)]
        body = [*self.lines, f"return {', '.join(self.results)}"]
        lines = ["", "class M(nn.Module):", "    def __init__(self):", "        super().__init__()"]
        lines += [f"        {line}" for line in made] + [f"    def forward(self, {arguments}):"]
        lines += [f"        {line}" for line in body]
        return "\n".join([*lines, f"inputs = ({' '.join(f'torch.randn{shape},' for shape in self.inputs)})"])

    def build(self) -> nn.Module:
        """The program as a module, with random parameters from a fixed seed."""
        return ProgramModule(self)

    def arguments(self) -> tuple[torch.Tensor, ...]:
        """Random inputs from a fixed seed."""
        return tuple(_noise(shape, 1000 + i) for i, shape in enumerate(self.inputs))


class ProgramModule(nn.Module):
    """Runs a `Program`."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        for i, shape in enumerate(program.parameters):
            self.register_parameter(f"p{i}", nn.Parameter(_noise(shape, i)))
        self.code = "\n".join(program.lines)
        self.results = program.results

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        names: dict[str, Any] = {f"x{i}": tensor for i, tensor in enumerate(inputs)}
        names |= {"self": self, "torch": torch, "F": nn.functional, "math": math}
        exec(self.code, names)
        return tuple(names[name] for name in self.results)


@dataclass
class Sketch:
    """A program being drawn: its values so far are real tensors, so every line is known to run."""

    draw: Callable[[st.SearchStrategy[Any]], Any]
    values: dict[str, torch.Tensor] = field(default_factory=dict)
    parameters: list[torch.Tensor] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def choose(self, options: Sequence[T]) -> T:
        """One of the options."""
        if not options:
            raise Inapplicable
        choice: T = self.draw(st.sampled_from(list(options)))
        return choice

    def integer(self, low: int, high: int) -> int:
        """From `low` to `high`, both included."""
        if high < low:
            raise Inapplicable
        return int(self.draw(st.integers(low, high)))

    def size(self) -> int:
        """A size for something new."""
        return self.choose(SIZES)

    def value(self, fits: Callable[[torch.Tensor], bool] = lambda _: True) -> str:
        """The name of a floating value that fits: unused ones first, then recent ones, inputs last."""
        names = [name for name, v in reversed(self.values.items()) if v.is_floating_point() and fits(v)]
        names.sort(key=lambda name: (name.startswith("x"), self.is_used(name)))
        return self.choose(names[:3])

    def is_used(self, name: str) -> bool:
        """Whether a later line mentions the value."""
        return len(re.findall(rf"\b{name}\b", "\n".join(self.lines))) > 1

    def parameter(self, *shape: int) -> str:
        """A parameter of this shape: one that exists already or a new one."""
        same = [i for i, p in enumerate(self.parameters) if p.shape == shape]
        if same and self.integer(0, 3) == 0:
            return f"self.p{self.choose(same)}"
        if math.prod(shape) > MAX_ELEMENTS:
            raise Inapplicable
        self.parameters.append(_noise(shape, len(self.parameters)))
        return f"self.p{len(self.parameters) - 1}"

    def dim(self, value: str) -> int:
        """A dim of the value."""
        return self.integer(0, self.values[value].dim() - 1)

    def run(self, line: str) -> None:
        """Append a statement, if it runs."""
        owner = nn.ParameterDict({f"p{i}": p for i, p in enumerate(self.parameters)})
        names = dict(self.values) | {"self": owner, "torch": torch, "F": nn.functional, "math": math}
        try:
            with torch.no_grad(), warnings.catch_warnings(action="ignore"):
                exec(line, names)
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            raise Inapplicable from error
        made = {k: v for k, v in names.items() if isinstance(v, torch.Tensor)}
        if any(v.numel() > MAX_ELEMENTS or v.dim() > 6 for v in made.values()):
            raise Inapplicable
        self.values = {k: v for k, v in made.items() if not (v.is_floating_point() and not v.isfinite().all())}
        self.lines.append(line)

    def emit(self, expression: str, count: int = 1) -> str:
        """Append `v = expression`; with `count`, the expression gives that many tensors."""
        start = len(self.lines)
        names = [f"v{start}" if count == 1 else f"v{start}_{i}" for i in range(count)]
        self.run(f"{', '.join(names)} = {expression}")
        return names[0]

    def shape(self, value: str) -> tuple[int, ...]:
        """Shape of a value."""
        return tuple(self.values[value].shape)


Operator = Callable[[Sketch], object]


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


# -- sums of products


def linear(s: Sketch) -> None:
    """F.linear, its weight also sliced, standardised, tied or a product of two."""
    x = s.value(lambda v: v.dim() >= 1)
    width, out = s.shape(x)[-1], s.size()
    weight = s.choose([
        lambda: s.parameter(out, width),
        lambda: f"{s.parameter(out + 2, width)}[:{out}]",
        lambda: f"{s.parameter(out, width + 1)}[:, 1:]",
        lambda: f"{s.parameter(width, out)}.t()",
        lambda: f"torch.cat([{s.parameter(out, width)}, {s.parameter(2, width)}])",
        lambda: f"({s.parameter(out, 3)} @ {s.parameter(3, width)})",
        lambda: f"F.normalize({s.parameter(out, width)}, dim={s.integer(0, 1)})",
    ])()  # fmt: skip
    bias = s.integer(0, 1) and f", {s.parameter(out)}" if "cat" not in weight else ""
    s.emit(f"F.linear({x}, {weight}{bias or ''})")


def matmul(s: Sketch) -> None:
    """The product of two values, or of a value and a parameter."""
    x = s.value(lambda v: v.dim() >= 2)
    shape = s.shape(x)
    if s.integer(0, 1):
        y = s.value(lambda v: v.dim() >= 1 and shape[-1] in v.shape[-2:])
        other = f"{y}.transpose(-2, -1)" if s.shape(y)[-1] == shape[-1] and len(s.shape(y)) > 1 else y
    else:
        other = s.parameter(*shape[:-2][s.integer(0, 2) :], shape[-1], s.size())
    s.emit(f"{x} @ {other}")


def einsum(s: Sketch) -> None:
    """An equation drawn letter by letter."""
    x = s.value(lambda v: 1 <= v.dim() <= 4)
    letters = "abcd"[: len(s.shape(x))]
    kept = [letter for letter in letters if s.integer(0, 1)] or [letters[0]]
    sizes = dict(zip(letters, s.shape(x), strict=True)) | {"z": s.size()}
    others = [letter for letter in letters if s.integer(0, 1)] + ["z"]
    others = s.draw(st.permutations(others))
    result = s.draw(st.permutations(["z", *kept]))
    weight = s.parameter(*(sizes[letter] for letter in others))
    s.emit(f"torch.einsum('{letters},{''.join(others)}->{''.join(result)}', {x}, {weight})")


def convolution(s: Sketch) -> None:
    """One- and two-dimensional, grouped, transposed."""
    x = s.value(lambda v: v.dim() in (3, 4))
    channels, rank = s.shape(x)[1], len(s.shape(x)) - 2
    groups, kernel = s.choose(_divisors(channels)), s.choose((1, 3))
    out = s.choose((1, 2, 3)) * groups if groups > 1 else s.size()
    kernels = (kernel,) * rank
    bias = s.parameter(out) if s.integer(0, 1) else "None"
    if s.integer(0, 2):
        weight = s.parameter(out, channels // groups, *kernels)
        s.emit(f"F.conv{rank}d({x}, {weight}, {bias}, padding={kernel // 2}, groups={groups})")
    else:
        weight = s.parameter(channels, out // groups, *kernels)
        s.emit(f"F.conv_transpose{rank}d({x}, {weight}, {bias}, padding={kernel // 2}, groups={groups})")


def attention(s: Sketch) -> None:
    """Fused attention of values that fit each other."""
    q = s.value(lambda v: v.dim() in (3, 4))
    k = s.value(lambda v: v.dim() == len(s.shape(q)) and v.shape[-1] == s.shape(q)[-1])
    v = s.value(lambda v: v.dim() == len(s.shape(q)) and v.shape[-2] == s.shape(k)[-2])
    options = s.choose(("", "", ", is_causal=True", ", enable_gqa=True"))
    s.emit(f"F.scaled_dot_product_attention({q}, {k}, {v}{options})")


# -- elementwise


def join(s: Sketch) -> None:
    """Two values of broadcastable shape."""
    x = s.value()
    y = s.value(lambda v: v is not s.values[x] and _broadcast(tuple(v.shape), s.shape(x)))
    s.emit(f"{x} {s.choose(('+', '*', '-'))} {y}")


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(reversed(a), reversed(b), strict=False))


def scale(s: Sketch) -> None:
    """A bare parameter that spans some trailing dims, some of them of size 1."""
    x = s.value(lambda v: v.dim() >= 1)
    shape = s.shape(x)[s.dim(x) :]
    shape = tuple(1 if s.integer(0, 3) == 0 else size for size in shape)
    s.emit(f"{x} {s.choose(('*', '+'))} {s.parameter(*shape)}")


def norm(s: Sketch) -> None:
    """Layer, group and batch norm with their parameters."""
    x = s.value(lambda v: v.dim() >= 2)
    shape = s.shape(x)
    last, channels = shape[-1], shape[1]
    two = f"{s.parameter(channels)}, {s.parameter(channels)}"
    s.emit(s.choose([
        lambda: f"F.layer_norm({x}, ({last},), {s.parameter(last)}, {s.parameter(last)})",
        lambda: f"F.layer_norm({x}, {shape[-2:]}, {s.parameter(*shape[-2:])})",
        lambda: f"F.rms_norm({x}, ({last},), {s.parameter(last)})",
        lambda: f"F.group_norm({x}, {s.choose(_divisors(channels))}, {two})",
        lambda: f"F.batch_norm({x}, {s.parameter(channels)}, {s.parameter(channels)}.exp(), {two})",
        lambda: f"F.instance_norm({x}, None, None, {two})",
    ])())  # fmt: skip


# -- shapes


def reshape(s: Sketch) -> None:
    """Merge neighbours, split one dim, or regroup everything."""
    x = s.value(lambda v: v.dim() >= 1)
    shape = list(s.shape(x))
    match s.integer(0, 2):
        case 0 if len(shape) > 1:
            dim = s.integer(0, len(shape) - 2)
            shape[dim : dim + 2] = [shape[dim] * shape[dim + 1]]
        case 1:
            dim = s.dim(x)
            tail = s.choose(_divisors(shape[dim]))
            shape[dim : dim + 1] = [shape[dim] // tail, tail]
        case _:
            first = s.choose(_divisors(math.prod(shape)))
            second = s.choose(_divisors(math.prod(shape) // first))
            shape = [first, second, math.prod(shape) // first // second]
    s.emit(f"{x}.reshape({', '.join(map(str, shape))})")


def permute(s: Sketch) -> None:
    """Dims in a new order."""
    x = s.value(lambda v: v.dim() >= 2)
    s.emit(f"{x}.permute({', '.join(map(str, s.draw(st.permutations(range(len(s.shape(x)))))))})")


def cat(s: Sketch) -> None:
    """Values, or a value and a parameter, end to end."""
    x = s.value(lambda v: v.dim() >= 1)
    dim = s.dim(x)
    shape = list(s.shape(x))

    def fits(v: torch.Tensor) -> bool:
        other = tuple(v.shape)
        return len(other) == len(shape) and other[:dim] == (*shape[:dim],) and other[dim + 1 :] == (*shape[dim + 1 :],)

    if s.integer(0, 1):
        s.emit(f"torch.cat([{x}, {s.value(fits)}], {dim})")
    else:
        shape[dim] = s.size()
        s.emit(f"torch.cat([{s.parameter(*shape)}, {x}], {dim})")


def cut(s: Sketch) -> None:
    """Chunks and unequal splits of one dim."""
    x = s.value(lambda v: v.dim() >= 1)
    dim = s.dim(x)
    size = s.shape(x)[dim]
    match s.integer(0, 2):
        case 0:
            parts = s.choose([d for d in _divisors(size) if 1 < d <= 4])
            s.emit(f"{x}.chunk({parts}, {dim})", parts)
        case 1:
            first = s.integer(1, size - 1)
            s.emit(f"{x}.split([{first}, {size - first}], {dim})", 2)
        case _:
            if not 2 <= size <= 4:
                raise Inapplicable
            s.emit(f"{x}.unbind({dim})", size)


def part(s: Sketch) -> str:
    """An index expression for one dim: a range, a strided range, one position."""
    x = s.value(lambda v: v.dim() >= 1)
    dim = s.dim(x)
    size = s.shape(x)[dim]
    start = s.integer(0, size - 1)
    stop = s.integer(start + 1, size)
    span = f"{start}:{stop}"
    inner = s.choose((span, span, f"{start}::{s.integer(2, 3)}", f":-{max(1, start)}", f"{start}"))
    return f"{x}[{':, ' * dim}{inner}]"


def take(s: Sketch) -> None:
    """A part of a value."""
    s.emit(part(s))


def write(s: Sketch) -> None:
    """In-place change through a view, of a value or a copy: by a constant, a value or a parameter."""
    target = part(s)
    name = target.split("[")[0]
    if name.startswith("x") or s.integer(0, 2):  # else the value itself, and with it whatever is a view of it
        copy = s.emit(s.choose((f"{name}.clone()", f"torch.zeros_like({name})", f"torch.ones_like({name})")))
        target = target.replace(name, copy, 1)
    shape = tuple(eval(target, dict(s.values)).shape)
    source = s.choose([
        lambda: "0.5",
        lambda: s.parameter(*shape),
        lambda: s.parameter(*shape[-1:]),
        lambda: s.value(lambda v: _broadcast(tuple(v.shape), shape)),
    ])()  # fmt: skip
    s.run(f"{target} {s.choose(('=', '+=', '*='))} {source}")


# -- everything else: templates


TEMPLATES: dict[str, tuple[str, ...]] = {
    "plain": (
        "torch.relu({x})", "torch.tanh({x})", "F.gelu({x})", "torch.sigmoid({x})", "F.silu({x}) * 2", "{x}.abs() + 1",
        "F.hardswish({x})", "F.leaky_relu({x})", "{x} ** 2", "{x}.clone()", "{x}.contiguous()",
        "F.dropout({x}, 0.5, False)", "{x}.clamp(-1, 1)", "torch.where({x} > 0, {x}, 0.1 * {x})",
        "{x}.masked_fill({x} > 1, 0.0)", "F.softplus({x})", "torch.lerp({x}, {x}.tanh(), 0.3)",
        "torch.addcmul({x}, {x}, {x})", "{x}.float()", "F.elu({x})", "torch.maximum({x}, {x}.mean())",
        "torch.atan2({x}, {x}.abs() + 1)", "torch.floor({x} * 0)", "{x}.neg().exp()",
    ),
    "reduce": (
        "{x}.sum({d})", "{x}.mean({d}, keepdim=True)", "{x}.amax({d})", "{x}.max({d}).values",
        "{x}.var({d}, keepdim=True)", "{x}.logsumexp({d})", "{x}.norm(dim={d}, keepdim=True)", "{x}.std({d})",
        "{x}.mean()", "{x}.sum(({d}, {e}))", "{x}.median({d}).values", "{x}.prod({d})", "torch.var_mean({x}, {d})[1]",
        "{x}.flatten({d}).sum(-1)", "{x}.min({d}, keepdim=True).values", "torch.linalg.vector_norm({x}, dim={d})",
        "{x}.kthvalue(1, {d}).values", "{x}.nansum({d})", "({x} > 0).any({d}).float()",
        "{x}.count_nonzero({d}) * 1.0", "{x}.mode({d}).values", "{x}.quantile(0.5, {d})",
    ),
    "normalise": (
        "{x}.softmax({d})", "{x}.log_softmax({d})", "F.normalize({x}, dim={d})", "{x} - {x}.mean({d}, keepdim=True)",
        "{x} * torch.rsqrt({x}.pow(2).mean({d}, keepdim=True) + 1e-2)", "{x} / ({x}.std({d}, keepdim=True) + 1)",
        "{x} * {x}.softmax({d}).amax({d}, keepdim=True)", "{x} * (1 + {x}.mean({d}, keepdim=True)).sigmoid()",
    ),
    "ordered": (
        "{x}.cumsum({d})", "{x}.flip({d})", "{x}.roll(1, {d})", "{x}.sort({d}).values", "{x}.argsort({d}) * 1.0",
        "{x}.topk({k}, {d}).values", "{x}.cummax({d}).values", "{x}.diff(dim={d})", "{x}.tril()", "{x}.cumprod({d})",
        "{x}.gather({d}, {x}.argsort({d}))", "{x}.argmax({d}, keepdim=True) + {x}",
        "torch.diagonal({x}, 0, {d}, {e})", "{x}.scatter({d}, {x}.argsort({d}), {x})", "{x}.rot90(1, ({d}, {e}))",
        "{x}.scatter_add({d}, {x}.argmax({d}, True), {x})", "torch.fft.fft({x}, dim={d}).real",
        "{x}.take_along_dim({x}.argsort({d}), {d})", "{x}.logcumsumexp({d})", "{x}.max({d}).indices * 1.0",
        "{x}[{x} > 0].sum()", "{x}.masked_scatter({x} > 0, {x} * 2)", "{x}.unfold({d}, {k}, 1)",
        "torch.einsum('aa...->a...', {x})", "{x}.triu(1)", "F.one_hot({x}.argmax({d}), {n}) * 1.0",
        "torch.bucketize({x}, {x}.flatten().sort().values) * 1.0", "torch.linalg.inv({x}.mT @ {x} + torch.eye({z}))",
    ),
    "constant": (
        "{x} + torch.arange({z})", "{x} + torch.linspace(0, 1, {z})", "{x} * torch.ones({z})",
        "{x} + torch.zeros({z})", "{x} + torch.full(({z},), 0.5)", "{x} @ torch.eye({z})",
        "{x} * torch.ones({z}).cumsum(0)", "{x} + torch.tensor([float(i) for i in range({z})])",
        "{x} * torch.ones({z}, {z}).tril()[0]", "{x} + torch.sin(torch.arange({z}) * 0.3)",
        "{x} + torch.cat([torch.zeros({k}), torch.ones({z})])[:{z}]",
        "{x}.index_select(-1, torch.arange({z}).flip(0))", "{x}[..., torch.arange({z})]",
        "{x}[..., list(range({z}))[::-1]]", "{x} + {x}.new_zeros({x}.shape)", "{x} * torch.ones_like({x})",
        "{x} + torch.ones({z}).sum()", "{x}.index_add(-1, torch.arange({z}), {x})",
        "F.embedding(torch.arange({z}), {x})", "{x} + torch.eye({z})[0]",
        "{x} * F.pad(torch.ones({z}), (1, 0))[:{z}]", "{x}.index_copy(-1, torch.arange({z}), {x} * 2)",
    ),
    "arrange": (
        "{x}.unsqueeze({d})", "{x}.squeeze()", "{x}.flatten({d})", "{x}.transpose({d}, {e})", "{x}.movedim({d}, {e})",
        "{x}.repeat_interleave({n}, {d})", "torch.cat([{x}, {x}], {d})", "torch.stack([{x}, {x} * 2], {d})",
        "torch.stack([{x}, {x} * 2], {d}).flatten({d}, {d} + 1)",
        "{x}.unsqueeze({d}).expand(*{x}.shape[:{d}], {n}, *{x}.shape[{d}:])", "{x}.repeat(2, *[1] * ({x}.dim() - 1))",
        "F.pad({x}, (1, {n}))", "F.pad({x}, (0, 0, 1, 0))", "F.glu({x}, {d})", "{x}.narrow({d}, 1, {k})",
        "{x}.unflatten({d}, ({n}, -1))", "{x}.tile(2)", "F.channel_shuffle({x}, {n})", "F.pixel_shuffle({x}, 2)",
        "F.pixel_unshuffle({x}, 2)", "F.avg_pool1d({x}, 2)", "F.interpolate({x}, scale_factor=2)",
        "F.max_pool2d({x}, 2)", "F.adaptive_avg_pool2d({x}, 1)", "F.unfold({x}, 2)",
        "F.pad({x}, (1, 1), mode='circular')", "torch.cat([-{x}[..., 1::2], {x}[..., ::2]], -1)",
        "torch.cat([-{x}.chunk(2, -1)[1], {x}.chunk(2, -1)[0]], -1)",
        "torch.outer({x}.flatten()[:{n}], {x}.flatten()[{n}:])", "{x}.view_as({x})", "F.pad({x}, (-1, 0))", "{x}.mT",
        "torch.cdist({x}, {x})", "torch.view_as_complex({x}.unflatten(-1, (-1, 2)).contiguous()).abs()",
        "torch.meshgrid({x}.flatten(), {x}.flatten(), indexing='ij')[0]",
        "{x}.slice_scatter({x}.narrow({d}, 0, {k}), {d}, 0, {k})", "torch.einsum('...i,...j->...ij', {x}, {x})",
        "torch.einsum('...i,...i->...', {x}, {x})", "{x}.swapaxes({d}, {e})", "torch.bmm({x}, {x}.transpose(1, 2))",
        "torch.baddbmm({x}, {x}, {x}.mT @ {x})", "torch.addmm({x}, {x}, {x}.t() @ {x})",
        "torch.as_strided({x}, ({n}, {k}), ({k}, 1))", "{x}[None, :, None]", "{x}.select({d}, -1)",
        "{x}.hsplit({n})[0]",
    ),
}  # fmt: skip


def template(kind: str) -> Operator:
    """An operator that fills in one template of a kind."""

    def apply(s: Sketch) -> None:
        text = s.choose(TEMPLATES[kind])
        x = s.value(lambda v: v.dim() >= 1)
        d = s.dim(x)
        facts = {"x": x, "d": d, "e": s.dim(x) if "{e}" in text else 0, "z": s.shape(x)[-1]}
        facts |= {"n": s.integer(1, 3), "k": s.integer(1, s.shape(x)[d])}
        s.emit(text.format(**facts))

    return apply


INPLACE = (
    "{x}.mul_(2)", "{x}.relu_()", "{x}.t_()", "{x}.squeeze_()", "{x}.unsqueeze_({d})", "{x}.sigmoid_()", "{x}.zero_()",
    "{x}.fill_(0.5)", "{x}.transpose_({d}, {e})", "{x}.cumsum_({d})", "{x}.masked_fill_({x} > 0, 0.5)", "{x}.neg_()",
    "{x}.copy_({x}.flip({d}))", "{x}.index_fill_({d}, torch.tensor([0]), 2.0)", "{x}.fill_diagonal_(1.0)",
    "{x}.tril_()",
    "{x}.add_({x}.mean({d}, keepdim=True))", "{x}.diagonal().mul_(2)", "{x}.view(-1)[:{k}].add_(1)",
    "{x}.index_add_({d}, torch.arange({x}.shape[{d}]), {x}.tanh())", "{x}[{x} > 0] = 0.25", "{x}[..., [0]] = 1.0",
    "{x}.select({d}, 0).copy_({x}.select({d}, -1))", "{x}.swapaxes_({d}, {e})", "{x}.softmax({d}, out={x})",
    "{x}[...] = {x}.sort({d}).values", "{x}.clamp_({x}.mean(), {x}.amax())", "{x}.data = {x}.data * 2",
    "torch.relu({x}, out=torch.empty_like({x}))", "{x}.scatter_({d}, {x}.argmax({d}, True), 0.5)",
)  # fmt: skip


def change(s: Sketch) -> None:
    """A value changed in place, as a whole."""
    text = s.choose(INPLACE)
    x = s.value(lambda v: v.dim() >= 1)
    if x.startswith("x"):
        raise Inapplicable
    d = s.dim(x)
    s.run(text.format(x=x, d=d, e=s.dim(x) if "{e}" in text else 0, k=s.integer(1, s.shape(x)[d])))


OPERATORS: tuple[Operator, ...] = (
    linear, linear, matmul, einsum, convolution, attention, join, join, scale, norm, reshape, reshape, permute, cat,
    cut, take, write, change, template("plain"), template("plain"), template("arrange"), template("arrange"),
    template("normalise"), template("constant"), template("reduce"), template("ordered"),
)  # fmt: skip


def finish(s: Sketch, name: str) -> str:
    """A result: the value itself, or what a head makes of it."""
    shape = s.shape(name)
    if not shape or shape[-1] > MAX_ELEMENTS // 3 or s.integer(0, 3) == 0:
        return name
    if s.integer(0, 1) and s.values[name].is_floating_point():
        return s.emit(f"F.linear({name}, {s.parameter(3, shape[-1])})")
    return s.emit(f"{name}.float().sum({s.dim(name)})")


@st.composite
def programs(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Program:
    """A program that ends in one to three results."""
    s = Sketch(draw)
    shapes = [tuple(s.size() for _ in range(s.integer(1, 3))) for _ in range(s.integer(1, 2))]
    for i, shape in enumerate(shapes):
        s.values[f"x{i}"] = _noise(shape, 1000 + i)
    for i in range(len(shapes)):
        s.emit(f"F.linear(x{i}, {s.parameter(s.choose((6, 4, 8, 12)), shapes[i][-1])})")
    if s.integer(0, 1):
        s.emit(f"{s.parameter(s.size(), s.choose((6, 4, 8, 12)))} * 1")
    for _ in range(s.choose(LENGTHS)):
        try:
            s.choose(OPERATORS)(s)
        except Inapplicable:
            continue
    sinks = [name for name in reversed(s.values) if name.startswith("v") and not s.is_used(name)]
    results = tuple(finish(s, name) for name in (sinks or ["v0"])[: s.integer(1, 3)])
    return Program(tuple(shapes), tuple(tuple(p.shape) for p in s.parameters), tuple(s.lines), results)
