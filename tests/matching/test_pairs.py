"""Pairing by name, by order, through ties, and what is said when neither works."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import Language, Transformer, mlp
from wsel_graph.errors import MatchError
from wsel_graph.matching.pairs import Matching, match

IDS = {"ids": torch.arange(10).reshape(2, 5)}


def paired(student: nn.Module, teacher: nn.Module, inputs: Any, keep: tuple[str, ...] = ()) -> Matching:
    """The matching of two models."""
    return match(ws.trace(student, inputs), ws.trace(teacher, inputs), keep)


def names(matching: Matching) -> dict[str, str]:
    """Teacher names by student name."""
    return {pair.student: pair.teacher for pair in matching.pairs}


class Renamed(nn.Module):
    """The layers of `mlp`, registered in another order and under other names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.top, self.middle, self.bottom = nn.Linear(2 * width, 3), nn.Linear(width, 2 * width), nn.Linear(4, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.top(self.middle(self.bottom(x).relu()).relu())


def test_equal_names_are_first_n() -> None:
    matching = paired(Transformer(depth=1), Transformer(depth=3), (2, 5, 7))
    assert all(student == teacher for student, teacher in names(matching).items())
    assert len(matching.pairs) == 20


def test_order_of_use_decides_when_names_differ() -> None:
    expected = {"bottom.weight": "0.weight", "middle.weight": "2.weight", "top.weight": "4.weight"}
    found = names(paired(Renamed(4), mlp(8), (1, 4)))
    assert {student: teacher for student, teacher in found.items() if student.endswith("weight")} == expected
    assert list(found) == ["bottom.weight", "bottom.bias", "middle.weight", "middle.bias", "top.weight", "top.bias"]


def test_order_of_use_passes_over_what_is_kept() -> None:
    with pytest.raises(MatchError, match=r"the student uses 4 tensors where the teacher uses 6"):
        paired(Renamed(4), mlp(8), (1, 4), keep=("top.*",))


def test_a_few_missing_names_do_not_switch_to_order() -> None:
    student = Transformer(depth=1)
    student.blocks[0].extra = nn.Linear(16, 16)
    student.blocks[0].fc2 = nn.Sequential(student.blocks[0].fc2, student.blocks[0].extra)
    with pytest.raises(
        MatchError,
        match=r"(?s)4 student tensors have no counterpart in the teacher:.*blocks\.0\.fc2\.0\.weight \[16, 32\]: the "
        r"teacher has no such tensor.*keep=\['blocks\.0\.fc2\.0\.\*', 'blocks\.0\.fc2\.1\.\*'\]",
    ):
        paired(student, Transformer(depth=1), (2, 5, 7))


def test_tensors_that_a_model_does_not_use() -> None:
    student = mlp(4)
    student.spare = nn.Parameter(torch.ones(2))
    matching = paired(student, mlp(8), (1, 4))
    assert matching.kept == (("spare", "not used by the forward pass"),)
    student, teacher = Transformer(), Transformer()
    teacher.blocks[0].fc1.register_parameter("bias", None)
    teacher.blocks[0].fc1.bias = None
    with pytest.raises(MatchError, match=r"blocks\.0\.fc1\.bias \[32\]: the teacher has no such tensor"):
        paired(student, teacher, (2, 5, 7))


def test_a_teacher_tensor_without_use_is_no_counterpart() -> None:
    class Halfway(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[2](self[1](self[0](x)))

    with pytest.raises(MatchError, match=r"4\.weight \[3, 8\]: the teacher's forward pass does not use it"):
        paired(mlp(4), Halfway(*mlp(8)), (1, 4))


def test_a_quantized_teacher_tensor_is_no_counterpart() -> None:
    class Int8(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.out = nn.Linear(4, 8), nn.Linear(8, 3)
            self.fc.weight = nn.Parameter((100 * self.fc.weight.detach()).to(torch.int8), requires_grad=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(nn.functional.linear(x, self.fc.weight / 100, self.fc.bias))

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.out = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.fc(x))

    with pytest.raises(
        MatchError, match=r"fc\.weight \[4, 4\]: the teacher's is torch\.int8, which carries no.*dequantize"
    ):
        paired(Plain(), Int8(), (1, 4))


def test_equal_names_of_different_parts() -> None:
    class Other(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[0](x) * self[1].weight[0, 0] + self[1].bias

    one, two = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), Other(nn.Linear(4, 4), nn.Linear(4, 4))
    with pytest.raises(
        MatchError,
        match=r"1\.weight is the weight of aten::linear in the student and the \w+ of aten::\w+ in the teacher: "
        r"equal names, different parts\..*keep=\['1\.weight'\]",
    ):
        paired(one, two, (2, 4))


class Named(nn.ModuleDict):
    """Layers one after another, under names of their own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.values():
            x = layer(x)
        return x


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        pytest.param(
            {"a": nn.Linear(4, 8), "b": nn.LayerNorm(8), "c": nn.Linear(8, 3)},
            r"so do the structures, first here:\n  student b\.weight: weight of aten::(native_)?layer_norm, \[8\]\n"
            r"  teacher 2\.weight: weight of aten::linear, \[16, 8\]\nGive the student the teacher's names",
            id="structure",
        ),
        pytest.param(
            {"a": nn.Linear(4, 8), "b": nn.Linear(8, 3)},
            r"the names differ, and the student uses 4 tensors where the teacher uses 6: .*paired by equal names only",
            id="depth",
        ),
    ],
)
def test_neither_names_nor_order(layers: dict[str, nn.Module], text: str) -> None:
    with pytest.raises(MatchError, match=text):
        paired(Named(layers), mlp(8), (1, 4))


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        pytest.param(True, True, {"embed.weight": "embed.weight"}, id="both tied"),
        pytest.param(True, False, {"embed.weight": "embed.weight"}, id="tied student takes the first name's values"),
        pytest.param(
            False, True, {"embed.weight": "embed.weight", "head.weight": "embed.weight"}, id="tied teacher fills both"
        ),
        pytest.param(False, False, {"embed.weight": "embed.weight", "head.weight": "head.weight"}, id="none tied"),
    ],
)
def test_tied_tensors(student: bool, teacher: bool, expected: dict[str, str]) -> None:
    found = names(paired(Language(8, tied=student), Language(16, tied=teacher), IDS))
    assert {name: found[name] for name in found if "block" not in name} == expected


def test_keep_knows_every_name_of_a_tied_tensor() -> None:
    matching = paired(Language(8, tied=True), Language(16, tied=True), IDS, keep=("head.*",))
    assert matching.kept == (("embed.weight", "asked for by keep: head.*"),)
