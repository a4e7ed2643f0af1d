"""Pairing by name, by order, through ties, and what is said when neither works."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import Language, Transformer, mlp
from wsel_graph.matching.pairs import Matching, match
from wsel_graph.matching.wishes import Wishes
from wsel_graph.selection import LayerRule, Place

IDS = {"ids": torch.arange(10).reshape(2, 5)}


def paired(student: nn.Module, teacher: nn.Module, inputs: Any, keep: tuple[str, ...] = ()) -> Matching:
    """The matching of two models."""
    return match(ws.trace(student, inputs), ws.trace(teacher, inputs), Wishes(keep))


def names(matching: Matching) -> dict[str, str]:
    """Teacher names by student name."""
    return {name: piece.teacher.tensor for name, pieces in matching.pieces for piece in pieces}


def unexplained(matching: Matching) -> str:
    """What has no counterpart, with the reasons."""
    return "\n".join(f"{name}: {reason}" for name, reason in matching.unexplained)


class Renamed(nn.Module):
    """The layers of `mlp`, registered in another order and under other names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.top, self.middle, self.bottom = nn.Linear(2 * width, 3), nn.Linear(width, 2 * width), nn.Linear(4, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.top(self.middle(self.bottom(x).relu()).relu())


def test_a_deeper_teacher_gives_its_first_blocks() -> None:
    matching = paired(Transformer(depth=1), Transformer(depth=3), (2, 5, 7))
    assert all(student == teacher for student, teacher in names(matching).items())
    assert len(matching.pieces) == 20
    assert matching.layers[0].teacher_depth == 3


@pytest.mark.parametrize(("method", "blocks"), [("last", [1, 2]), ("middle", [0, 1]), ("uniform", [0, 2])])
def test_other_layer_selections(method: str, blocks: list[int]) -> None:
    student, teacher = ws.trace(Transformer(depth=2), (2, 5, 7)), ws.trace(Transformer(depth=3), (2, 5, 7))
    found = names(match(student, teacher, Wishes(layers=(LayerRule(("*",), method, None, Place("x", 1, 1)),))))
    assert [found[f"blocks.{block}.fc1.weight"] for block in range(2)] == [f"blocks.{b}.fc1.weight" for b in blocks]
    assert found["head.weight"] == "head.weight"


def test_names_do_not_matter_where_structure_decides() -> None:
    expected = {"bottom.weight": "0.weight", "middle.weight": "2.weight", "top.weight": "4.weight"}
    found = names(paired(Renamed(4), mlp(8), (1, 4)))
    assert {student: teacher for student, teacher in found.items() if student.endswith("weight")} == expected


def test_an_extra_part_is_left_open_and_the_rest_is_found_by_name() -> None:
    student = Transformer(depth=1)
    student.blocks[0].extra = nn.Linear(16, 16)
    student.blocks[0].fc2 = nn.Sequential(student.blocks[0].fc2, student.blocks[0].extra)
    matching = paired(student, Transformer(depth=1), (2, 5, 7))
    assert {name.rpartition(".")[0] for name, _ in matching.unexplained} == {"blocks.0.fc2.0", "blocks.0.fc2.1"}
    assert "nothing that certainly corresponds" in unexplained(matching)
    assert names(matching)["blocks.0.fc1.weight"] == "blocks.0.fc1.weight"


def test_tensors_that_a_model_does_not_use() -> None:
    student = mlp(4)
    student.spare = nn.Parameter(torch.ones(2))
    matching = paired(student, mlp(8), (1, 4))
    assert matching.kept == (("spare", "not used by the forward pass"),)


def test_a_bias_that_the_teacher_lacks() -> None:
    student, teacher = Transformer(), Transformer()
    teacher.blocks[0].fc1.register_parameter("bias", None)
    teacher.blocks[0].fc1.bias = None
    matching = paired(student, teacher, (2, 5, 7))
    assert unexplained(matching) == "blocks.0.fc1.bias: the teacher's linear at blocks.0.fc1.weight has no bias"


def test_a_teacher_tensor_without_use_is_no_counterpart() -> None:
    class Skipping(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[2](self[0](x))

    layers = nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 3)
    matching = paired(nn.Sequential(*layers), Skipping(*layers), (1, 4))
    assert "1.weight: the teacher has no block of this structure here (the teacher's 1.weight is not used by its " in (
        unexplained(matching)
    )


def test_a_quantized_teacher_tensor_is_no_counterpart() -> None:
    class Int8(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.out = nn.Linear(4, 8), nn.Linear(8, 3)
            self.fc.weight = nn.Parameter((100 * self.fc.weight.detach()).to(torch.int8), requires_grad=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(nn.functional.linear(x, self.fc.weight / 100, self.fc.bias))

    student = Named({"fc": nn.Linear(4, 4), "out": nn.Linear(4, 3)})
    matching = paired(student, Int8(), (1, 4))
    assert "fc.weight is torch.int8, which carries no values to select: dequantize it)" in unexplained(matching)


class Named(nn.ModuleDict):
    """Layers one after another, under names of their own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.values():
            x = layer(x)
        return x


def test_a_chain_keeps_its_ends_and_its_first_links() -> None:
    student = Named({"a": nn.Linear(4, 8), "b": nn.Linear(8, 8), "c": nn.Linear(8, 3)})
    found = names(
        paired(student, nn.Sequential(nn.Linear(4, 8), *(nn.Linear(8, 8) for _ in range(3)), nn.Linear(8, 3)), (1, 4))
    )
    assert [found[f"{name}.weight"] for name in "abc"] == ["0.weight", "1.weight", "4.weight"]


def test_several_places_that_fit_equally_well_are_listed() -> None:
    student = Named({"a": nn.Linear(4, 8), "b": nn.Linear(8, 8), "c": nn.Linear(8, 3)})
    between = (nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 8))
    matching = paired(student, nn.Sequential(nn.Linear(4, 8), *between, nn.Linear(8, 3)), (1, 4))
    assert "b.weight: several places of the teacher fit equally well: 1.weight, 5.weight" in unexplained(matching)
    assert matching.candidates["b.weight"] == ("1.weight", "5.weight")


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
