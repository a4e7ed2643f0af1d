"""Random copies: every way in which a plan can lay out, merge, resample and place teacher elements."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

import torch

from wsel_graph.plan import Copy, Indices, Mix, Resize, View, compact


def random_copy(draw: random.Random, student: str, teacher: str, dims: int | None = None) -> Copy:
    """A copy between tensors that are called so; `dims` of the student where it matters."""
    factors = [draw.choice((1, 2, 2, 3, 4)) for _ in range(draw.randint(1, 4))]
    block, view = _grouped(draw, factors, dims), None
    if draw.random() < 0.6:
        view, target = _view(draw, factors, dims)
    else:
        target = block
    indices, sizes, mixes, resizes = [], [], [], []
    for dim, size in enumerate(block):
        large = size + draw.randint(0, 5)
        if draw.random() < 0.12:
            kind = draw.choice(("linear", "bicubic"))
            resizes.append(Resize(kind, dim, (large,), (size,), lead=1))
            if size > 1:
                resizes[-1] = replace(resizes[-1], student_grid=(size - 1,), teacher_grid=(large - 1 + (large == 1),))
            else:
                resizes[-1] = replace(resizes[-1], lead=0)
            large = resizes[-1].teacher_size
            indices.append(range(large))
        else:
            indices.append(_elements(draw, large, size))
            if draw.random() < 0.15:
                terms = [tuple(draw.randrange(large) for _ in range(draw.randint(1, 4))) for _ in range(size)]
                mixes.append(Mix(dim, tuple(terms), tuple(tuple(draw.uniform(-1, 1) for _ in own) for own in terms)))
        sizes.append(large)
    shape, region = _region(draw, target)
    scale = draw.choice((1.0, 1.0, 0.37))
    return Copy(
        student, teacher, shape, tuple(sizes), tuple(indices), True, region, view, tuple(resizes), scale, tuple(mixes)
    )  # fmt: skip


def with_sum(copy: Copy, draw: random.Random) -> Copy:
    """The copy, with something added to it at the same place."""
    other = replace(copy, scale=0.25, mix=(), resize=copy.resize)
    indices = [
        own if any(resize.dim == dim for resize in copy.resize) else _elements(draw, size, len(own))
        for dim, (own, size) in enumerate(zip(copy.indices, copy.teacher_shape, strict=True))
    ]
    return replace(copy, also=(replace(other, indices=tuple(indices)),))


def _grouped(draw: random.Random, factors: list[int], dims: int | None = None) -> tuple[int, ...]:
    count = draw.randint(1, min(3, len(factors))) if dims is None else dims
    cuts = sorted(draw.choices(range(len(factors) + 1), k=count - 1))
    edges = [0, *cuts, len(factors)]
    return tuple(math.prod(factors[first:last]) for first, last in itertools.pairwise(edges))


def _view(draw: random.Random, factors: list[int], dims: int | None) -> tuple[View, tuple[int, ...]]:
    cuts = sorted(draw.sample(range(1, len(factors)), draw.randint(0, len(factors) - 1)))
    edges = [0, *cuts, len(factors)]
    parts = [factors[first:last] for first, last in itertools.pairwise(edges)]
    order = draw.sample(range(len(parts)), len(parts))
    laid = [size for dim in order for size in parts[dim]]
    if draw.random() < 0.3:  # shapes without common factors
        laid = [math.prod(laid) // 2, 2] if math.prod(laid) % 2 == 0 else laid
    return View(tuple(map(math.prod, parts)), tuple(order)), _grouped(draw, laid, dims)


def _elements(draw: random.Random, large: int, size: int) -> Indices:
    kind = draw.random()
    if kind < 0.4 and size:
        step = draw.randint(1, large // size)
        start = draw.randint(0, large - 1 - step * (size - 1))
        return range(start, start + step * size, step)
    chosen = draw.sample(range(large), size)
    return compact(chosen if kind < 0.6 else sorted(chosen))


def _region(draw: random.Random, target: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[Indices, ...] | None]:
    if draw.random() < 0.6:
        return target, None
    shape = tuple(size + draw.randint(0, 3) for size in target)
    return shape, tuple(_elements(draw, large, size) for large, size in zip(shape, target, strict=True))


def random_values(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Values of all magnitudes, so that sums depend on their order."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).mul_(torch.rand(shape, generator=generator) * 100).to(dtype)
