"""What is wrong with one copy of a plan by itself, before any tensor is looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator

from wsel_graph.plan.copies import Copy, Indices, Mix


def copy_faults(copy: Copy) -> Iterator[str]:
    """Everything that is wrong with one copy and what is added to it."""
    for part in copy.sources:
        yield from merge_faults(copy, part)
        yield from index_faults(part)


def form_fault(copy: Copy) -> str | None:
    """What is wrong with one copy by itself, before its elements are looked at."""
    if min((0, *copy.student_shape, *copy.teacher_shape)) < 0:
        return f"a size below 0: student {list(copy.student_shape)}, teacher {list(copy.teacher_shape)}"
    if len(copy.indices) != len(copy.teacher_shape):
        return (
            f"{len(copy.indices)} index lists for a teacher tensor of {len(copy.teacher_shape)} dims, "
            f"{list(copy.teacher_shape)}"
        )
    if copy.region is not None and len(copy.region) != len(copy.student_shape):
        return (
            f"{len(copy.region)} index lists in the region of a student tensor of {len(copy.student_shape)} dims, "
            f"{list(copy.student_shape)}"
        )
    for mix in copy.mix:
        sizes = [list(map(len, lists)) for lists in (mix.indices, mix.weights)]
        if sizes[0] != sizes[1] or 0 in sizes[0]:
            return f"the merged dim {mix.dim} needs one weight for every element, and an element at least in each"
    return None


def merge_faults(copy: Copy, part: Copy) -> Iterator[str]:
    """Everything that would keep the sums of one of the sources of a copy from being right."""
    if part is not copy and (part.also or _target(part) != _target(copy)):
        yield f"{copy.student}: what is added from teacher {part.teacher} does not go to the same place as the rest"
    if (fault := form_fault(part)) is not None:
        yield f"{copy.student}: {fault}"
        return
    dims = [mix.dim for mix in part.mix]
    resized = {resize.dim for resize in part.resize}
    for number, mix in enumerate(part.mix):
        if not 0 <= mix.dim < len(part.indices) or mix.dim in dims[:number] or mix.dim in resized:
            yield (
                f"{copy.student}: dim {mix.dim} of teacher {part.teacher} cannot be merged: there is no such dim, "
                "or it is merged twice or resampled too"
            )
            continue
        yield from _mix_faults(part, mix)


def _target(copy: Copy) -> tuple[object, ...]:
    return copy.student, copy.student_shape, copy.target_shape, copy.region, copy.parameter


def _mix_faults(copy: Copy, mix: Mix) -> Iterator[str]:
    large, needed = copy.teacher_shape[mix.dim], len(copy.indices[mix.dim])
    if len(mix.indices) != needed:
        yield f"{copy.student}: {len(mix.indices)} merged elements of dim {mix.dim}, the index list has {needed}"
    if any(not 0 <= element < large for own in mix.indices for element in own):
        yield f"{copy.student}: dim {mix.dim} merges elements outside the teacher's 0..{large - 1}"
    if not all(math.isfinite(weight) for own in mix.weights for weight in own):
        yield f"{copy.student}: a weight of the merged dim {mix.dim} is not finite"


def index_faults(copy: Copy) -> Iterator[str]:
    """Elements outside the tensors, written twice, or of another number than there is room for."""
    if form_fault(copy) is not None:
        return
    yield from _resize_faults(copy)
    sizes = copy.block_shape
    if copy.view is None:
        if len(sizes) != len(copy.target_shape):
            yield f"{copy.student}: a block of {len(sizes)} dims for {len(copy.target_shape)} dims"
        for dim, (size, small) in enumerate(zip(sizes, copy.target_shape, strict=False)):
            if size != small:
                yield f"{copy.student} dim {dim}: {size} elements for a size of {small}"
    elif not math.prod(copy.view.shape) == math.prod(sizes) == math.prod(copy.target_shape):
        yield f"{copy.student}: a block of {list(sizes)} elements does not fill {list(copy.target_shape)}"
    elif sorted(copy.view.order) != list(range(len(copy.view.shape))) or min((0, *copy.view.shape)) < 0:
        yield f"{copy.student}: {list(copy.view.order)} is no order of the dims of {list(copy.view.shape)}"
    yield from outside(f"{copy.student} dim", copy.indices, copy.teacher_shape, "the teacher's")
    if copy.region is not None:
        yield from outside(f"the region of {copy.student}, dim", copy.region, copy.student_shape, "the student's")
        for dim, indices in enumerate(copy.region):
            if isinstance(indices, tuple) and len(set(indices)) < len(indices):
                yield f"the region of {copy.student}, dim {dim}: an element stands there twice"


def _resize_faults(copy: Copy) -> Iterator[str]:
    dims = [resize.dim for resize in copy.resize]
    for number, resize in enumerate(copy.resize):
        if not 0 <= resize.dim < len(copy.indices) or resize.dim in dims[:number]:
            yield f"{copy.student}: dim {resize.dim} of teacher {copy.teacher} cannot be resampled, or is so twice"
        elif len(copy.indices[resize.dim]) != resize.teacher_size or len(resize.teacher_grid) != len(
            resize.student_grid
        ):
            yield (
                f"{copy.student}: {len(copy.indices[resize.dim])} elements of dim {resize.dim} of teacher "
                f"{copy.teacher} for a resampling of {resize.teacher_size}"
            )
        if min((resize.lead, resize.trail, *(size - 1 for size in (*resize.teacher_grid, *resize.student_grid)))) < 0:
            yield f"{copy.student}: the resampling of dim {resize.dim} has a size below 1"
    if not math.isfinite(copy.scale):
        yield f"{copy.student}: the scale is {copy.scale}"


def outside(where: str, lists: tuple[Indices, ...], shape: tuple[int, ...], whose: str) -> Iterator[str]:
    """Dims whose index lists reach out of a shape."""
    for dim, (indices, large) in enumerate(zip(lists, shape, strict=True)):
        extremes = indices if isinstance(indices, tuple) else (*indices[:1], *indices[-1:])
        if extremes and (min(extremes) < 0 or max(extremes) >= large):
            yield f"{where} {dim}: elements outside {whose} 0..{large - 1}"
