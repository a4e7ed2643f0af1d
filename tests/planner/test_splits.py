"""A factor on some rows: the parts of a copy fill what it filled, each with its scale."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wsel_graph.apply.memory import apply_plan
from wsel_graph.plan import Copy, Mix, Plan, View
from wsel_graph.plan.copies import Resize
from wsel_graph.planner.splits import NotSplit, scaled_rows


def filled(copies: list[Copy], teacher: torch.Tensor) -> torch.Tensor:
    """What copies make of a student tensor of zeros."""
    student = {copies[0].student: torch.zeros(copies[0].student_shape, dtype=torch.float64)}
    module = torch.nn.ParameterDict(student)
    apply_plan(Plan(tuple(copies), (), (), ()), module, {copies[0].teacher: teacher})
    return module[copies[0].student].detach()


WHOLE = Copy("w", "w", (4, 3), (8, 6), (range(0, 8, 2), (0, 1, 5)), True)
TURNED = Copy("w", "w", (3, 4), (8, 6), (range(0, 8, 2), (0, 1, 5)), True, view=View((4, 3), (1, 0)))
PART = Copy("w", "w", (6, 3), (8, 6), ((1, 2, 7), (0, 1, 5)), True, region=((5, 0, 2), range(3)), scale=3.0)


MIX = Mix(0, ((0, 3), (2,), (7, 1, 4), (5,)), ((0.5, 0.5), (1.0,), (1.0, 2.0, 1.0), (1.0,)))
MIXED = Copy("w", "w", (4, 3), (8, 6), ((0, 2, 7, 5), (0, 1, 5)), True, mix=(MIX,))
AVERAGE = replace(MIXED, scale=0.5, also=(replace(WHOLE, scale=0.25), replace(MIXED, scale=3.0)))
TURNED_AVERAGE = replace(TURNED, also=(replace(TURNED, indices=((0, 3, 1, 2), range(3)), mix=(MIX,)),))


@given(
    st.sampled_from([WHOLE, TURNED, PART, MIXED, AVERAGE, TURNED_AVERAGE]),
    st.sampled_from([0, 1]),
    st.sets(st.integers(0, 5)),
)
def test_the_parts_fill_what_the_whole_does(copy: Copy, dim: int, rows: set[int]) -> None:
    teacher = torch.arange(1, 49, dtype=torch.float64).reshape(8, 6)
    expected = filled([copy], teacher)
    index = [row for row in rows if row < copy.student_shape[dim]]
    expected.index_copy_(
        dim,
        torch.tensor(index, dtype=torch.int64),
        0.5 * expected.index_select(dim, torch.tensor(index, dtype=torch.int64)),
    )
    assert torch.equal(filled(scaled_rows(copy, dim, rows, 0.5), teacher), expected)


def test_what_is_taken_apart_or_resampled_is_refused() -> None:
    folded = Copy("w", "w", (4, 6), (4, 2, 3), (range(4), range(2), range(3)), True, view=View((4, 2, 3), (0, 1, 2)))
    with pytest.raises(NotSplit, match=r"^dim 1 of w is made of several dims of w$"):
        scaled_rows(folded, 1, {0, 1}, 2.0)
    resized = Copy("w", "w", (4,), (8,), (range(8),), True, resize=(Resize("linear", 0, (8,), (4,)),))
    with pytest.raises(NotSplit, match=r"^dim 0 of w is resampled$"):
        scaled_rows(resized, 0, {0, 1}, 2.0)
