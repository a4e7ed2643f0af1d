"""Batch, layer, group and weight norms; softmax."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.equivariance import Case, case, check_drawn, dim_of, floats, follow, masks, positive, shapes, sizes
from tests.ops.notation import said, shown
from wsel_graph.ops import Unsupported

aten = torch.ops.aten


@st.composite
def channel_arguments(draw: st.DrawFn) -> tuple[torch.Tensor, list[Any]]:
    """An input of more than one element per channel, and weight, bias, running mean and variance."""
    batch, channels, *space = draw(shapes(min_dims=2))
    affine, tracked = draw(st.booleans()), draw(st.booleans())
    scales = [positive(channels), floats(channels)] if affine else [None, None]
    statistics = [floats(channels), positive(channels)] if tracked else [None, None]
    return floats(batch + 1, channels, *space), [*scales, *statistics]


def batch_norms(op: Any, *rest: Any, training: bool | None = True) -> st.SearchStrategy[Case]:
    """`op(x, weight, bias, mean, variance[, training], *rest)`; without statistics only in training."""

    def make(drawn: tuple[torch.Tensor, list[Any]], train: bool) -> Case:
        x, arguments = drawn
        if not train and arguments[-1] is None:
            arguments = [*arguments[:2], floats(x.shape[1]), positive(x.shape[1])]
        return case(op, x, *arguments, *([train] if training is not None else []), *rest)

    return st.builds(make, channel_arguments(), st.booleans() if training else st.just(False))


@st.composite
def updating_batch_norms(draw: st.DrawFn, op: Any, *rest: Any) -> Case:
    x, arguments = draw(channel_arguments())
    channels = x.shape[1]
    return case(op, x, *arguments[:2], floats(channels), positive(channels), *rest)


@st.composite
def bare_batch_norms(draw: st.DrawFn) -> Case:
    x, arguments = draw(channel_arguments())
    return case(aten._native_batch_norm_legit.no_stats, x, *arguments[:2], True, 0.1, 1e-5)


@st.composite
def instance_norms(draw: st.DrawFn) -> Case:
    batch, channels, *space = draw(shapes(min_dims=3))
    scales = [positive(channels), floats(channels)] if draw(st.booleans()) else [None, None]
    own = draw(st.booleans())
    statistics = [None, None] if own else [floats(channels), positive(channels)]
    x = floats(batch, channels, space[0] + 1, *space[1:])
    return case(aten.instance_norm.default, x, *scales, *statistics, own, 0.1, 1e-5, False)


def layer_norms(op: Any, *rest: Any, biased: bool = True) -> st.SearchStrategy[Case]:
    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        shape = draw(shapes(min_dims=1))
        last = shape[draw(st.integers(0, len(shape) - 1)) :]
        scales = [floats(*last) if draw(st.booleans()) else None for _ in range(1 + biased)]
        return case(op, floats(*shape), list(last), *scales, *rest)

    return draw_case()


@st.composite
def groups_of_channels(draw: st.DrawFn) -> tuple[torch.Tensor, list[Any], int]:
    batch, groups, inner, *space = draw(sizes), draw(sizes), draw(sizes), *draw(shapes(max_dims=2))
    scales = [floats(groups * inner) if draw(st.booleans()) else None for _ in range(2)]
    return floats(batch, groups * inner, *space, 2), scales, groups


def native_group_norms() -> st.SearchStrategy[Case]:
    def make(drawn: tuple[torch.Tensor, list[Any], int]) -> Case:
        x, scales, groups = drawn
        n, c = x.shape[:2]
        return case(aten.native_group_norm.default, x, *scales, n, c, x.numel() // (n * c), groups, 1e-5)

    return groups_of_channels().map(make)


def softmaxes(op: Any, *rest: Any) -> st.SearchStrategy[Case]:
    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        shape = draw(shapes())
        return case(op, floats(*shape), draw(dim_of(max(1, len(shape)))), *rest)

    return draw_case()


@st.composite
def masked_softmaxes(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1))
    return case(aten._masked_softmax.default, floats(*shape), masks(*shape), draw(dim_of(len(shape))), 2)


def weight_norms(op: Any) -> st.SearchStrategy[Case]:
    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        shape = draw(shapes(min_dims=2, max_dims=3))
        dim = draw(st.sampled_from((0, len(shape) - 1)))
        lengths = [size if d == dim else 1 for d, size in enumerate(shape)]
        return case(op, floats(*shape), floats(*lengths), dim)

    return draw_case()


@st.composite
def renorms(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=2))
    return case(aten.renorm.default, floats(*shape), 2, draw(dim_of(len(shape))), 0.5)


CASES: dict[str, st.SearchStrategy[Case]] = {
    "aten::native_batch_norm": batch_norms(aten.native_batch_norm.default, 0.1, 1e-5),
    "aten::batch_norm": batch_norms(aten.batch_norm.default, 0.1, 1e-5, False),
    "aten::_native_batch_norm_legit": st.one_of(
        updating_batch_norms(aten._native_batch_norm_legit.default, True, 0.1, 1e-5), bare_batch_norms()
    ),
    "aten::_native_batch_norm_legit_no_training": batch_norms(
        aten._native_batch_norm_legit_no_training.default, 0.1, 1e-5, training=None
    ),
    "aten::_native_batch_norm_legit_functional": updating_batch_norms(
        aten._native_batch_norm_legit_functional.default, True, 0.1, 1e-5
    ),
    "aten::_batch_norm_with_update": updating_batch_norms(aten._batch_norm_with_update.default, 0.1, 1e-5),
    "aten::_batch_norm_no_update": updating_batch_norms(aten._batch_norm_no_update.default, 0.1, 1e-5),
    "aten::_batch_norm_impl_index": batch_norms(aten._batch_norm_impl_index.default, 0.1, 1e-5, False),
    "aten::instance_norm": instance_norms(),
    "aten::native_layer_norm": layer_norms(aten.native_layer_norm.default, 1e-5),
    "aten::layer_norm": layer_norms(aten.layer_norm.default),
    "aten::rms_norm": layer_norms(aten.rms_norm.default, biased=False),
    "aten::_fused_rms_norm": layer_norms(aten._fused_rms_norm.default, 1e-5, biased=False),
    "aten::native_group_norm": native_group_norms(),
    "aten::group_norm": groups_of_channels().map(lambda d: case(aten.group_norm.default, d[0], d[2], *d[1])),
    "aten::_softmax": softmaxes(aten._softmax.default, False),
    "aten::softmax": softmaxes(aten.softmax.int),
    "aten::_log_softmax": softmaxes(aten._log_softmax.default, False),
    "aten::log_softmax": softmaxes(aten.log_softmax.int),
    "aten::_safe_softmax": softmaxes(aten._safe_softmax.default),
    "aten::special_softmax": softmaxes(aten.special_softmax.default),
    "aten::_masked_softmax": masked_softmaxes(),
    "aten::_weight_norm": weight_norms(aten._weight_norm.default),
    "aten::_weight_norm_interface": weight_norms(aten._weight_norm_interface.default),
    "aten::renorm": renorms(),
}


@pytest.mark.parametrize("name", sorted(CASES))
@given(data=st.data())
def test_rule_holds(name, data):
    check_drawn(name, CASES, data)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(
            case(aten.native_layer_norm.default, floats(2, 3, 4), [4], floats(4), floats(4), 1e-5),
            "a b c, c, c -> a b c, a b 1, a b 1",
            id="layer norm",
        ),
        pytest.param(
            case(aten.native_group_norm.default, floats(2, 6, 5), floats(6), None, 2, 6, 5, 3, 1e-5),
            "a (b c) d, (b c) -> a (b c) d, a b, a b",
            id="group norm",
        ),
        pytest.param(case(aten._softmax.default, floats(2, 3), 1, False), "a b -> a b", id="softmax"),
        pytest.param(
            case(aten._weight_norm_interface.default, floats(2, 3, 4), floats(2, 1, 1)),
            "a b c, a 1 1 -> a b c, a 1 1",
            id="weight norm",
        ),
    ],
)
def test_notation(call, expected):
    assert shown(call) == expected


def instance_norm(x: torch.Tensor, weight: torch.Tensor) -> Any:
    return torch.nn.functional.instance_norm(x, weight=weight)


def l2_normalize(x: torch.Tensor) -> Any:
    return torch.nn.functional.normalize(x, dim=1)


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        pytest.param(instance_norm, [(2, 3, 5), (3,)], "a b c, b -> a b c", id="instance norm, taken apart"),
        pytest.param(l2_normalize, [(2, 3)], "a b -> a b", id="l2 norm"),
    ],
)
def test_chains(function, shapes, expected):
    assert said(function, *shapes) == expected


def test_masks_placed_by_type_are_refused():
    with pytest.raises(Unsupported, match="softmax mask"):
        follow(case(aten._masked_softmax.default, floats(2, 1, 2, 2), masks(2, 2), 3, 1))
