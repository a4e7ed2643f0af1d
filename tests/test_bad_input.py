"""Every kind of bad input: a clear error, and a student that is bit for bit what it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import ConvNet, Language, Transformer, mlp, randomize, same_tensors, snapshot
from wsel_graph.errors import CaptureError, ExampleInputsError, MatchError, PlanError

IDS = {"ids": torch.arange(10).reshape(2, 5)}
TOKENS = (2, 5, 7)


class Raises(nn.Sequential):
    """Runs its layers, then fails."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        super().forward(x)
        raise LookupError("table is closed")


class IntegerParameter(nn.Module):
    """A linear with int8 weights and a scale, as weight-only quantization leaves it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.randint(-99, 99, (width, 4), dtype=torch.int8), requires_grad=False)
        self.scale, self.out = nn.Parameter(torch.rand(width)), nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(nn.functional.linear(x, self.codes.to(x.dtype)) * self.scale)


def extended() -> nn.Module:
    """A student with a part that no teacher has."""
    student = Transformer(8, 2, 4)
    student.blocks[1].norm2 = nn.Sequential(student.blocks[1].norm2, nn.Linear(8, 8))
    return student


def on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    """The same model without values."""
    with torch.device("meta"):
        return make()


def meta_layer() -> nn.Module:
    """A student of which one layer was forgotten on the meta device."""
    student = mlp(4)
    student[2] = nn.Linear(4, 8, device="meta")
    return student


REFUSED = [
    pytest.param(
        lambda: (Transformer(32, 4, 8), Transformer(16, 4, 8)), TOKENS, PlanError,
        r"student is larger than the teacher on the coupled axis embed: 32 > 16 \(student stem\.weight:0, .*\)\. .*"
        r"give the student at most the teacher's size, or exchange student and teacher", id="student larger",
    ),
    pytest.param(
        lambda: (Transformer(8, 4, 2), Transformer(16, 2, 8)), TOKENS, PlanError,
        r"larger than the teacher on the coupled axis heads: 4 > 2.*unit='flat'", id="more heads",
    ),
    pytest.param(
        lambda: (mlp(4), mlp(8)), None, ExampleInputsError,
        r"^student: no example inputs: the model must run once to be traced\. Pass a tensor, a tuple", id="no inputs",
    ),
    pytest.param(
        lambda: (mlp(4), mlp(8)), (2, 5), CaptureError,
        r"^student: the model raised RuntimeError in module 0 \(Linear\), after operator aten\.linear\.default, with "
        r"input 0=float32\[2, 5\]: .*Check the example inputs", id="wrong shape",
    ),
    pytest.param(
        lambda: (mlp(4), mlp(8, inputs=5)), (2, 4), CaptureError,
        r"^teacher: the model raised RuntimeError in module 0 \(Linear\)", id="wrong shape for the teacher",
    ),
    pytest.param(
        lambda: (Language(8, tied=False), Language(16, tied=False)), (2, 5), CaptureError,
        r"in module embed \(Embedding\), after operator aten\.embedding\.default, with input 0=float32\[2, 5\].*"
        r"shapes, dtypes, value ranges", id="wrong dtype",
    ),
    pytest.param(
        lambda: (mlp(4), Raises(*mlp(8))), (2, 4), CaptureError,
        r"^teacher: the model raised LookupError in module \(top level\) \(Raises\), after operator aten\.linear\.def.*"
        r"table is closed", id="model that raises",
    ),
    pytest.param(
        lambda: (extended(), Transformer(16, 4, 4)), TOKENS, MatchError,
        r"4 student tensors have no counterpart in the teacher:\n  - blocks\.1\.norm2\.1\.weight \[8, 8\]: its block "
        r"has it, the teacher's block has nothing that certainly corresponds.*pass keep=\['blocks\.1\.norm2\.1\.\*', "
        r"'blocks\.1\.fc1\.\*'\]",
        id="extra part",
    ),
    pytest.param(
        lambda: (on_meta(lambda: mlp(4)), mlp(8)), (2, 4), PlanError,
        r"\(6 faults\), nothing was changed:\n  - student 0\.weight is on the meta device: materialise it first "
        r"\(to_empty, or load weights\)", id="meta student",
    ),
    pytest.param(
        lambda: (meta_layer(), mlp(8)), (2, 4), PlanError,
        r"\(2 faults\), nothing was changed:\n  - student 2\.weight is on the meta device", id="partly meta student",
    ),
    pytest.param(
        lambda: (mlp(4), on_meta(lambda: mlp(8))), (2, 4), PlanError,
        r"teacher 0\.weight is on the meta device: materialise it first", id="meta teacher",
    ),
    pytest.param(
        lambda: (nn.Sequential(), mlp(8)), (2, 4), CaptureError,
        r"^student: Sequential has no parameters and no buffers: there is nothing to trace", id="empty student",
    ),
    pytest.param(
        lambda: (mlp(4), nn.Identity()), (2, 4), CaptureError,
        r"^teacher: Identity has no parameters and no buffers", id="empty teacher",
    ),
    pytest.param(
        lambda: (mlp(4), IntegerParameter(8)), (2, 4), MatchError,
        r"the names differ, and|no counterpart|so do the structures", id="unrelated models",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("make", "inputs", "error", "text"), REFUSED)
def test_refused_and_nothing_changed(
    make: Callable[[], tuple[nn.Module, nn.Module]], inputs: Any, error: type[Exception], text: str
) -> None:
    student, teacher = make()
    before = [snapshot(model) for model in (student, teacher)]
    modes = [module.training for module in student.modules()]
    with pytest.raises(error, match=rf"(?s){text}"):
        ws.initialize(student, teacher, inputs)
    assert all(unchanged(model, state) for model, state in zip((student, teacher), before, strict=True))
    assert [module.training for module in student.modules()] == modes


def unchanged(model: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    """As `same_tensors`; tensors without values only have to be the same kind."""
    real = {name: tensor for name, tensor in before.items() if tensor.device.type != "meta"}
    now = snapshot(model)
    return now.keys() == before.keys() and all(torch.equal(now[name], real[name]) for name in real)


# -- one object twice


def test_student_and_teacher_are_the_same_object() -> None:
    model = randomize(mlp(4))
    before, graph = snapshot(model), ws.trace(model, (1, 4))
    plan = ws.plan(mlp(4), mlp(8), (1, 4))
    text = r"student and teacher are the same object: nothing can be initialised from itself"
    for call in (
        lambda: ws.initialize(model, model, (1, 4)),
        lambda: ws.plan(model, model, (1, 4)),
        lambda: ws.plan(graph, graph),
        lambda: ws.apply(plan, model, model),
    ):
        with pytest.raises(PlanError, match=text):
            call()
    assert same_tensors(model, before)


@pytest.mark.parametrize("share", ["parameter", "memory", "buffer"])
def test_student_and_teacher_share_a_tensor(share: str) -> None:
    student, teacher = randomize(ConvNet(4), 1), randomize(ConvNet(4), 2)
    if share == "parameter":
        student.point.weight = teacher.point.weight
    elif share == "memory":
        student.point.weight.data = teacher.point.weight.data
    else:
        student.bn1.running_mean = teacher.bn1.running_mean
    before = [snapshot(model) for model in (student, teacher)]
    name = r"bn1\.running_mean" if share == "buffer" else r"point\.weight"
    with pytest.raises(
        PlanError, match=rf"nothing was changed:\n  - .* {name} and .* {name} share memory: writing to one"
    ):
        ws.initialize(student, teacher, (1, 3, 8, 8))
    assert same_tensors(student, before[0])
    assert same_tensors(teacher, before[1])


# -- shared (tied) weights


@pytest.mark.parametrize(
    ("student", "teacher"),
    [(True, True), (True, False), (False, True), (False, False)],
    ids=["both tied", "tied student", "tied teacher", "none tied"],
)
def test_tied_weights(student: bool, teacher: bool) -> None:
    """A tied student takes the values of the first name; a tied teacher fills every name; one index list for all."""
    ours, theirs = Language(8, tied=student), randomize(Language(16, tied=teacher))
    result = ws.initialize(ours, theirs, IDS)
    assert result.coverage == 1
    assert torch.equal(ours.embed.weight, theirs.embed.weight[:, ::2])
    assert (ours.head.weight is ours.embed.weight) == student
    source = theirs.embed.weight if student else theirs.head.weight
    assert torch.equal(ours.head.weight, source[:, ::2])


def test_two_parameters_over_one_memory_are_one() -> None:
    student, teacher = Language(8, tied=False), randomize(Language(16, tied=False))
    student.head.weight.data = student.embed.weight.data
    ws.initialize(student, teacher, IDS)
    assert torch.equal(student.head.weight, teacher.embed.weight[:, ::2])
    assert student.head.weight.data_ptr() == student.embed.weight.data_ptr()


def test_parameters_that_overlap_in_part_are_refused() -> None:
    student = Language(8, tied=False)
    memory = torch.zeros(2 * student.embed.weight.numel())
    student.embed.weight.data, student.head.weight.data = memory[:88].view(11, 8), memory[8:96].view(11, 8)
    before = snapshot(student)
    with pytest.raises(PlanError, match=r"student embed\.weight and student head\.weight share memory"):
        ws.initialize(student, Language(16, tied=False), IDS)
    assert same_tensors(student, before)


# -- integer and quantized tensors


def test_integer_parameters_are_the_students_own() -> None:
    student, teacher = IntegerParameter(4), randomize(IntegerParameter(8))
    codes = student.codes.clone()
    result = ws.initialize(student, teacher, (2, 4))
    assert {kept.student: kept.reason for kept in result.plan.kept} == {"codes": "integer values are configuration"}
    assert torch.equal(student.codes, codes)
    assert torch.equal(student.scale, teacher.scale[::2])
    assert result.initialized == result.total - codes.numel()


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions:UserWarning")
@pytest.mark.parametrize(
    ("convert", "dtype"),
    [
        pytest.param(lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "qint8", id="quantized"),
        pytest.param(lambda t: (10 * t).to(torch.int8), "int8", id="int8"),
    ],
)
def test_quantized_state_dict(convert: Callable[[torch.Tensor], torch.Tensor], dtype: str) -> None:
    student, teacher = randomize(mlp(4), 1), randomize(mlp(8), 2)
    plan, before = ws.plan(student, teacher, (1, 4)), snapshot(student)
    state = {name: convert(t) if name.endswith("weight") else t for name, t in teacher.state_dict().items()}
    with pytest.raises(PlanError) as caught:
        ws.apply(plan, student, state)
    assert str(caught.value).count(f"is torch.{dtype}, not floating point: dequantize it first") == 3
    assert same_tensors(student, before)


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions:UserWarning")
def test_quantized_student() -> None:
    student, teacher = mlp(4), mlp(8)
    student[2].weight = nn.Parameter(
        torch.quantize_per_tensor(student[2].weight.detach(), 0.1, 0, torch.qint8), requires_grad=False
    )
    with pytest.raises(ws.WselError, match=r"^student: the model raised RuntimeError in module 2 \(Linear\).*QInt8"):
        ws.initialize(student, teacher, (1, 4))
