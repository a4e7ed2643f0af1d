"""Apply a plan in memory: check everything, gather everything, then write. A failed call changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from wsel_graph.errors import PlanError
from wsel_graph.plan import Copy, Indices, Plan

Tensors = Mapping[str, torch.Tensor]


def named_tensors(source: nn.Module | Tensors) -> dict[str, torch.Tensor]:
    """Parameters and buffers of a module under every name they have, or the tensors of a state dict."""
    if not isinstance(source, nn.Module):
        return dict(source)
    return dict(source.named_parameters(remove_duplicate=False)) | dict(source.named_buffers(remove_duplicate=False))


def apply_plan(plan: Plan, student: nn.Module | Tensors, teacher: nn.Module | Tensors) -> None:
    """Write the selected teacher elements into the student's tensors, in place.

    Values are cast to the student's dtype and moved to its device.

    Raises:
        PlanError: If the tensors are not those of the plan; lists every fault. Nothing is changed then.
    """
    if student is teacher:
        raise PlanError("student and teacher are the same object: nothing can be initialised from itself")
    targets, sources = named_tensors(student), named_tensors(teacher)
    faults = [fault for copy in plan.copies for fault in find_faults(copy, targets, sources)]
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults[:20])
        raise PlanError(f"the plan does not fit these tensors ({len(faults)} faults), nothing was changed:\n{listed}")
    with torch.no_grad():
        gathered = [_gather(copy, targets, sources) for copy in plan.copies]
        for copy, values in zip(plan.copies, gathered, strict=True):
            targets[copy.student].copy_(values)


def find_faults(copy: Copy, targets: Tensors, sources: Tensors) -> list[str]:
    """Everything that would keep one copy from being right."""
    faults = []
    for side, name, shape, tensors in (
        ("student", copy.student, copy.student_shape, targets),
        ("teacher", copy.teacher, copy.teacher_shape, sources),
    ):
        if name not in tensors:
            faults.append(f"the {side} has no tensor {name}")
            continue
        tensor = tensors[name]
        if tuple(tensor.shape) != shape:
            faults.append(f"{side} {name} has shape {list(tensor.shape)}, the plan says {list(shape)}")
        if tensor.device.type == "meta":
            faults.append(f"{side} {name} is on the meta device: materialise it first (to_empty, or load weights)")
        if tensor.is_quantized or not (tensor.is_floating_point() or tensor.is_complex()):
            faults.append(f"{side} {name} is {tensor.dtype}, not floating point: dequantize it first")
    faults += [
        f"{copy.student} dim {dim}: {len(indices)} elements for a size of {size}"
        for dim, (indices, size) in enumerate(zip(copy.indices, copy.student_shape, strict=True))
        if len(indices) != size
    ]
    return faults


def _gather(copy: Copy, targets: Tensors, sources: Tensors) -> torch.Tensor:
    target = targets[copy.student]
    values = select(sources[copy.teacher].detach(), copy.indices)
    if values.is_complex() and not target.is_complex():
        raise PlanError(f"teacher {copy.teacher} is complex, student {copy.student} is {target.dtype}")
    return values.to(device=target.device, dtype=target.dtype)


def select(tensor: torch.Tensor, indices: tuple[Indices, ...]) -> torch.Tensor:
    """The elements of every dim: a slice where they are regular, a gather where not.

    >>> select(torch.arange(12).reshape(3, 4), (range(0, 3, 2), (0, 3))).tolist()
    [[0, 3], [8, 11]]
    """
    for dim, items in enumerate(indices):
        if isinstance(items, range):
            if len(items) != tensor.shape[dim]:
                tensor = tensor[(slice(None),) * dim + (slice(items.start, items.stop, items.step),)]
        else:
            tensor = tensor.index_select(dim, torch.tensor(items, device=tensor.device))
    return tensor
