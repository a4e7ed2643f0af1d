"""Random architectures: compensation is safe whatever the network is."""

from __future__ import annotations

import copy
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import wsel_graph as ws
from tests.programs import programs
from tests.strategies import Architecture, architectures
from wsel_graph.errors import WselError
from wsel_graph.plan import Plan


def batches(arguments: tuple[torch.Tensor, ...], count: int) -> list[Any]:
    """The inputs, and others of the same shapes and kinds."""
    generator = torch.Generator().manual_seed(7)

    def another(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_floating_point():
            return torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        return tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)].reshape(tensor.shape)

    return [arguments, *(tuple(map(another, arguments)) for _ in range(count - 1))]


def values(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every parameter and buffer."""
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def changed(model: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    """Names of tensors that are not what they were, NaN counted as itself."""
    return {
        name
        for name, now in values(model).items()
        if not torch.equal(now.nan_to_num(9.5), before[name].nan_to_num(9.5))
    }


def copied(plan: Plan | None, student: nn.Module, teacher: nn.Module) -> bool:
    """Whether a plan brings over everything that it fills; the rest is brought over here.

    So the student computes what the teacher does.
    """
    if plan is None:
        return False
    ws.apply(plan, student, teacher)
    wanted = values(teacher)
    if not changed(student, wanted) <= {kept.student for kept in plan.kept}:
        return False
    student.load_state_dict(wanted, strict=False)
    return not changed(student, wanted)


def planned(student: nn.Module, teacher: nn.Module, arguments: Any) -> Plan | None:
    """A plan, when these two can be planned at all."""
    try:
        return ws.plan(student, teacher, arguments)
    except WselError:
        return None


@settings(max_examples=40)
@given(architectures(), st.sampled_from(("never", "last", "always")))
def test_safe_on_any_network(spec: Architecture, repair: Any) -> None:
    student, teacher, arguments = spec.build(), spec.build(2), spec.arguments()
    plan = planned(student, teacher, arguments)
    if plan is None:
        return
    given_batches = batches(arguments, 6)
    twin, original, random = copy.deepcopy(student), values(teacher), torch.get_rng_state()
    start = values(student)
    done = ws.compensate(plan, student, teacher, given_batches, repair=repair)
    assert not changed(teacher, original)
    assert torch.equal(torch.get_rng_state(), random)
    assert not student.training
    assert not teacher.training
    for outcome in done.outcomes:
        assert outcome.after <= outcome.before or not outcome.fitted, str(outcome)
        assert not outcome.fitted or outcome.after < outcome.before, str(outcome)
    assert all(bool(tensor.isfinite().all()) for tensor in values(student).values() if tensor.is_floating_point())

    spilled = copy.deepcopy(twin)
    filled = {entry.student for entry in plan.copies}
    assert changed(student, start) <= filled
    ws.apply(plan, twin, teacher)
    selected = values(twin)
    kept = {name for name, _ in done.kept} | {one.name for one in done.outcomes if not one.fitted}
    assert not kept & changed(student, selected)

    on_disk = ws.compensate(plan, spilled, teacher, given_batches, repair=repair, memory=1 << 20)
    limited = {name for name, reason in on_disk.kept if "second moments" in reason}
    if not limited:
        assert not changed(spilled, values(student))


@settings(max_examples=40)
@given(architectures(), st.sampled_from(("never", "last", "always")))
def test_the_same_architecture_stays(spec: Architecture, repair: Any) -> None:
    student, teacher, arguments = spec.build().double(), spec.build().double(), spec.arguments()
    arguments = tuple(one.double() if one.is_floating_point() else one for one in arguments)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    plan = planned(student, teacher, arguments)
    if not copied(plan, student, teacher):
        return
    done = ws.compensate(plan, student, teacher, batches(arguments, 5), repair=repair)
    assert done.fitted == (), str(done)


@settings(max_examples=40)
@given(programs())
def test_programs_of_any_operators_stay(program: Any) -> None:
    student, teacher = program.build(), program.build()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    plan = planned(student, teacher, program.arguments())
    if not copied(plan, student, teacher):
        return
    try:
        done = ws.compensate(plan, student, teacher, batches(program.arguments(), 5))
    except WselError:
        return  # the program itself does not run on other inputs
    assert done.fitted == (), str(done)
