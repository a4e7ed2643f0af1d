"""Pinned axes of another size: positions, kernels and input channels, against timm, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import wsel_graph as ws
from tests.nets import mlp, randomize, same_tensors, snapshot
from tests.planner.rules import plan_by
from tests.zoo import torchvision_stub
from wsel_graph.errors import PlanError, WselError

torchvision_stub.install()
timm = pytest.importorskip("timm")

CLOSE = {"rtol": 0, "atol": 2e-6}  # timm computes in float32


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"


def make(name: str, **options: Any) -> nn.Module:
    return randomize(timm.create_model(name, **options).eval(), len(str(options)))


def vit(size: int | tuple[int, int], **options: Any) -> nn.Module:
    return make("vit_tiny_patch16_224", img_size=size, depth=1, num_classes=5, **options)


def image(height: int, width: int | None = None, channels: int = 3) -> tuple[int, int, int, int]:
    return 1, channels, height, width or height


# -- absolute positions


def test_a_vit_of_another_resolution_is_what_timm_loads() -> None:
    from timm.models.vision_transformer import checkpoint_filter_fn

    student, teacher, loaded = vit(160), vit(224), vit(160)
    ws.initialize(student, teacher, image(160), teacher_inputs=image(224))
    loaded.load_state_dict(checkpoint_filter_fn(teacher.state_dict(), loaded))
    pairs = zip(student.named_parameters(), loaded.parameters(), strict=True)
    assert len(list(student.parameters())) > 15
    for (name, ours), theirs in pairs:
        torch.testing.assert_close(ours, theirs, **CLOSE, msg=name)
    x = torch.randn(image(160))
    torch.testing.assert_close(student(x), loaded(x), rtol=1e-4, atol=1e-4)


def test_grids_need_not_be_square_nor_the_patches_equal() -> None:
    from timm.layers import resample_abs_pos_embed
    from timm.layers.patch_embed import resample_patch_embed
    from timm.models import adapt_input_conv

    student, teacher = vit((160, 96), patch_size=8, in_chans=1), vit(224)
    ws.initialize(student, teacher, image(160, 96, channels=1), teacher_inputs=image(224))
    torch.testing.assert_close(student.pos_embed, resample_abs_pos_embed(teacher.pos_embed, [20, 12]), **CLOSE)
    patches = resample_patch_embed(adapt_input_conv(1, teacher.patch_embed.proj.weight.detach()), [8, 8])
    torch.testing.assert_close(student.patch_embed.proj.weight, patches, rtol=0, atol=2e-5)


def test_width_is_selected_and_positions_are_resampled_in_one_tensor() -> None:
    student, teacher = vit(160, embed_dim=96), vit(224)
    plan = ws.plan(student, teacher, image(160), teacher_inputs=image(224))
    ws.apply(plan, student, teacher)
    grid = teacher.pos_embed[0, 1:, ::2].double().reshape(14, 14, 96).permute(2, 0, 1)[None]
    small = F.interpolate(grid, (10, 10), mode="bicubic", antialias=True)[0].flatten(1).T
    torch.testing.assert_close(student.pos_embed[0, 1:].double(), small, **CLOSE)
    assert torch.equal(student.pos_embed[0, 0], teacher.pos_embed[0, 0, ::2])
    assert "dim 1: resampled 14 x 14 -> 10 x 10 (bicubic-antialias), 1 rows besides" in plan.explain("pos_embed")
    assert [c.method for c in plan.choices if c.role == "position"] == ["interpolated"] * 2


def test_a_plan_that_resamples_goes_through_a_file(tmp_path: Path) -> None:
    student, teacher = vit(160), vit(224, in_chans=1)
    plan = ws.plan(student, teacher, image(160), teacher_inputs=image(224, channels=1))
    plan.save(tmp_path / "plan.json")
    assert ws.load_plan(tmp_path / "plan.json") == plan


@pytest.mark.parametrize("grown", [160, 224])
def test_more_single_rows_in_the_student(grown: int) -> None:
    """The first row is taken, the student's second keeps its own values, and a note says so."""
    student = make("deit_tiny_distilled_patch16_224", img_size=grown, depth=1, num_classes=5)
    teacher = vit(224)
    keep = ["dist_token", "head*"]
    plan = ws.plan(student, teacher, image(grown), teacher_inputs=image(224), keep=keep)
    before = snapshot(student)["pos_embed"]
    ws.apply(plan, student, teacher)
    assert torch.equal(student.pos_embed[:, 0], teacher.pos_embed[:, 0])
    assert torch.equal(student.pos_embed[:, 1], before[:, 1])
    if grown == 224:
        assert torch.equal(student.pos_embed[:, 2:], teacher.pos_embed[:, 1:])
    assert plan.notes[-1] == (
        "pos_embed:1: 2 single rows in the student, 1 in the teacher: 1 are taken, 0 of the teacher are left out, "
        "1 of the student keep its own values"
    )


