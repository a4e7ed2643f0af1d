"""Layers by depth score: how much every block changes its stream, against the models, and which blocks are taken."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.zoo import torchvision_stub

torchvision_stub.install()
import timm  # noqa: E402
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel  # noqa: E402

import wsel_graph as ws  # noqa: E402
from tests.nets import INPUT, Transformer, randomize  # noqa: E402
from wsel_graph.errors import MatchError  # noqa: E402
from wsel_graph.matching.layers import select_layers  # noqa: E402
from wsel_graph.selection.model import Score  # noqa: E402

DEPTH = Score("depth")


def influence(pairs: list[tuple[Tensor, Tensor]]) -> float:
    """One minus the mean cosine over all positions, features last."""
    cosines = [nn.functional.cosine_similarity(one, other, dim=-1, eps=0.0).flatten() for one, other in pairs]
    return float(1 - torch.cat(cosines).mean())


def by_hooks(model: nn.Module, names: list[str], batches: list, features: int = -1) -> list[float]:
    """What modules do to their first argument."""
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in names}

    def hook(name: str):
        def look(module, args, result):
            result = result[0] if isinstance(result, tuple) else result
            seen[name].append(tuple(t.detach().clone().movedim(features, -1) for t in (args[0], result)))

        return look

    handles = [model.get_submodule(name).register_forward_hook(hook(name)) for name in names]
    with torch.no_grad():
        for batch in batches:
            model(**batch) if isinstance(batch, dict) else model(batch)
    for handle in handles:
        handle.remove()
    return [influence(seen[name]) for name in names]


# -- against the models


def images(size: int, *counts: int) -> list[Tensor]:
    return [torch.randn(count, 3, size, size, dtype=torch.float64) for count in counts]


@pytest.mark.parametrize(
    ("name", "options", "size", "stage", "length", "features"),
    [
        ("vit_tiny_patch16_224", {"depth": 4, "img_size": 48}, 48, "blocks", 2, -1),
        ("convnext_atto", {}, 64, "stages.2.blocks", 1, 1),
        ("swin_tiny_patch4_window7_224", {"img_size": 112, "window_size": 7}, 112, "layers.2.blocks", 2, -1),
        ("mixer_s32_224", {"img_size": 64}, 64, "blocks", 2, -1),
    ],
)
def test_blocks_of_vision_models(name: str, options: dict, size: int, stage: str, length: int, features: int) -> None:
    torch.manual_seed(0)
    model = randomize(timm.create_model(name, **options)).double().eval()
    batches = images(size, 2, 1)
    found = ws.statistics(model, batches).influence[stage][length]
    expected = by_hooks(model, [f"{stage}.{i}" for i in range(len(found))], batches, features)
    assert list(found) == pytest.approx(expected, rel=1e-9)
    assert min(expected) > 1e-4


def test_a_stage_that_begins_with_another_stream_is_unknown_there() -> None:
    torch.manual_seed(0)
    model = randomize(timm.create_model("resnet18")).double().eval()
    batches = images(64, 2, 1)
    found = ws.statistics(model, batches).influence
    names = ["layer1.0", "layer1.1", "layer2.1", "layer3.1", "layer4.1"]
    values = [*found["layer1"][1], *(found[f"layer{i}"][1][1] for i in (2, 3, 4))]
    assert values == pytest.approx(by_hooks(model, names, batches, 1), rel=1e-9)
    assert [found[f"layer{i}"][1][0] for i in (2, 3, 4)] == [math.inf] * 3


@pytest.mark.parametrize(
    ("kind", "configuration", "stage", "blocks"),
    [(BertModel, BertConfig, "encoder.layer", "encoder.layer"), (LlamaModel, LlamaConfig, "layers", "layers")],
    ids=["bert", "llama"],
)
def test_blocks_of_language_models_of_any_length(kind, configuration, stage: str, blocks: str) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 40}
    model = randomize(kind(configuration(**sizes, vocab_size=50))).double().eval()
    batches = [{"input_ids": torch.randint(0, 50, shape)} for shape in ((3, 9), (2, 6))]
    lengths = ws.statistics(model, batches).influence[stage]
    (found,) = [values for values in lengths.values() if len(values) == 4]
    assert list(found) == pytest.approx(by_hooks(model, [f"{blocks}.{i}" for i in range(4)], batches), rel=1e-9)


class Adding(nn.Module):
    """Blocks that add to their stream in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(5, 8)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)) for _ in range(4))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x += block(x)
        return self.head(x)


