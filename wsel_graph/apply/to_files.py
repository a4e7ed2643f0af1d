"""Apply a plan from a teacher to files: the student's state dict, written one tensor after another.

The student says which tensors there are, of which shape and dtype, and gives the values that it keeps. It is not
changed, and may be on the meta device as far as the plan fills it.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from wsel_graph.apply.architecture import check_architectures
from wsel_graph.apply.memory import LISTED
from wsel_graph.apply.values import covered, filled
from wsel_graph.capture.replicate import geometry
from wsel_graph.errors import PlanError
from wsel_graph.plan import Copy, Plan
from wsel_graph.plan.faults import plan_faults
from wsel_graph.progress import tracked
from wsel_graph.stores.memory import named_tensors
from wsel_graph.stores.save import check_place, save_tensors
from wsel_graph.stores.source import TensorInfo, TensorSource

LOG = logging.getLogger("wsel_graph")

IN_PLACE = "apply the plan in place, and save the student yourself"

Student = nn.Module | Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Slot:
    """One tensor of the student's state dict: what fills it, and what it holds besides."""

    base: torch.Tensor
    copies: tuple[Copy, ...]
    info: TensorInfo

    @property
    def faults(self) -> Iterator[str]:
        """What keeps it from being written."""
        if any(copy.student_shape != self.info.shape for copy in self.copies):
            yield f" has shape {list(self.info.shape)}, the plan says {list(self.copies[0].student_shape)}"
        elif self.base.device.type == "meta" and not covered(self.copies, self.info.shape):
            part = "only a part of it is filled, and the rest" if self.copies else "the plan does not fill it, and it"
            yield f": {part} has no values (meta device): load the student's own, or let the plan fill it"
        if self.copies and not (self.info.dtype.is_floating_point or self.info.dtype.is_complex):
            yield f" is {self.info.dtype}, not floating point: it cannot be filled"
        if self.base.layout != torch.strided or self.base.is_quantized or hasattr(self.base, "device_mesh"):
            yield f" is sparse, quantized or spread over processes: {IN_PLACE}"


def write_student(
    plan: Plan,
    student: Student,
    teacher: object,
    source: TensorSource,
    output: str | Path,
    *,
    max_shard_size: int | str | None = None,
    dtype: torch.dtype | None = None,
    check_finite: bool = True,
    progress: bool | None = None,
) -> tuple[Path, ...]:
    """Write the state dict that the student has once the plan is applied; the student stays as it is.

    Args:
        teacher: What the source was made of.
        output: See `stores.save.save_tensors`, as for `max_shard_size`.
        dtype: Of all floating-point tensors; by default each has the student's.
        check_finite: Refuse teacher values that are not finite, or would not be in the dtype that is written.
        progress: Show a progress bar; by default where stderr is a terminal.
    Returns:
        The files that were written.
    Raises:
        PlanError: If the plan, the student, the teacher or the place do not fit; lists every fault.
        OSError: If the files cannot be written. What was there before is untouched then.
    """
    place = check_place(output, max_shard_size)
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise PlanError(f"dtype must be a floating-point dtype, such as torch.bfloat16, got {dtype!r}")
    slots = _slots(plan, student, dtype)
    _check(plan, slots, source)
    check_architectures(plan, student, teacher)

    def value(name: str) -> torch.Tensor:
        slot = slots[name]
        if not slot.copies:
            return _kept(name, slot)
        base = None if covered(slot.copies, slot.info.shape) else slot.base
        return filled(slot.copies, base, source, slot.info.dtype, check_finite)

    bar = iter(tracked(list(slots), f"Writing {place.name}", progress))

    def counted(name: str) -> torch.Tensor:
        next(bar)
        return value(name)

    try:
        with torch.no_grad():
            infos = {name: slot.info for name, slot in slots.items()}
            made = save_tensors(place, infos, counted, max_shard_size)
        next(bar, None)  # which ends it
    finally:
        if isinstance(bar, Generator):
            bar.close()
    LOG.info("wrote %d tensors to %s", len(slots), place)
    return made


def _kept(name: str, slot: Slot) -> torch.Tensor:
    """The student's own values in the dtype that is written."""
    own = slot.base.detach()
    made = own.to(slot.info.dtype)
    if made.dtype != own.dtype and bool((made.isinf() & ~own.isinf()).any()):
        raise PlanError(f"student {name} holds values that are too large for {made.dtype}: nothing was written")
    return made


