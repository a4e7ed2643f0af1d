"""What a copy takes from the teacher, and big copies cut into pieces, so that little is in memory at one time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from wsel_graph.apply.merge import merged
from wsel_graph.apply.resize import resized, summed_dtype
from wsel_graph.plan import Copy, Indices, Mix, compact
from wsel_graph.stores import MemorySource, TensorSource

PIECE = 1 << 20
"""Selected elements that are gathered at one time, where a copy can be cut."""


def gathered(copy: Copy, source: torch.Tensor) -> torch.Tensor:
    """What a copy takes from its own teacher tensor, laid out as the student's region has it; `also` is left out.

    In the teacher's dtype; in float32 at least where values are added up.
    """
    return gathered_from(copy, MemorySource({copy.teacher: source}))


def gathered_from(copy: Copy, source: TensorSource) -> torch.Tensor:
    """As `gathered`, read from a source. It may share memory with the source."""
    mixes = {mix.dim: _needed(mix) for mix in copy.mix}
    indices = (mixes[dim][0] if dim in mixes else items for dim, items in enumerate(copy.indices))
    block = source.read(copy.teacher, tuple(indices))
    if copy.mix or copy.also or copy.scale != 1:
        block = block.to(summed_dtype(block.dtype))
    for _, mix in mixes.values():
        block = merged(block, mix)
    for resize in copy.resize:
        block = resized(block, resize)
    if copy.scale != 1:
        block = block * copy.scale
    if copy.view is not None:
        block = block.reshape(copy.view.shape).permute(copy.view.order).reshape(copy.target_shape)
    return block


def combined(copy: Copy, source: TensorSource) -> torch.Tensor:
    """What a copy puts into the student's region, before it is cast: its own values and those of `also`."""
    block = gathered_from(copy, source)
    for other in copy.also:
        block = block + gathered_from(other, source).to(block.device)
    return block


def _needed(mix: Mix) -> tuple[Indices, Mix]:
    """The elements that the sums are made of, and the sums over these alone."""
    elements = sorted({element for own in mix.indices for element in own})
    places = {element: place for place, element in enumerate(elements)}
    return compact(elements), replace(mix, indices=tuple(tuple(places[e] for e in own) for own in mix.indices))


def pieces(copy: Copy, limit: int | None = None) -> Iterator[Copy]:
    """The copy, cut along the first dim into copies of at most `limit` elements (`PIECE`), where it is bigger.

    What is laid out anew, or resampled in this dim, stays whole, as does a single row that is longer.

    >>> copy = Copy("a", "b", (4, 2), (8, 2), (range(0, 8, 2), range(2)), parameter=True)
    >>> [(piece.indices[0], piece.region[0]) for piece in pieces(copy, limit=4)]
    [(range(0, 4, 2), range(0, 2)), (range(4, 8, 2), range(2, 4))]
    """
    limit = PIECE if limit is None else limit
    shape = copy.target_shape
    if math.prod(shape) <= limit or shape[0] < 2 or not all(map(_cuttable, copy.sources)):
        yield copy
        return
    region = tuple(map(range, shape)) if copy.region is None else copy.region
    rows = max(1, limit // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], rows):
        own = (region[0][start : start + rows], *region[1:])
        parts = [replace(_rows(part, start, rows), region=own) for part in copy.sources]
        yield replace(parts[0], also=tuple(parts[1:]))


def _cuttable(copy: Copy) -> bool:
    return copy.view is None and all(resize.dim for resize in copy.resize)


def _rows(copy: Copy, start: int, rows: int) -> Copy:
    stop = start + rows
    mixes = tuple(
        mix if mix.dim else replace(mix, indices=mix.indices[start:stop], weights=mix.weights[start:stop])
        for mix in copy.mix
    )
    return replace(copy, indices=(copy.indices[0][start:stop], *copy.indices[1:]), mix=mixes)