def test_streams_that_are_written_over() -> None:
    model, x = randomize(Adding()).double(), torch.randn(7, 5, dtype=torch.float64)
    stream, expected = model.stem(x).detach(), []
    for block in model.blocks:
        after = (stream + block(stream)).detach()
        expected.append(influence([(stream, after)]))
        stream = after
    assert list(ws.statistics(model, [x]).influence["blocks"][1]) == pytest.approx(expected, rel=1e-9)


def test_zero_streams_have_no_direction() -> None:
    """Zero on both sides is no change, on one side a right angle."""
    teacher = Transformer(8, 2, 4, depth=2, norm=False).double()
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.zero_()
    still = ws.statistics(teacher, [torch.randn(2, 5, INPUT, dtype=torch.float64)]).influence["blocks"][2]
    with torch.no_grad():
        teacher.blocks[0].fc2.bias.fill_(1.0)
    moved = ws.statistics(teacher, [torch.randn(2, 5, INPUT, dtype=torch.float64)]).influence["blocks"][2]
    assert (still, moved) == ((0.0, 0.0), (1.0, 0.0))


# -- which blocks are taken


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text("version: 1\nlayers:\n  - take: {score: depth}\n")
    return path


def planted(depth: int, still: tuple[int, ...], seed: int = 0, **options: bool) -> Transformer:
    """Some blocks leave their stream as it is."""
    teacher = randomize(Transformer(8, 2, 4, depth=depth, **options), seed)
    with torch.no_grad():
        for number in still:
            block = teacher.blocks[number]
            for parameter in (*block.attn.o.parameters(), *block.fc2.parameters()):
                parameter.zero_()
    return teacher


@pytest.mark.parametrize("still", [(1, 3, 4), (0, 1, 2), (3, 4, 5), (0, 2, 5)])
def test_blocks_that_change_nothing_are_left_out(file: Path, still: tuple[int, ...]) -> None:
    teacher, x = planted(6, still), torch.randn(3, 5, INPUT)
    statistics = ws.statistics(teacher, [x])
    lively = sorted(set(range(6)) - set(still))
    student = Transformer(8, 2, 4, depth=3)
    result = ws.initialize(student, teacher, x, rules=file, statistics=statistics)
    (layers,) = result.plan.layers
    assert layers.pairs == tuple(enumerate(lively))
    assert [number for number, value in enumerate(layers.influence) if value == 0] == list(still)
    torch.testing.assert_close(student(x), teacher(x))  # what was left out did nothing
    four = ws.plan(Transformer(8, 2, 4, depth=4), teacher, x, rules=file, statistics=statistics)
    assert [block for _, block in four.layers[0].pairs] == sorted([*lively, still[0]])  # the first of equal ones


def test_the_report_and_the_plan_file_show_what_decided(file: Path, tmp_path: Path) -> None:
    teacher, x = planted(3, (0,)), torch.randn(3, 5, INPUT)
    result = ws.initialize(
        Transformer(8, 2, 4, depth=2), teacher, x, rules=file, statistics=ws.statistics(teacher, [x])
    )
    one, other = (f"{value:.2g}" for value in result.plan.layers[0].influence[1:])
    shown = " ".join(str(result).split())
    assert f"0<-1, 1<-2; influence of the teacher's blocks: 0, {one}, {other}" in shown
    result.plan.save(tmp_path / "a.json")
    assert ws.load_plan(tmp_path / "a.json") == result.plan


