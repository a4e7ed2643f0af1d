"""Applying a plan: values, casts, and that a refused call lists every fault and changes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import ConvNet, Transformer, mlp, randomize, same_tensors, snapshot
from wsel_graph.apply.memory import apply_plan
from wsel_graph.errors import PlanError
from wsel_graph.plan import Copy, Mix, Plan
from wsel_graph.stores.memory import select

IMAGE = (1, 3, 8, 8)


def by_hand(plan: Plan, teacher: nn.Module) -> dict[str, torch.Tensor]:
    """What every student tensor must hold, by plain indexing."""
    source, result = snapshot(teacher), {}
    for copy in plan.copies:
        values = source[copy.teacher]
        for dim, indices in enumerate(copy.indices):
            values = values.index_select(dim, torch.tensor(list(indices), dtype=torch.int64))
        result[copy.student] = values
    return result


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        pytest.param(lambda width: ConvNet(width), IMAGE, id="conv"),
        pytest.param(lambda width: Transformer(width, width // 4, 4), (2, 5, 7), id="attention"),
    ],
)
@pytest.mark.parametrize("method", ["uniform", "consecutive", "random"])
def test_values(make: Callable[[int], nn.Module], inputs: Any, method: str) -> None:
    student, teacher = randomize(make(8), 1), randomize(make(20), 2)
    before = snapshot(teacher)
    plan = ws.plan(student, teacher, inputs, method=method)
    ws.apply(plan, student, teacher)
    now, expected = snapshot(student), by_hand(plan, teacher)
    assert len(expected) > 10
    assert all(torch.equal(now[name], expected[name]) for name in expected)
    assert same_tensors(teacher, before)


def test_a_state_dict_is_a_teacher() -> None:
    student, teacher = ConvNet(4), randomize(ConvNet(8))
    plan = ws.plan(student, teacher, IMAGE)
    ws.apply(plan, student, teacher.state_dict())
    once = snapshot(student)
    ws.apply(plan, student, teacher)
    assert same_tensors(student, once)


def test_values_are_cast_and_parameters_stay_the_same_objects() -> None:
    student, teacher = mlp(4).to(torch.bfloat16), randomize(mlp(8)).double()
    student[0].weight.requires_grad_(False)
    objects = [(id(p), p.requires_grad, p.dtype) for p in student.parameters()]
    plan = ws.plan(ws.trace(student, (1, 4)), ws.trace(teacher, (1, 4)))
    ws.apply(plan, student, teacher)
    assert [(id(p), p.requires_grad, p.dtype) for p in student.parameters()] == objects
    assert torch.equal(student[0].weight, teacher[0].weight[::2].to(torch.bfloat16))


def test_student_can_train_afterwards() -> None:
    student = mlp(4)
    ws.initialize(student, mlp(8), (1, 4))
    student(torch.ones(2, 4)).sum().backward()
    assert all(parameter.grad is not None for parameter in student.parameters())


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        pytest.param((range(2), range(3)), [[0, 1, 2], [3, 4, 5]], id="whole"),
        pytest.param((range(1, 2), range(0, 3, 2)), [[3, 5]], id="slices"),
        pytest.param(((1, 0), (2, 0)), [[5, 3], [2, 0]], id="lists"),
        pytest.param(((), range(3)), [], id="empty"),
    ],
)
def test_select(indices: Any, expected: list[list[int]]) -> None:
    assert select(torch.arange(6).reshape(2, 3), indices).tolist() == expected


# -- refusals


def pair() -> tuple[nn.Module, nn.Module, Plan]:
    """A student, a teacher, and the plan between them."""
    student, teacher = randomize(mlp(4), 1), randomize(mlp(8), 2)
    return student, teacher, ws.plan(student, teacher, (1, 4))


def refused(plan: Plan, student: nn.Module, teacher: Any) -> str:
    """The text of the error; checks that nothing changed."""
    before = snapshot(student)
    with pytest.raises(PlanError) as caught:
        apply_plan(plan, student, teacher)
    assert same_tensors(student, before)
    return str(caught.value)


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions:UserWarning")
def test_every_fault_is_listed() -> None:
    student, teacher, plan = pair()
    state: dict[str, Any] = dict(teacher.state_dict())
    del state["0.weight"]
    state["0.bias"] = torch.ones(9)
    state["2.weight"] = torch.quantize_per_tensor(state["2.weight"], 0.1, 0, torch.qint8)
    state["2.bias"] = torch.ones(16, dtype=torch.int8)
    state["4.weight"] = torch.empty(3, 16, device="meta")
    state["4.bias"] = "oops"
    assert refused(plan, student, state).splitlines() == [
        "the plan does not fit these tensors (6 faults), nothing was changed:",
        "  - the teacher has no tensor 0.weight",
        "  - teacher 0.bias has shape [9], the plan says [8]",
        "  - teacher 2.weight is torch.qint8, not floating point: dequantize it first",
        "  - teacher 2.bias is torch.int8, not floating point: dequantize it first",
        "  - teacher 4.weight is on the meta device: materialise it first (to_empty, or load weights)",
        "  - teacher 4.bias is a str",
    ]


def test_faults_of_the_student() -> None:
    student, teacher, plan = pair()
    student[0].weight = nn.Parameter(torch.ones(4, 4, device="meta"))
    student[2] = nn.Linear(4, 9)
    student[4].bias = None
    with pytest.raises(PlanError) as caught:
        apply_plan(plan, student, teacher)
    text = str(caught.value)
    assert "student 0.weight is on the meta device" in text
    assert "student 2.weight has shape [9, 4], the plan says [8, 4]" in text
    assert "the student has no tensor 4.bias" in text


def test_long_lists_are_cut() -> None:
    student, teacher = Transformer(depth=2), Transformer(depth=2)
    plan = ws.plan(student, teacher, (2, 5, 7))
    lines = refused(plan, student, {}).splitlines()
    assert lines[0] == f"the plan does not fit these tensors ({len(plan.copies)} faults), nothing was changed:"
    assert lines[-1] == "  - ..."
    assert len(lines) == 22


def edited(plan: Plan, **changes: Any) -> Plan:
    """The plan with its first copy changed."""
    first: Copy = plan.copies[0]
    return replace(plan, copies=(replace(first, **changes), *plan.copies[1:]))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        pytest.param({"indices": (range(3), range(4))}, r"0\.weight dim 0: 3 elements for a size of 4", id="too few"),
        pytest.param(
            {"indices": ((0, 1, 2, 8), range(4))}, r"dim 0: elements outside the teacher's 0\.\.7", id="outside"
        ),
        pytest.param({"indices": (range(5, 9), range(4))}, r"dim 0: elements outside the teacher's 0\.\.7", id="range"),
        pytest.param(
            {"student": "2.weight"}, r"student 2\.weight has shape \[8, 4\], the plan says \[4, 4\]", id="name"
        ),
    ],
)
def test_damaged_plans_are_refused(changes: dict[str, Any], text: str) -> None:
    student, teacher, plan = pair()
    assert re.search(text, refused(edited(plan, **changes), student, teacher))


def test_shared_memory_is_refused() -> None:
    student, teacher, plan = pair()
    student[0].weight.data = teacher[0].weight.data[:4]
    assert "0.weight and teacher 0.weight share memory" in refused(plan, student, teacher)
    student, teacher, plan = pair()
    storage = torch.zeros(40)
    student[0].bias.data, student[2].bias.data = storage[:4], storage[2:10]
    assert re.search(r"student (0|2)\.bias and student (0|2)\.bias share memory", refused(plan, student, teacher))
    student[2].bias.data = storage[4:12]  # side by side is fine: recurrent networks lay out their weights so
    apply_plan(plan, student, teacher)


def test_tensors_that_cannot_be_written_are_refused() -> None:
    student, teacher, plan = pair()
    student[0].bias.data = torch.zeros(1).expand(4)
    assert "student 0.bias repeats its elements in memory (expanded): clone it first" in refused(plan, student, teacher)
    student, teacher, plan = pair()
    with torch.inference_mode():
        student[2] = nn.Linear(4, 8)
    assert "student 2.weight was made in inference mode" in refused(plan, student, teacher)


def test_complex_values_need_a_complex_student() -> None:
    student, teacher, plan = pair()
    state = teacher.state_dict() | {"2.bias": torch.ones(16, dtype=torch.complex64)}
    assert "teacher 2.bias is complex, student 2.bias is not: values would be lost" in refused(plan, student, state)


@pytest.mark.parametrize("fails_at", [1, 4, 6])
def test_failure_half_way_changes_nothing(fails_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher, plan = pair()
    before, writes, copy_ = snapshot(student), [], torch.Tensor.copy_

    def failing(self: torch.Tensor, *args: Any) -> torch.Tensor:
        writes.append(self)
        if len(writes) == fails_at:
            raise MemoryError("half way")
        return copy_(self, *args)

    monkeypatch.setattr(torch.Tensor, "copy_", failing)
    with pytest.raises(MemoryError, match="half way"):
        apply_plan(plan, student, teacher)
    monkeypatch.undo()
    assert len(writes) >= fails_at
    assert same_tensors(student, before)


# -- merged elements and sums of several sources


def mixed_copy(**changes: Any) -> Copy:
    """Two of four rows averaged, the others summed, for a 2 x 3 student."""
    mix = Mix(0, ((0, 3), (2, 1)), ((0.5, 0.5), (1.0, 2.0)))
    plain: dict[str, Any] = {"indices": (range(0, 4, 2), range(3)), "mix": (mix,)}
    return Copy("weight", "weight", (2, 3), (4, 3), parameter=True, **(plain | changes))


def filled(copy: Copy, weight: torch.Tensor) -> torch.Tensor:
    student = nn.Linear(3, 2, bias=False).to(weight.dtype)
    apply_plan(Plan((copy,), (), (), ()), student, {"weight": weight, "other": 10 * weight})
    return student.weight.detach()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_merged_rows(dtype: torch.dtype) -> None:
    weight = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    exact = weight.double()
    expected = torch.stack([(exact[0] + exact[3]) / 2, exact[2] + 2 * exact[1]])
    assert torch.equal(filled(mixed_copy(), weight).double(), expected.to(dtype).double())


def test_many_terms_are_added_up_in_float32_at_least() -> None:
    """In bfloat16, 256 + 1 is 256: a sum that is rounded term by term would stand still."""
    weight = torch.cat([torch.full((1, 3), 256.0), torch.ones(63, 3)]).bfloat16()
    mix = Mix(0, (tuple(range(64)),), ((1.0,) * 64,))
    student = nn.Linear(3, 1, bias=False)
    copy = Copy("weight", "weight", (1, 3), (64, 3), (range(1), range(3)), True, mix=(mix,))
    apply_plan(Plan((copy,), (), (), ()), student, {"weight": weight})
    assert student.weight.tolist() == [[319.0] * 3]


def test_sources_are_added_up() -> None:
    weight = torch.arange(12.0).reshape(4, 3)
    also = replace(mixed_copy(), teacher="other", scale=0.25)
    rows = torch.stack([(weight[0] + weight[3]) / 2, weight[2] + 2 * weight[1]])
    assert torch.equal(filled(mixed_copy(scale=0.5, also=(also,)), weight), 0.5 * rows + 0.25 * 10 * rows)


BAD = Mix(0, ((0, 4), (1,)), ((0.5, 0.5), (1.0,)))


@pytest.mark.parametrize(
    ("copy", "fault"),
    [
        pytest.param(mixed_copy(mix=(BAD,)), "dim 0 merges elements outside the teacher's 0..3", id="range"),
        pytest.param(mixed_copy(mix=(replace(BAD, indices=((0, -1), (1,))),)), "outside the teacher's", id="negative"),
        pytest.param(
            mixed_copy(mix=(replace(BAD, indices=((0, 1), (1,)), weights=((0.5, float("nan")), (1.0,))),)),
            "a weight of the merged dim 0 is not finite", id="nan",
        ),
        pytest.param(
            mixed_copy(mix=(replace(BAD, weights=((0.5,), (1.0,))),)),
            "the merged dim 0 needs one weight for every element", id="lengths",
        ),
        pytest.param(mixed_copy(mix=(replace(BAD, indices=((), (1,)), weights=((), (1.0,))),)), "an element at least",
                     id="empty"),
        pytest.param(mixed_copy(mix=(Mix(0, ((0,),), ((1.0,),)),)), "1 merged elements of dim 0, the index list has 2",
                     id="count"),
        pytest.param(mixed_copy(mix=(replace(BAD, dim=2),)), "dim 2 of teacher weight cannot be merged: there is no",
                     id="dim"),
        pytest.param(mixed_copy(mix=mixed_copy().mix * 2), "or it is merged twice or resampled too", id="twice"),
        pytest.param(mixed_copy(also=(replace(mixed_copy(), student="bias"),)), "does not go to the same place as the",
                     id="another student"),
        pytest.param(mixed_copy(also=(mixed_copy(also=(mixed_copy(),)),)), "not go to the same place", id="nested"),
        pytest.param(mixed_copy(also=(replace(mixed_copy(), teacher="gone"),)), "the teacher has no tensor gone",
                     id="no such source"),
    ],
)  # fmt: skip
def test_faults_of_merges(copy: Copy, fault: str) -> None:
    student = nn.Linear(3, 2, bias=False)
    before = snapshot(student)
    with pytest.raises(PlanError, match=re.escape(fault)):
        apply_plan(Plan((copy,), (), (), ()), student, {"weight": torch.ones(4, 3), "other": torch.ones(4, 3)})
    assert same_tensors(student, before)
