"""The share of a shard: the same values bit for bit as a part of the whole, and no rows besides those it needs."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch

from tests.apply.random_copies import random_copy, random_values, with_sum
from wsel_graph.apply.memory import apply_plan
from wsel_graph.apply.restrict import share
from wsel_graph.plan import Copy, Indices, Mix, Plan, Resize, View, compact
from wsel_graph.stores.memory import select


class Counted:
    """Teacher tensors, and how many elements were read."""

    def __init__(self, **tensors: torch.Tensor) -> None:
        self.tensors = tensors
        self.read_elements = 0

    def read(self, name: str, indices: tuple[Indices, ...]) -> torch.Tensor:
        self.read_elements += math.prod(map(len, indices))
        return select(self.tensors[name], indices)


def filled(copy: Copy, teacher: dict[str, torch.Tensor], student: torch.Tensor) -> torch.Tensor:
    """The student tensor as a whole, filled by the ordinary way of applying a plan."""
    whole = student.clone()
    apply_plan(Plan((copy,), (), (), ()), {copy.student: whole}, teacher)
    return whole


@pytest.mark.parametrize("seed", range(400))
def test_shares_are_parts_of_the_whole(seed: int) -> None:
    draw = random.Random(seed)
    copy = random_copy(draw, "s", "t")
    copy = with_sum(copy, draw) if draw.random() < 0.2 else copy
    dtype = draw.choice((torch.float32, torch.bfloat16))
    teacher = random_values(copy.teacher_shape, dtype, seed)
    student = random_values(copy.student_shape, draw.choice((torch.float32, torch.bfloat16)), seed + 1)
    whole = filled(copy, {"t": teacher}, student)
    for _ in range(4):
        held = tuple(compact(sorted(draw.sample(range(size), draw.randint(0, size)))) for size in copy.student_shape)
        mine = select(student, held).clone()
        own, source = share(copy, held), Counted(t=teacher)
        if own is not None:
            places = [torch.tensor(list(items)) for items in own.places]
            mine[torch.meshgrid(places, indexing="ij")] = own.values(source.read).to(mine.dtype)
        assert torch.equal(mine, select(whole, held))
        if not (copy.resize or copy.mix or copy.also):
            whole_read = math.prod(map(len, copy.indices))
            assert source.read_elements <= whole_read
            if copy.view is None:
                assert source.read_elements == (0 if own is None else math.prod(map(len, own.positions)))


HALF = (range(4, 8), range(6))


def weight(**changes: Any) -> Copy:
    plain: dict[str, Any] = {"indices": (range(0, 16, 2), range(6))}
    return Copy("w", "w", (8, 6), (16, 12), parameter=True, **(plain | changes))


@pytest.mark.parametrize(
    ("copy", "held", "elements"),
    [
        pytest.param(weight(), HALF, 24, id="rows"),
        pytest.param(weight(), (range(8), range(4, 6)), 16, id="columns"),
        pytest.param(weight(), (range(8, 8), range(6)), 0, id="empty shard"),
        pytest.param(weight(), (range(3, 5), range(1, 3)), 4, id="both"),
        pytest.param(
            weight(indices=(range(6), range(1, 9)), view=View((6, 8), (1, 0))), HALF, 24, id="transposed",
        ),
        pytest.param(
            weight(indices=(range(4), range(12)), view=View((4, 2, 6), (1, 0, 2))), (range(4), range(6)), 24,
            id="one factor of a split dim",
        ),
        pytest.param(
            weight(indices=(range(16), range(3)), view=View((8, 2, 3), (0, 1, 2))), HALF, 24, id="merged dims",
        ),
        pytest.param(
            weight(indices=(range(8), range(3)), region=(range(8), range(0, 6, 2))), HALF, 12, id="region",
        ),
        pytest.param(
            weight(indices=(range(4), range(6)), region=(range(4), range(6))), HALF, 0, id="region elsewhere",
        ),
        pytest.param(
            weight(mix=(Mix(0, tuple((row, row + 8) for row in range(8)), ((0.5, 0.5),) * 8),)), HALF, 48, id="merged",
        ),
        pytest.param(
            weight(indices=(range(16), range(6)), resize=(Resize("linear", 0, (16,), (8,)),)), HALF, 96,
            id="resampled: all of it",
        ),
    ],
)  # fmt: skip
def test_only_what_is_needed_is_read(copy: Copy, held: tuple[Indices, ...], elements: int) -> None:
    teacher, student = random_values((16, 12), torch.float32, 0), torch.zeros(8, 6)
    source, own = Counted(w=teacher), share(copy, held)
    if own is None:
        assert elements == 0
        return
    mine = select(student, held).clone()
    mine[torch.meshgrid([torch.tensor(list(items)) for items in own.places], indexing="ij")] = own.values(source.read)
    assert torch.equal(mine, select(filled(copy, {"w": teacher}, student), held))
    assert source.read_elements == elements
