"""O1: student and teacher of one architecture: the student becomes the teacher, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import ConvNet, Language, Transformer, mlp, randomize
from tests.zoo.torchvision_stub import install

install()
import timm  # noqa: E402
import torchvision  # noqa: E402
import transformers  # noqa: E402

IDS = {"input_ids": torch.arange(12).reshape(2, 6)}
SMALL = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 16, "vocab_size": 30}


def timm_model(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, num_classes=5, **options)


def gpt2() -> nn.Module:
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=30))


def llama() -> nn.Module:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL, num_key_value_heads=2, intermediate_size=24))


def bert() -> nn.Module:
    return transformers.BertModel(transformers.BertConfig(**SMALL, intermediate_size=24))


MODELS = [
    pytest.param(lambda: mlp(8), (2, 4), id="mlp"),
    pytest.param(lambda: ConvNet(6), (1, 3, 8, 8), id="conv"),
    pytest.param(lambda: Transformer(heads=4, kv=2, rope=True), (1, 5, 7), id="grouped queries, rope"),
    pytest.param(lambda: Transformer(sine=True), (1, 5, 7), id="sine code"),
    pytest.param(lambda: Language(8, tied=True), {"ids": IDS["input_ids"] % 11}, id="tied"),
    pytest.param(lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (1, 5, 8), id="torch encoder"),
    pytest.param(timm_model("vit_tiny_patch16_224", depth=2, img_size=32), (1, 3, 32, 32), id="timm vit"),
    pytest.param(timm_model("resnet10t"), (1, 3, 64, 64), id="timm resnet"),
    pytest.param(timm_model("convnext_atto", depths=(1, 1, 2, 1)), (1, 3, 64, 64), id="timm convnext"),
    pytest.param(
        timm_model("swin_tiny_patch4_window7_224", embed_dim=24, depths=(2, 2), num_heads=(1, 2), img_size=56),
        (1, 3, 56, 56), id="timm swin",
    ),
    pytest.param(timm_model("mixer_s32_224", img_size=64), (1, 3, 64, 64), id="timm mixer"),
    pytest.param(lambda: torchvision.models.mobilenet_v3_small(num_classes=5), (1, 3, 64, 64), id="tv mobilenet"),
    pytest.param(lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=5), (1, 3, 64, 64), id="tv shufflenet"),
    pytest.param(bert, IDS, id="bert"),
    pytest.param(gpt2, IDS, id="gpt2"),
    pytest.param(llama, IDS, id="llama"),
]  # fmt: skip


CONFIGURATION = {"integer values are configuration", "not in the state dict: the student computes it"}


@pytest.mark.parametrize("unit", ["whole", "flat"])
@pytest.mark.parametrize(("make", "inputs"), MODELS)
def test_student_becomes_the_teacher(make: Callable[[], nn.Module], inputs: Any, unit: str) -> None:
    student, teacher = randomize(make(), 1), randomize(make(), 2)
    result = ws.initialize(student, teacher, inputs, unit=unit)
    ours, theirs = student.state_dict(), teacher.state_dict()
    assert ours.keys() == theirs.keys()
    values = [name for name, tensor in theirs.items() if tensor.is_floating_point()]
    assert len(values) >= len(list(student.parameters()))
    assert [name for name in values if not torch.equal(ours[name], theirs[name])] == []
    assert {kept.reason for kept in result.plan.kept} <= CONFIGURATION
    assert result.coverage == 1
