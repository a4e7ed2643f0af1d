"""Convolutions: grouped, depthwise, strided, dilated, transposed; and their unfolded form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.equivariance import Case, case, check, check_drawn, floats, sizes
from tests.ops.notation import said, shown
from wsel_graph.ops.registry import RULES

aten = torch.ops.aten


@dataclass(frozen=True)
class Convolution:
    """Drawn arguments of one convolution, of one number per spatial dim."""

    input: tuple[int, ...]  # without batch
    weight: tuple[int, ...]
    bias: int | None
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    transposed: bool
    output_padding: list[int]
    groups: int

    def tensors(self, batch: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        bias = floats(self.bias) if self.bias is not None else None
        return floats(*batch, *self.input), floats(*self.weight), bias


@st.composite
def convolutions(draw: st.DrawFn, rank: int | None = None, transposed: bool | None = None) -> Convolution:
    rank = rank or draw(st.integers(1, 2))
    transposed = draw(st.booleans()) if transposed is None else transposed
    groups, inner, outer = draw(st.sampled_from((1, 1, 2, 3))), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    numbers = st.integers(1, 2)
    stride, dilation = ([draw(numbers) for _ in range(rank)] for _ in range(2))
    space = [draw(st.integers(5, 6)) for _ in range(rank)]
    channels = groups * inner
    weight = (channels, outer, *kernel) if transposed else (groups * outer, inner, *kernel)
    return Convolution(
        input=(channels, *space),
        weight=weight,
        bias=groups * outer if draw(st.booleans()) else None,
        stride=stride,
        padding=[draw(st.integers(0, 1)) for _ in range(rank)],
        dilation=dilation,
        transposed=transposed,
        output_padding=[draw(st.integers(0, s - 1)) if transposed else 0 for s in stride],
        groups=groups,
    )


def whole(op: Any, *rest: Any, **limits: Any) -> st.SearchStrategy[Case]:
    """The operator that all convolutions come down to: always with a batch."""

    def build(c: Convolution) -> Case:
        return case(
            op, *c.tensors((2,)), c.stride, c.padding, c.dilation, c.transposed, c.output_padding, c.groups, *rest
        )

    return convolutions(**limits).map(build)


def composite(op: Any, rank: int) -> st.SearchStrategy[Case]:
    def build(c: Convolution, batch: tuple[int, ...]) -> Case:
        return case(op, *c.tensors(batch), c.stride, c.padding, c.dilation, c.groups)

    return st.builds(build, convolutions(rank=rank, transposed=False), st.sampled_from(((), (2,))))


def composite_transposed(op: Any, rank: int) -> st.SearchStrategy[Case]:
    def build(c: Convolution, batch: tuple[int, ...]) -> Case:
        return case(op, *c.tensors(batch), c.stride, c.padding, c.output_padding, c.groups, c.dilation)

    return st.builds(build, convolutions(rank=rank, transposed=True), st.sampled_from(((), (2,))))


@st.composite
def time_first(draw: st.DrawFn) -> Case:
    batch, inner, outer = draw(sizes), draw(sizes), draw(sizes)
    return case(
        aten.conv_tbc.default, floats(5, batch, inner), floats(3, inner, outer), floats(outer), draw(st.integers(0, 1))
    )


@st.composite
def unfolded(draw: st.DrawFn) -> Case:
    lead = draw(st.sampled_from(((3,), (2, 3))))
    pairs = [[draw(st.integers(1, 2)), draw(st.integers(1, 2))] for _ in range(3)]
    return case(aten.im2col.default, floats(*lead, 4, 6), pairs[0], pairs[1], [0, 1], pairs[2])


@st.composite
def folded(draw: st.DrawFn) -> Case:
    lead, kernel = draw(st.sampled_from(((), (2,)))), [2, draw(st.integers(1, 3))]
    space = [4, 6]
    count = (space[0] - 1) * (space[1] - kernel[1] + 1)
    x = floats(*lead, 3 * kernel[0] * kernel[1], count)
    return case(aten.col2im.default, x, space, kernel, [1, 1], [0, 0], [1, 1])


CASES: dict[str, st.SearchStrategy[Case]] = {
    "aten::convolution": whole(aten.convolution.default),
    "aten::_convolution": whole(aten._convolution.default, False, False, False, False),
    "aten::conv1d": composite(aten.conv1d.default, 1),
    "aten::conv2d": composite(aten.conv2d.default, 2),
    "aten::conv3d": composite(aten.conv3d.default, 3),
    "aten::conv_transpose1d": composite_transposed(aten.conv_transpose1d.default, 1),
    "aten::conv_transpose2d": composite_transposed(aten.conv_transpose2d.input, 2),
    "aten::conv_transpose3d": composite_transposed(aten.conv_transpose3d.input, 3),
    "aten::conv_tbc": time_first(),
    "aten::im2col": unfolded(),
    "aten::col2im": folded(),
}


@pytest.mark.parametrize("name", sorted(CASES))
@given(data=st.data())
def test_rule_holds(name, data):
    check_drawn(name, CASES, data)


# -- deformable convolution: torchvision's kernel does not load everywhere, so a plain one stands in

_LIBRARY = torch.library.Library("wsel_graph_tests", "FRAGMENT")
_LIBRARY.define(
    "deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, int stride_h, int stride_w, "
    "int pad_h, int pad_w, int dilation_h, int dilation_w, int groups, int offset_groups, bool use_mask) -> Tensor"
)


def _deform_conv2d(
    x: torch.Tensor, weight: torch.Tensor, offset: torch.Tensor, mask: torch.Tensor, bias: torch.Tensor, *numbers: Any
) -> torch.Tensor:
    """Stride 1, no padding, no dilation: sample every kernel place of every window, then multiply."""
    groups, offset_groups, use_mask = numbers[6:]
    n, channels, height, width = x.shape
    (rows, columns), (high, wide) = weight.shape[2:], offset.shape[2:]
    offset = offset.view(n, offset_groups, rows, columns, 2, high, wide)
    y = torch.arange(rows).view(-1, 1, 1, 1) + torch.arange(high).view(-1, 1) + offset[..., 0, :, :]
    z = torch.arange(columns).view(-1, 1, 1) + torch.arange(wide) + offset[..., 1, :, :]
    places = torch.stack((2 * z / (width - 1) - 1, 2 * y / (height - 1) - 1), dim=-1).transpose(0, 1).flatten(4, 5)
    parts = x.chunk(offset_groups, dim=1)
    found = [
        torch.nn.functional.grid_sample(part, place.flatten(1, 2), align_corners=True)
        for part, place in zip(parts, places, strict=True)
    ]
    sampled = torch.cat([f.view(n, -1, rows * columns, high * wide) for f in found], dim=1)
    if use_mask:
        sampled = sampled * mask.view(n, offset_groups, 1, rows * columns, -1).expand(
            -1, -1, channels // offset_groups, -1, -1
        ).flatten(1, 2)  # fmt: skip
    grouped = sampled.reshape(n, groups, -1, high * wide)
    result = torch.einsum("ngkp,gok->ngop", grouped, weight.reshape(groups, weight.shape[0] // groups, -1))
    return result.reshape(n, -1, high, wide) + bias.view(1, -1, 1, 1)


_LIBRARY.impl("deform_conv2d", _deform_conv2d, "CPU")


@given(
    batch=sizes,
    inner=sizes,
    outer=sizes,
    groups=st.integers(1, 2),
    offset_groups=st.integers(1, 2),
    use_mask=st.booleans(),
    entangle=st.integers(0, 1000),
)
def test_deformable_convolution(batch, inner, outer, groups, offset_groups, use_mask, entangle):
    channels = groups * offset_groups * inner
    x, weight = floats(batch, channels, 4, 5), floats(groups * outer, channels // groups, 2, 3)
    offset, mask = floats(batch, 2 * offset_groups * 6, 3, 3), floats(batch, offset_groups * 6, 3, 3)
    numbers = (1, 1, 0, 0, 1, 1, groups, offset_groups, use_mask)
    arguments = (x, weight, offset, mask if use_mask else floats(batch, 1), floats(groups * outer), *numbers)
    call = case(torch.ops.wsel_graph_tests.deform_conv2d.default, *arguments)
    check(call, rule=RULES["torchvision::deform_conv2d"], entangle=entangle)


def test_the_stand_in_is_a_convolution_where_nothing_is_deformed():
    x, weight, bias = floats(2, 3, 4, 5), floats(4, 3, 2, 3), floats(4)
    still = (torch.zeros(2, 12, 3, 3, dtype=torch.float64), torch.zeros(2, 1), bias, 1, 1, 0, 0, 1, 1, 1, 1, False)
    actual = torch.ops.wsel_graph_tests.deform_conv2d(x, weight, *still)
    torch.testing.assert_close(actual, torch.conv2d(x, weight, bias))


# -- what stays free


def conv(x: torch.Tensor, weight: torch.Tensor, *, groups: int = 1, transposed: bool = False, bias: Any = None) -> Case:
    return case(aten.convolution.default, x, weight, bias, [1], [0], [1], transposed, [0], groups)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(conv(floats(2, 3, 5), floats(4, 3, 3), bias=floats(4)), "a b C, d b E, d -> a d F", id="plain"),
        pytest.param(conv(floats(2, 3, 5), floats(4, 3, 1)), "a b c, d b 1 -> a d c", id="1x1: space passes"),
        pytest.param(
            conv(floats(2, 6, 5), floats(4, 3, 1), groups=2), "a (b c) d, (b e) c 1 -> a (b e) d", id="grouped"
        ),
        pytest.param(conv(floats(2, 6, 5), floats(6, 1, 3), groups=6), "a b C, b 1 D -> a b E", id="depthwise"),
        pytest.param(
            conv(floats(2, 3, 5), floats(6, 1, 3), groups=3), "a b C, (b d) 1 E -> a (b d) F", id="multiplier"
        ),
        pytest.param(
            conv(floats(2, 6, 5), floats(6, 2, 1), groups=2, transposed=True, bias=floats(4)),
            "a (b c) d, (b c) e 1, (b e) -> a (b e) d",
            id="transposed, grouped",
        ),
        pytest.param(
            case(aten.im2col.default, floats(2, 3, 4, 4), [2, 2], [1, 1], [0, 0], [2, 2]),
            "a b C D -> a (b E F) G",
            id="unfolded",
        ),
    ],
)
def test_notation(call, expected):
    assert shown(call) == expected


def depthwise_separable(x: torch.Tensor, depth: torch.Tensor, point: torch.Tensor) -> Any:
    return torch.conv2d(torch.conv2d(x, depth, padding=1, groups=6), point)


def cardinality(x: torch.Tensor, into: torch.Tensor, grouped: torch.Tensor) -> Any:
    return torch.conv2d(torch.conv2d(x, into), grouped, groups=3)


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        pytest.param(
            depthwise_separable,
            [(2, 6, 4, 4), (6, 1, 3, 3), (5, 6, 1, 1)],
            "a b C D, b 1 E F, g b 1 1 -> a g H I",
            id="depthwise separable",
        ),
        pytest.param(
            cardinality,
            [(2, 4, 5, 5), (6, 4, 1, 1), (9, 2, 1, 1)],
            "a b c d, (e f) b 1 1, (e g) f 1 1 -> a (e g) c d",
            id="grouped after 1x1",
        ),
    ],
)
def test_chains(function, shapes, expected):
    assert said(function, *shapes) == expected
