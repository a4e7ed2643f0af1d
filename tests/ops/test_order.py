"""Operators for which the order along an axis matters, and diagonals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.equivariance import Case, case, check_drawn, dims_of, floats, shapes
from tests.ops.notation import said, shown

aten = torch.ops.aten

offsets = st.integers(-3, 3)


@st.composite
def rolls(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1))
    dims = draw(dims_of(len(shape)))
    shifts = [draw(st.integers(-3, 3)) for _ in range(max(1, len(dims)))]
    return case(aten.roll.default, floats(*shape), shifts, dims)


@st.composite
def flips(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1))
    return case(aten.flip.default, floats(*shape), draw(dims_of(len(shape))))


@st.composite
def rotations(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=2))
    dims = draw(st.permutations(range(len(shape))))[:2]
    return case(aten.rot90.default, floats(*shape), draw(st.integers(-2, 4)), dims)


def triangles(op: Any) -> st.SearchStrategy[Case]:
    return st.tuples(shapes(min_dims=2), offsets).map(lambda t: case(op, floats(*t[0]), t[1]))


@st.composite
def diagonals(draw: st.DrawFn) -> tuple[tuple[int, ...], list[int]]:
    """A shape, and an offset and two dims of it."""
    shape = draw(shapes(min_dims=2))
    first, second = draw(st.permutations(range(len(shape))))[:2]
    return shape, [draw(offsets), first - len(shape) * draw(st.integers(0, 1)), second]


def diagonal_scatters() -> st.SearchStrategy[Case]:
    def write(drawn: tuple[tuple[int, ...], list[int]]) -> Case:
        x = floats(*drawn[0])
        return case(aten.diagonal_scatter.default, x, torch.rand_like(aten.diagonal(x, *drawn[1])), *drawn[1])

    return diagonals().map(write)


@st.composite
def embeddings(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1, max_dims=3))
    first, second = draw(st.permutations(range(len(shape) + 1)))[:2]
    return case(aten.diag_embed.default, floats(*shape), draw(offsets), first, second)


CASES: dict[str, st.SearchStrategy[Case]] = {
    "aten::roll": rolls(),
    "aten::flip": flips(),
    "aten::rot90": rotations(),
    "aten::tril": triangles(aten.tril.default),
    "aten::triu": triangles(aten.triu_.default),
    "aten::diagonal": diagonals().map(lambda d: case(aten.diagonal.default, floats(*d[0]), *d[1])),
    "aten::diagonal_scatter": diagonal_scatters(),
    "aten::diag_embed": embeddings(),
    "aten::diag": st.tuples(shapes(min_dims=1, max_dims=2), offsets).map(
        lambda t: case(aten.diag.default, floats(*t[0]), t[1])
    ),
    "aten::trace": shapes(min_dims=2, max_dims=2).map(lambda s: case(aten.trace.default, floats(*s))),
}


@pytest.mark.parametrize("name", sorted(CASES))
@given(data=st.data())
def test_rule_holds(name, data):
    check_drawn(name, CASES, data)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(case(aten.roll.default, floats(2, 3), [1], [1]), "a B -> a B", id="roll"),
        pytest.param(case(aten.roll.default, floats(2, 3), [1]), "A B -> A B", id="roll, flattened"),
        pytest.param(case(aten.rot90.default, floats(2, 3, 4), 1, [0, 1]), "A B c -> B A c", id="rot90"),
        pytest.param(case(aten.tril.default, floats(2, 3, 3)), "a B C -> a B C", id="tril"),
        pytest.param(case(aten.diagonal.default, floats(4, 4, 2)), "a a b -> b a", id="diagonal"),
        pytest.param(case(aten.diagonal.default, floats(3, 4), 1), "a (1 + a) -> a", id="diagonal with an offset"),
        pytest.param(case(aten.diag_embed.default, floats(2, 3)), "a b -> a b b", id="diag_embed"),
        pytest.param(case(aten.diag_embed.default, floats(3), -2), "a -> (b + a) (a + b)", id="diag_embed, offset"),
        pytest.param(case(aten.trace.default, floats(3, 3)), "a a -> ()", id="trace"),
    ],
)
def test_notation(call, expected):
    assert shown(call) == expected


def shift_windows(x: torch.Tensor) -> Any:
    return torch.roll(x, (-1, -1), (1, 2))


def test_rolled_space_leaves_channels_free():
    assert said(shift_windows, (2, 4, 4, 3)) == "a B C d -> a B C d"
