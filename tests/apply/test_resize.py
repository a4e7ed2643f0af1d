"""Resampling: against torch and timm, one matrix per axis, and faults that are found before anything is written."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.nets import randomize, same_tensors, snapshot
from tests.zoo import torchvision_stub
from wsel_graph.apply.memory import apply_plan
from wsel_graph.apply.resize import matrix, resized
from wsel_graph.errors import PlanError
from wsel_graph.plan import Copy, Plan, Resize
from wsel_graph.plan.serial import parse_plan, plan_document

SIZES = [(14, 10), (7, 16), (5, 1), (3, 5)]


def noise(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize(("large", "small"), SIZES)
@pytest.mark.parametrize("antialias", [True, False])
def test_bicubic_grids_are_what_torch_gives(large: int, small: int, antialias: bool) -> None:
    grid = noise(6, large, large + 2)
    kind: Any = "bicubic-antialias" if antialias else "bicubic"
    found = resized(grid.flatten(1), Resize(kind, 1, (large, large + 2), (small, 9)))
    expected = F.interpolate(grid[None], (small, 9), mode="bicubic", antialias=antialias, align_corners=False)
    torch.testing.assert_close(found, expected[0].flatten(1), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("large", "small"), SIZES)
def test_lines_are_what_torch_gives(large: int, small: int) -> None:
    line = noise(1, 4, large)
    expected = F.interpolate(line, small, mode="linear", align_corners=False)
    torch.testing.assert_close(resized(line, Resize("linear", 2, (large,), (small,))), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("large", "small"), [(16, 8), (16, 12), (8, 14), (4, 7)])
def test_patch_embeddings_are_what_timm_gives(large: int, small: int) -> None:
    torchvision_stub.install()
    from timm.layers.patch_embed import resample_patch_embed

    weight = noise(5, 3, large, large, dtype=torch.float32)
    found = weight
    for dim in (2, 3):
        found = resized(found, Resize("pseudoinverse", dim, (large,), (small,)))
    torch.testing.assert_close(found, resample_patch_embed(weight, [small, small]), rtol=0, atol=2e-5)


def test_a_larger_patch_embedding_sees_in_a_resized_image_what_the_smaller_one_saw() -> None:
    """What the pseudo-inverse is for: equal outputs, exactly where the new patches are larger."""
    weight, image = noise(5, 1, 8, 8), noise(1, 1, 8, 8)
    larger = weight
    for dim in (2, 3):
        larger = resized(larger, Resize("pseudoinverse", dim, (8,), (12,)))
    zoomed = F.interpolate(image, (12, 12), mode="bicubic", antialias=True)
    torch.testing.assert_close(F.conv2d(zoomed, larger), F.conv2d(image, weight), rtol=0, atol=1e-10)


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 8])
def test_input_channels_are_what_timm_gives(channels: int) -> None:
    torchvision_stub.install()
    from timm.models import adapt_input_conv

    weight = noise(5, 3, 4, 4, dtype=torch.float32)
    resize = Resize("sum" if channels == 1 else "repeat", 1, (3,), (channels,))
    torch.testing.assert_close(resized(weight, resize), adapt_input_conv(channels, weight.clone()), rtol=0, atol=1e-6)


def test_rows_around_the_grid_and_axes_of_equal_size_stay() -> None:
    rows = noise(2 + 4 * 3 * 2 + 1, 5)
    found = resized(rows, Resize("bicubic", 0, (4, 3, 2), (6, 3, 2), lead=2, trail=1))
    assert found.shape == (2 + 36 + 1, 5)
    assert torch.equal(found[:2], rows[:2])
    assert torch.equal(found[-1], rows[-1])
    inner = F.interpolate(rows[2:-1].reshape(4, 30).T[None, :, :, None].expand(-1, -1, -1, 2), (6, 2), mode="bicubic")
    torch.testing.assert_close(found[2:-1].reshape(6, 30).T, inner[0, :, :, 0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["linear", "bicubic", "bicubic-antialias", "pseudoinverse", "sum", "repeat"])
def test_equal_sizes_change_nothing(kind: Any) -> None:
    rows = noise(3, 5)
    assert torch.equal(resized(rows, Resize(kind, 1, (5,), (5,))), rows)


@pytest.mark.parametrize("kind", ["linear", "bicubic", "bicubic-antialias"])
@pytest.mark.parametrize(("large", "small"), [*SIZES, (1, 4)])
def test_constants_stay_constant(kind: Any, large: int, small: int) -> None:
    torch.testing.assert_close(matrix(kind, large, small).sum(1), torch.ones(small, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.complex64])
def test_the_dtype_stays_and_half_precision_is_computed_in_more(dtype: torch.dtype) -> None:
    rows = noise(3, 14, dtype=torch.float32).to(dtype)
    found = resized(rows, Resize("linear", 1, (14,), (9,)))
    wide = torch.promote_types(dtype, torch.float32)
    exact = rows.to(wide) @ matrix("linear", 14, 9).T.to(wide)
    assert found.dtype == dtype
    torch.testing.assert_close(found, exact.to(dtype))


# -- in a plan


def one_copy(**changes: Any) -> Plan:
    """A plan that resamples the one tensor of `table(9)` into that of `table(4)`, and scales it."""
    resize = Resize("linear", 1, (8,), (3,), lead=1)
    copy = Copy("table", "table", (2, 4), (2, 9), (range(2), range(9)), True, None, None, (resize,), 0.5)
    return Plan((replace(copy, **changes),), (), (), ())


def table(length: int) -> nn.Module:
    module = nn.Module()
    module.table = nn.Parameter(torch.empty(2, length))
    return randomize(module, length)


def test_a_plan_resamples_and_scales_also_when_it_comes_from_a_file() -> None:
    plan = one_copy()
    assert parse_plan(json.dumps(plan_document(plan))) == plan
    student, teacher = table(4), table(9)
    apply_plan(plan, student, teacher)
    expected = resized(teacher.table.detach(), plan.copies[0].resize[0]) / 2
    assert torch.equal(student.table.detach(), expected)
    assert plan.explain("table").splitlines()[-2:] == [
        "  dim 1: resampled 8 -> 3 (linear), 1 rows besides as they are",
        "  multiplied by 0.5",
    ]


def test_a_region_leaves_the_rest_alone() -> None:
    resize = Resize("linear", 1, (9,), (2,))
    plan = one_copy(resize=(resize,), region=(range(2), (0, 3)), scale=1.0)
    student, teacher = table(4), table(9)
    before = snapshot(student)["table"]
    apply_plan(plan, student, teacher)
    assert torch.equal(student.table[:, [0, 3]], resized(teacher.table, resize))
    assert torch.equal(student.table[:, 1:3], before[:, 1:3])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        pytest.param({"resize": (Resize("linear", 1, (7,), (4,)),)}, "9 elements of dim 1 .* of 7", id="teacher"),
        pytest.param({"resize": (Resize("linear", 1, (9,), (5,)),)}, "dim 1: 5 elements for a size of 4", id="student"),
        pytest.param({"resize": (Resize("linear", 2, (9,), (4,)),)}, "dim 2 .* cannot be resampled", id="dim"),
        pytest.param({"resize": (Resize("linear", 1, (9,), (4,)),) * 2}, "or is so twice", id="twice"),
        pytest.param({"resize": (Resize("linear", 1, (3, 3), (4,)),)}, "9 elements of dim 1", id="dims of the grid"),
        pytest.param({"resize": (Resize("linear", 1, (10,), (5,), -1),)}, "a size below 1", id="negative"),
        pytest.param({"scale": float("nan")}, "the scale is nan", id="scale"),
    ],
)
def test_damaged_plans_are_refused_before_anything_is_written(changes: dict[str, Any], text: str) -> None:
    student, teacher = table(4), table(9)
    before = snapshot(student)
    with pytest.raises(PlanError, match=text):
        apply_plan(one_copy(**changes), student, teacher)
    assert same_tensors(student, before)
