"""The structure of a table, read from the integers that look it up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import wsel_graph as ws
from wsel_graph.planner.grids import Table, find_table, relative_rows, relative_table


def by_differences(height: int, width: int) -> torch.Tensor:
    """Row numbers for all pairs of cells, counted one by one."""
    cells = [(y, x) for y in range(height) for x in range(width)]
    rows = [[(y - v + height - 1) * (2 * width - 1) + x - u + width - 1 for v, u in cells] for y, x in cells]
    return torch.tensor(rows)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2), st.integers(0, 3), st.booleans(), st.booleans())
def test_every_grid_is_found(height: int, width: int, prefix: int, spare: int, reverse: bool, flat: bool) -> None:
    rows = by_differences(height, width)
    assert torch.equal(relative_rows(height, width), rows)
    if height * width < 2:
        return
    cells, size = (2 * height - 1) * (2 * width - 1), height * width + prefix
    pairs = torch.full((size, size), cells + spare - 1 if spare else 0)
    pairs[prefix:, prefix:] = rows.T if reverse else rows
    found = relative_table(pairs.flatten() if flat else pairs, cells + spare)
    assert found is not None
    if prefix == 0 or spare:
        grid = (2 * height - 1, 2 * width - 1) if width > 1 else (1, 2 * height - 1)  # a line is a line either way
        assert (found.grid, found.reverse) == (grid, reverse)


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param(by_differences(3, 3).flip(0), id="other order"),
        pytest.param((torch.arange(9)[:, None] - torch.arange(9)).abs(), id="distances"),
        pytest.param(torch.zeros(9, 9, dtype=torch.int64), id="constant"),
        pytest.param(torch.arange(81).reshape(9, 9), id="all different"),
        pytest.param(torch.arange(10), id="no square"),
        pytest.param(by_differences(3, 3).index_fill(0, torch.tensor([4]), 0), id="one row wrong"),
    ],
)
def test_what_is_no_grid_is_not_taken_for_one(pairs: torch.Tensor) -> None:
    assert relative_table(pairs, 100) is None


class Looks(nn.Module):
    """A table, looked up in some way."""

    def __init__(self, look: Callable[[nn.Parameter, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.stem, self.table, self.look = nn.Linear(4, 6), nn.Parameter(torch.zeros(9, 6)), look

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.stem(x) + self.look(self.table, x)


def steps(x: torch.Tensor) -> torch.Tensor:
    return torch.arange(x.shape[1], device=x.device)


@pytest.mark.parametrize(
    ("look", "expected"),
    [
        pytest.param(lambda table, x: table[steps(x)], Table("line", ()), id="index"),
        pytest.param(lambda table, x: table[steps(x)[None] + 1], Table("line", (), lead=1), id="with a start"),
        pytest.param(lambda table, x: table.index_select(0, steps(x)), Table("line", ()), id="index_select"),
        pytest.param(
            lambda table, x: nn.functional.embedding(steps(x).expand(2, -1), table), Table("line", ()), id="embedding"
        ),
        pytest.param(lambda table, x: table[:5], None, id="not looked up"),
        pytest.param(lambda table, x: table[steps(x) * 2 // 3], "buckets, or types", id="buckets"),
        pytest.param(lambda table, x: table[steps(x) * 0], "buckets, or types", id="one row"),
        pytest.param(lambda table, x: table[(x.mean(-1) > 0).long()], "only running the model shows", id="values"),
    ],
)
def test_tables_of_a_model(look: Any, expected: Table | str | None) -> None:
    found = find_table(ws.trace(Looks(look), (2, 5, 4)), "table")
    if isinstance(expected, str):
        assert isinstance(found, str)
        assert expected in found
    else:
        assert found == expected
