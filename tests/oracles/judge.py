"""What an oracle asks of a model: right or refused, never silently wrong."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

import wsel_graph as ws
from wsel_graph.coupling.verify import relative_error

Verdict = Literal["exact", "refused", "inconclusive"]

_CANNOT_TELL = ("inconclusive", "the outputs are not finite")


def right_or_refused(model: nn.Module, inputs: Any) -> Verdict:
    """Oracle O2 on one model.

    Raises:
        AssertionError: If the certificate says that the coupled groups are wrong.
    """
    try:
        proof = ws.verify(model, inputs)
    except ws.WselError:
        return "refused"
    if proof.note.startswith(_CANNOT_TELL):
        return "inconclusive"
    assert proof.ok, str(proof)
    return "exact"


def zeroed_teacher_is_student(student: nn.Module, teacher: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Verdict:
    """Oracle O4 on one pair: the teacher without what the plan leaves out computes what the student computes.

    Raises:
        AssertionError: If the two differ.
    """
    wide = tuple(tensor.double() if tensor.is_floating_point() else tensor for tensor in inputs)
    for seed, model in enumerate((student, teacher)):
        randomize(model.double(), seed)
    try:
        plan = ws.initialize(student, teacher, wide, method="random").plan
    except ws.WselError:
        return "refused"
    zero_the_rest(plan, teacher)
    with torch.no_grad():
        expected, actual = teacher(*wide), student(*wide)
    assert relative_error(expected, actual) < 1e-9
    return "exact"


def randomize(model: nn.Module, seed: int) -> None:
    """Normal values in every parameter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))


def zero_the_rest(plan: ws.Plan, teacher: nn.Module) -> None:
    """Set every element of the teacher that no student tensor takes to zero."""
    tensors = dict(teacher.named_parameters()) | dict(teacher.named_buffers())
    with torch.no_grad():
        for copy in plan.copies:
            tensor = tensors[copy.teacher]
            taken = torch.zeros(tensor.shape, dtype=torch.bool)
            taken[torch.meshgrid(*(torch.tensor(list(i)) for i in copy.indices), indexing="ij")] = True
            tensor *= taken
