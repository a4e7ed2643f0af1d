"""Which features a plan says to compare: against index lists worked out without it, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import wsel_graph as ws
from tests.nets import Block, Transformer, mlp
from tests.zoo.torchvision_stub import install
from wsel_graph.errors import DistillationError
from wsel_graph.plan import Feature

install()
import timm  # noqa: E402
import torchvision  # noqa: E402
import transformers  # noqa: E402

IMAGE, TOKENS, IDS = (2, 3, 64, 64), (2, 5, 7), torch.arange(14).view(2, 7)


def vit(width: int, depth: int, **options: Any) -> nn.Module:
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=64, embed_dim=width, depth=depth, num_heads=3, num_classes=5, **options
    )


def hub_vit(width: int, depth: int) -> nn.Module:
    config = transformers.ViTConfig(
        hidden_size=width, num_hidden_layers=depth, num_attention_heads=3, intermediate_size=4 * width, image_size=64,
        patch_size=16, num_labels=5,
    )  # fmt: skip
    return transformers.ViTForImageClassification(config)


def vision_vit(width: int, depth: int) -> nn.Module:
    return torchvision.models.VisionTransformer(64, 16, depth, 3, width, 4 * width, num_classes=5)


def convnext(width: int, *depths: int) -> nn.Module:
    return timm.create_model("convnext_atto", depths=depths, dims=[width * m for m in (1, 2, 4, 8)], num_classes=5)


def resnet(width: int, *depths: int) -> nn.Module:
    channels = [width * m for m in (1, 2, 4, 8)]
    block = timm.models.resnet.BasicBlock
    return timm.models.resnet.ResNet(block, depths, channels=channels, stem_width=width, num_classes=5)


def bert(width: int, depth: int) -> nn.Module:
    return transformers.BertModel(
        transformers.BertConfig(
            vocab_size=50,
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=3,
            intermediate_size=2 * width,
        )
    )


def llama(width: int, depth: int) -> nn.Module:
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=50,
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=3,
            intermediate_size=2 * width,
        )
    )


PAIRS: list[Any] = [
    # student, teacher, inputs, the tensor whose dim 0 is the stream, in student and teacher; the blocks of both
    pytest.param(vit(48, 2), vit(96, 4), IMAGE, "blocks.{}", "blocks.{}", "mlp.fc2.bias", "mlp.fc2.bias", id="vit"),
    pytest.param(
        convnext(8, 2, 2, 2, 2), convnext(24, 2, 2, 3, 2), IMAGE, "stages.2.blocks.{}", "stages.2.blocks.{}",
        "mlp.fc2.bias", "mlp.fc2.bias", id="convnext",
    ),
    pytest.param(
        resnet(8, 2, 2, 2, 2), resnet(24, 2, 3, 3, 2), IMAGE, "layer2.{}", "layer2.{}", "bn2.bias", "bn2.bias",
        id="resnet",
    ),
    pytest.param(
        bert(24, 2), bert(60, 4), IDS, "encoder.layer.{}", "encoder.layer.{}", "output.dense.bias", "output.dense.bias",
        id="bert",
    ),
    pytest.param(
        llama(24, 2), llama(60, 4), IDS, "model.layers.{}", "model.layers.{}", "mlp.down_proj.weight",
        "mlp.down_proj.weight", id="llama",
    ),
    pytest.param(
        Transformer(8, 2, 4, norm=False), Transformer(24, 4, 4, depth=4, norm=False), TOKENS, "blocks.{}", "blocks.{}",
        "fc2.bias", "fc2.bias", id="functional",
    ),
    pytest.param(
        hub_vit(48, 2), vit(96, 4), IMAGE, "vit.layers.{}", "blocks.{}", "mlp.fc2.bias", "mlp.fc2.bias",
        id="timm to transformers",
    ),
    pytest.param(
        vision_vit(48, 2), vit(96, 4), IMAGE, "encoder.layers.encoder_layer_{}", "blocks.{}", "mlp.3.bias",
        "mlp.fc2.bias", id="timm to torchvision",
    ),
]  # fmt: skip


@pytest.mark.parametrize("method", ["uniform", "random"])
@pytest.mark.parametrize(("student", "teacher", "inputs", "ours", "theirs", "tensor", "source"), PAIRS)
def test_indices_are_those_by_which_values_were_copied(
    student: nn.Module, teacher: nn.Module, inputs: Any, ours: str, theirs: str, tensor: str, source: str, method: str
) -> None:
    """The oracle: number the elements of the teacher's last tensor of a block, and see which numbers arrive."""
    plan = ws.plan(student, teacher, inputs, method=method)
    pairs = [pair for pair in ws.feature_pairs(plan) if pair.student.module == ours.format(pair.block)]
    assert [pair.block for pair in pairs] == [0, 1]
    numbered = {name: value.clone() for name, value in teacher.state_dict().items()}
    for pair in pairs:
        assert not pair.problem
        assert pair.teacher.module == theirs.format(pair.teacher_block) == theirs.format(pair.block)
        name = f"{pair.teacher.module}.{source}"
        value = numbered[name]
        number = torch.arange(len(value), dtype=value.dtype)
        numbered[name] = number.view(-1, *[1] * (value.dim() - 1)).expand_as(value)
    ws.apply(plan, student, numbered)
    for pair in pairs:
        arrived = student.state_dict()[_under(student, f"{pair.student.module}.{tensor}")]
        assert list(pair.indices) == arrived.reshape(len(arrived), -1)[:, 0].tolist()
        assert (pair.student.size, pair.teacher.size) == (len(arrived), len(number))
        assert pair.filled is None


