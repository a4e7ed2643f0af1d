"""O5: a teacher whose surplus blocks are identities computes what the student has after first-N."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import Transformer, randomize
from tests.oracles.test_o4_zeroed_teacher import zero_the_rest
from tests.zoo.torchvision_stub import install
from wsel_graph.coupling.verify import relative_error

install()
import timm  # noqa: E402

TOKENS, IMAGE = (2, 5, 7), (2, 3, 64, 64)


def silence(model: nn.Module, *patterns: str) -> nn.Module:
    """Zero the layers that end a residual branch."""
    silenced = [p for name, p in model.named_parameters() if any(pattern in name for pattern in patterns)]
    assert len(silenced) >= len(patterns)
    for parameter in silenced:
        nn.init.zeros_(parameter)
    return model


def own(depth: int, **options: Any) -> nn.Module:
    return randomize(Transformer(16, 4, 4, depth=depth, **options), depth)


def own_teacher(depth: int, student_depth: int, **options: Any) -> nn.Module:
    ends = [f"blocks.{block}.{end}." for block in range(student_depth, depth) for end in ("attn.o", "fc2")]
    return silence(own(depth, **options), *ends)


def timm_model(name: str, **options: Any) -> nn.Module:
    return randomize(timm.create_model(name, num_classes=5, **options), sum(map(ord, str(options))))


def vit(depth: int) -> nn.Module:
    return timm_model("vit_tiny_patch16_224", img_size=32, embed_dim=48, depth=depth)


def convnext(*depths: int) -> nn.Module:
    return timm_model("convnext_atto", depths=depths, dims=(8, 12, 16, 24))


def resnet(*layers: int) -> nn.Module:
    return timm_model("resnet18", layers=layers, channels=(8, 12, 16, 24), stem_width=8)


CASES = [
    pytest.param(lambda: (own(2), own_teacher(5, 2)), TOKENS, id="2 of 5"),
    pytest.param(lambda: (own(1, rope=True, kv=2), own_teacher(4, 1, rope=True, kv=2)), TOKENS, id="1 of 4, rope"),
    pytest.param(
        lambda: (vit(1), silence(vit(2), "blocks.1.attn.proj", "blocks.1.mlp.fc2")), (2, 3, 32, 32), id="vit"
    ),
    pytest.param(
        lambda: (convnext(1, 1, 2, 1), silence(convnext(2, 1, 3, 1), "0.blocks.1.gamma", "2.blocks.2.gamma")),
        IMAGE, id="convnext, stage by stage",
    ),
    pytest.param(
        lambda: (resnet(1, 2, 1, 1), silence(resnet(2, 3, 1, 2), "layer1.1.bn2", "layer2.2.bn2", "layer4.1.bn2")),
        IMAGE, id="resnet, stage by stage",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("make", "shape"), CASES)
def test_surplus_identities_change_nothing(
    make: Callable[[], tuple[nn.Module, nn.Module]], shape: tuple[int, ...]
) -> None:
    student, teacher = (model.double().eval() for model in make())
    result = ws.initialize(student, teacher, shape)
    assert result.coverage == 1
    assert any(len(layer.pairs) < layer.teacher_depth for layer in result.plan.layers)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(teacher(x), student(x)) < 1e-12


def test_narrower_and_shallower_at_once() -> None:
    """O4 and O5 together, where no norm mixes channels."""
    student = randomize(Transformer(8, 2, 4, depth=2, norm=False), 1).double()
    teacher = own_teacher(5, 2, norm=False).double()
    result = ws.initialize(student, teacher, TOKENS, method="random")
    zero_the_rest(result.plan, teacher)
    x = torch.randn(TOKENS, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert relative_error(teacher(x), student(x)) < 1e-9


def test_the_oracle_can_fail() -> None:
    student, teacher = own(2).double(), own(3).double()
    ws.initialize(student, teacher, TOKENS)
    x = torch.randn(TOKENS, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(teacher(x), student(x)) > 1e-3