def test_fewer_single_rows_in_the_student() -> None:
    student, teacher = vit(160, class_token=False, global_pool="avg", fc_norm=False), vit(224)
    plan = ws.plan(student, teacher, image(160), teacher_inputs=image(224))
    ws.apply(plan, student, teacher)
    grid = teacher.pos_embed[0, 1:].reshape(14, 14, 192).permute(2, 0, 1)[None]
    small = F.interpolate(grid, (10, 10), mode="bicubic", antialias=True)[0].flatten(1).T
    torch.testing.assert_close(student.pos_embed[0], small, **CLOSE)
    assert (
        "0 single rows in the student, 1 in the teacher: 0 are taken, 1 of the teacher are left out" in plan.notes[-1]
    )


# -- relative positions


def test_window_tables_are_resampled_as_grids() -> None:
    from timm.layers.pos_embed_rel import resize_rel_pos_bias_table_simple

    small, large = {"img_size": 256, "window_size": 8}, {"img_size": 224, "window_size": 7}
    student, teacher = (
        make("swin_tiny_patch4_window7_224", depths=(1, 1, 1, 1), num_classes=5, **sizes) for sizes in (small, large)
    )
    ws.initialize(student, teacher, image(256), teacher_inputs=image(224))
    for ours, theirs in zip(student.layers, teacher.layers, strict=True):
        table, source = (layer.blocks[0].attn.relative_position_bias_table for layer in (ours, theirs))
        assert (len(table), len(source)) == (225, 169)
        expected = resize_rel_pos_bias_table_simple(source, (8, 8), table.shape)
        torch.testing.assert_close(table, expected, **CLOSE)


def test_extra_rows_behind_a_table_stay() -> None:
    from timm.layers.pos_embed_rel import resize_rel_pos_bias_table_simple

    student, teacher = (
        make("beit_base_patch16_224", depth=1, embed_dim=48, num_heads=4, img_size=s, num_classes=5) for s in (96, 128)
    )
    ws.initialize(student, teacher, image(96), teacher_inputs=image(128))
    table, source = (model.blocks[0].attn.relative_position_bias_table for model in (student, teacher))
    torch.testing.assert_close(table, resize_rel_pos_bias_table_simple(source, (6, 6), table.shape), **CLOSE)
    assert torch.equal(table[-3:], source[-3:])


def relative(window: int, index: torch.Tensor, rows: int) -> nn.Module:
    """Mixing with a weight for every pair of positions, looked up in a table."""

    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.proj, self.head = nn.Conv2d(3, 6, 1), nn.Linear(6, 3)
            self.table = nn.Parameter(torch.zeros(rows, 1))
            self.register_buffer("index", index)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.proj(x).flatten(2).transpose(1, 2)
            bias = self.table[self.index.view(-1)].view(window**2, window**2)
            weights = ((x @ x.transpose(1, 2)) + bias).softmax(-1)
            return self.head((weights @ x).mean(1))

    return randomize(Mixing(), rows)


def test_buckets_cannot_be_resampled(file: Path) -> None:
    def buckets(window: int, rows: int) -> nn.Module:
        steps = torch.arange(window**2)
        return relative(window, (steps[:, None] - steps).abs().clamp(max=rows - 1), rows)

    student, teacher = buckets(3, 5), buckets(4, 8)
    with pytest.raises(
        PlanError,
        match=r'(?s)table:0: size 5 in the student, 8 in the teacher, and the axis cannot be resampled: of the '
        r'student\'s table: the integers that look it up show no line or grid of positions \(buckets, or types\)\..*'
        r'keep=\[\'table\'\].*\n  - where: \{student: "table"\}\n    resize: keep$',
    ):  # fmt: skip
        ws.plan(student, teacher, image(3), teacher_inputs=image(4))
    plan = plan_by(file, '  - {where: {student: "table"}, resize: keep}', student, teacher, image(3), image(4))
    assert {kept.student: kept.reason for kept in plan.kept}["table"] == "position axis of size 5, the teacher's has 8"


# -- lines of positions


class Line(nn.Module):
    """Token features and a table of positions, looked up by their numbers."""

    def __init__(self, length: int, start: int = 0, total: int | None = None) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(4, 6), nn.Linear(6, 3)
        self.place = nn.Embedding(total or length + start, 6)
        self.start = start

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.stem(x) + self.place(torch.arange(x.shape[1]) + self.start))


@pytest.mark.parametrize("start", [0, 2])
def test_a_line_of_positions_is_linear(start: int) -> None:
    student, teacher = randomize(Line(5, start), 1), randomize(Line(8, start), 2)
    ws.initialize(student, teacher, (1, 5, 4), teacher_inputs=(1, 8, 4))
    line = teacher.place.weight[start:].T[None].double()
    expected = F.interpolate(line, 5, mode="linear", align_corners=False)[0].T
    torch.testing.assert_close(student.place.weight[start:].double(), expected, **CLOSE)
    assert torch.equal(student.place.weight[:start], teacher.place.weight[:start])