def _under(model: nn.Module, name: str) -> str:
    return name if name in model.state_dict() else next(n for n in model.state_dict() if n.endswith(name))


@pytest.mark.parametrize(("student", "teacher", "inputs"), [pytest.param(*p.values[:3], id=p.id) for p in PAIRS])
def test_every_block_that_the_plan_pairs_has_a_feature(student: nn.Module, teacher: nn.Module, inputs: Any) -> None:
    plan = ws.plan(student, teacher, inputs)
    expected = [(layer.stage, *pair) for layer in plan.layers for pair in layer.pairs]
    found = ws.feature_pairs(plan)
    assert [(pair.stage, pair.block, pair.teacher_block) for pair in found] == expected
    assert not [str(pair) for pair in found if pair.problem]


def test_spanned_blocks() -> None:
    plan = ws.plan(vit(48, 2), vit(96, 6), IMAGE, rules="uniform-layers")
    assert plan.layers[0].pairs == ((0, 0), (1, 3))
    assert [pair.teacher_block for pair in ws.feature_pairs(plan)] == [0, 3]
    spanned = ws.feature_pairs(plan, teacher="spanned")
    assert [(pair.teacher_block, pair.teacher.module) for pair in spanned] == [(2, "blocks.2"), (5, "blocks.5")]
    last = ws.plan(vit(48, 2), vit(96, 6), IMAGE, rules="last-layers")
    assert [pair.teacher_block for pair in ws.feature_pairs(last, teacher="spanned")] == [4, 5]


def test_selection_by_stage_and_block() -> None:
    plan = ws.plan(resnet(8, 2, 2, 2, 2), resnet(16, 2, 2, 2, 2), IMAGE)
    chosen = ws.feature_pairs(plan, stages="layer[12]", blocks=[1])
    assert [pair.student.module for pair in chosen] == ["layer1.1", "layer2.1"]
    with pytest.raises(DistillationError, match=r"no stage of the plan fits 'layer9'; it has layer1, layer2, layer3"):
        ws.feature_pairs(plan, stages="layer9")
    with pytest.raises(
        DistillationError, match=r"blocks: \[7\] are not all blocks of these stages; they have \[0, 1\]"
    ):
        ws.feature_pairs(plan, blocks=[7])
    with pytest.raises(DistillationError, match="'next' is not a choice; write 'copied' or 'spanned'"):
        ws.feature_pairs(plan, teacher="next")  # type: ignore[arg-type]
    with pytest.raises(DistillationError, match=r"the plan holds no features.*make it again"):
        ws.feature_pairs(ws.plan(mlp(4), mlp(8), (2, 4)))


def test_features_travel_with_the_plan(tmp_path: Path) -> None:
    plan = ws.plan(vit(48, 2), vit(96, 4), IMAGE, method="random")
    plan.save(tmp_path / "plan.json")
    assert ws.load_plan(tmp_path / "plan.json").features == plan.features
    text = (tmp_path / "plan.json").read_text()
    lines = text.splitlines()
    own = [line for line in lines[: lines.index('  "features": [')] if '"hash"' not in line]
    old = "\n".join(own).rstrip(",") + "\n}}\n"  # as it was before features
    (tmp_path / "old.json").write_text(old)
    assert ws.load_plan(tmp_path / "old.json").features == ()


def test_student_wider_than_the_teacher(tmp_path: Path) -> None:
    def grown(how: str) -> Feature:
        rules = tmp_path / f"{how}.yaml"
        rules.write_text(f"version: 1\nextends: default\nelements:\n  - grow: {how}\n")
        return ws.feature_pairs(ws.plan(student, teacher, TOKENS, rules=rules))[0]

    teacher, student = Transformer(8, 2, 4), Transformer(12, 2, 4, hidden=16)
    kept, tiled = grown("keep"), grown("tile")
    assert (list(kept.indices), list(kept.filled or ())) == (list(range(8)), list(range(8)))
    assert (list(tiled.indices), tiled.filled) == ([*range(8), *range(4)], None)


