"""Starts: mimetic ones against their formulas, pruning against brute force, textbook ones against their bounds."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.zoo import torchvision_stub

torchvision_stub.install()
models = pytest.importorskip("examples.paper.models")

from examples.paper import mimetic, pruning, starts  # noqa: E402
from examples.paper.experiment import START_KINDS, Start  # noqa: E402


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_query_and_key_of_full_width_have_the_stated_product() -> None:
    query, key = mimetic.query_and_key(96, 96, draw())
    noise = torch.randn(96, 96, generator=draw(), dtype=torch.float64) / math.sqrt(96)
    torch.testing.assert_close((query @ key.T).double(), 0.7 * noise + 0.7 * torch.eye(96).double(), atol=1e-5, rtol=0)


def test_query_and_key_of_a_head_are_the_best_of_their_rank() -> None:
    query, key = mimetic.query_and_key(64, 16, draw())
    assert query.shape == key.shape == (64, 16)
    target = 0.7 * torch.randn(64, 64, generator=draw(), dtype=torch.float64) / 8 + 0.7 * torch.eye(64).double()
    lost = torch.linalg.svdvals(target)[16:].square().sum().sqrt()  # Eckart and Young
    assert float((target - (query @ key.T).double()).norm()) == pytest.approx(float(lost), rel=1e-5)
    torch.testing.assert_close(query.square().sum(0), key.square().sum(0))  # both sides carry the same share


def test_value_and_output_have_a_negative_diagonal() -> None:
    value, output = mimetic.value_and_output(64, draw())
    product = value @ output
    noise = 0.4 * torch.randn(64, 64, generator=draw(), dtype=torch.float64) / 8
    torch.testing.assert_close(product.double(), noise - 0.4 * torch.eye(64).double(), atol=1e-5, rtol=0)


def test_a_vit_is_initialised_head_by_head() -> None:
    model = models.build("small_vit_student", 10)
    assert mimetic.initialise(model, seed=3) == 4
    attention = model.blocks[0].attn
    query, key, value = attention.qkv.weight.detach().reshape(3, 2, 32, 64)
    own = draw(3)
    for head in range(2):
        left, right = mimetic.query_and_key(64, 32, own)
        torch.testing.assert_close(query[head].T @ key[head], left @ right.T, atol=1e-5, rtol=0)
    product = value.reshape(64, 64).T @ attention.proj.weight.detach().T  # of row vectors: x W_v W_proj
    torch.testing.assert_close(product, torch.matmul(*mimetic.value_and_output(64, own)), atol=1e-5, rtol=0)
    assert float(attention.qkv.bias.detach().abs().max()) == 0
    first, second = (models.build("small_vit_student", 10) for _ in range(2))
    for other in (first, second):
        mimetic.initialise(other, 3)
    assert torch.equal(first.blocks[2].attn.qkv.weight, second.blocks[2].attn.qkv.weight)
    assert not torch.equal(first.blocks[0].attn.qkv.weight, first.blocks[1].attn.qkv.weight)


def test_positions_are_sines_of_a_grid() -> None:
    codes = mimetic.sines(3, 4, 8)
    assert codes.shape == (12, 8)
    row, column = 2, 3
    rates = [1.0, 10000**-0.5]
    angles = [row * rate for rate in rates], [column * rate for rate in rates]
    wanted = [turn(angle) for place in angles for turn in (math.sin, math.cos) for angle in place]
    assert codes[row * 4 + column].tolist() == pytest.approx(wanted, abs=1e-6)
    model = models.build("small_vit_student", 10)
    mimetic.initialise(model)
    assert float(model.pos_embed[0, 0].detach().abs().max()) == 0  # the class token has no place
    assert torch.equal(model.pos_embed[0, 1:], mimetic.sines(4, 4, 64))


def test_a_network_without_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="mimetic: Linear has no attention with `qkv`, `proj` and `num_heads`"):
        mimetic.initialise(nn.Linear(2, 2))


@pytest.mark.parametrize(("kind", "bound"), [("xavier", math.sqrt(6 / (64 + 256))), ("kaiming", math.sqrt(6 / 64))])
def test_textbook(kind: str, bound: float) -> None:
    model = models.build("small_vit_student", 10)
    before = model.pos_embed.detach().clone()
    starts.begin(model, None, Start(kind), torch.zeros(2, 1, 32, 32), seed=1)
    weight = model.blocks[0].mlp.fc1.weight  # 64 to 256
    assert 0.98 * bound < float(weight.detach().abs().max()) <= bound
    assert float(model.blocks[0].mlp.fc1.bias.detach().abs().max()) == 0
    assert torch.equal(model.pos_embed, before)


def mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))


def test_l1_takes_the_largest_slices_of_every_tensor() -> None:
    teacher, student = mlp(10), mlp(4)
    values = teacher.state_dict()
    plan = pruning.by_l1(ws.plan(student, teacher, (2, 6)), values)
    ws.apply(plan, student, teacher)
    for name, value in values.items():
        chosen = value
        for dim, size in enumerate(student.state_dict()[name].shape):
            norms = [
                float(value.select(dim, place).abs().sum()) for place in range(value.shape[dim])
            ]  # of the whole tensor
            best = sorted(sorted(range(len(norms)), key=lambda place: -norms[place])[:size])
            chosen = chosen.index_select(dim, torch.tensor(best))
        assert torch.equal(student.state_dict()[name], chosen)


def test_magnitude_squeezes_the_largest_values() -> None:
    teacher, student = mlp(10), mlp(4)
    pruning.squeeze(ws.plan(student, teacher, (2, 6)), student, teacher.state_dict())
    for name, value in teacher.state_dict().items():
        target = student.state_dict()[name].flatten()
        flat = value.flatten()
        assert sorted(target.abs().tolist()) == sorted(flat.abs().tolist())[-len(target) :]
        places = [flat.tolist().index(entry) for entry in target.tolist()]
        assert all(before < after for before, after in pairwise(places))


@pytest.mark.parametrize("kind", START_KINDS)
def test_every_start_does_something_and_repeats_itself(kind: str) -> None:
    torch.manual_seed(5)
    teacher = models.build("small_vit_teacher", 10).eval()
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        student = models.build("small_vit_student", 10).eval()
        before = student.blocks[1].mlp.fc1.weight.detach().clone()
        mimetic_before = student.blocks[1].attn.qkv.weight.detach().clone()
        result = starts.begin(student, teacher, Start(kind), torch.zeros(2, 1, 32, 32))
        found.append(student.state_dict())
    changed = not torch.equal(found[0]["blocks.1.mlp.fc1.weight"], before)
    assert changed == (kind not in ("default", "mimetic"))
    if kind == "mimetic":
        assert not torch.equal(found[0]["blocks.1.attn.qkv.weight"], mimetic_before)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert (result is not None) == (kind in ("select", "l1", "magnitude"))
    if result is not None:
        assert 0.99 < result.coverage < 1  # all but the head


def test_a_start_from_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="the start 'select' reads a teacher"):
        starts.begin(mlp(4), None, Start("select"), torch.zeros(2, 6))
