"""A plan applied to files: what is written is what filling the student in memory gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import wsel_graph as ws
from tests.nets import ConvNet, Language, Transformer, mlp
from wsel_graph.apply.to_files import write_student
from wsel_graph.apply.values import filled
from wsel_graph.errors import PlanError
from wsel_graph.plan import Copy, Mix, Plan
from wsel_graph.plan.copies import Resize, View
from wsel_graph.stores import MemorySource

PAIRS = {
    "transformer": (lambda: Transformer(8, 2, 4), lambda: Transformer(16, 4, 4, depth=3), (2, 5, 7)),
    "conv": (lambda: ConvNet(4), lambda: ConvNet(8), None),
    "tied": (lambda: Language(8, tied=True), lambda: Language(16, tied=True), None),
}


def randomized(model: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return model


def pair(name: str) -> tuple[nn.Module, nn.Module, Plan]:
    make, make_teacher, shape = PAIRS[name]
    student, teacher = randomized(make(), 1), randomized(make_teacher(), 2)
    inputs = shape or (torch.randn(1, 3, 16, 16) if name == "conv" else torch.ones(1, 4, dtype=torch.int64))
    return student, teacher, ws.plan(student, teacher, inputs)


@pytest.mark.parametrize("limit", [None, "2KB"])
@pytest.mark.parametrize("name", PAIRS)
def test_files_hold_what_filling_in_memory_gives(name: str, limit: str | None, tmp_path: Path) -> None:
    student, teacher, plan = pair(name)
    before = {key: tensor.clone() for key, tensor in student.state_dict().items()}
    files = ws.apply(plan, student, teacher, output=tmp_path / "a.safetensors", max_shard_size=limit)
    assert files is not None
    assert all(torch.equal(tensor, before[key]) for key, tensor in student.state_dict().items())
    ws.apply(plan, student, teacher)
    found = {key: tensor for file in files if file.suffix != ".json" for key, tensor in load_file(file).items()}
    expected = student.state_dict()
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(found[key], tensor), key
        assert found[key].dtype == tensor.dtype


def test_a_student_on_the_meta_device(tmp_path: Path) -> None:
    student, teacher, plan = pair("transformer")
    with torch.device("meta"):
        shell = Transformer(8, 2, 4)
    ws.apply(plan, shell, teacher.state_dict(), output=tmp_path / "a.safetensors")
    ws.apply(plan, student, teacher)
    found = load_file(tmp_path / "a.safetensors")
    assert all(torch.equal(found[key], tensor) for key, tensor in student.state_dict().items())


def test_tensors_without_values_are_listed(tmp_path: Path) -> None:
    teacher = Transformer(16, 4, 4, labels=9)
    with torch.device("meta"):
        shell = Transformer(8, 2, 4, labels=3)
    plan = ws.plan(shell, teacher, (2, 5, 7))
    with pytest.raises(PlanError) as caught:
        ws.apply(plan, shell, teacher, output=tmp_path / "a.safetensors")
    assert str(caught.value).splitlines() == [
        "the plan does not fit these tensors (2 faults), nothing was written:",
        *(
            f"  - student head.{name}: the plan does not fill it, and it has no values (meta device): load the "
            "student's own, or let the plan fill it"
            for name in ("weight", "bias")
        ),
    ]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtypes(dtype: torch.dtype, tmp_path: Path) -> None:
    student, teacher, plan = pair("conv")
    ws.apply(plan, student, teacher.double(), output=tmp_path / "a.safetensors", dtype=dtype)
    found = load_file(tmp_path / "a.safetensors")
    counts = [key for key, tensor in student.state_dict().items() if not tensor.is_floating_point()]
    assert counts
    assert {found[key].dtype for key in counts} == {torch.int64}
    assert {tensor.dtype for key, tensor in found.items() if key not in counts} == {dtype}
    ws.apply(plan, student.to(dtype), teacher)
    assert all(torch.equal(found[key], tensor) for key, tensor in student.state_dict().items())


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [
        pytest.param(
            float("nan"), None, r"teacher stem.weight \[\d+, 0\] is nan, and stem.weight would take it", id="nan"
        ),
        pytest.param(
            float("inf"), None, r"teacher stem.weight \[\d+, 0\] is inf, and stem.weight would take it", id="inf"
        ),
        pytest.param(
            1e6,
            torch.float16,
            "values of teacher stem.weight are too large for torch.float16, in which student stem.weight would take",
            id="overflow",
        ),
    ],
)
def test_values_that_would_be_lost(value: float, dtype: torch.dtype | None, said: str, tmp_path: Path) -> None:
    student, teacher, plan = pair("transformer")
    with torch.no_grad():
        teacher.stem.weight[plan.copies[0].indices[0][1], 0] = value
    with pytest.raises(PlanError, match=rf"{said}.*Nothing was written\.$"):
        ws.apply(plan, student, teacher, output=tmp_path / "a.safetensors", dtype=dtype)
    assert not list(tmp_path.iterdir())
    with torch.no_grad():
        teacher.stem.weight[plan.copies[0].indices[0][1], 0] = 0
        student.head.bias.fill_(1e6)
    kept = replace(plan, copies=tuple(copy for copy in plan.copies if copy.student != "head.bias"))
    with pytest.raises(PlanError, match=r"student head.bias holds values that are too large for torch.float16"):
        ws.apply(kept, student, teacher, output=tmp_path / "a.safetensors", dtype=torch.float16)


def test_options_that_make_no_sense(tmp_path: Path) -> None:
    student, teacher, plan = pair("transformer")
    with pytest.raises(PlanError, match="max_shard_size and dtype are for files: pass output"):
        ws.apply(plan, student, teacher, dtype=torch.bfloat16)
    with pytest.raises(
        PlanError, match=r"dtype must be a floating-point dtype, such as torch.bfloat16, got torch.int8"
    ):
        ws.apply(plan, student, teacher, output=tmp_path / "a.safetensors", dtype=torch.int8)


def test_every_fault_is_listed(tmp_path: Path) -> None:
    student, teacher, plan = pair("transformer")
    first, second, *rest = plan.copies
    damaged = [
        replace(first, teacher="nobody"),
        replace(second, student_shape=(9,), indices=(range(9),)),
        replace(rest[0], indices=(range(90, 98),)),
    ]
    with pytest.raises(PlanError) as caught:
        ws.apply(replace(plan, copies=(*damaged, *rest[1:])), student, teacher, output=tmp_path / "a.safetensors")
    text = str(caught.value)
    assert "the teacher has no tensor nobody" in text
    assert "student stem.bias has shape [8], the plan says [9]" in text
    assert "elements outside the teacher's 0..15" in text
    assert "nothing was written" in text
    assert not list(tmp_path.iterdir())


class Window(nn.Module):
    """A parameter, and a buffer that shows a part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))
        self.register_buffer("part", self.weight.detach()[1:])


