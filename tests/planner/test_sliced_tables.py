"""Position tables of which the forward pass takes the beginning: the plan does not depend on the example's length."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import wsel_graph as ws
from tests.nets import randomize
from wsel_graph.coupling.verify import relative_error


class Tokens(nn.Module):
    """Token and position embeddings and a block; positions are looked up, or the table's beginning is taken."""

    def __init__(self, length: int, sliced: bool, lead: bool = False) -> None:
        super().__init__()
        self.sliced, self.lead = sliced, lead
        self.words, self.out = nn.Embedding(11, 8), nn.Linear(8, 3)
        self.table = nn.Embedding(length, 8)
        self.places = nn.Parameter(torch.randn(1, length + lead, 8))
        self.first = nn.Parameter(torch.randn(1, 1, 8))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids)
        if self.lead:
            x = torch.cat((self.first.expand(len(x), 1, 8), x), 1)
        if self.sliced:
            x = x + self.places[:, : x.shape[1]]
        else:
            x = x + self.table(torch.arange(x.shape[1], device=ids.device))
        z: Tensor = self.out(x.relu())
        return z


def tokens(length: int, seed: int, *, sliced: bool = True, lead: bool = False) -> Tokens:
    model = Tokens(length, sliced, lead).double()
    randomize(model, seed)
    return model


@pytest.mark.parametrize("length", [2, 5, 11])
def test_the_length_of_the_example_chooses_no_rows(length: int) -> None:
    ids = torch.zeros(1, length, dtype=torch.long)
    student, teacher = tokens(12, 1), tokens(24, 2)
    other = tokens(24, 3, sliced=False)
    ws.initialize(student, teacher, ids, keep=["table.*", "first"])
    expected = nn.functional.interpolate(teacher.places.mT, 12, mode="linear").mT
    assert relative_error(expected.detach(), student.places.detach()) < 1e-9
    ws.initialize(other, teacher, ids, keep=["places", "first"])  # as looked-up positions
    assert torch.equal(other.table.weight, teacher.places[0])


def test_a_row_of_another_kind_at_the_beginning() -> None:
    ids = torch.zeros(1, 4, dtype=torch.long)
    student, teacher = tokens(12, 1, lead=True), tokens(24, 2, lead=True)
    assert ws.trace(teacher, ids).tensors["places"].notation == "1 (1 + position) hidden"
    assert ws.verify(teacher, ids).ok
    ws.initialize(student, teacher, ids, keep=["table.*", "first"])
    assert torch.equal(student.places[0, 0], teacher.places[0, 0])
    expected = nn.functional.interpolate(teacher.places[:, 1:].mT, 12, mode="linear").mT
    assert relative_error(expected.detach(), student.places[:, 1:].detach()) < 1e-9


def test_what_another_operator_reads_is_no_rest_of_a_table() -> None:
    class Both(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(5 + width, 6))
            self.out = nn.Linear(width, 3)

        def forward(self, x: Tensor) -> Tensor:
            z: Tensor = self.out((x + self.table[: x.shape[1]]) @ self.table[x.shape[1] :].T)
            return z

    assert ws.trace(Both(4), (2, 5, 6)).tensors["table"].notation == "(input1 + hidden) input2"
    assert ws.verify(Both(4), (2, 5, 6)).ok


def test_a_parameter_without_elements_is_no_table() -> None:
    class Empty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 6)
            self.none = nn.Parameter(torch.zeros(4, 0))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(self.fc(x)[..., :0], self.none)

    assert ws.trace(Empty(), (2, 4)).tensors["none"].shape == (4, 0)
