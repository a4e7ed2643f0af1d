"""Pooling, resampling, sampling, padding, and shuffles between space and channels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.equivariance import Case, case, check_drawn, floats, positive, sizes
from tests.ops.notation import said, shown
from tests.zoo import torchvision_stub

torchvision_stub.install()

aten = torch.ops.aten


@st.composite
def images(draw: st.DrawFn, rank: int, least: int = 2, batched: bool | None = None) -> torch.Tensor:
    """`n c *s` or `c *s`."""
    batched = draw(st.booleans()) if batched is None else batched
    lead = [draw(sizes) for _ in range(1 + batched)]
    return floats(*lead, *(draw(st.integers(least, 5)) for _ in range(rank)))


def pooled(op: Any, rank: int) -> st.SearchStrategy[Case]:
    return st.builds(
        lambda x, kernel, stride, pad: case(op, x, [kernel] * rank, [stride] * rank, [pad] * rank),
        images(rank),
        st.just(2),
        st.integers(1, 2),
        st.integers(0, 1),
    )


def adaptive(op: Any, rank: int) -> st.SearchStrategy[Case]:
    return st.builds(lambda x, size: case(op, x, [size] * rank), images(rank), st.integers(1, 3))


def resampled(op: Any, rank: int, *options: Any) -> st.SearchStrategy[Case]:
    return st.builds(
        lambda x, size: case(op, x, [size] * rank, *options), images(rank, batched=True), st.integers(1, 6)
    )


def padded(op: Any, rank: int) -> st.SearchStrategy[Case]:
    return st.builds(
        lambda x, amounts: case(op, x, amounts),
        images(rank),
        st.lists(st.integers(0, 1), min_size=2 * rank, max_size=2 * rank),
    )


def unpooled(op: Any, rank: int, pool: Any) -> st.SearchStrategy[Case]:
    def build(x: torch.Tensor) -> Case:
        values, places = pool(x, [2] * rank)
        return case(op, values, places, list(x.shape[-rank:]), *([[2] * 3, [0] * 3] if rank == 3 else []))

    return images(rank).map(build)


def fractional(op: Any, rank: int) -> st.SearchStrategy[Case]:
    def build(x: torch.Tensor) -> Case:
        lead = x.shape[:2] if x.dim() == rank + 2 else (1, x.shape[0])
        return case(op, x, [2] * rank, [1] * rank, torch.rand(*lead, rank, dtype=torch.float64))

    return images(rank, least=3, batched=True).map(build)


def sampled(op: Any, rank: int) -> st.SearchStrategy[Case]:
    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        x = draw(images(rank, batched=True))
        places = [draw(sizes) for _ in range(rank)]
        return case(op, x, floats(x.shape[0], *places, rank), 0, draw(st.integers(0, 2)), draw(st.booleans()))

    return draw_case()


def affine_grids() -> st.SearchStrategy[Case]:
    flat = sizes.map(lambda n: case(aten.affine_grid_generator.default, floats(n, 2, 3), [n, 2, 3, 4], False))
    return st.one_of(
        flat, sizes.map(lambda n: case(aten.affine_grid_generator.default, floats(n, 3, 4), [n, 2, 3, 4, 2], True))
    )


@st.composite
def shuffles(draw: st.DrawFn, up: bool) -> Case:
    factor, lead = draw(st.integers(1, 3)), draw(st.sampled_from(((), (2,), (2, 3))))
    channels, height, width = draw(sizes), draw(sizes), draw(sizes)
    if up:
        return case(aten.pixel_shuffle.default, floats(*lead, channels * factor**2, height, width), factor)
    return case(aten.pixel_unshuffle.default, floats(*lead, channels, height * factor, width * factor), factor)


def channel_shuffles(op: Any) -> st.SearchStrategy[Case]:
    return st.tuples(sizes, sizes, sizes).map(lambda s: case(op, floats(s[0], s[1] * s[2], 2, 3), s[1]))


def regions() -> st.SearchStrategy[Case]:
    def build(n: int, count: int, channels: int) -> Case:
        corners = positive(count, 2)
        boxes = torch.cat((torch.randint(n, (count, 1)).double(), corners, corners + 3 * positive(count, 2)), dim=1)
        return case(torch.ops.torchvision.roi_align.default, floats(n, channels, 5, 5), boxes, 1.0, 2, 3, 2, True)

    return st.builds(build, sizes, sizes, sizes)


def suppressions() -> st.SearchStrategy[Case]:
    def build(count: int) -> Case:
        corners = positive(count, 2)
        return case(
            torch.ops.torchvision.nms.default,
            torch.cat((corners, corners + positive(count, 2)), dim=1),
            positive(count),
            0.3,
        )

    return sizes.map(build)


CASES: dict[str, st.SearchStrategy[Case]] = {
    "aten::avg_pool1d": pooled(aten.avg_pool1d.default, 1),
    "aten::avg_pool2d": pooled(aten.avg_pool2d.default, 2),
    "aten::avg_pool3d": pooled(aten.avg_pool3d.default, 3),
    "aten::max_pool1d": pooled(aten.max_pool1d.default, 1),
    "aten::max_pool2d": pooled(aten.max_pool2d.default, 2),
    "aten::max_pool3d": pooled(aten.max_pool3d.default, 3),
    "aten::max_pool1d_with_indices": pooled(aten.max_pool1d_with_indices.default, 1),
    "aten::max_pool2d_with_indices": pooled(aten.max_pool2d_with_indices.default, 2),
    "aten::max_pool3d_with_indices": pooled(aten.max_pool3d_with_indices.default, 3),
    "aten::adaptive_avg_pool1d": adaptive(aten.adaptive_avg_pool1d.default, 1),
    "aten::adaptive_avg_pool2d": adaptive(aten.adaptive_avg_pool2d.default, 2),
    "aten::adaptive_avg_pool3d": adaptive(aten.adaptive_avg_pool3d.default, 3),
    "aten::_adaptive_avg_pool2d": adaptive(aten._adaptive_avg_pool2d.default, 2),
    "aten::_adaptive_avg_pool3d": adaptive(aten._adaptive_avg_pool3d.default, 3),
    "aten::adaptive_max_pool1d": adaptive(aten.adaptive_max_pool1d.default, 1),
    "aten::adaptive_max_pool2d": adaptive(aten.adaptive_max_pool2d.default, 2),
    "aten::adaptive_max_pool3d": adaptive(aten.adaptive_max_pool3d.default, 3),
    "aten::upsample_nearest1d": st.one_of(
        resampled(aten.upsample_nearest1d.default, 1),
        images(1, batched=True).map(lambda x: case(aten.upsample_nearest1d.vec, x, None, [2.0])),
    ),
    "aten::upsample_nearest2d": resampled(aten.upsample_nearest2d.default, 2),
    "aten::upsample_nearest3d": resampled(aten.upsample_nearest3d.default, 3),
    "aten::_upsample_nearest_exact1d": resampled(aten._upsample_nearest_exact1d.default, 1),
    "aten::_upsample_nearest_exact2d": resampled(aten._upsample_nearest_exact2d.default, 2),
    "aten::_upsample_nearest_exact3d": resampled(aten._upsample_nearest_exact3d.default, 3),
    "aten::upsample_linear1d": resampled(aten.upsample_linear1d.default, 1, False),
    "aten::upsample_bilinear2d": resampled(aten.upsample_bilinear2d.default, 2, True),
    "aten::upsample_bicubic2d": resampled(aten.upsample_bicubic2d.default, 2, False),
    "aten::upsample_trilinear3d": resampled(aten.upsample_trilinear3d.default, 3, False),
    "aten::_upsample_bilinear2d_aa": resampled(aten._upsample_bilinear2d_aa.default, 2, False),
    "aten::_upsample_bicubic2d_aa": resampled(aten._upsample_bicubic2d_aa.default, 2, False),
    "aten::_upsample_lanczos2d_aa": resampled(aten._upsample_lanczos2d_aa.default, 2, False),
    "aten::reflection_pad1d": padded(aten.reflection_pad1d.default, 1),
    "aten::reflection_pad2d": padded(aten.reflection_pad2d.default, 2),
    "aten::reflection_pad3d": padded(aten.reflection_pad3d.default, 3),
    "aten::replication_pad1d": padded(aten.replication_pad1d.default, 1),
    "aten::replication_pad2d": padded(aten.replication_pad2d.default, 2),
    "aten::replication_pad3d": padded(aten.replication_pad3d.default, 3),
    "aten::max_unpool2d": unpooled(aten.max_unpool2d.default, 2, aten.max_pool2d_with_indices.default),
    "aten::max_unpool3d": unpooled(aten.max_unpool3d.default, 3, aten.max_pool3d_with_indices.default),
    "aten::fractional_max_pool2d": fractional(aten.fractional_max_pool2d.default, 2),
    "aten::fractional_max_pool3d": fractional(aten.fractional_max_pool3d.default, 3),
    "aten::grid_sampler": sampled(aten.grid_sampler.default, 2),
    "aten::grid_sampler_2d": sampled(aten.grid_sampler_2d.default, 2),
    "aten::grid_sampler_3d": sampled(aten.grid_sampler_3d.default, 3),
    "aten::affine_grid_generator": affine_grids(),
    "aten::pixel_shuffle": shuffles(up=True),
    "aten::pixel_unshuffle": shuffles(up=False),
    "aten::channel_shuffle": channel_shuffles(aten.channel_shuffle.default),
    "aten::native_channel_shuffle": channel_shuffles(aten.native_channel_shuffle.default),
    "torchvision::roi_align": regions(),
    "torchvision::nms": suppressions(),
}


@pytest.mark.parametrize("name", sorted(CASES))
@given(data=st.data())
def test_rule_holds(name, data):
    check_drawn(name, CASES, data)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(case(aten.avg_pool2d.default, floats(2, 3, 4, 4), [2, 2]), "a b C D -> a b E F", id="pool"),
        pytest.param(
            case(aten.pixel_shuffle.default, floats(2, 12, 3, 3), 2), "a (b C) D E -> a b F G", id="pixel shuffle"
        ),
        pytest.param(
            case(aten.pixel_unshuffle.default, floats(2, 3, 4, 4), 2), "a b C D -> a (b E) F G", id="unshuffle"
        ),
        pytest.param(
            case(aten.channel_shuffle.default, floats(2, 6, 3), 2), "a (b c) d -> a (c b) d", id="channel shuffle"
        ),
        pytest.param(
            case(aten.grid_sampler_2d.default, floats(2, 3, 4, 4), floats(2, 5, 6, 2), 0, 0, False),
            "a b C D, a e f G -> a b e f",
            id="grid sample",
        ),
    ],
)
def test_notation(call, expected):
    assert shown(call) == expected


def shuffle_by_hand(x: torch.Tensor) -> Any:
    return x.view(2, 3, 2, 4, 4).transpose(1, 2).reshape(2, 6, 4, 4)


def concatenated_branches(x: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> Any:
    branches = torch.cat((torch.conv2d(x, left), torch.conv2d(x, right)), dim=1)
    return torch.nn.functional.channel_shuffle(branches, 2)


def pooled_over_one_dim(x: torch.Tensor) -> Any:
    return torch.nn.functional.avg_pool2d(x, (2, 1), stride=(2, 1))


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        pytest.param(shuffle_by_hand, [(2, 6, 4, 4)], "a (b c) d e -> a (c b) d e", id="channel shuffle by hand"),
        pytest.param(
            concatenated_branches,
            [(2, 3, 4, 4), (4, 3, 1, 1), (4, 3, 1, 1)],
            "a b c d, e b 1 1, e b 1 1 -> a (e 2) c d",
            id="shuffled branches",
        ),
        pytest.param(pooled_over_one_dim, [(2, 1, 6, 5)], "a 1 B c -> a 1 D c", id="a kernel of 1 touches nothing"),
    ],
)
def test_chains(function, shapes, expected):
    assert said(function, *shapes) == expected