class Hooked(nn.Linear):
    """Computes an entry of its state dict."""

    def _save_to_state_dict(self, destination: dict[str, torch.Tensor], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)  # type: ignore[no-untyped-call]
        destination[prefix + "norm"] = self.weight.norm()


def test_memory_that_files_cannot_share(tmp_path: Path) -> None:
    copy = Copy("weight", "weight", (4,), (8,), (range(4),), True)
    plan, source = Plan((copy,), (), (), ()), {"weight": torch.ones(8)}
    with pytest.raises(PlanError, match="student weight and part show parts of one memory: apply the plan in place"):
        ws.apply(plan, Window(), source, output=tmp_path / "a.safetensors")
    with pytest.raises(PlanError, match=r"the student computes 1 tensors of its state dict .*\(norm\)"):
        ws.apply(Plan((), (), (), ()), Hooked(2, 2), source, output=tmp_path / "a.safetensors")


def test_other_models_are_refused(tmp_path: Path) -> None:
    _, teacher, plan = pair("transformer")
    with pytest.raises(PlanError, match="the plan was made for another student"):
        ws.apply(plan, Transformer(8, 2, 4, depth=3), teacher, output=tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


# -- values, against filling in memory

PLAIN = Copy("a", "b", (2, 3), (4, 6), (range(0, 4, 2), (0, 3, 5)), True)
CASES: dict[str, tuple[Copy, ...]] = {
    "plain": (PLAIN,),
    "scaled": (replace(PLAIN, scale=0.3),),
    "sum": (replace(PLAIN, scale=0.5, also=(replace(PLAIN, indices=((1, 0), range(3)), scale=0.25),)),),
    "merged": (replace(PLAIN, mix=(Mix(0, ((0, 1), (2, 3)), ((0.5, 0.5), (0.1, 0.9))),)),),
    "turned": (replace(PLAIN, student_shape=(3, 2), view=View((2, 3), (1, 0))),),
    "resampled": (replace(PLAIN, student_shape=(2, 5), resize=(Resize("linear", 1, (3,), (5,)),)),),
    "part": (replace(PLAIN, student_shape=(3, 4), region=((2, 0), range(1, 4))),),
    "parts": (
        replace(PLAIN, student_shape=(2, 6), region=(range(2), range(0, 6, 2))),
        replace(PLAIN, student_shape=(2, 6), region=(range(2), range(1, 6, 2))),
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CASES)
def test_values_of_one_tensor(name: str, dtype: torch.dtype) -> None:
    copies = CASES[name]
    teacher = {"b": torch.randn(4, 6, dtype=torch.float64)}
    student = {"a": torch.randn(copies[0].student_shape).to(dtype)}
    found = filled(copies, student["a"], MemorySource(teacher))
    ws.apply(Plan(copies, (), (), ()), student, teacher)
    assert found.dtype == dtype
    assert torch.equal(found, student["a"])
    if name != "part":
        assert torch.equal(filled(copies, None, MemorySource(teacher), dtype), student["a"])


@pytest.mark.parametrize("make", [lambda: ConvNet(4), lambda: Language(8, tied=True), lambda: mlp(4)])
def test_what_is_written_loads(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    model, fresh = make(), make()
    write_student(Plan((), (), (), ()), model, {}, MemorySource({}), tmp_path / "a.safetensors")
    fresh.load_state_dict(load_file(tmp_path / "a.safetensors"), strict=True)
    assert all(torch.equal(tensor, fresh.state_dict()[name]) for name, tensor in model.state_dict().items())
