"""Averages of blocks: closed forms, equal blocks, what is chosen inside them, refusals, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import Transformer, randomize, snapshot
from tests.zoo.torchvision_stub import install
from wsel_graph.coupling.verify import relative_error
from wsel_graph.errors import MatchError, WselError
from wsel_graph.matching.layers import layer_runs
from wsel_graph.plan import LayerMap

install()
import timm  # noqa: E402
import transformers  # noqa: E402

TOKENS = (2, 5, 7)
MERGE = "layers:\n  - take: merge\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"


def plan_by(file: Path, rules: str, student: nn.Module, teacher: nn.Module, inputs: object) -> ws.Plan:
    file.write_text(f"version: 1\n{rules}")
    return ws.plan(student, teacher, inputs, rules=file)


def block_tensors(model: nn.Module, number: int) -> dict[str, torch.Tensor]:
    return {
        k.partition(f"blocks.{number}.")[2]: v for k, v in snapshot(model).items() if k.startswith(f"blocks.{number}.")
    }


@pytest.mark.parametrize("depths", [(1, 4), (2, 5), (3, 3), (4, 6)])
def test_every_tensor_is_the_mean_of_its_run(file: Path, depths: tuple[int, int]) -> None:
    student = Transformer(depth=depths[0]).double()
    teacher = randomize(Transformer(depth=depths[1]).double())
    plan = plan_by(file, MERGE, student, teacher, TOKENS)
    ws.apply(plan, student, teacher)
    for number, run in enumerate(layer_runs(depths[1], depths[0])):
        sources = [block_tensors(teacher, other) for other in run]
        for name, value in block_tensors(student, number).items():
            torch.testing.assert_close(value, torch.stack([own[name] for own in sources]).mean(0), rtol=0, atol=1e-15)
    assert plan.layers[0].blocks == tuple((n, tuple(run)) for n, run in enumerate(layer_runs(depths[1], depths[0])))


@pytest.mark.parametrize(("teacher", "student"), [(12, 5), (7, 7), (3, 1), (100, 9)])
def test_runs_are_a_partition_into_nearly_equal_parts(teacher: int, student: int) -> None:
    runs = layer_runs(teacher, student)
    assert [block for run in runs for block in run] == list(range(teacher))
    assert max(map(len, runs)) - min(map(len, runs)) <= 1
    assert len(runs) == student


def own(depth: int) -> nn.Module:
    return Transformer(16, 4, 4, depth=depth)


def vit(depth: int) -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", img_size=32, embed_dim=48, depth=depth, num_classes=5)


def resnet(*layers: int) -> nn.Module:
    options = {"layers": layers, "channels": (8, 12, 16, 24), "stem_width": 8, "num_classes": 5}
    return timm.create_model("resnet18", **options)


def gpt2(depth: int) -> nn.Module:
    config = transformers.GPT2Config(n_embd=24, n_head=4, n_layer=depth, vocab_size=19, n_positions=12, use_cache=False)
    return transformers.GPT2LMHeadModel(config)


IDS = {"input_ids": torch.arange(10).reshape(2, 5)}
EQUAL = [
    pytest.param(lambda: (own(2), own(5)), "blocks", ((0, 1), (2, 3, 4)), TOKENS, id="own"),
    pytest.param(lambda: (vit(2), vit(4)), "blocks", ((0, 1), (2, 3)), (2, 3, 32, 32), id="timm vit"),
    pytest.param(lambda: (gpt2(1), gpt2(3)), "transformer.h", ((0, 1, 2),), IDS, id="transformers gpt-2"),
]


@pytest.mark.parametrize(("make", "stage", "runs", "inputs"), EQUAL)
def test_the_average_of_equal_blocks_is_one_of_them(
    file: Path,
    make: Callable[[], tuple[nn.Module, nn.Module]],
    stage: str,
    runs: Sequence[Sequence[int]],
    inputs: object,
) -> None:
    student, teacher = (randomize(model.double(), seed).eval() for seed, model in enumerate(make()))
    values = dict(teacher.named_parameters())
    with torch.no_grad():
        for run in runs:
            for name, value in values.items():
                if name.startswith(f"{stage}.{run[0]}."):
                    for other in run[1:]:
                        values[name.replace(f"{stage}.{run[0]}.", f"{stage}.{other}.", 1)].copy_(value)
    plan = plan_by(file, MERGE, student, teacher, inputs)
    ws.apply(plan, student, teacher)
    found, values = snapshot(student), snapshot(teacher)
    for number, run in enumerate(runs):
        names = [name for name in found if name.startswith(f"{stage}.{number}.")]
        assert len(names) > 10
        for name in names:
            expected = values[name.replace(f"{stage}.{number}.", f"{stage}.{run[0]}.", 1)]
            assert relative_error(expected, found[name]) < 1e-15


def test_stages_whose_first_block_differs(file: Path) -> None:
    """A ResNet stage begins with a shortcut convolution: that block comes from its like, the others are averaged."""
    student, teacher = resnet(2, 2, 2, 2), randomize(resnet(2, 4, 5, 2))
    plan = plan_by(file, MERGE, student, teacher, (1, 3, 64, 64))
    ws.apply(plan, student, teacher)
    assert [layer.blocks for layer in plan.layers][1:3] == [((0, (0,)), (1, (1, 2, 3))), ((0, (0,)), (1, (1, 2, 3, 4)))]
    ours, theirs = snapshot(student), snapshot(teacher)
    for name in ("bn1.running_var", "conv2.weight"):
        mean = torch.stack([theirs[f"layer2.{number}.{name}"] for number in (1, 2, 3)]).mean(0)
        torch.testing.assert_close(ours[f"layer2.1.{name}"], mean)
        assert torch.equal(ours[f"layer2.0.{name}"], theirs[f"layer2.0.{name}"])


def test_what_is_chosen_inside_is_chosen_once(file: Path) -> None:
    """Averaging unit 3 of one block with unit 5 of another would mean nothing."""
    student = Transformer(8, 2, 4, hidden=12, depth=2)
    teacher = randomize(Transformer(16, 4, 4, hidden=40, depth=4))
    rules = MERGE + "elements:\n  - {where: {role: [hidden, heads]}, take: {merge: weights}}\n  - take: random\n"
    plan = plan_by(file, rules, student, teacher, TOKENS)
    for copy in plan.copies:
        assert all(other.indices == copy.indices and other.mix == copy.mix for other in copy.also)
    assert {len(copy.also) for copy in plan.copies if copy.student.startswith("blocks.")} == {1}
    ws.apply(plan, student, teacher)
    copy = next(copy for copy in plan.copies if copy.student == "blocks.1.fc2.weight")
    weights = [dict(teacher.named_parameters())[name] for name in ("blocks.2.fc2.weight", "blocks.3.fc2.weight")]
    mean = sum(weights) / 2
    columns = [mean[list(copy.indices[0])][:, list(own)].sum(1) for own in copy.mix[0].indices]
    torch.testing.assert_close(student.blocks[1].fc2.weight, torch.stack(columns, 1))
    text = plan.explain("blocks.1.fc2.weight")
    assert text.startswith(
        "blocks.1.fc2.weight [8, 12] <- blocks.2.fc2.weight [16, 40]\n  + blocks.3.fc2.weight [16, 40]\n"
    )
    assert text.endswith("  each multiplied by 0.5")


class Mixed(nn.Module):
    """Residual blocks of one stream, some with a gate."""

    def __init__(self, gated: Sequence[bool], widths: Sequence[int] | None = None) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(7, 8), nn.Linear(8, 3)
        self.gated = gated
        widths = widths or [16] * len(gated)
        self.up = nn.ModuleList(nn.Linear(8, width) for width in widths)
        self.gate = nn.ModuleList(nn.Linear(8, width) for width in widths)
        self.down = nn.ModuleList(nn.Linear(width, 8) for width in widths)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for up, gate, down, gated in zip(self.up, self.gate, self.down, self.gated, strict=True):
            h = up(x).relu()
            x = x + down(h * gate(x) if gated else h)
        return self.head(x)


def test_blocks_of_two_kinds_are_averaged_kind_by_kind(file: Path) -> None:
    student, teacher = Mixed([True, True, False]), Mixed([True, True, True, True, False])
    plan = plan_by(file, "unmatched: keep\n" + MERGE, student, teacher, TOKENS)
    assert plan.layers[0].blocks == ((0, (0, 1)), (1, (2, 3)), (2, (4,)))


def test_blocks_of_different_widths_are_refused(file: Path) -> None:
    student, teacher = Mixed([True] * 2), Mixed([True] * 4, [16, 24, 16, 16])
    with pytest.raises(
        WselError, match="axes of different size in the teacher correspond to one coupled group of the s"
    ):
        plan_by(file, MERGE, student, teacher, TOKENS)


class Plain(Mixed):
    """Blocks of a third kind."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for up, gate, down in zip(self.up, self.gate, self.down, strict=True):
            x = x + down((up(x) + gate(x)).tanh() * gate(x))
        return self.head(x)


