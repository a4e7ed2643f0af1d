"""The plan format: index lists as ranges, and plans in words."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from wsel_graph.errors import UnknownNameError
from wsel_graph.plan import Choice, Copy, Kept, Plan, compact, describe_indices

PLAN = Plan(
    copies=(Copy("a", "b", (2, 3), (4, 3), (range(0, 4, 2), (0, 2, 1)), True),),
    kept=(Kept("c", (5,), "because", True),),
    choices=(Choice("embed", "free", 4, 2, "uniform", ("a:0",)),),
    layers=(),
)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        pytest.param([0, 2, 4], range(0, 6, 2), id="spaced"),
        pytest.param([3], range(3, 4), id="one"),
        pytest.param([0, 1, 3], (0, 1, 3), id="irregular"),
        pytest.param([2, 1, 0], (2, 1, 0), id="descending"),
        pytest.param([1, 1], (1, 1), id="repeated"),
        pytest.param([], (), id="empty"),
        pytest.param(range(0, 9, 3), range(0, 9, 3), id="range"),
    ],
)
def test_compact(items: Sequence[int], expected: Sequence[int]) -> None:
    assert compact(items) == expected
    assert type(compact(items)) is type(expected)


@pytest.mark.parametrize(
    ("indices", "text"),
    [
        pytest.param(range(4), "0:4", id="slice"),
        pytest.param(range(0, 8, 2), "0:8:2", id="steps"),
        pytest.param((0, 3), "[0, 3]", id="short"),
        pytest.param(tuple(range(8)) + (11,), "[0, 1, 2, 3, 4, 5, ... 11] (9 elements)", id="long"),
    ],
)
def test_describe_indices(indices: range | tuple[int, ...], text: str) -> None:
    assert describe_indices(indices) == text


def test_explain() -> None:
    assert PLAN.explain("a").splitlines() == [
        "a [2, 3] <- b [4, 3]",
        "  dim 0: 0:4:2 of 4 (embed 4 -> 2 uniform)",
        "  dim 1: [0, 2, 1] of 3 (fixed)",
    ]
    assert PLAN.explain("c") == "c [5] keeps the student's own values: because"
    with pytest.raises(UnknownNameError, match=r"the plan knows no student tensor named 'b'"):
        PLAN.explain("b")
