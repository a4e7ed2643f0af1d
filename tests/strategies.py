"""What the property tests draw: axis expressions, tensor programs, whole architectures.

`architectures()` draws a model as data: `build()` makes the module, `build(width_scale=2)` the same one with every
free width doubled (a teacher for the student that `build()` gives).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import nn

from tests.blocks import ATTENTION_BLOCKS, IMAGE_BLOCKS, TOKEN_BLOCKS, WEIGHT_BLOCKS, Block
from tests.blocks.base import WIDTHS
from tests.programs import programs as programs
from wsel_graph.axes import Atom, Axis, concat, fixed, product

T = TypeVar("T")
Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]

# -- axes


def divisors(n: int) -> list[int]:
    """All divisors, in order."""
    return [d for d in range(1, n + 1) if n % d == 0]


@st.composite
def axes(draw: Draw, size: int, pool: list[Atom] | None = None, depth: int = 3) -> Axis:
    """Some structure of `size` positions; atoms of the pool may occur again."""
    if size <= 1:
        return fixed(size)
    pool = [] if pool is None else pool
    kind = draw(st.sampled_from(("atom", "product", "concat", "again", "fixed") if depth else ("atom", "again")))
    if kind == "product" and (inner := draw(st.sampled_from(divisors(size)))) not in (1, size):
        return product(draw(axes(size // inner, pool, depth - 1)), draw(axes(inner, pool, depth - 1)))
    if kind == "concat":
        first = draw(st.integers(1, size - 1))
        return concat(draw(axes(first, pool, depth - 1)), draw(axes(size - first, pool, depth - 1)))
    if kind == "again" and (same := [atom for atom in pool if atom.size == size]):
        return draw(st.sampled_from(same))
    if kind == "fixed":
        return fixed(size)
    pool.append(Atom(size))
    return pool[-1]


@dataclass(frozen=True)
class Script:
    """A rearrangement of one or two numbered arrays: what reshapes, slices and joins may do to axes.

    A step is a verb, the index of the value it acts on, and arguments; every step makes one value.
    """

    shapes: tuple[tuple[int, ...], ...]
    steps: tuple[tuple[Any, ...], ...]

    def run(self, values: list[T], verbs: Verbs[T]) -> list[T]:
        """All values, first the given ones, then those that the steps make."""
        values = list(values)
        for verb, index, *arguments in self.steps:
            others = [values[arguments.pop(0)]] if verb in ("cat", "add") else []
            values.append(getattr(verbs, verb)(values[index], *others, *arguments))
        return values


class Verbs(Protocol[T]):
    """The steps of a script, for tensors or for axes."""

    def reshape(self, x: T, sizes: tuple[int, ...]) -> T: ...
    def permute(self, x: T, order: tuple[int, ...]) -> T: ...
    def slice(self, x: T, dim: int, start: int, stop: int) -> T: ...
    def stride(self, x: T, dim: int, step: int, phase: int) -> T: ...
    def cat(self, x: T, y: T, dim: int) -> T: ...
    def add(self, x: T, y: T) -> T: ...


class TensorVerbs:
    """The steps of a script on tensors."""

    def reshape(self, x: torch.Tensor, sizes: tuple[int, ...]) -> torch.Tensor:
        return x.reshape(sizes)

    def permute(self, x: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
        return x.permute(order)

    def slice(self, x: torch.Tensor, dim: int, start: int, stop: int) -> torch.Tensor:
        return x.narrow(dim, start, stop - start)

    def stride(self, x: torch.Tensor, dim: int, step: int, phase: int) -> torch.Tensor:
        return x.index_select(dim, torch.arange(phase, x.shape[dim], step))

    def cat(self, x: torch.Tensor, y: torch.Tensor, dim: int) -> torch.Tensor:
        return torch.cat([x, y], dim)

    def add(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


@st.composite
def scripts(draw: Draw, longest: int = 7) -> Script:
    """A script on one or two arrays of up to three dims."""
    shape = st.lists(st.sampled_from((4, 6, 2, 3, 12, 5, 1)), min_size=1, max_size=3)
    shapes = tuple(tuple(draw(shape)) for _ in range(draw(st.integers(1, 2))))
    values = [torch.zeros(shape) for shape in shapes]
    steps: list[tuple[Any, ...]] = []
    for _ in range(draw(st.integers(1, longest))):
        step = draw(_steps(values))
        values = Script(shapes, (step,)).run(values, TensorVerbs())
        steps.append(step)
    return Script(shapes, tuple(steps))


@st.composite
def _steps(draw: Draw, values: list[torch.Tensor]) -> tuple[Any, ...]:
    index = len(values) - 1 - draw(st.integers(0, min(2, len(values) - 1)))
    shape = tuple(values[index].shape)
    dim = draw(st.integers(0, len(shape) - 1))
    size = shape[dim]
    match draw(st.sampled_from(("reshape", "slice", "permute", "cat", "stride", "add"))):
        case "permute":
            return "permute", index, tuple(draw(st.permutations(range(len(shape)))))
        case "slice" if size > 1:
            start = draw(st.integers(0, size - 1))
            return "slice", index, dim, start, draw(st.integers(start + 1, size))
        case "stride" if len(divisors(size)) > 2:
            step = draw(st.sampled_from(divisors(size)[1:-1]))
            return "stride", index, dim, step, draw(st.integers(0, step - 1))
        case "cat" if math.prod(shape) < 100:
            fits = [i for i, v in enumerate(values) if _fits(tuple(v.shape), shape, dim) and v.numel() < 100]
            return "cat", index, draw(st.sampled_from(fits)), dim
        case "add":
            same = [i for i, v in enumerate(values) if tuple(v.shape) == shape]
            return "add", index, draw(st.sampled_from(same))
    outer = draw(st.sampled_from(divisors(math.prod(shape))))
    inner = draw(st.sampled_from(divisors(math.prod(shape) // outer)))
    return "reshape", index, (outer, inner, math.prod(shape) // outer // inner)


def _fits(other: tuple[int, ...], shape: tuple[int, ...], dim: int) -> bool:
    return len(other) == len(shape) and other[:dim] == shape[:dim] and other[dim + 1 :] == shape[dim + 1 :]


# -- architectures

IMAGE, BATCH, CLASSES, VOCABULARY = 4, 2, 3, 11
MAX_WIDTH, MAX_TOKENS = 40, 24


@dataclass(frozen=True)
class Recipe:
    """One block: its class and its options, as data."""

    kind: type[Block]
    options: tuple[tuple[str, Any], ...]

    def build(self, c: int, n: int, k: int) -> Block:
        """The block on `c` channels and `n` tokens, at width scale `k`."""
        return self.kind(c, n, k, **dict(self.options))  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"{self.kind.__name__}({', '.join(f'{name}={value!r}' for name, value in self.options)})"


@dataclass(frozen=True)
class Architecture:
    """A whole model: a stem, blocks on images, blocks on tokens, a head."""

    stem: str
    width: int
    tokens: int
    image_blocks: tuple[Recipe, ...]
    bridge: str
    token_blocks: tuple[Recipe, ...]
    head: str

    def build(self, width_scale: int = 1) -> nn.Module:
        """The model, in evaluation mode, with every free width times `width_scale`."""
        torch.manual_seed(0)
        return Model(self, width_scale).eval()

    def arguments(self) -> tuple[torch.Tensor, ...]:
        """Inputs; they do not depend on the width scale."""
        generator = torch.Generator().manual_seed(1)
        if self.stem == "embedding":
            return (torch.randint(0, VOCABULARY, (BATCH, self.tokens), generator=generator),)
        shape = (BATCH, 3, IMAGE, IMAGE) if self.stem == "image" else (BATCH, self.tokens, 5)
        return (torch.randn(shape, generator=generator),)


class Model(nn.Module):
    """The module of an `Architecture`."""

    def __init__(self, spec: Architecture, k: int) -> None:
        super().__init__()
        c, n = spec.width * k, spec.tokens
        self.stem, self.bridge, self.head = spec.stem, spec.bridge, spec.head
        if spec.stem == "image":
            self.inlet: nn.Module = nn.Conv2d(3, c, 3, padding=1)
            c, n = self._stack("images", spec.image_blocks, c, IMAGE * IMAGE, k)
            c, n = self._bridged(c, n, spec.bridge)
        else:
            self.inlet = nn.Embedding(VOCABULARY, c) if spec.stem == "embedding" else nn.Linear(5, c)
        c, n = self._stack("blocks", spec.token_blocks, c, n, k)
        self.norm = nn.LayerNorm(c)
        self.outlet = nn.Linear(c * n if spec.head == "flatten" else c, CLASSES)
        self.other = nn.Linear(c, 2, bias=False)

    def _stack(self, name: str, recipes: tuple[Recipe, ...], c: int, n: int, k: int) -> tuple[int, int]:
        blocks = nn.ModuleList()
        for recipe in recipes:
            blocks.append(block := recipe.build(c, n, k))
            c, n = block.out, block.tokens
        self.add_module(name, blocks)
        return c, n

    def _bridged(self, c: int, n: int, bridge: str) -> tuple[int, int]:
        match bridge:
            case "rows":
                return c * IMAGE, IMAGE
            case "patches":
                self.patch = nn.Conv2d(c, c, 2, 2)
                return c, n // 4
        return c, n

    def forward(self, x: torch.Tensor) -> Any:
        x = self.inlet(x)
        if self.stem == "image":
            for block in self.images:
                x = block(x)
            x = self._to_tokens(x)
        for block in self.blocks:
            x = block(x)
        return self._answer(x)

    def _to_tokens(self, x: torch.Tensor) -> torch.Tensor:
        match self.bridge:
            case "rows":
                return x.permute(0, 2, 1, 3).flatten(2)
            case "patches":
                return self.patch(x).flatten(2).transpose(1, 2)
        return x.reshape(*x.shape[:2], -1).permute(0, 2, 1)

    def _answer(self, x: torch.Tensor) -> Any:
        match self.head:
            case "mean":
                return self.outlet(self.norm(x).mean(1))
            case "first":
                return self.outlet(self.norm(x)[:, 0])
            case "flatten":
                return self.outlet(x.flatten(1))
            case "several":
                return {"logits": self.outlet(x.amax(1)), "maps": [self.other(x), x]}
            case "tied" if isinstance(self.inlet, nn.Embedding) and self.inlet.weight.shape[1] == x.shape[-1]:
                return F.linear(self.norm(x), self.inlet.weight)
        return x


def token_blocks() -> tuple[type[Block], ...]:
    """Every block on tokens."""
    return TOKEN_BLOCKS + ATTENTION_BLOCKS + WEIGHT_BLOCKS


@st.composite
def recipes(draw: Draw, kinds: tuple[type[Block], ...], c: int, n: int) -> tuple[Recipe, Block]:
    """A block that fits `c` channels and `n` tokens, as data and built."""
    kind = draw(st.sampled_from(kinds))
    options = draw(st.fixed_dictionaries(kind.options(c)))
    recipe = Recipe(kind, tuple(options.items()))
    return recipe, recipe.build(c, n, 1)


@st.composite
def chains(
    draw: Draw, kinds: tuple[type[Block], ...], c: int, n: int, longest: int, counting: bool
) -> tuple[tuple[Recipe, ...], int]:
    """Up to `longest` blocks, each fitting the one before; and the channels after the last."""
    found: list[Recipe] = []
    for _ in range(draw(st.integers(0, longest))):
        recipe, block = draw(recipes(kinds, c, n))
        if block.out <= MAX_WIDTH and block.tokens <= MAX_TOKENS and (counting or not block.counts):
            c, n = block.out, block.tokens
            found.append(recipe)
    return tuple(found), c


@st.composite
def architectures(draw: Draw, longest: int = 4, counting: bool = True) -> Architecture:
    """A whole model of up to `longest` blocks on images and as many on tokens.

    Without `counting`, nothing in it depends on the number of channels (see `Block.counts`).
    """
    stem = draw(st.sampled_from(("linear", "image", "embedding")))
    width, tokens = draw(st.sampled_from(WIDTHS)), draw(st.sampled_from((4, 6, 5, 8)))
    images: tuple[Recipe, ...] = ()
    c, n, bridge = width, tokens, ""
    if stem == "image":
        images, c = draw(chains(IMAGE_BLOCKS, c, IMAGE * IMAGE, longest, counting))
        bridge = draw(st.sampled_from(("flatten", "patches", "rows")))
        c, n = {"flatten": (c, 16), "patches": (c, 4), "rows": (c * IMAGE, IMAGE)}[bridge]
    blocks, _ = draw(chains(token_blocks(), c, n, longest if not images else longest // 2, counting))
    head = draw(st.sampled_from(("mean", "first", "flatten", "several", "tied", "none"))) if counting else "flatten"
    return Architecture(stem, width, tokens, images, bridge, blocks, head)
