"""Reshapes, orders of dims, complex numbers, windows."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.equivariance import (
    Case,
    case,
    check,
    check_drawn,
    check_equivariance,
    dim_of,
    floats,
    follow,
    one,
    shapes,
    sizes,
)
from tests.ops.notation import said, shown
from wsel_graph.ops import Unsupported

aten = torch.ops.aten


@st.composite
def regrouped(draw: st.DrawFn) -> tuple[tuple[int, ...], list[int]]:
    """A shape, and another one of as many elements."""
    shape = draw(shapes(min_dims=1))
    rest, target = math.prod(shape), []
    while rest > 1 and len(target) < 4:
        target.append(draw(st.sampled_from([d for d in range(1, rest + 1) if rest % d == 0])))
        rest //= target[-1]
    return shape, [*target, rest] if rest > 1 or not target else target


def reshaping(op: Any) -> st.SearchStrategy[Case]:
    return regrouped().map(lambda pair: case(op, floats(*pair[0]), pair[1]))


def any_shape(op: Any, *rest: Any, min_dims: int = 0, max_dims: int = 4) -> st.SearchStrategy[Case]:
    return shapes(min_dims, max_dims).map(lambda shape: case(op, floats(*shape), *rest))


@st.composite
def flattenings(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1))
    first = draw(st.integers(0, len(shape) - 1))
    return case(aten.flatten.using_ints, floats(*shape), first, draw(st.integers(first, len(shape) - 1)))


@st.composite
def unflattenings(draw: st.DrawFn) -> Case:
    inner = draw(shapes(min_dims=1, max_dims=3))
    before, after = draw(shapes(max_dims=2)), draw(shapes(max_dims=1))
    x = floats(*before, math.prod(inner), *after)
    return case(aten.unflatten.int, x, len(before), list(inner))


@st.composite
def squeezes(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1))
    if draw(st.booleans()):
        return case(aten.squeeze.default, floats(*shape))
    return case(aten.squeeze.dim, floats(*shape), draw(dim_of(len(shape))))


@st.composite
def permutations(draw: st.DrawFn) -> Case:
    shape = draw(shapes())
    order = draw(st.permutations(range(len(shape))))
    return case(aten.permute.default, floats(*shape), [d - len(shape) * draw(st.integers(0, 1)) for d in order])


def swaps(op: Any) -> st.SearchStrategy[Case]:
    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        shape = draw(shapes())
        dims = dim_of(max(1, len(shape)))
        return case(op, floats(*shape), draw(dims), draw(dims))

    return draw_case()


def moves(op: Any) -> st.SearchStrategy[Case]:
    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        shape = draw(shapes(min_dims=1))
        count = draw(st.integers(1, len(shape)))
        source, target = (draw(st.permutations(range(len(shape))))[:count] for _ in range(2))
        return case(op, floats(*shape), [d - len(shape) * draw(st.integers(0, 1)) for d in source], target)

    return draw_case()


@st.composite
def unfolds(draw: st.DrawFn) -> Case:
    shape = draw(shapes())
    dim = draw(dim_of(len(shape))) if shape else 0
    size = draw(st.integers(1, shape[dim] if shape else 1))
    step = size if draw(st.booleans()) else draw(st.integers(1, 4))
    return case(aten.unfold.default, floats(*shape), dim, size, step)


@st.composite
def folds(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1))
    dim, size, step = draw(st.integers(0, len(shape) - 1)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    full = (*shape[:dim], (shape[dim] - 1) * step + size, *shape[dim + 1 :])
    return case(aten.unfold_backward.default, floats(*shape, size), list(full), dim, size, step)


CASES: dict[str, st.SearchStrategy[Case]] = {
    "aten::view.default": reshaping(aten.view.default),
    "aten::_unsafe_view": reshaping(aten._unsafe_view.default),
    "aten::reshape": reshaping(aten.reshape.default),
    "aten::_reshape_alias": one(lambda: case(aten._reshape_alias.default, floats(2, 6), [4, 3], [3, 1])),
    "aten::flatten": flattenings(),
    "aten::unflatten": unflattenings(),
    "aten::squeeze": squeezes(),
    "aten::unsqueeze": any_shape(aten.unsqueeze.default, -1),
    "aten::ravel": any_shape(aten.ravel.default),
    "aten::view_as": regrouped().map(lambda pair: case(aten.view_as.default, floats(*pair[0]), floats(*pair[1]))),
    "aten::atleast_1d": any_shape(aten.atleast_1d.default),
    "aten::atleast_2d": any_shape(aten.atleast_2d.default),
    "aten::atleast_3d": any_shape(aten.atleast_3d.default),
    "aten::view.dtype": any_shape(aten.view.dtype, torch.int64),
    "aten::view_as_complex": shapes().map(lambda s: case(aten.view_as_complex.default, floats(*s, 2))),
    "aten::view_as_real": shapes().map(
        lambda s: case(aten.view_as_real.default, torch.complex(floats(*s), floats(*s)))
    ),
    "aten::as_strided": st.sampled_from([([3, 5], [2, 3], 1), ([4, 6], [6, 1]), ([2, 2, 6], [12, 6, 1])]).map(
        lambda view: case(aten.as_strided.default, floats(4, 6), *view)
    ),
    "aten::permute": permutations(),
    "aten::transpose": swaps(aten.transpose.int),
    "aten::swapaxes": swaps(aten.swapaxes.default),
    "aten::swapdims": swaps(aten.swapdims.default),
    "aten::t": any_shape(aten.t.default, max_dims=2),
    "aten::mT": any_shape(aten.mT.default, min_dims=2),
    "aten::mH": any_shape(aten.mH.default, min_dims=2),
    "aten::matrix_H": any_shape(aten.matrix_H.default, min_dims=2, max_dims=2),
    "aten::adjoint": any_shape(aten.adjoint.default, min_dims=2),
    "aten::numpy_T": any_shape(aten.numpy_T.default, min_dims=2, max_dims=2),
    "aten::movedim": moves(aten.movedim.intlist),
    "aten::moveaxis": moves(aten.moveaxis.intlist),
    "aten::unfold": unfolds(),
    "aten::unfold_backward": folds(),
}


@pytest.mark.parametrize("name", sorted(CASES))
@given(data=st.data())
def test_rule_holds(name, data):
    check_drawn(name, CASES, data)


@given(shape=shapes(min_dims=1), size=sizes)
def test_copying_variants_follow_the_view(shape, size):
    check_equivariance(aten.view_copy.default, floats(*shape, size), [math.prod(shape) * size])
    check_equivariance(aten.permute_copy.default, floats(*shape, size), list(range(len(shape), -1, -1)))
    check_equivariance(aten.unsqueeze_copy.default, floats(*shape), 0)


def test_in_place_variants_change_the_shape():
    check(case(aten.transpose_.default, floats(2, 3, 4), 0, -1))
    check(case(aten.squeeze_.dim, floats(2, 1, 4), 1))
    check(case(aten.t_.default, floats(2, 3)))


def test_a_strided_view_is_a_reshape_of_row_major_tensors_only():
    x = floats(2, 3)
    assert shown(case(aten.as_strided.default, x, [6], [1])) == "a b -> (a b)"
    assert not torch.equal(x.t().as_strided((6,), (1,)), x.t().reshape(6))
    assert shown(case(aten.as_strided.default, x.t(), [6], [1])) == "A B -> C"
    assert shown(case(aten.as_strided.default, x, [6], [1], 0)) == "A B -> C"


def test_bytes_of_another_size_are_refused():
    with pytest.raises(Unsupported, match="number of elements"):
        follow(case(aten.view.dtype, floats(2, 4), torch.float32))


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(case(aten.view.default, floats(2, 3), [6]), "a b -> (a b)", id="merge"),
        pytest.param(case(aten.view.default, floats(6), [2, 3]), "(a b) -> a b", id="split"),
        pytest.param(case(aten.view.default, floats(2, 6), [4, 3]), "a (b c) -> (a b) c", id="regroup"),
        pytest.param(case(aten.view.default, floats(2, 3), [3, 2]), "A B -> C D", id="no common factor"),
        pytest.param(case(aten.view.default, floats(4, 1, 6), [1, 4, 2, 3]), "a 1 (b c) -> 1 a b c", id="size 1"),
        pytest.param(case(aten.permute.default, floats(2, 3, 4), [2, 0, 1]), "a b c -> c a b", id="permute"),
        pytest.param(case(aten.movedim.int, floats(2, 3, 4), 0, -1), "a b c -> b c a", id="movedim"),
        pytest.param(case(aten.unfold.default, floats(2, 6), 1, 3, 3), "a (b c) -> a b c", id="windows side by side"),
        pytest.param(case(aten.unfold.default, floats(2, 7), 1, 3, 3), "a ((b c) + 1) -> a b c", id="a rest stays out"),
        pytest.param(case(aten.unfold.default, floats(2, 6), 1, 3, 1), "a B -> a C D", id="windows overlap"),
        pytest.param(case(aten.view_as_complex.default, floats(3, 2)), "a 2 -> a", id="complex"),
    ],
)
def test_notation(call, expected):
    assert shown(call) == expected


def split_heads(qkv: torch.Tensor) -> Any:
    return qkv.reshape(5, 3, 2, 4).permute(1, 2, 0, 3).unbind(0)


def merge_heads(x: torch.Tensor) -> Any:
    return x.transpose(0, 1).reshape(5, 8)


def spatial_tokens(x: torch.Tensor) -> Any:
    return x.flatten(2).transpose(1, 2)


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        pytest.param(split_heads, [(5, 24)], "a (3 b c) -> b a c, b a c, b a c", id="fused qkv by view and unbind"),
        pytest.param(merge_heads, [(2, 5, 4)], "a b c -> b (a c)", id="heads merged"),
        pytest.param(spatial_tokens, [(2, 3, 4, 5)], "a b c d -> a (c d) b", id="image to tokens"),
    ],
)
def test_chains(function, shapes, expected):
    assert said(function, *shapes) == expected