def _slots(plan: Plan, student: Student, dtype: torch.dtype | None) -> dict[str, Slot]:
    """Every tensor of the state dict; names of one tensor are filled alike."""
    own = named_tensors(student)
    state = student.state_dict(keep_vars=True) if isinstance(student, nn.Module) else dict(student)
    if odd := [name for name, value in state.items() if not isinstance(value, torch.Tensor)]:
        raise PlanError(
            "the student's state dict holds things that are no tensors, which a file of tensors cannot: "
            f"{', '.join(odd[:LISTED])}. Apply the plan in place, and save the student with torch.save."
        )
    copies: dict[str, list[Copy]] = {}
    for copy in plan.copies:
        copies.setdefault(copy.student, []).append(copy)
    by_memory = {geometry(own[name]): tuple(found) for name, found in copies.items() if name in own}
    made = {}
    for name, tensor in state.items():
        fills = tuple(copies.get(name, ())) or by_memory.get(geometry(tensor), ())
        real = tensor.is_floating_point()
        made[name] = Slot(tensor, fills, TensorInfo(tuple(tensor.shape), dtype if dtype and real else tensor.dtype))
    _refuse_computed(own, state)
    return made


def _refuse_computed(own: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> None:
    """Refuse a state dict whose tensors are made from parameters when it is asked for: they would hold old values."""
    known = {geometry(tensor) for tensor in own.values()}
    if odd := [name for name, tensor in state.items() if geometry(tensor) not in known]:
        raise PlanError(
            f"the student computes {len(odd)} tensors of its state dict when it is asked for it "
            f"({', '.join(odd[:5])}): {IN_PLACE}"
        )


def _check(plan: Plan, slots: Mapping[str, Slot], source: TensorSource) -> None:
    found = plan_faults(plan)
    faults = [f"plan.copies[{number}]: {fault}" for (section, number), fault in found if section == "copies"]
    infos = source.infos()
    faults.extend(f"student {name}{fault}" for name, slot in slots.items() for fault in slot.faults)
    faults.extend(_overlaps(slots))
    for copy in plan.copies:
        if copy.student not in slots:
            faults.append(f"the student's state dict has no tensor {copy.student}")
        faults.extend(fault for part in copy.sources for fault in _teacher_faults(part, infos, slots))
    if faults:
        faults = list(dict.fromkeys(faults))
        listed = "".join(f"\n  - {fault}" for fault in faults[:LISTED]) + ("\n  - ..." if len(faults) > LISTED else "")
        raise PlanError(f"the plan does not fit these tensors ({len(faults)} faults), nothing was written:{listed}")


def _teacher_faults(part: Copy, infos: Mapping[str, TensorInfo], slots: Mapping[str, Slot]) -> Iterator[str]:
    info, slot = infos.get(part.teacher), slots.get(part.student)
    if info is None:
        yield f"the teacher has no tensor {part.teacher}"
        return
    if tuple(info.shape) != part.teacher_shape:
        yield f"teacher {part.teacher} has shape {list(info.shape)}, the plan says {list(part.teacher_shape)}"
    if not (info.dtype.is_floating_point or info.dtype.is_complex):
        yield f"teacher {part.teacher} is {info.dtype}, not floating point: dequantize it first"
    if info.dtype.is_complex and slot is not None and not slot.info.dtype.is_complex:
        yield f"teacher {part.teacher} is complex, student {part.student} is not: values would be lost"


def _overlaps(slots: Mapping[str, Slot]) -> Iterator[str]:
    """Tensors that show parts of one another: writing to one would change the other, which files cannot say."""
    spans: dict[int, list[tuple[int, int, str]]] = {}
    for name, slot in slots.items():
        tensor = slot.base
        if tensor.numel() and tensor.layout == torch.strided and not hasattr(tensor, "device_mesh"):
            last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
            start, width = tensor.storage_offset(), tensor.element_size()
            storage = tensor.untyped_storage()._cdata
            spans.setdefault(storage, []).append((int(start * width), int((start + last + 1) * width), name))
    for shared in spans.values():
        reach: tuple[int, int, str] | None = None
        for span in sorted(shared):
            if reach is not None and span[0] < reach[1]:
                first, second = slots[reach[2]], slots[span[2]]
                if geometry(first.base) != geometry(second.base) and (first.copies or second.copies):
                    yield f"student {reach[2]} and {span[2]} show parts of one memory: {IN_PLACE}"
            if reach is None or span[1] > reach[1]:
                reach = span
