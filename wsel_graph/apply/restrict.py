"""The part of a copy that goes to one shard: which teacher rows it takes, and where in the shard they go.

A shard holds some elements of every student dim (`held`). Those that a copy fills are its *positions* in the copy's
target. Where the block is laid out anew, the reshape, permute and reshape are taken apart into the factors that all
three shapes are products of: every factor belongs to one dim of the block and to one of the target, so that positions
of the target name rows of the block. Sums are made of the same terms in the same order as for the whole tensor, so the
values are the same bit for bit. That cannot be said of resampling, whose matrix products may be rounded differently
in other sizes: such a copy is read whole, and so is one whose shapes have no common factors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from wsel_graph.apply.memory import gathered
from wsel_graph.plan import Copy, Indices, Mix, View, compact
from wsel_graph.stores.memory import select

Read = Callable[[str, tuple[Indices, ...]], torch.Tensor]
"""Name of a teacher tensor, one index list per dim -> those elements."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one copy writes to one shard.

    Attributes:
        copy: The whole copy.
        positions: Elements of the copy's target that the shard holds, one list per dim of the student tensor.
        places: Where in the shard each of them is.
    """

    copy: Copy
    positions: tuple[Indices, ...]
    places: tuple[Indices, ...]

    def values(self, read: Read) -> torch.Tensor:
        """What goes to `places`, in the dtype of the sums; cast it once it is complete."""
        block = _values(self.copy, self.positions, read)
        for other in self.copy.also:
            block = block + _values(other, self.positions, read).to(block.device)
        return block


def share(copy: Copy, held: tuple[Indices, ...]) -> Share | None:
    """The share of a shard that holds these elements of the student tensor; None where it gets nothing.

    >>> copy = Copy("w", "w", (4,), (8,), (range(0, 8, 2),), parameter=True)
    >>> share(copy, (range(2, 4),)).values(lambda name, indices: select(torch.arange(8), indices))
    tensor([4, 6])
    """
    region = copy.region if copy.region is not None else tuple(map(range, copy.student_shape))
    met = [_met(wanted, own) for wanted, own in zip(region, held, strict=True)]
    positions, places = tuple(pair[0] for pair in met), tuple(pair[1] for pair in met)
    return Share(copy, positions, places) if all(map(len, positions)) else None


def _met(wanted: Indices, held: Indices) -> tuple[Indices, Indices]:
    """Positions in `wanted` of the elements that are held, and their positions in `held`."""
    if isinstance(wanted, range) and isinstance(held, range) and wanted.step == held.step == 1:
        first, last = max(wanted.start, held.start), min(wanted.stop, held.stop)
        if first >= last:
            return range(0), range(0)
        return range(first - wanted.start, last - wanted.start), range(first - held.start, last - held.start)
    place = {element: number for number, element in enumerate(held)}
    positions = [number for number, element in enumerate(wanted) if element in place]
    return compact(positions), compact([place[wanted[number]] for number in positions])


def _values(part: Copy, positions: tuple[Indices, ...], read: Read) -> torch.Tensor:
    if all(own == range(size) for own, size in zip(positions, part.target_shape, strict=True)):
        return _loaded(part, read)
    layout = None if part.resize else _layout(part, positions)
    if layout is None:
        return select(_loaded(part, read), positions)
    return layout.laid_out(_loaded(_restricted(part, layout.rows), read))


def _loaded(part: Copy, read: Read) -> torch.Tensor:
    """What a copy takes from its own teacher tensor, reading the elements that it is made of only."""
    indices = list(part.indices)
    for mix in part.mix:
        indices[mix.dim] = compact(sorted({element for own in mix.indices for element in own}))
    block = read(part.teacher, tuple(indices))
    mixes = tuple(_renumbered(mix, indices[mix.dim]) for mix in part.mix)
    return gathered(replace(part, indices=tuple(map(range, block.shape)), mix=mixes), block)


def _renumbered(mix: Mix, rows: Indices) -> Mix:
    number = {row: place for place, row in enumerate(rows)}
    return replace(mix, indices=tuple(tuple(number[element] for element in own) for own in mix.indices))


def _restricted(part: Copy, rows: tuple[Indices, ...]) -> Copy:
    """The copy of some rows per dim of the block, laid out as the block is."""
    indices = tuple(_taken(own, some) for own, some in zip(part.indices, rows, strict=True))
    mixes = tuple(
        Mix(
            mix.dim,
            tuple(mix.indices[row] for row in rows[mix.dim]),
            tuple(mix.weights[row] for row in rows[mix.dim]),
        )
        for mix in part.mix
    )
    return replace(part, indices=indices, mix=mixes, view=None, region=None, student_shape=tuple(map(len, rows)))


def _taken(indices: Indices, rows: Indices) -> Indices:
    """The elements of a list that stand in these rows.

    >>> _taken(range(0, 16, 2), range(2, 4))
    range(4, 8, 2)
    """
    if isinstance(indices, range) and isinstance(rows, range):
        return indices[rows.start : rows.stop : rows.step]
    return tuple(indices[row] for row in rows)


# -- layouts


@dataclass(frozen=True, slots=True)
class _Layout:
    """Rows per dim of the block, and how the elements that are wanted are picked from them.

    Attributes:
        rows: Of the block, one list per dim.
        order: Block dims that the target dims are, where each is a whole one; those of one element have none.
        picks: Else an index per block dim; their broadcast shape is that of the target's positions.
        shape: Of the target's positions.
    """

    rows: tuple[Indices, ...]
    shape: tuple[int, ...]
    order: tuple[int, ...] = ()
    picks: tuple[torch.Tensor, ...] = ()

    def laid_out(self, block: torch.Tensor) -> torch.Tensor:
        """The values at the target's positions."""
        if self.picks:
            return block[tuple(pick.to(block.device) for pick in self.picks)]
        others = tuple(dim for dim in range(block.dim()) if dim not in self.order)  # of one element each
        return block.permute(*self.order, *others).reshape(self.shape)


