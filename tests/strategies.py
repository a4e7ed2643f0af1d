"""What the property tests draw: axis expressions, tensor programs, whole architectures.

`architectures()` draws a model as data: `build()` makes the module, `build(width_scale=2)` the same one with every
free width doubled (a teacher for the student that `build()` gives).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import nn

from tests.blocks import ATTENTION_BLOCKS, IMAGE_BLOCKS, TOKEN_BLOCKS, WEIGHT_BLOCKS, Block
from tests.blocks.base import WIDTHS
from tests.programs import programs as programs

Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]

IMAGE, BATCH, CLASSES, VOCABULARY = 4, 2, 3, 11
MAX_WIDTH, MAX_TOKENS = 40, 24


@dataclass(frozen=True)
class Recipe:
    """One block: its class and its options, as data."""

    kind: type[Block]
    options: tuple[tuple[str, Any], ...]

    def build(self, c: int, n: int, k: int) -> Block:
        """The block on `c` channels and `n` tokens, at width scale `k`."""
        return self.kind(c, n, k, **dict(self.options))  # type: ignore[call-arg]

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

    def has_channel_statistics(self) -> bool:
        """Whether a block may compute a norm, mean or softmax over channels: zeroed channels then still count."""
        return any(recipe.kind.statistics for recipe in (*self.image_blocks, *self.token_blocks))


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
def recipes(draw: Draw, kinds: tuple[type[Block], ...], c: int, n: int) -> tuple[Recipe, int, int]:
    """A block that fits `c` channels and `n` tokens, and what it makes of them."""
    kind = draw(st.sampled_from(kinds))
    options = draw(st.fixed_dictionaries(kind.options(c)))
    recipe = Recipe(kind, tuple(options.items()))
    block = recipe.build(c, n, 1)
    return recipe, block.out, block.tokens


@st.composite
def chains(draw: Draw, kinds: tuple[type[Block], ...], c: int, n: int, longest: int) -> tuple[tuple[Recipe, ...], int, int]:
    """Up to `longest` blocks, each fitting the one before."""
    found: list[Recipe] = []
    for _ in range(draw(st.integers(0, longest))):
        recipe, out, tokens = draw(recipes(kinds, c, n))
        if out <= MAX_WIDTH and tokens <= MAX_TOKENS:
            c, n = out, tokens
            found.append(recipe)
    return tuple(found), c, n


@st.composite
def architectures(draw: Draw, longest: int = 4) -> Architecture:
    """A whole model of up to `longest` blocks on images and as many on tokens."""
    stem = draw(st.sampled_from(("linear", "image", "embedding")))
    width, tokens = draw(st.sampled_from(WIDTHS)), draw(st.sampled_from((4, 6, 5, 8)))
    images: tuple[Recipe, ...] = ()
    c, n, bridge = width, tokens, ""
    if stem == "image":
        images, c, _ = draw(chains(IMAGE_BLOCKS, c, IMAGE * IMAGE, longest))
        bridge = draw(st.sampled_from(("flatten", "patches", "rows")))
        c, n = {"flatten": (c, 16), "patches": (c, 4), "rows": (c * IMAGE, IMAGE)}[bridge]
    blocks, _, _ = draw(chains(token_blocks(), c, n, longest if not images else longest // 2))
    head = draw(st.sampled_from(("mean", "first", "flatten", "several", "tied", "none")))
    return Architecture(stem, width, tokens, images, bridge, blocks, head)
