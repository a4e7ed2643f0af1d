"""Apply a plan to tensors in memory: check everything, then read and write in pieces. A failed call changes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import nn

from wsel_graph.apply.finite import finite, not_finite
from wsel_graph.apply.gather import combined, pieces
from wsel_graph.apply.gather import gathered as gathered
from wsel_graph.apply.merge import merge_faults
from wsel_graph.apply.undo import Undo
from wsel_graph.errors import PlanError
from wsel_graph.plan import Copy, Indices, Plan
from wsel_graph.progress import tracked
from wsel_graph.stores import MemorySource, Teacher, TensorInfo, TensorSource, open_source
from wsel_graph.stores.memory import named_tensors, put, select, transfer

Tensors = Mapping[str, torch.Tensor]
Infos = Mapping[str, TensorInfo]

LISTED = 20
"""How many faults an error lists."""


def apply_plan(
    plan: Plan,
    student: nn.Module | Tensors,
    teacher: Teacher,
    *,
    check_finite: bool = True,
    progress: bool | None = None,
) -> None:
    """Write the selected teacher elements into the student's tensors, in place.

    Values are cast to the student's dtype and moved to its device. Names, shapes, dtypes and file lengths are checked
    before anything is read; then tensor after tensor is read and written, in pieces of a few megabytes. What a tensor
    held is kept until the end, so that a failure half-way, of a file or for a value that is not finite, is undone:
    `undo.LIMIT` bytes in memory, more in a temporary file without a name.

    Args:
        teacher: A module, a state dict, or a path: see `stores.open_source`.
        check_finite: Refuse values that are not finite, or would not be in the student's dtype.
        progress: Show a progress bar; by default where stderr is a terminal.
    Raises:
        PlanError: If the tensors are not those of the plan (lists every fault), a file is damaged or cannot be read, or
            a value is not finite. Nothing is changed then.
    """
    if student is teacher:
        raise PlanError("student and teacher are the same object: nothing can be initialised from itself")
    targets = named_tensors(student)
    source = open_source(teacher, {part.teacher for copy in plan.copies for part in copy.sources})
    try:
        check_tensors(plan, targets, source.tensors if isinstance(source, MemorySource) else source.infos())
        with torch.no_grad(), Undo() as undo:
            _write(tracked(plan.copies, "Applying", progress), targets, source, undo, check_finite)
    finally:
        source.close()


def check_tensors(plan: Plan, targets: Tensors, sources: Tensors | Infos) -> None:
    """Refuse, before anything is read, a plan that is not for these tensors.

    Raises:
        PlanError: Lists every fault.
    """
    parts = [(copy, part) for copy in plan.copies for part in copy.sources]
    faults = [
        fault for copy, part in parts for fault in (*merge_faults(copy, part), *find_faults(part, targets, sources))
    ]
    if not faults:
        faults = list(find_overlaps(plan.copies, targets, sources))
    if faults:
        listed = "".join(f"\n  - {fault}" for fault in faults[:LISTED]) + ("\n  - ..." if len(faults) > LISTED else "")
        raise PlanError(f"the plan does not fit these tensors ({len(faults)} faults), nothing was changed:{listed}")


def _write(copies: Iterable[Copy], targets: Tensors, source: TensorSource, undo: Undo, check_finite: bool) -> None:
    """Read and write all values; when one step fails, undo those before it."""
    kept: set[str] = set()
    try:
        for copy in copies:
            target = targets[copy.student].detach()
            if copy.student not in kept:
                kept.add(copy.student)
                undo.keep(target)
            for piece in pieces(copy):
                values = combined(piece, source)
                written = _place(target, piece.region, values)
                if check_finite and not finite(written):
                    raise PlanError(f"{not_finite(piece, source)}. Nothing was changed.")
    except BaseException:
        undo.restore()
        raise


def _place(target: torch.Tensor, region: tuple[Indices, ...] | None, values: torch.Tensor) -> torch.Tensor:
    """Write values to a region; gives them as they are in the target's dtype."""
    if region is None:
        transfer(target, values)
        return target
    if all(isinstance(items, range) and items.step > 0 for items in region):
        part = select(target, region)
        transfer(part, values)
        return part
    values = values.to(device=target.device, dtype=target.dtype)
    put(target, region, values)
    return values