# -- layouts


class Conv(nn.Module):
    """A residual block of 1x1 convolutions or of linears: with the same values, the same function."""

    def __init__(self, width: int, linear: bool) -> None:
        super().__init__()
        make = nn.Linear if linear else lambda i, o: nn.Conv2d(i, o, 1)
        self.up, self.down = make(width, 2 * width), make(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(F.relu(self.up(x)))


class Laid(nn.Module):
    """A patch stem, residual blocks over positions, laid out in one of several ways, and a head."""

    def __init__(self, width: int, layout: str, depth: int = 2, stride: int = 4) -> None:
        super().__init__()
        self.layout = layout
        self.stem = nn.Conv2d(3, width, stride, stride)
        self.blocks = nn.ModuleList(Conv(width, layout != "nchw") for _ in range(depth))
        self.head = nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        match self.layout:
            case "nlc":
                x = x.flatten(2).transpose(1, 2)
            case "lnc":
                x = x.flatten(2).permute(2, 0, 1)
            case "nhwc":
                x = x.permute(0, 2, 3, 1)
            case "columns":
                x = x.mT.flatten(2).transpose(1, 2)
            case "flipped":
                x = x.flatten(2).transpose(1, 2).flip(1)
        for block in self.blocks:
            x = block(x)
        match self.layout:
            case "nchw":
                return self.head(x.mean((2, 3)))
            case "nhwc":
                return self.head(x.mean((1, 2)))
            case "lnc":
                return self.head(x.mean(0))
        return self.head(x.mean(1))


PLAIN = ("nchw", "nlc", "lnc", "nhwc")


@pytest.mark.parametrize("teacher", PLAIN)
@pytest.mark.parametrize("student", PLAIN)
def test_layouts(student: str, teacher: str) -> None:
    """One function, laid out in four ways: the features are equal once they are laid out as the plan says."""
    ours, theirs = Laid(6, student).double(), Laid(12, teacher).double()
    plan = ws.initialize(ours, theirs, (2, 3, 16, 16), method="random").plan
    same = Laid(6, teacher).double()
    same.load_state_dict({name: v.reshape(same.state_dict()[name].shape) for name, v in ours.state_dict().items()})
    pair = ws.feature_pairs(plan, blocks=[1])[0]
    x = torch.randn(3, 3, 16, 24, dtype=torch.float64)  # other sizes than planned, so that no two dims are of one size
    shown = _rows(ours, pair.student.module, pair.student.dims, x)
    assert torch.allclose(shown, _rows(same, pair.teacher.module, pair.teacher.dims, x), rtol=1e-12, atol=1e-12)
    assert shown.shape == (3 * 4 * 6, 6) or student == "lnc"


def _rows(model: nn.Module, module: str, dims: tuple[int, ...], x: torch.Tensor) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    handle = model.get_submodule(module).register_forward_hook(lambda *a: seen.append(a[2]))
    with torch.no_grad():
        model(x)
    handle.remove()
    return seen[0].permute(dims).flatten(0, -2)


@pytest.mark.parametrize(
    ("student", "teacher", "inputs", "said"),
    [
        pytest.param(
            Laid(6, "nlc"), Laid(12, "columns"), (2, 3, 16, 16),
            r"the positions differ: \[2, 16\] in the student, \[2, 16\] in the teacher, or they are in another order",
            id="columns first",
        ),
        pytest.param(
            Laid(6, "nlc"), Laid(12, "flipped"), (2, 3, 16, 16),
            r"only the teacher moves positions \(aten::flip\), so that their order cannot be proven", id="flipped",
        ),
        pytest.param(
            Laid(6, "nchw"), Laid(12, "nchw", stride=2), (2, 3, 16, 16),
            r"the positions differ: \[2, 4, 4\] in the student, \[2, 8, 8\] in the teacher", id="resolution",
        ),
        pytest.param(
            Laid(6, "nchw"), Laid(12, "nlc"), (2, 3, 4, 4),
            r"dim 1 of the teacher has one element on the example inputs.*plan on larger inputs",
            id="one position",
        ),
        pytest.param(
            Laid(6, "nlc"), Laid(12, "lnc"), (1, 3, 4, 4), r"dim 0 of the student has one element on the example",
            id="one sample, one position",
        ),
    ],
)  # fmt: skip
def test_positions_that_do_not_correspond(student: nn.Module, teacher: nn.Module, inputs: Any, said: str) -> None:
    rules = {"keep": ["stem.*"]} if student.stem.weight.shape[2:] != teacher.stem.weight.shape[2:] else {}
    pair = ws.feature_pairs(ws.plan(student, teacher, inputs, **rules))[0]
    with pytest.raises(DistillationError, match=said):
        ws.FeatureDistillation(student, teacher, [pair])


def test_dims_of_one_position_are_followed_where_nothing_moves_them() -> None:
    plan = ws.plan(Laid(6, "nchw"), Laid(12, "nchw"), (1, 3, 4, 4))
    assert [(pair.student.dims, pair.problem) for pair in ws.feature_pairs(plan)] == [((0, 2, 3, 1), "")] * 2


def test_class_tokens_that_differ() -> None:
    plan = ws.plan(vit(48, 2), vit(96, 4, reg_tokens=2), IMAGE, keep=["pos_embed"])
    assert "the positions differ: [2, 17] in the student, [2, 19] in the teacher" in ws.feature_pairs(plan)[0].problem


# -- modules


class Inlined(nn.Module):
    """Residual blocks without a module of their own."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.stem = nn.Linear(7, width)
        self.up = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(depth))
        self.head = nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for up, down in zip(self.up, self.down, strict=True):
            x = x + down(up(x).relu())
        return self.head(x)


def test_a_block_without_a_module() -> None:
    student, teacher = Inlined(8, 2), Inlined(16, 4)
    pairs = ws.feature_pairs(ws.plan(student, teacher, TOKENS))
    with pytest.raises(DistillationError, match=r"block 0 of .* student: no module returns the value.*Leave it out"):
        ws.FeatureDistillation(student, teacher, pairs)


class Wrapping(nn.Module):
    """A stack whose blocks answer with a dict that holds a tuple, or activate in place."""

    def __init__(
        self, width: int, depth: int, *, dicts: bool = False, after: bool = False, spoil: bool = False
    ) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(7, width), nn.Linear(width, 3)
        self.blocks = nn.ModuleList(Answering(width, dicts, after) for _ in range(depth))
        self.dicts, self.spoil = dicts, spoil

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
            x = x["states"][1] if self.dicts else x
            x = x.mul_(2) if self.spoil else x
        return self.head(x)


class Answering(nn.Module):
    def __init__(self, width: int, dicts: bool, after: bool) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dicts, self.after = dicts, after

    def forward(self, x: torch.Tensor) -> Any:
        x = x + self.down(self.up(x).relu())
        x = x.relu() if self.after else x
        return {"none": None, "states": (0, x)} if self.dicts else x


def test_a_value_inside_of_what_a_module_returns() -> None:
    pair = ws.feature_pairs(ws.plan(Wrapping(8, 2, dicts=True), Wrapping(16, 3), TOKENS))[0]
    assert (pair.student.module, pair.student.place, str(pair.student)) == (
        "blocks.0", ("states", 1), "blocks.0['states'][1]",
    )  # fmt: skip
    assert (pair.teacher.module, pair.teacher.place) == ("blocks.0", ())


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        pytest.param(
            lambda: Wrapping(16, 3, after=True), r"its value after nothing more, blocks.0 of the teacher after aten",
            id="after an activation",
        ),
        pytest.param(
            lambda: Wrapping(16, 3, spoil=True), r"the memory of .*, which blocks.0 returns, is written to again",
            id="overwritten",
        ),
    ],
)  # fmt: skip
def test_values_that_are_not_the_same(teacher: Callable[[], nn.Module], said: str) -> None:
    pair = ws.feature_pairs(ws.plan(Wrapping(8, 2), teacher(), TOKENS))[0]
    with pytest.raises(DistillationError, match=said):
        ws.FeatureDistillation(Wrapping(8, 2), teacher(), [pair])


class Shared(nn.Module):
    """One block that runs several times."""

    def __init__(self, width: int, times: int) -> None:
        super().__init__()
        self.stem, self.head, self.times = nn.Linear(7, width), nn.Linear(width, 3), times
        self.block = Block(width, nn.Identity(), 2 * width, norm=False)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for _ in range(self.times):
            x = self.block(x)
        return self.head(x)


def test_a_module_that_is_called_several_times() -> None:
    pairs: tuple[Feature, ...] = ws.feature_pairs(ws.plan(Shared(8, 2), Shared(16, 3), TOKENS))
    taps = [(tap.module, tap.call, tap.calls) for pair in pairs for tap in (pair.student, pair.teacher)]
    assert taps == [("block", 0, 2), ("block", 0, 3), ("block", 1, 2), ("block", 1, 3)]


def test_inconsistent_choices_have_no_channels() -> None:
    plan = ws.plan(vit(48, 2), vit(96, 4), IMAGE, consistent=False, method="random")
    assert "every tensor draws its own channels" in ws.feature_pairs(plan)[0].problem
