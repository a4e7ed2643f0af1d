"""Slices, selections, splits, and writing to them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.equivariance import Case, case, check_drawn, dim_of, floats, follow, shapes
from tests.ops.notation import said, shown
from wsel_graph.axes import concat
from wsel_graph.ops import Unsupported

aten = torch.ops.aten


@st.composite
def ranges(draw: st.DrawFn) -> tuple[tuple[int, ...], int, int | None, int | None, int]:
    """A shape, a dim of it, and the start, stop and step of a slice."""
    shape = draw(shapes(min_dims=1))
    dim = draw(dim_of(len(shape)))
    bound = st.none() | st.integers(-shape[dim] - 1, shape[dim] + 1)
    return shape, dim, draw(bound), draw(bound), draw(st.integers(1, 4))


def slices() -> st.SearchStrategy[Case]:
    return ranges().map(lambda r: case(aten.slice.Tensor, floats(*r[0]), *r[1:]))


def slice_scatters() -> st.SearchStrategy[Case]:
    def write(r: tuple[Any, ...]) -> Case:
        x = floats(*r[0])
        return case(aten.slice_scatter.default, x, torch.rand_like(aten.slice(x, *r[1:])), *r[1:])

    return ranges().map(write)


@st.composite
def narrows(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1))
    dim = draw(dim_of(len(shape)))
    start = draw(st.integers(0, shape[dim]))
    length = draw(st.integers(0, shape[dim] - start))
    return case(aten.narrow.default, floats(*shape), dim, start - shape[dim] * draw(st.integers(0, 1)), length)


@st.composite
def places(draw: st.DrawFn) -> tuple[tuple[int, ...], int, int]:
    """A shape, a dim of it and a position there."""
    shape = draw(shapes(min_dims=1))
    dim = draw(dim_of(len(shape)))
    return shape, dim, draw(st.integers(-shape[dim], shape[dim] - 1))


def select_scatters() -> st.SearchStrategy[Case]:
    def write(place: tuple[tuple[int, ...], int, int]) -> Case:
        x = floats(*place[0])
        return case(aten.select_scatter.default, x, torch.rand_like(aten.select(x, *place[1:])), *place[1:])

    return places().map(write)


def equal_splits(op: Any) -> st.SearchStrategy[Case]:
    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        shape = draw(shapes(min_dims=1))
        return case(op, floats(*shape), draw(st.integers(1, 4)), draw(dim_of(len(shape))))

    return draw_case()


def sized_splits(op: Any) -> st.SearchStrategy[Case]:
    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        shape = draw(shapes(min_dims=1))
        dim, rest, parts = draw(dim_of(len(shape))), 0, []
        while (rest := sum(parts)) < shape[dim]:
            parts.append(draw(st.integers(0 if len(parts) < 3 else 1, shape[dim] - rest)))
        return case(op, floats(*shape), parts, dim)

    return draw_case()


@st.composite
def cuts_at(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1))
    dim = draw(dim_of(len(shape)))
    at = sorted(draw(st.lists(st.integers(0, shape[dim]), max_size=3)))
    return case(aten.tensor_split.indices, floats(*shape), at, dim)


@st.composite
def unbinds(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1))
    return case(aten.unbind.int, floats(*shape), draw(dim_of(len(shape))))


@st.composite
def glus(draw: st.DrawFn) -> Case:
    shape = list(draw(shapes(min_dims=1)))
    dim = draw(dim_of(len(shape)))
    shape[dim] *= 2
    return case(aten.glu.default, floats(*shape), dim)


CASES: dict[str, st.SearchStrategy[Case]] = {
    "aten::slice": slices(),
    "aten::narrow": narrows(),
    "aten::select": places().map(lambda p: case(aten.select.int, floats(*p[0]), *p[1:])),
    "aten::split": st.one_of(equal_splits(aten.split.Tensor), sized_splits(aten.split.sizes)),
    "aten::split_with_sizes": sized_splits(aten.split_with_sizes.default),
    "aten::chunk": equal_splits(aten.chunk.default),
    "aten::tensor_split": st.one_of(equal_splits(aten.tensor_split.sections), cuts_at()),
    "aten::unsafe_split": equal_splits(aten.unsafe_split.Tensor),
    "aten::unsafe_chunk": equal_splits(aten.unsafe_chunk.default),
    "aten::unsafe_split_with_sizes": sized_splits(aten.unsafe_split_with_sizes.default),
    "aten::unbind": unbinds(),
    "aten::glu": glus(),
    "aten::slice_scatter": slice_scatters(),
    "aten::select_scatter": select_scatters(),
}


@pytest.mark.parametrize("name", sorted(CASES))
@given(data=st.data())
def test_rule_holds(name, data):
    check_drawn(name, CASES, data)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(case(aten.slice.Tensor, floats(5), 0, 1, 3), "(1 + a + b) -> a", id="middle"),
        pytest.param(case(aten.slice.Tensor, floats(5), 0, -2, None), "(a + b) -> b", id="negative start"),
        pytest.param(case(aten.slice.Tensor, floats(5), 0, -9, 9), "a -> a", id="bounds beyond the ends"),
        pytest.param(case(aten.slice.Tensor, floats(6), 0, 1, None, 2), "(a 2) -> a", id="every second"),
        pytest.param(case(aten.slice.Tensor, floats(8), 0, 2, 7, 2), "((1 + a) 2) -> a", id="some of every second"),
        pytest.param(case(aten.slice.Tensor, floats(5), 0, 0, None, 2), "A -> B", id="step that does not divide"),
        pytest.param(case(aten.slice.Tensor, floats(5), 0, 3, 4, 2), "(a + 2) -> 1", id="a step of one element"),
        pytest.param(case(aten.slice.Tensor, floats(5), 0, 3, 3), "a -> 0", id="nothing taken, nothing cut"),
        pytest.param(case(aten.select.int, floats(5, 2), 0, -1), "(a + 1) b -> b", id="select"),
        pytest.param(case(aten.unbind.int, floats(3, 2), 0), "3 a -> a, a, a", id="unbind"),
        pytest.param(case(aten.chunk.default, floats(6, 2), 2, 0), "(a + b) c -> a c, b c", id="chunk"),
        pytest.param(case(aten.glu.default, floats(6, 2), 0), "(2 a) b -> a b", id="glu"),
        pytest.param(case(aten.slice_scatter.default, floats(5), floats(2), 0, 3), "(a + b), b -> (a + b)", id="write"),
    ],
)
def test_notation(call, expected):
    assert shown(call) == expected


def fused_qkv(qkv: torch.Tensor) -> Any:
    query, key, value = qkv.chunk(3, dim=-1)
    return query * key, value


def rotate_half(x: torch.Tensor, angles: torch.Tensor) -> Any:
    first, second = x.chunk(2, dim=-1)
    return x * angles.cos() + torch.cat((-second, first), dim=-1) * angles.sin()


def rotate_pairs(x: torch.Tensor) -> Any:
    return torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2) + x


def gates(x: torch.Tensor) -> Any:
    i, f, g, o = x.chunk(4, dim=-1)
    return i.sigmoid() * g.tanh() + f.sigmoid() * o


def swiglu(x: torch.Tensor) -> Any:
    return torch.nn.functional.silu(x[..., :4]) * x[..., 4:]


def class_token(x: torch.Tensor) -> Any:
    return x[:, 0], x[:, 1:]


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        pytest.param(fused_qkv, [(5, 12)], "a ((2 b) + c) -> a b, a c", id="fused qkv by chunk"),
        pytest.param(rotate_half, [(5, 8), (5, 8)], "a (2 b), a (2 b) -> a (2 b)", id="rotary: halves"),
        pytest.param(rotate_pairs, [(5, 8)], "a (b 2) -> a (b 2)", id="rotary: neighbours"),
        pytest.param(gates, [(5, 12)], "a (4 b) -> a b", id="lstm gates"),
        pytest.param(swiglu, [(5, 8)], "a (2 b) -> a b", id="swiglu by slices"),
        pytest.param(class_token, [(2, 5, 3)], "a (1 + b) c -> a c, a b c", id="class token"),
    ],
)
def test_chains(function, shapes, expected):
    assert said(function, *shapes) == expected


def test_thousands_of_parts():
    followed = follow(case(aten.split.Tensor, floats(6000), 2, 0))
    (_, (whole,)), parts = followed.operands[0], [axes[0] for axes in followed.results]
    assert whole == concat(*parts)


def test_narrow_at_a_computed_place_is_refused():
    with pytest.raises(Unsupported, match="tensor as start"):
        follow(case(aten.narrow.Tensor, floats(4), 0, torch.tensor(1), 2))