def test_the_first_block_of_a_residual_stage_is_always_taken(file: Path) -> None:
    make = timm.models.resnet.ResNet
    block = timm.models.resnet.BasicBlock
    torch.manual_seed(0)
    teacher = randomize(make(block, (2, 4, 1, 1), channels=(8, 16, 16, 16), stem_width=8)).eval()
    student = make(block, (2, 2, 1, 1), channels=(8, 16, 16, 16), stem_width=8)
    with torch.no_grad():
        for number in (1, 3):
            teacher.layer2[number].bn2.weight.zero_()
            teacher.layer2[number].bn2.bias.zero_()
    x = torch.randn(2, 3, 64, 64)
    plan = ws.plan(student, teacher, x, rules=file, statistics=ws.statistics(teacher, [x]))
    layers = {layer.stage: layer for layer in plan.layers}
    assert layers["layer2"].pairs == ((0, 0), (1, 2))
    assert layers["layer2"].influence[0] is None


class Hybrid(nn.Module):
    """Residual blocks of two kinds on one stream: `a` with two linears, `b` with three."""

    def __init__(self, kinds: str, strengths: tuple[float, ...] = ()) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(5, 8), nn.Linear(8, 2)
        self.blocks = nn.ModuleList()
        for number, kind in enumerate(kinds):
            inner = [nn.Linear(16, 16), nn.GELU()] if kind == "b" else []
            self.blocks.append(nn.Sequential(nn.Linear(8, 16), nn.GELU(), *inner, nn.Linear(16, 8)))
            with torch.no_grad():
                for parameter in self.blocks[-1][-1].parameters():
                    parameter.mul_(strengths[number] if strengths else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def test_blocks_are_chosen_among_those_of_their_own_kind(file: Path) -> None:
    torch.manual_seed(0)
    teacher = Hybrid("aabaab", (0.1, 1.0, 0.01, 0.2, 2.0, 0.03))
    x = torch.randn(20, 5)
    statistics = ws.statistics(teacher, [x])
    values = statistics.influence["blocks"][1]
    assert sorted(range(6), key=lambda block: -values[block])[:2] == [4, 1]  # both of kind a
    plan = ws.plan(Hybrid("ab"), teacher, x, rules=file, statistics=statistics)
    assert plan.layers[0].pairs == ((0, 4), (1, 5))


def test_equal_depths_need_no_statistics(file: Path) -> None:
    plan = ws.plan(Transformer(8, 2, 4, depth=2), Transformer(16, 4, 4, depth=2), (2, 5, INPUT), rules=file)
    assert plan.layers[0].pairs == ((0, 0), (1, 1))


def test_without_statistics_the_error_says_what_to_pass(file: Path) -> None:
    with pytest.raises(MatchError) as caught:
        ws.plan(Transformer(8, 2, 4, depth=2), Transformer(16, 4, 4, depth=3), (2, 5, INPUT), rules=file)
    assert str(caught.value) == (
        "my.yaml:3:5: layers: take: {score: depth} needs statistics of the teacher's activations for stage 'blocks': "
        "pass statistics=ws.statistics(teacher, batches)"
    )


def test_selection_by_influence() -> None:
    assert select_layers(DEPTH, 5, 3, "blocks", [0.1, 0.5, 0.1, math.inf, 0.2]) == [1, 3, 4]
    assert select_layers(DEPTH, 5, 4, "blocks", [0.1, 0.5, 0.1, math.inf, 0.2]) == [0, 1, 3, 4]
    assert select_layers(DEPTH, 2, 4, "blocks", [0.1, 0.2]) == [0, 1]
    with pytest.raises(
        MatchError,
        match=r"^layers: of the teacher's 3 blocks of stage 'blocks' the student takes 1, and 2 do not pass on the "
        r"stream that they start from, so how much they change it cannot be told\. Name the blocks, such as take: "
        r"\[0\]$",
    ):
        select_layers(DEPTH, 3, 1, "blocks", [math.inf, 0.1, math.inf])
