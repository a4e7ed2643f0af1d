"""Reductions, scans, orderings, losses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.equivariance import (
    Case,
    broadcastable,
    case,
    check,
    check_drawn,
    dim_of,
    dims_of,
    floats,
    follow,
    integers,
    masks,
    positive,
    seldom,
    shapes,
)
from tests.ops.notation import said, shown
from wsel_graph.ops import Unsupported

aten = torch.ops.aten


def whole(op: Any, make: Any = floats, *rest: Any) -> st.SearchStrategy[Case]:
    """`op` over all elements."""
    return shapes().map(lambda shape: case(op, make(*shape), *rest))


def over_dims(op: Any, *before: Any, make: Any = floats, empty: bool = True, **named: Any) -> st.SearchStrategy[Case]:
    """`op(x, *before, dims, keepdim)`; no dims mean all."""

    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        shape = draw(shapes(min_dims=1))
        dims = draw(dims_of(len(shape), min_size=0 if empty else 1))
        given_by_name = {"keepdim": draw(st.booleans()), **named}
        return case(op, make(*shape), *before, dims, **given_by_name)

    return draw_case()


def over_one(op: Any, *before: Any, make: Any = floats, **named: Any) -> st.SearchStrategy[Case]:
    """`op(x, *before, dim, keepdim)`, scalars included."""

    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        shape = draw(shapes())
        given_by_name = {"keepdim": draw(st.booleans()), **named}
        return case(op, make(*shape), *before, draw(dim_of(max(1, len(shape)))), **given_by_name)

    return draw_case()


def along(op: Any, *rest: Any, **named: Any) -> st.SearchStrategy[Case]:
    """`op(x, dim, *rest)` of the same shape, scalars included."""

    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        shape = draw(shapes())
        return case(op, floats(*shape), draw(dim_of(max(1, len(shape)))), *rest, **named)

    return draw_case()


@st.composite
def keyword_scans(draw: st.DrawFn, op: Any) -> Case:
    shape = draw(shapes(min_dims=1))
    return case(op, floats(*shape), stable=True, dim=draw(dim_of(len(shape))), descending=draw(st.booleans()))


@st.composite
def diffs(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1))
    return case(aten.diff.default, floats(*shape), draw(st.integers(0, 2)), draw(dim_of(len(shape))))


@st.composite
def optional_dims(draw: st.DrawFn, op: Any) -> Case:
    shape = draw(shapes(min_dims=1))
    return case(op, floats(*shape), dim=draw(st.none() | dim_of(len(shape))), keepdim=draw(st.booleans()))


@st.composite
def topks(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1))
    dim = draw(dim_of(len(shape)))
    return case(aten.topk.default, floats(*shape), draw(st.integers(0, shape[dim])), dim)


@st.composite
def bincounts(draw: st.DrawFn) -> Case:
    n = draw(st.integers(1, 6))
    return case(aten.bincount.default, integers(4, n), positive(n) if draw(st.booleans()) else None, 3)


def pairs(op: Any, make: Any = floats, target: Any = floats, **named: Any) -> st.SearchStrategy[Case]:
    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        shape = draw(shapes())
        other = draw(broadcastable(shape)) if draw(seldom) else shape
        return case(op, make(*shape), target(*other), **named)

    return draw_case()


def losses(op: Any, make: Any = floats, target: Any = floats) -> st.SearchStrategy[Case]:
    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        shape = draw(shapes())
        return case(op, make(*shape), target(*shape), reduction=draw(st.integers(0, 2)))

    return draw_case()


@st.composite
def weighted_losses(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1))
    weight, positive_weight = (positive(*draw(broadcastable(shape))) if draw(st.booleans()) else None for _ in range(2))
    reduction = draw(st.integers(0, 2))
    op = aten.binary_cross_entropy_with_logits.default
    return case(op, floats(*shape), positive(*shape), weight, positive_weight, reduction)


def probabilities(*shape: int) -> torch.Tensor:
    return torch.rand(shape, dtype=torch.float64)


def signs(*shape: int) -> torch.Tensor:
    return floats(*shape).sign()


@st.composite
def class_losses(draw: st.DrawFn, op: Any, space: bool) -> Case:
    batch = draw(shapes(min_dims=1 if space else 0, max_dims=1))
    places = draw(shapes(min_dims=2, max_dims=2)) if space else ()
    weight = positive(4) if draw(st.booleans()) else None
    return case(op, floats(*batch, 4, *places), integers(4, *batch, *places), weight, draw(st.integers(0, 2)), -100)


CASES: dict[str, st.SearchStrategy[Case]] = {
    "aten::sum": st.one_of(whole(aten.sum.default), over_dims(aten.sum.dim_IntList)),
    "aten::mean": st.one_of(whole(aten.mean.default), over_dims(aten.mean.dim)),
    "aten::amax": over_dims(aten.amax.default),
    "aten::amin": over_dims(aten.amin.default),
    "aten::prod": st.one_of(whole(aten.prod.default), over_one(aten.prod.dim_int)),
    "aten::var": st.one_of(
        whole(aten.var.default), over_dims(aten.var.dim, unbiased=False), over_dims(aten.var.correction)
    ),
    "aten::std": over_dims(aten.std.correction, correction=0),
    "aten::logsumexp": over_dims(aten.logsumexp.default, empty=False),
    "aten::special_logsumexp": over_dims(aten.special_logsumexp.default, empty=False),
    "aten::norm": st.one_of(
        whole(aten.norm.Scalar, floats, 2), over_dims(aten.norm.ScalarOpt_dim, 3), over_dims(aten.norm.ScalarOpt_dim, 2)
    ),
    "aten::nansum": over_dims(aten.nansum.default),
    "aten::nanmean": over_dims(aten.nanmean.default, empty=False),
    "aten::linalg_vector_norm": over_dims(aten.linalg_vector_norm.default, 2),
    "aten::any": st.one_of(whole(aten.any.default, masks), over_one(aten.any.dim, make=masks)),
    "aten::all": st.one_of(over_one(aten.all.dim, make=masks), over_dims(aten.all.dims, make=masks)),
    "aten::count_nonzero": shapes(min_dims=1).map(
        lambda s: case(aten.count_nonzero.dim_IntList, masks(*s), [0, -1][: len(s)])
    ),
    "aten::_is_all_true": whole(aten._is_all_true.default, masks),
    "aten::_is_any_true": whole(aten._is_any_true.default, masks),
    "aten::var_mean": over_dims(aten.var_mean.correction),
    "aten::std_mean": over_dims(aten.std_mean.correction),
    "aten::aminmax": optional_dims(aten.aminmax.default),
    "aten::max": st.one_of(whole(aten.max.default), over_one(aten.max.dim), pairs(aten.max.other)),
    "aten::min": st.one_of(whole(aten.min.default), over_one(aten.min.dim), pairs(aten.min.other)),
    "aten::median": st.one_of(whole(aten.median.default), over_one(aten.median.dim)),
    "aten::nanmedian": over_one(aten.nanmedian.dim),
    "aten::mode": over_one(aten.mode.default, make=lambda *s: integers(3, *s)),
    "aten::kthvalue": over_one(aten.kthvalue.default, 1),
    "aten::argmax": optional_dims(aten.argmax.default),
    "aten::argmin": optional_dims(aten.argmin.default),
    "aten::cumsum": st.one_of(along(aten.cumsum.default), along(aten.cumsum_.default)),
    "aten::cumprod": st.one_of(along(aten.cumprod.default), along(aten.cumprod_.default)),
    "aten::logcumsumexp": along(aten.logcumsumexp.default),
    "aten::_logcumsumexp": along(aten._logcumsumexp.default),
    "aten::cummax": along(aten.cummax.default),
    "aten::cummin": along(aten.cummin.default),
    "aten::sort": st.one_of(along(aten.sort.default, True), keyword_scans(aten.sort.stable)),
    "aten::argsort": st.one_of(along(aten.argsort.default), keyword_scans(aten.argsort.stable)),
    "aten::msort": shapes(min_dims=1).map(lambda s: case(aten.msort.default, floats(*s))),
    "aten::diff": diffs(),
    "aten::topk": topks(),
    "aten::histc": whole(aten.histc.default, floats, 5),
    "aten::bincount": bincounts(),
    "aten::dist": pairs(aten.dist.default),
    "aten::mse_loss": losses(aten.mse_loss.default),
    "aten::smooth_l1_loss": losses(aten.smooth_l1_loss.default),
    "aten::huber_loss": losses(aten.huber_loss.default),
    "aten::soft_margin_loss": losses(aten.soft_margin_loss.default, target=signs),
    "aten::binary_cross_entropy": losses(aten.binary_cross_entropy.default, probabilities, probabilities),
    "aten::binary_cross_entropy_with_logits": weighted_losses(),
    "aten::nll_loss_forward": class_losses(aten.nll_loss_forward.default, space=False),
    "aten::nll_loss2d_forward": class_losses(aten.nll_loss2d_forward.default, space=True),
}


@pytest.mark.parametrize("name", sorted(CASES))
@given(data=st.data())
def test_rule_holds(name, data):
    check_drawn(name, CASES, data)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(case(aten.sum.dim_IntList, floats(2, 3, 4), [0, -1]), "a b c -> b", id="sum"),
        pytest.param(case(aten.mean.dim, floats(2, 3), [1], True), "a b -> a 1", id="mean, dim kept"),
        pytest.param(case(aten.amax.default, floats(2, 3), []), "a b -> ()", id="all dims"),
        pytest.param(case(aten.cumsum.default, floats(2, 3), 1), "a B -> a B", id="scan"),
        pytest.param(case(aten.topk.default, floats(2, 5), 3), "a B -> a C, a C", id="topk"),
        pytest.param(case(aten.msort.default, floats(2, 3)), "a b -> C b", id="msort"),
        pytest.param(case(aten.argmax.default, floats(2, 3), 1), "a B -> a", id="argmax"),
        pytest.param(case(aten.max.dim, floats(2, 3), 1), "a B -> a, a", id="max, index used"),
        pytest.param(
            case(aten.nll_loss_forward.default, floats(3, 4), integers(4, 3), None, 0, -100),
            "a B, a -> a, ()",
            id="nll",
        ),
    ],
)
def test_notation(call, expected):
    assert shown(call) == expected


def largest(x: torch.Tensor) -> Any:
    return x.max(dim=-1).values


def above_the_second(x: torch.Tensor) -> Any:
    return x * (x >= x.topk(2, dim=-1).values[..., 1:])


@pytest.mark.parametrize(
    ("function", "expected"),
    [pytest.param(largest, "a b -> a", id="maximum"), pytest.param(above_the_second, "a b -> a b", id="threshold")],
)
def test_an_axis_stays_free_while_nobody_asks_for_places(function, expected):
    assert said(function, (2, 3)) == expected


def test_differences_with_something_prepended_are_refused():
    with pytest.raises(Unsupported, match="prepended"):
        follow(case(aten.diff.default, floats(3), 1, -1, floats(1)))


def test_reductions_into_a_given_tensor():
    check(case(aten.sum.IntList_out, floats(2, 3), [1], out=floats(2)))
    check(case(aten.max.dim_max, floats(2, 3), 1, max=floats(2), max_values=integers(3, 2)))
