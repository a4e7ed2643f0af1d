"""Names and nesting carry no meaning: a plan for a network in disguise is the same plan under other names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.scrambled import Scrambled, flat, shuffled
from tests.zoo.torchvision_stub import install

install()
import timm  # noqa: E402
import torchvision  # noqa: E402
import transformers  # noqa: E402
from timm.models.convnext import ConvNeXt  # noqa: E402
from timm.models.mlp_mixer import MlpMixer  # noqa: E402
from timm.models.resnet import BasicBlock, Bottleneck, ResNet  # noqa: E402
from timm.models.swin_transformer import SwinTransformer  # noqa: E402
from timm.models.vision_transformer import VisionTransformer  # noqa: E402

# fmt: off

IMAGE = torch.zeros(1, 3, 32, 32)
IDS = {"input_ids": torch.arange(12).reshape(2, 6)}


def vit(width: int, depth: int) -> nn.Module:
    return VisionTransformer(img_size=32, patch_size=8, embed_dim=width, depth=depth, num_heads=width // 8,
                             num_classes=5)


def swin(width: int, depths: tuple[int, ...]) -> nn.Module:
    return SwinTransformer(img_size=32, patch_size=2, window_size=4, embed_dim=width, depths=depths, num_heads=(2, 4),
                           num_classes=5)


def convnext(widths: tuple[int, ...], depths: tuple[int, ...], conv_mlp: bool) -> nn.Module:
    return ConvNeXt(dims=widths, depths=depths, num_classes=5, conv_mlp=conv_mlp)


def resnet(block: type[BasicBlock] | type[Bottleneck], width: int, depths: tuple[int, ...]) -> nn.Module:
    return ResNet(block, depths, channels=tuple(width * 2**stage for stage in range(4)), stem_width=width,
                  num_classes=5)


def mixer(width: int, depth: int) -> nn.Module:
    return MlpMixer(img_size=32, patch_size=8, embed_dim=width, num_blocks=depth, num_classes=5)


def hub(name: str, config: str, width: int, depth: int, **options: Any) -> nn.Module:
    settings = getattr(transformers, config)(
        vocab_size=29, hidden_size=width, num_hidden_layers=depth, num_attention_heads=width // 4,
        intermediate_size=3 * width, max_position_embeddings=16, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        **options)
    model: nn.Module = getattr(transformers, name)(settings)
    return model.eval()


def llama(width: int, depth: int) -> nn.Module:
    return hub("LlamaForCausalLM", "LlamaConfig", width, depth, num_key_value_heads=2, use_cache=False)


def gpt2(width: int, depth: int) -> nn.Module:
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=29, n_embd=width, n_layer=depth, n_head=width // 4, n_positions=16, use_cache=False,
        bos_token_id=1, eos_token_id=2)).eval()


def t5(width: int, depth: int) -> nn.Module:
    return transformers.T5ForConditionalGeneration(transformers.T5Config(
        vocab_size=29, d_model=width, d_kv=4, d_ff=3 * width, num_layers=depth, num_decoder_layers=depth,
        num_heads=width // 4, use_cache=False, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)).eval()


class Series(nn.Module):
    """An LSTM between two linears."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.enter, self.rnn = nn.Linear(5, width), nn.LSTM(width, width, depth, batch_first=True)
        self.leave = nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.leave(self.rnn(self.enter(x))[0])


@dataclass(frozen=True, slots=True)
class Case:
    """A student, its teacher, and inputs of both."""

    name: str
    student: Callable[[], nn.Module]
    teacher: Callable[[], nn.Module]
    inputs: Any


def case(name: str, make: Callable[..., nn.Module], student: tuple[Any, ...], teacher: tuple[Any, ...],
         inputs: Any = IMAGE) -> Case:
    return Case(name, partial(make, *student), partial(make, *teacher), inputs)


CASES = (
    case("vit 12 of 12 blocks", vit, (16, 12), (32, 12)),
    case("vit 6 of 12 blocks", vit, (16, 6), (32, 12)),
    case("vit 1 of 12 blocks", vit, (16, 1), (32, 12)),
    case("swin", swin, (8, (2, 2)), (16, (2, 6))),
    case("convnext", convnext, ((8, 12, 16, 20), (2, 2, 6, 2), False), ((16, 24, 32, 40), (3, 3, 9, 3), False)),
    case("convnext, 1x1 convolutions", convnext, ((8, 12, 16, 20), (1, 1, 2, 1), True),
         ((16, 24, 32, 40), (1, 1, 3, 1), False)),
    case("resnet, basic", resnet, (BasicBlock, 8, (1, 1, 1, 1)), (BasicBlock, 16, (2, 2, 2, 2))),
    case("resnet, bottleneck", resnet, (Bottleneck, 8, (2, 2, 2, 2)), (Bottleneck, 32, (3, 4, 6, 3))),
    case("mixer 6 of 12 blocks", mixer, (16, 6), (32, 12)),
    case("bert 6 of 12 blocks", partial(hub, "BertModel", "BertConfig"), (8, 6), (16, 12), IDS),
    case("gpt2 6 of 12 blocks", gpt2, (8, 6), (16, 12), IDS),
    case("llama 3 of 6 blocks", llama, (16, 3), (32, 6), IDS),
    case("t5 2 of 4 blocks", t5, (8, 2), (16, 4), {**IDS, "decoder_input_ids": IDS["input_ids"][:, :4]}),
    case("lstm", Series, (6, 2), (12, 2), torch.zeros(2, 7, 5)),
    Case("mobilenet v2", partial(timm.create_model, "mobilenetv2_050", num_classes=5),
         partial(timm.create_model, "mobilenetv2_100", num_classes=5), IMAGE),
    Case("densenet", partial(torchvision.models.DenseNet, 4, (2, 3, 2), 8, num_classes=5),
         partial(torchvision.models.DenseNet, 8, (2, 3, 2), 16, num_classes=5), IMAGE),
)

