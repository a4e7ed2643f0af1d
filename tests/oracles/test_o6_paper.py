"""O6: `rules="paper"` gives the tensors of the published procedure (arXiv:2311.18823), one by one.

The formula stands here a second time, written after the published script: every `t // s`-th element when the sizes
divide, else `round(linspace(0, t - 1, s))`, in every dim of every tensor whose key does not contain "head". One thing
is mended: the rows of a fused qkv are chosen for q, k and v alike (the script lets them drift apart where sizes do not
divide).
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import randomize, snapshot
from tests.zoo.torchvision_stub import install

install()
import timm  # noqa: E402

IMAGE = (1, 3, 224, 224)


def published_index(teacher: int, student: int) -> torch.Tensor:
    """The script's index list of one dim."""
    if teacher % student == 0:
        return torch.arange(student) * (teacher // student)
    return torch.round(torch.linspace(0, teacher - 1, student)).long()


def published(key: str, weight: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """One student tensor, after the script, with q, k and v chosen alike."""
    if ".qkv." in key:
        return torch.cat([published("", part, (shape[0] // 3, *shape[1:])) for part in weight.chunk(3)])
    for dim, size in enumerate(shape):
        weight = weight.index_select(dim, published_index(weight.shape[dim], size))
    return weight


def check(student: nn.Module, teacher: nn.Module) -> ws.InitResult:
    """Initialise, and compare every tensor of the student."""
    randomize(student, 1)
    source = randomize(teacher, 2).state_dict()
    before = snapshot(student)
    result = ws.initialize(student, teacher, IMAGE, rules="paper")
    now = student.state_dict()
    for key, value in now.items():
        expected = before[key] if "head" in key else published(key, source[key], tuple(value.shape))
        assert torch.equal(value, expected), key
    assert {kept.student for kept in result.plan.kept} == {key for key in now if "head" in key}
    return result


def vit(embed_dim: int, num_heads: int, depth: int = 12) -> nn.Module:
    return timm.create_model(
        "vit_small_patch16_224", embed_dim=embed_dim, num_heads=num_heads, depth=depth, num_classes=5
    )


def test_vit_small_to_tiny() -> None:
    student = timm.create_model("vit_tiny_patch16_224")
    result = check(student, timm.create_model("vit_small_patch16_224"))
    assert result.total - result.initialized == sum(p.numel() for p in student.head.parameters())
    assert {c.method for c in result.plan.choices if c.role == "(heads head_dim)"} == {"uniform, flat"}


def test_convnext_tiny_to_femto() -> None:
    student = timm.create_model("convnext_femto", conv_mlp=False)
    result = check(student, timm.create_model("convnext_tiny"))
    kept = {kept.student for kept in result.plan.kept}
    assert kept == {"head.norm.weight", "head.norm.bias", "head.fc.weight", "head.fc.bias"}  # the final norm too
    assert [layer.pairs for layer in result.plan.layers if "blocks" in layer.stage] == [
        tuple((i, i) for i in range(depth)) for depth in (2, 2, 6, 2)
    ]


@pytest.mark.parametrize(
    ("embed_dim", "num_heads"),
    [
        pytest.param(224, 4, id="vit_tiny_1"),
        pytest.param(256, 4, id="vit_tiny_2"),
        pytest.param(280, 5, id="vit_tiny_3"),
        pytest.param(320, 5, id="vit_tiny_4"),
        pytest.param(336, 6, id="vit_tiny_5"),
        pytest.param(192, 6, id="narrower heads"),
        pytest.param(192, 12, id="more heads than the teacher"),
    ],
)
def test_sizes_that_do_not_divide(embed_dim: int, num_heads: int) -> None:
    """The extra students of the published code."""
    result = check(vit(embed_dim, num_heads, depth=1), vit(384, 6, depth=2))
    copy = next(copy for copy in result.plan.copies if copy.student == "blocks.0.attn.qkv.weight")
    q, k, v = (torch.tensor(list(copy.indices[0])).reshape(3, embed_dim) - torch.tensor([[0], [384], [768]])).unbind()
    assert torch.equal(q, k)
    assert torch.equal(q, v)


def test_dividing_sizes_agree_with_the_script_as_published() -> None:
    """For 384 to 192 the rows of the fused qkv need no mending."""
    weight = torch.randn(3 * 384, 384)
    as_published = weight.index_select(0, published_index(3 * 384, 3 * 192)).index_select(1, published_index(384, 192))
    assert torch.equal(published(".qkv.", weight, (3 * 192, 192)), as_published)
