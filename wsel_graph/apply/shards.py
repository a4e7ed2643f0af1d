"""Which elements of a tensor one rank holds, from its placements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from wsel_graph.capture.sharding import is_sharded
from wsel_graph.plan import Indices, compact

PLACEMENTS = ("Replicate", "Shard", "_StridedShard")
"""Placements whose elements are known. `_StridedShard` is what `fully_shard` makes of a tensor parallel parameter."""


def held(tensor: torch.Tensor) -> tuple[Indices, ...]:
    """The elements of every dim that this rank has in `local(tensor)`, zero-based; all of a tensor that is not sharded.

    >>> held(torch.ones(2, 3))
    (range(0, 2), range(0, 3))
    """
    lists: list[Indices] = [range(size) for size in tensor.shape]
    if not is_sharded(tensor):
        return tuple(lists)
    mesh, placements = _mesh(tensor)
    coordinate = mesh.get_coordinate()
    if coordinate is None:  # this rank is not part of the mesh
        return tuple(range(0) for _ in lists)
    for placement, ranks, number in zip(placements, mesh.shape, coordinate, strict=True):
        dim = getattr(placement, "dim", None)
        if dim is not None:
            lists[dim] = part(lists[dim], ranks, number, getattr(placement, "split_factor", 1))
    return tuple(lists)


def part(elements: Indices, ranks: int, number: int, pieces: int = 1) -> Indices:
    """What one of several ranks gets of the elements of a dim, when each of the pieces is dealt out on its own.

    Args:
        number: The rank's own, zero-based.
        pieces: 1 for `Shard`; the split factor of `_StridedShard`.

    >>> [part(range(5), 4, number) for number in range(4)]
    [range(0, 2), range(2, 4), range(4, 5), range(5, 5)]
    >>> part(range(8), 2, 1, pieces=2)
    (2, 3, 6, 7)
    """
    own = [_chunk(_chunk(elements, pieces, piece), ranks, number) for piece in range(pieces)]
    return own[0] if len(own) == 1 else compact([element for run in own for element in run])


def _chunk(elements: Indices, count: int, number: int) -> Indices:
    """One of the chunks of `torch.chunk`: all of one size but the last ones, which may be empty."""
    size = -(-len(elements) // count)
    return elements[number * size : (number + 1) * size]


def local(tensor: torch.Tensor) -> torch.Tensor:
    """The memory that this rank has of a tensor, to be written to."""
    if not is_sharded(tensor):
        return tensor.detach()
    with torch.no_grad():
        own: torch.Tensor = tensor.to_local()  # type: ignore[attr-defined]
    return own.detach()


def shard_faults(name: str, tensor: torch.Tensor) -> Iterator[str]:
    """What keeps a student tensor from being filled shard by shard."""
    if not is_sharded(tensor):
        return
    mesh, placements = _mesh(tensor)
    for placement in placements:
        if type(placement).__name__ not in PLACEMENTS:
            yield f"student {name} is placed as {placement}, and only {', '.join(PLACEMENTS)} can be filled"
            return
    if mesh.get_coordinate() is None:
        return
    shape, expected = tuple(local(tensor).shape), tuple(map(len, held(tensor)))
    if shape != expected:
        yield (
            f"student {name} {list(tensor.shape)}, placed as {tuple(placements)} on {tuple(mesh.shape)} ranks, has a "
            f"shard of {list(shape)} where {list(expected)} was expected: apply the plan before sharding"
        )


def _mesh(tensor: Any) -> tuple[Any, Sequence[Any]]:
    return tensor.device_mesh, tensor.placements