DISGUISES = {"flat": flat, "shuffled": shuffled}

# fmt: on


def nothing(model: nn.Module) -> Scrambled:
    """No disguise; tied tensors go by their first name."""
    first = {id(t): n for n, t in (*model.named_parameters(), *model.named_buffers())}
    named = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    return Scrambled(model, {name: first[id(tensor)] for name, tensor in named})


def neutral(plan: ws.Plan, student: Scrambled, teacher: Scrambled) -> dict[str, Any]:
    """What a plan says, in the names of the originals and in no order."""
    ours, theirs = student.original, teacher.original
    copies: dict[str, list[tuple[str, ...]]] = {}
    for copy in plan.copies:
        rest = [name for name in copy.__dataclass_fields__ if name not in ("student", "teacher")]
        said = (theirs[copy.teacher], *(f"{name}={getattr(copy, name)}" for name in rest))
        copies[ours[copy.student]] = sorted([*copies.get(ours[copy.student], []), said])
    return {
        "copies": copies,
        "kept": {ours[kept.student]: kept.shape for kept in plan.kept},
        "groups": sorted(
            (choice.role, choice.teacher_size, choice.student_size, choice.method, sorted(_places(choice, ours)))
            for choice in plan.choices
        ),
        "layers": sorted((layer.teacher_depth, layer.pairs) for layer in plan.layers),
    }


def _places(choice: Any, original: dict[str, str]) -> list[str]:
    return [f"{original[name]}:{dim}" for name, _, dim in (place.rpartition(":") for place in choice.members)]


@cache
def plain_plan(name: str) -> dict[str, Any]:
    """The plan of the undisguised pair."""
    case = next(case for case in CASES if case.name == name)
    torch.manual_seed(0)
    student, teacher = nothing(case.student()), nothing(case.teacher())
    plan = ws.plan(student.model, teacher.model, case.inputs)
    assert plan.copies
    return neutral(plan, student, teacher)


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_disguise_computes_the_same(case: Case, disguise: Callable[[nn.Module, int], Scrambled]) -> None:
    original = case.student().eval()
    scrambled = disguise(original, 1)
    first = {id(tensor): name for name, tensor in (*original.named_parameters(), *original.named_buffers())}
    assert set(scrambled.original.values()) == set(first.values())
    assert set(scrambled.original).isdisjoint(scrambled.original.values())
    inputs = (case.inputs,) if isinstance(case.inputs, torch.Tensor) else ()
    options = {} if inputs else case.inputs
    with torch.no_grad():
        expected, actual = original(*inputs, **options), scrambled.model.eval()(*inputs, **options)
    torch.testing.assert_close(_tensors(actual), _tensors(expected), rtol=0, atol=0)


def _tensors(output: Any) -> list[torch.Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor)]


@pytest.mark.parametrize("side", ["student", "teacher", "both"])
@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_plan_is_the_same(case: Case, disguise: Callable[[nn.Module, int], Scrambled], side: str) -> None:
    torch.manual_seed(0)
    student, teacher = case.student(), case.teacher()
    ours = nothing(student) if side == "teacher" else disguise(student, 1)
    theirs = nothing(teacher) if side == "student" else disguise(teacher, 2)
    found = neutral(ws.plan(ours.model, theirs.model, case.inputs), ours, theirs)
    expected = plain_plan(case.name)
    for part, said in expected.items():
        assert found[part] == said, part


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_coupled_groups_are_the_same(case: Case, disguise: Callable[[nn.Module, int], Scrambled]) -> None:
    plain = nothing(case.student())
    scrambled = disguise(plain.model, 1)
    expected, found = groups(plain, case.inputs), groups(scrambled, case.inputs)
    assert expected
    assert found == expected


def groups(network: Scrambled, inputs: Any) -> list[Any]:
    """Size, role and members of every group, in the names of the original."""
    return sorted(
        (group.size, group.role, sorted((network.original[name], dim) for name, dim in group.members))
        for group in ws.trace(network.model, inputs).groups
    )