def placed(copy: Copy, target: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """`target`, changed in place: the values where the copy puts them."""
    _place(target, copy.region, values)
    return target


# -- checks


def find_faults(copy: Copy, targets: Tensors, sources: Tensors | Infos) -> list[str]:
    """Everything that would keep one copy from being right."""
    faults = [
        *_tensor_faults("student", copy.student, copy.student_shape, targets),
        *_tensor_faults("teacher", copy.teacher, copy.teacher_shape, sources),
    ]
    if not faults:
        faults.extend(_write_faults(copy.student, targets[copy.student]))
        if sources[copy.teacher].dtype.is_complex and not targets[copy.student].is_complex():
            faults.append(f"teacher {copy.teacher} is complex, student {copy.student} is not: values would be lost")
    return [*faults, *_index_faults(copy)]


def _index_faults(copy: Copy) -> Iterator[str]:
    yield from _resize_faults(copy)
    sizes = copy.block_shape
    if copy.view is None:
        for dim, (size, small) in enumerate(zip(sizes, copy.target_shape, strict=False)):
            if size != small:
                yield f"{copy.student} dim {dim}: {size} elements for a size of {small}"
    elif not math.prod(copy.view.shape) == math.prod(sizes) == math.prod(copy.target_shape):
        yield f"{copy.student}: a block of {list(sizes)} elements does not fill {list(copy.target_shape)}"
    yield from _outside(f"{copy.student} dim", copy.indices, copy.teacher_shape, "the teacher's")
    if copy.region is not None:
        yield from _outside(f"the region of {copy.student}, dim", copy.region, copy.student_shape, "the student's")


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


def _outside(where: str, lists: tuple[Indices, ...], shape: tuple[int, ...], whose: str) -> Iterator[str]:
    for dim, (indices, large) in enumerate(zip(lists, shape, strict=True)):
        if len(indices) and not (min(indices) >= 0 and max(indices) < large):
            yield f"{where} {dim}: elements outside {whose} 0..{large - 1}"


def _tensor_faults(side: str, name: str, shape: tuple[int, ...], tensors: Tensors | Infos) -> Iterator[str]:
    tensor = tensors.get(name)
    if not isinstance(tensor, (torch.Tensor, TensorInfo)):
        yield f"the {side} has no tensor {name}" if tensor is None else f"{side} {name} is a {type(tensor).__name__}"
        return
    if tuple(tensor.shape) != shape:
        yield f"{side} {name} has shape {list(tensor.shape)}, the plan says {list(shape)}"
    if isinstance(tensor, torch.Tensor) and tensor.device.type == "meta":
        yield f"{side} {name} is on the meta device: materialise it first (to_empty, or load weights)"
    if not (tensor.dtype.is_floating_point or tensor.dtype.is_complex):
        yield f"{side} {name} is {tensor.dtype}, not floating point: dequantize it first"


def _write_faults(name: str, tensor: torch.Tensor) -> Iterator[str]:
    if tensor.is_inference() and not torch.is_inference_mode_enabled():
        yield f"student {name} was made in inference mode, which forbids writing to it"
    if any(size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True)):
        yield f"student {name} repeats its elements in memory (expanded): clone it first"


def find_overlaps(copies: tuple[Copy, ...], targets: Tensors, sources: Tensors | Infos) -> Iterator[str]:
    """Tensors whose memory a write would change behind the plan's back."""
    written = [("student", name, targets[name]) for name in dict.fromkeys(copy.student for copy in copies)]
    found = ((part.teacher, sources[part.teacher]) for copy in copies for part in copy.sources)
    read = [("teacher", name, tensor) for name, tensor in found if isinstance(tensor, torch.Tensor)]
    spans = sorted(
        (*_span(tensor), side, name) for side, name, tensor in written + read if tensor.numel() and tensor.data_ptr()
    )
    reach: tuple[str, int, str, str] | None = None  # the written span that reaches furthest
    for device, start, stop, side, name in spans:
        if reach is not None and device == reach[0] and start < reach[1] and "student" in (side, reach[2]):
            yield f"{reach[2]} {reach[3]} and {side} {name} share memory: writing to one would change the other"
        if reach is None or (device, stop) > reach[:2]:
            reach = (device, stop, side, name)


def _span(tensor: torch.Tensor) -> tuple[str, int, int]:
    """Device, and the first and last byte (excluded) that a tensor may touch."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return str(tensor.device), tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()