def test_a_line_with_another_start_keeps_what_has_no_counterpart() -> None:
    student, teacher = randomize(Line(5, 2), 1), randomize(Line(8, 0), 2)
    before = snapshot(student)["place.weight"]
    plan = ws.plan(student, teacher, (1, 5, 4), teacher_inputs=(1, 8, 4))
    ws.apply(plan, student, teacher)
    assert torch.equal(student.place.weight[:2], before[:2])
    assert any("place.weight:0: 2 single rows in the student, 0 in the teacher" in note for note in plan.notes)


def test_a_table_of_one_row_has_no_neighbours_to_average() -> None:
    """Token types: the integers that look them up are no line, also where the student has a single type."""

    class Types(Line):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.stem(x) + self.place(torch.zeros(x.shape[1], dtype=torch.int64)))

    for ours in (1, 2):
        with pytest.raises(PlanError, match=rf"place\.weight:0: size {ours} .* 3 in the .* cannot be resampled"):
            ws.plan(Types(ours), Types(3), (1, 5, 4))


# -- kernels and input channels


def test_kernels_are_resampled_and_patches_by_the_pseudo_inverse() -> None:
    from timm.layers.patch_embed import resample_patch_embed

    for stride, patches in ((1, False), (5, True)):
        student, teacher = randomize(nn.Conv2d(3, 4, 3, 3 if patches else 1)), randomize(nn.Conv2d(3, 4, 5, stride), 1)
        ws.initialize(student, teacher, image(15))
        if patches:
            expected = resample_patch_embed(teacher.weight.detach(), [3, 3])
        else:
            expected = F.interpolate(teacher.weight, (3, 3), mode="bicubic", antialias=True)
        torch.testing.assert_close(student.weight, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("ours", "theirs"), [(1, 3), (5, 3), (3, 1)])
def test_input_channels(ours: int, theirs: int) -> None:
    student, teacher = randomize(nn.Conv2d(ours, 4, 3)), randomize(nn.Conv2d(theirs, 4, 3), 1)
    ws.initialize(student, teacher, image(8, channels=ours), teacher_inputs=image(8, channels=theirs))
    if theirs == 3:
        expected = timm.models.adapt_input_conv(ours, teacher.weight.detach())
    else:
        expected = teacher.weight.expand(-1, 3, -1, -1) / 3
    torch.testing.assert_close(student.weight, expected, **CLOSE)


@pytest.mark.parametrize("value", ["error", "keep", "interpolate"])
def test_resize_of_kernels(file: Path, value: str) -> None:
    student, teacher = (nn.Sequential(nn.Conv2d(3, 4, kernel), nn.BatchNorm2d(4)).eval() for kernel in (3, 5))
    rules = f"  - {{where: {{role: kernel}}, resize: {value}}}"
    if value == "error":
        text = (
            r'(?s)0\.weight:2: size 3 .* 5 .*\(kernel.*where: \{role: kernel, student: "0\.weight"\}\n    resize: keep$'
        )
        with pytest.raises(PlanError, match=text):
            plan_by(file, rules, student, teacher, image(8))
        return
    plan = plan_by(file, rules, student, teacher, image(8))
    assert ("0.weight" in {kept.student for kept in plan.kept}) == (value == "keep")
    other = plan_by(file, "  - {where: {role: input}, resize: error}", student, teacher, image(8))
    assert "0.weight" in {copy.student for copy in other.copies}


def test_features_of_a_table_are_not_mixed_unless_a_rule_asks_for_it(file: Path) -> None:
    student, teacher = mlp(4, inputs=2), mlp(4, inputs=3)
    with pytest.raises(PlanError, match=r"0\.weight:1: size 2 in the student, 3 in the teacher.*\(input"):
        ws.plan(student, teacher, (1, 2), teacher_inputs=(1, 3))
    plan = plan_by(file, "  - {where: {role: input}, resize: interpolate}", student, teacher, (1, 2), (1, 3))
    ws.apply(plan, student, teacher)
    torch.testing.assert_close(student[0].weight, teacher[0].weight[:, :2] * 3 / 2)


@pytest.mark.parametrize("role", ["vocabulary", "label"])
def test_names_cannot_be_interpolated(file: Path, role: str) -> None:
    class Names(nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(size, 4), nn.Linear(4, size)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.embed(ids))

    rules = f"  - {{where: {{role: {role}}}, resize: interpolate}}\n  - resize: keep"
    with pytest.raises(PlanError, match=rf"size 5 in the student, 7 in the teacher.*\({role}"):
        plan_by(file, rules, Names(5), Names(7), {"ids": torch.arange(4).reshape(1, 4)})


def test_a_failed_apply_leaves_the_student_alone() -> None:
    student, teacher = vit(160), vit(224)
    plan = ws.plan(student, teacher, image(160), teacher_inputs=image(224))
    before = snapshot(student)
    state = teacher.state_dict() | {"pos_embed": torch.zeros(1, 50, 192)}
    with pytest.raises(WselError, match=r"teacher pos_embed has shape \[1, 50, 192\], the plan says \[1, 197, 192\]"):
        ws.apply(plan, student, state)
    assert same_tensors(student, before)