Factor = tuple[int, int]
"""Number and size of a factor."""


def _layout(part: Copy, positions: tuple[Indices, ...]) -> _Layout | None:
    """Where the positions of a copy's target come from; None where its shapes have no common factors."""
    shape = tuple(map(len, positions))
    if part.view is None:
        return _Layout(positions, shape, order=tuple(range(len(positions))))
    found = _factors(part.block_shape, part.view, part.target_shape)
    if found is None:
        return None
    block, target = found
    whole = {tuple(factors): dim for dim, factors in enumerate(block) if factors}
    if whole.keys() == {tuple(factors) for factors in target if factors}:
        order = tuple(whole[tuple(factors)] for factors in target if factors)
        rows = {whole[tuple(factors)]: own for factors, own in zip(target, positions, strict=True) if factors}
        return _Layout(tuple(rows.get(dim, range(1)) for dim in range(len(block))), shape, order=order)
    picked = [_picked(factors, target, positions) for factors in block]
    return _Layout(tuple(rows for rows, _ in picked), shape, picks=tuple(pick for _, pick in picked))


def _factors(
    block: Sequence[int], view: View, target: Sequence[int]
) -> tuple[list[list[Factor]], list[list[Factor]]] | None:
    """The factors of every dim of the block, and of every dim of the target, leading ones first."""
    before = _common(block, view.shape)
    after = _common(target, [view.shape[dim] for dim in view.order])
    if before is None or after is None:
        return None
    coarse = [list(pair) for pair in zip(before[1], _unordered(after[1], view.order), strict=True)]
    fine = [_common([size for _, size in first], [size for _, size in second]) for first, second in coarse]
    sizes = [None if pair is None else [size for own in pair[0] for _, size in own] for pair in fine]
    numbered: list[list[Factor]] = []
    for own in sizes:
        if own is None:
            return None
        start = sum(map(len, numbered))
        numbered.append(list(enumerate(own, start)))
    in_block = [factor for own in numbered for factor in own]
    in_target = [factor for dim in view.order for factor in numbered[dim]]
    return _grouped(in_block, block), _grouped(in_target, target)


def _unordered(items: list[list[Factor]], order: tuple[int, ...]) -> list[list[Factor]]:
    return [items[order.index(dim)] for dim in range(len(order))]


def _common(one: Sequence[int], two: Sequence[int]) -> tuple[list[list[Factor]], list[list[Factor]]] | None:
    """Two row-major shapes of as many elements, dim by dim as products of the same factors; None where that fails.

    >>> _common((6, 4), (2, 12))
    ([[(0, 2), (1, 3)], [(2, 4)]], [[(0, 2)], [(1, 3), (2, 4)]])
    >>> _common((2, 3), (3, 2)) is None
    True
    """
    factors: list[Factor] = []
    left, right = ([size for size in shape if size != 1] for shape in (one, two))
    while left and right:
        small, large = sorted((left[0], right[0]))
        if large % small:
            return None
        factors.append((len(factors), small))
        for rest in (left, right):
            rest[0] //= small
            if rest[0] == 1:
                del rest[0]
    return _grouped(factors, one), _grouped(factors, two)


def _grouped(factors: Sequence[Factor], shape: Sequence[int]) -> list[list[Factor]]:
    """Consecutive factors, so that every dim is the product of its own."""
    groups: list[list[Factor]] = []
    at = 0
    for size in shape:
        own: list[Factor] = []
        while math.prod(part for _, part in own) < size:
            own.append(factors[at])
            at += 1
        groups.append(own)
    return groups


def _picked(
    factors: list[Factor], target: list[list[Factor]], positions: tuple[Indices, ...]
) -> tuple[Indices, torch.Tensor]:
    """The rows of one dim of the block that are needed, and which of them each element of the target takes."""
    strides = _strides(factors)
    rows = torch.zeros((), dtype=torch.int64, device="cpu")
    pick: tuple[torch.Tensor, ...] = ()
    for dim, own in enumerate(target):
        at, mine = torch.zeros(1, dtype=torch.int64, device="cpu"), _strides(own)
        shared = [factor for factor in own if factor in strides]
        if shared:
            at = torch.tensor(list(positions[dim]), dtype=torch.int64, device="cpu")
        row = sum((at // mine[factor] % factor[1] * strides[factor] for factor in shared), torch.zeros_like(at))
        distinct, inverse = torch.unique(row, return_inverse=True)
        rows = rows.unsqueeze(-1) + distinct
        pick = (*pick, inverse.reshape(-1, *[1] * (len(target) - dim - 1)))
    ordered = rows.flatten().sort().values
    return compact(ordered.tolist()), torch.searchsorted(ordered, rows)[pick]


def _strides(factors: list[Factor]) -> dict[Factor, int]:
    return {factor: math.prod(size for _, size in factors[place + 1 :]) for place, factor in enumerate(factors)}
