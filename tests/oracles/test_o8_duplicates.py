"""O8 on hand-written networks and on those of libraries: planted duplicates are found and merged exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import ConvNet, Transformer, mlp, randomize
from tests.oracles.duplicates import merging, plant
from tests.oracles.test_o4_zeroed_teacher import Grouped, Recurrent, densenet, plain, resnet, vgg
from tests.zoo.torchvision_stub import install
from wsel_graph.coupling.verify import relative_error

install()
import timm  # noqa: E402
import transformers  # noqa: E402

Pair = tuple[nn.Module, nn.Module]
TOKENS, IMAGE, SMALL = (2, 5, 7), (2, 3, 64, 64), (2, 3, 9, 9)
ALL, HIDDEN, HEADS = "{role: [hidden, embed, groups, heads]}", "{role: hidden}", "{role: heads}"


def outputs(model: nn.Module, x: Any) -> torch.Tensor:
    result = model(**x) if isinstance(x, dict) else model(x)
    return result if isinstance(result, torch.Tensor) else result[0]


def trained(model: nn.Module, seed: int) -> nn.Module:
    """Random values for all that training moves; buffers outside the state dict (rotary frequencies) stay."""
    fixed = {name: buffer.clone() for name, buffer in model.named_buffers() if name not in model.state_dict()}
    randomize(model, seed)
    for name, buffer in model.named_buffers():
        if name in fixed:
            buffer.copy_(fixed[name])
    return model


def check(student: nn.Module, teacher: nn.Module, example: Any, file: Path, roles: set[str]) -> ws.Plan:
    """Plant duplicates where a first plan merges, plan anew, and compare the functions in float64."""
    student, teacher = (trained(model.double(), seed).eval() for seed, model in ((1, student), (2, teacher)))
    first = ws.plan(student, teacher, example, rules=file)
    plant(first, teacher, zero=True)
    result = ws.initialize(student, teacher, example, rules=file)
    merged = [choice for choice in result.plan.choices if choice.method == "merge weights"]
    assert {choice.role for choice in merged} == roles
    assert not [kept for kept in result.plan.kept if kept.parameter]
    generator = torch.Generator().manual_seed(3)
    is_shape = isinstance(example, tuple)
    x = torch.randn(example, generator=generator, dtype=torch.float64) if is_shape else example
    with torch.no_grad():
        expected, actual = outputs(teacher, x), outputs(student, x)
    assert float(expected.std()) > 0
    assert relative_error(expected, actual) < 1e-9
    return result.plan


OWN = [
    pytest.param(lambda: (mlp(5), mlp(12)), (2, 4), {"hidden"}, id="mlp"),
    pytest.param(lambda: (ConvNet(6), ConvNet(16)), SMALL, {"hidden", "embed"}, id="batch norm, depthwise, residual"),
    pytest.param(lambda: (Recurrent(nn.LSTM, 4, 5), Recurrent(nn.LSTM, 8, 12)), TOKENS, {"hidden"}, id="lstm"),
    pytest.param(lambda: (Recurrent(nn.GRU, 4, 5), Recurrent(nn.GRU, 8, 12)), TOKENS, {"hidden"}, id="gru"),
    pytest.param(
        lambda: (plain(12, 3, 4), plain(24, 6, 4)), TOKENS, {"hidden", "embed", "heads"}, id="attention, no norm"
    ),
    pytest.param(
        lambda: (plain(12, 4, 4, kv=2), plain(24, 8, 4, kv=4)), TOKENS, {"hidden", "embed", "heads"},
        id="groups of queries",
    ),
    pytest.param(lambda: (vgg(6), vgg(16)), IMAGE, {"hidden"}, id="vgg"),
    pytest.param(lambda: (resnet(8, 12, 16, 24), resnet(16, 32, 48, 64)), IMAGE, {"hidden", "embed"}, id="resnet18"),
    pytest.param(lambda: (densenet(4), densenet(8)), IMAGE, {"hidden"}, id="densenet"),
    pytest.param(lambda: (Grouped(2, 3), Grouped(4, 6)), SMALL, {"hidden", "groups"}, id="groups, shuffle, gate"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "shape", "roles"), OWN)
def test_every_axis_without_a_norm(
    make: Callable[[], Pair], shape: tuple[int, ...], roles: set[str], tmp_path: Path
) -> None:
    check(*make(), shape, merging(tmp_path, ALL), roles)


def vit(dim: int, heads: int, ratio: float) -> nn.Module:
    options = {"img_size": 32, "embed_dim": dim, "depth": 2, "num_heads": heads, "mlp_ratio": ratio, "num_classes": 5}
    return timm.create_model("vit_tiny_patch16_224", **options)


def convnext(ratio: int) -> nn.Module:
    from timm.models.convnext import ConvNeXtBlock

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 5)
            self.blocks = nn.Sequential(*(ConvNeXtBlock(8, mlp_ratio=ratio) for _ in range(2)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.blocks(self.stem(x)).mean((2, 3)))

    return Net()


def gpt2(heads: int, inner: int) -> nn.Module:
    config = transformers.GPT2Config(
        n_embd=24, n_head=heads, n_layer=2, n_inner=inner, vocab_size=19, n_positions=12, use_cache=False
    )
    return transformers.GPT2LMHeadModel(config)


def llama(heads: int, key_heads: int, inner: int) -> nn.Module:
    config = transformers.LlamaConfig(
        hidden_size=24, intermediate_size=inner, num_hidden_layers=2, num_attention_heads=heads, head_dim=4,
        num_key_value_heads=key_heads, vocab_size=19, max_position_embeddings=32, use_cache=False,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


IDS = {"input_ids": torch.arange(10).reshape(2, 5)}

LIBRARIES = [
    pytest.param(
        lambda: (Transformer(16, 2, 4, hidden=12), Transformer(16, 6, 4, hidden=40)), TOKENS, {"hidden", "heads"},
        id="own, pre-norm",
    ),
    pytest.param(
        lambda: (Transformer(16, 2, 4, hidden=12, rope=True), Transformer(16, 6, 4, hidden=40, rope=True)), TOKENS,
        {"hidden", "heads"}, id="own, rope",
    ),
    pytest.param(lambda: (vit(24, 2, 2), vit(24, 2, 4)), (2, 3, 32, 32), {"hidden"}, id="timm vit"),
    pytest.param(lambda: (convnext(2), convnext(5)), (2, 3, 32, 32), {"hidden"}, id="timm convnext blocks"),
    pytest.param(lambda: (llama(3, 3, 20), llama(6, 6, 50)), IDS, {"hidden", "heads"}, id="transformers llama"),
    pytest.param(lambda: (llama(4, 2, 20), llama(8, 4, 50)), IDS, {"hidden", "heads"}, id="llama, key heads"),
    pytest.param(lambda: (gpt2(4, 30), gpt2(4, 70)), IDS, {"embed"}, id="transformers gpt-2"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "example", "roles"), LIBRARIES)
def test_hidden_axes_and_heads_beside_norms(
    make: Callable[[], Pair], example: Any, roles: set[str], tmp_path: Path
) -> None:
    # to GPT-2's approximation of gelu, a sum of two activations, the hidden axis owes the role of a stream
    file = merging(tmp_path, "{role: [hidden, heads]}", '{student: "*.c_fc.bias"}')
    check(*make(), example, file, roles)


@pytest.mark.parametrize(
    ("student", "teacher", "options"),
    [
        pytest.param("mobilenetv2_050", "mobilenetv2_100", {}, id="mobilenetv2"),
        pytest.param("mobilenetv3_small_075", "mobilenetv3_small_100", {}, id="mobilenetv3"),
        pytest.param("resnet26", "resnet26", {"base_width": 96}, id="resnet26"),
    ],
)
def test_timm(student: str, teacher: str, options: dict[str, Any], tmp_path: Path) -> None:
    pair = timm.create_model(student, num_classes=5), timm.create_model(teacher, num_classes=5, **options)
    roles = {"hidden", "embed"} if student != teacher else {"hidden"}
    check(*pair, IMAGE, merging(tmp_path, "{role: [hidden, embed]}"), roles)