def test_blocks_of_different_structure_are_refused(file: Path) -> None:
    student, teacher = Plain([True, True]), Mixed([True, False, True, True])
    with pytest.raises(MatchError) as caught:
        plan_by(file, "unmatched: keep\n" + MERGE, student, teacher, TOKENS)
    text = str(caught.value)
    assert text.startswith("my.yaml:4:5: layers: take: merge would average the teacher's blocks 0 and 1 of stage ")
    assert "only blocks of one structure can be averaged. Take blocks one by one instead, such as:" in text
    assert text.endswith("    take: uniform")


def test_how_it_is_shown(file: Path) -> None:
    student, teacher = own(2), randomize(own(5))
    plan = plan_by(file, MERGE, student, teacher, TOKENS)
    from wsel_graph.report.text import plan_tables, render

    assert "blocks  2 of 5  0<-0+1, 1<-2+3+4" in render(*plan_tables(plan))
    assert str(LayerMap("a", 9, ((0, 4), (1, 5)))) == "0<-4, 1<-5"
    plan.save(file.with_suffix(".json"))
    assert ws.load_plan(file.with_suffix(".json")) == plan
    total = sum(parameter.numel() for parameter in student.parameters())
    file.write_text(f"version: 1\n{MERGE}")
    result = ws.initialize(student, teacher, TOKENS, rules=file)
    assert (result.initialized, result.total) == (total, total)


def test_other_rules_beside_merged_blocks(file: Path) -> None:
    student, teacher = own(2), randomize(own(4))
    rules = MERGE + 'components:\n  - keep: "blocks.1.*"\n'
    plan = plan_by(file, rules, student, teacher, TOKENS)
    assert {copy.student.split(".")[1] for copy in plan.copies if copy.student.startswith("blocks.")} == {"0"}
    pair = MERGE + 'components:\n  - pair: {student: "blocks.1.fc1.*", teacher: "blocks.0.fc1.*"}\n'
    plan = plan_by(file, pair, student, teacher, TOKENS)
    copy = next(copy for copy in plan.copies if copy.student == "blocks.1.fc1.weight")
    assert (copy.teacher, copy.also, copy.scale) == ("blocks.0.fc1.weight", (), 1.0)
    ignore = MERGE + 'unmatched: keep\ncomponents:\n  - ignore: "blocks.3.fc1.*"\n'
    plan = plan_by(file, ignore, student, teacher, TOKENS)
    reasons = {kept.student: kept.reason for kept in plan.kept}
    assert "the teacher's blocks.3.fc1.weight is ignored by" in reasons["blocks.1.fc1.weight"]
