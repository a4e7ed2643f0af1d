"""A factor on some rows of what a copy fills: the copy is taken apart, as each part has a scale of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from wsel_graph.plan import Copy, Mix, View, compact


class NotSplit(Exception):
    """A copy cannot be taken apart along a dim; says why."""


def scaled_rows(copy: Copy, dim: int, rows: Collection[int], factor: float) -> list[Copy]:
    """The copies that fill the same, with some of the student's rows multiplied by a factor.

    Args:
        dim: The student's dim, zero-based.
        rows: Elements of it.
    Raises:
        NotSplit: If the teacher's dims are merged or resampled on the way.

    >>> copy = Copy("w", "w", (4, 2), (8, 2), (range(0, 8, 2), range(2)), True)
    >>> [(part.indices[0], part.region[0], part.scale) for part in scaled_rows(copy, 0, {0, 1}, 0.5)]
    [(range(0, 4, 2), range(0, 2), 0.5), (range(4, 8, 2), range(2, 4), 1.0)]
    """
    filled = copy.region[dim] if copy.region is not None else range(copy.student_shape[dim])
    inside = [place for place, row in enumerate(filled) if row in rows]
    if len(inside) == len(filled):
        return [copy.times(factor)]
    if not inside:
        return [copy]
    outside = [place for place, row in enumerate(filled) if row not in rows]
    return [_part(copy, dim, inside).times(factor), _part(copy, dim, outside)]


def _part(copy: Copy, dim: int, places: Sequence[int]) -> Copy:
    """The copy for some of the positions along a dim of the region."""
    theirs = _teacher_dim(copy, dim)
    indices, region = list(copy.indices), list(copy.region or map(range, copy.student_shape))
    indices[theirs] = compact([copy.indices[theirs][place] for place in places])
    region[dim] = compact([region[dim][place] for place in places])
    view = copy.view
    if view is not None:
        sizes = list(view.shape)
        sizes[theirs] = len(places)
        view = View(tuple(sizes), view.order)
    mix = tuple(_some(own, places) if own.dim == theirs else own for own in copy.mix)
    also = tuple(_part(other, dim, places) for other in copy.also)
    return replace(copy, indices=tuple(indices), region=tuple(region), view=view, mix=mix, also=also)


def _some(mix: Mix, places: Sequence[int]) -> Mix:
    """Some of the merged elements."""
    return Mix(mix.dim, tuple(mix.indices[place] for place in places), tuple(mix.weights[place] for place in places))


def _teacher_dim(copy: Copy, dim: int) -> int:
    """The teacher's dim whose elements a student's dim holds one by one."""
    if copy.view is None:
        theirs = dim
    else:
        turned = tuple(copy.view.shape[place] for place in copy.view.order)
        if copy.view.shape != copy.block_shape or turned != copy.target_shape:
            raise NotSplit(f"dim {dim} of {copy.student} is made of several dims of {copy.teacher}")
        theirs = copy.view.order[dim]
    if any(resize.dim == theirs for resize in copy.resize):
        raise NotSplit(f"dim {dim} of {copy.student} is resampled")
    return theirs
