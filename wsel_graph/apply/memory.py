"""Apply a plan in memory: check everything, gather everything, then write. A failed call changes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from wsel_graph.apply.architecture import check_architectures
from wsel_graph.apply.merge import merged
from wsel_graph.apply.resize import resized
from wsel_graph.errors import PlanError
from wsel_graph.plan import Copy, Indices, Plan
from wsel_graph.plan.copy_faults import index_faults, merge_faults
from wsel_graph.stores.memory import named_tensors, select

Tensors = Mapping[str, torch.Tensor]

LISTED = 20
"""How many faults an error lists."""


def apply_plan(plan: Plan, student: nn.Module | Tensors, teacher: nn.Module | Tensors) -> None:
    """Write the selected teacher elements into the student's tensors, in place.

    Values are cast to the student's dtype and moved to its device.

    Raises:
        PlanError: If the tensors are not those of the plan; lists every fault. Nothing is changed then.
    """
    if student is teacher:
        raise PlanError("student and teacher are the same object: nothing can be initialised from itself")
    targets, sources = named_tensors(student), named_tensors(teacher)
    parts = [(copy, part) for copy in plan.copies for part in copy.sources]
    faults = [
        fault for copy, part in parts for fault in (*merge_faults(copy, part), *find_faults(part, targets, sources))
    ]
    if not faults:
        faults = list(find_overlaps(plan.copies, targets, sources))
    if faults:
        listed = "".join(f"\n  - {fault}" for fault in faults[:LISTED]) + ("\n  - ..." if len(faults) > LISTED else "")
        raise PlanError(f"the plan does not fit these tensors ({len(faults)} faults), nothing was changed:{listed}")
    check_architectures(plan, student, teacher)
    with torch.no_grad():
        _write([(targets[copy.student], copy.region, _gather(copy, targets, sources)) for copy in plan.copies])


def _write(changes: list[tuple[torch.Tensor, tuple[Indices, ...] | None, torch.Tensor]]) -> None:
    """Write all values; when one write fails, undo those before it."""
    undo: list[tuple[torch.Tensor, torch.Tensor]] = []
    try:
        for target, region, values in changes:
            undo.append((target, target.clone()))
            _place(target, region, values)
    except BaseException:
        for target, before in reversed(undo):
            with contextlib.suppress(RuntimeError):  # the write that failed cannot be undone, and need not be
                target.copy_(before)
        raise


def _place(target: torch.Tensor, region: tuple[Indices, ...] | None, values: torch.Tensor) -> None:
    if region is None:
        target.copy_(values)
    else:
        target[_grid(region, target)] = values


def placed(copy: Copy, target: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """`target`, changed in place: the values where the copy puts them."""
    _place(target, copy.region, values)
    return target


def _grid(region: tuple[Indices, ...], tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """An index that addresses a region given dim by dim."""
    lists = [torch.tensor(list(indices), dtype=torch.int64, device=tensor.device) for indices in region]
    return torch.meshgrid(lists, indexing="ij")


# -- checks


def find_faults(copy: Copy, targets: Tensors, sources: Tensors) -> list[str]:
    """Everything that would keep one copy from being right."""
    faults = [
        *_tensor_faults("student", copy.student, copy.student_shape, targets),
        *_tensor_faults("teacher", copy.teacher, copy.teacher_shape, sources),
    ]
    if not faults:
        faults.extend(_write_faults(copy.student, targets[copy.student]))
        if sources[copy.teacher].is_complex() and not targets[copy.student].is_complex():
            faults.append(f"teacher {copy.teacher} is complex, student {copy.student} is not: values would be lost")
    return [*faults, *index_faults(copy)]


def _tensor_faults(side: str, name: str, shape: tuple[int, ...], tensors: Tensors) -> Iterator[str]:
    tensor = tensors.get(name)
    if not isinstance(tensor, torch.Tensor):
        yield f"the {side} has no tensor {name}" if tensor is None else f"{side} {name} is a {type(tensor).__name__}"
        return
    if tuple(tensor.shape) != shape:
        yield f"{side} {name} has shape {list(tensor.shape)}, the plan says {list(shape)}"
    if tensor.device.type == "meta":
        yield f"{side} {name} is on the meta device: materialise it first (to_empty, or load weights)"
    if tensor.is_quantized or not (tensor.is_floating_point() or tensor.is_complex()):
        yield f"{side} {name} is {tensor.dtype}, not floating point: dequantize it first"


def _write_faults(name: str, tensor: torch.Tensor) -> Iterator[str]:
    if tensor.is_inference() and not torch.is_inference_mode_enabled():
        yield f"student {name} was made in inference mode, which forbids writing to it"
    if any(size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True)):
        yield f"student {name} repeats its elements in memory (expanded): clone it first"


def find_overlaps(copies: tuple[Copy, ...], targets: Tensors, sources: Tensors) -> Iterator[str]:
    """Tensors whose memory a write would change behind the plan's back."""
    written = [("student", name, targets[name]) for name in dict.fromkeys(copy.student for copy in copies)]
    read = [("teacher", part.teacher, sources[part.teacher]) for copy in copies for part in copy.sources]
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


# -- values


def _gather(copy: Copy, targets: Tensors, sources: Tensors) -> torch.Tensor:
    target = targets[copy.student]
    block = gathered(copy, sources[copy.teacher].detach())
    for other in copy.also:
        block = block + gathered(other, sources[other.teacher].detach()).to(block.device)
    return block.to(device=target.device, dtype=target.dtype)


def gathered(copy: Copy, source: torch.Tensor) -> torch.Tensor:
    """What a copy takes from its own teacher tensor, laid out as the student's region has it; `also` is left out.

    In the teacher's dtype; in float32 at least where values are added up.
    """
    mixed = {mix.dim for mix in copy.mix}
    indices = (range(size) if dim in mixed else copy.indices[dim] for dim, size in enumerate(source.shape))
    block = select(source, tuple(indices))
    if copy.mix or copy.also or copy.scale != 1:
        block = block.to(torch.promote_types(block.dtype, torch.float32))
    for mix in copy.mix:
        block = merged(block, mix)
    for resize in copy.resize:
        block = resized(block, resize)
    if copy.scale != 1:
        block = block * copy.scale
    if copy.view is not None:
        block = block.reshape(copy.view.shape).permute(copy.view.order).reshape(copy.target_shape)
    return block
