"""`rescale: variance`: the variance of a sum over independent inputs, against its closed form.

Of inputs with unit variance a linear layer makes outputs of variance `sum(J^2)`, J the Jacobian. Weights of one size
and any sign make that equal to the number of terms, so that the factor must restore it exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.planner.planted import scales
from tests.planner.rules import plan_by

RULES = "  - rescale: variance"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"


class Transposed(nn.Module):
    """A linear whose weight is `(in, out)`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(width, 5)), nn.Parameter(torch.zeros(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], 5)


class Matrix(nn.Module):
    """A parameter `(in, out)` in a product."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight


class Heads(nn.Module):
    """A parameter `(embed, heads, head_dim)` in an einsum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, 2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bte,ehd->bthd", x, self.weight)


class Fused(nn.Module):
    """Three projections in one, each used in its own way."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 18)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return torch.cat([q, 2 * k, 3 * v], -1)


TOKENS = (1, 2, 3)
IMAGES = (1, 3, 4, 4)


def linear(width: int) -> nn.Module:
    return nn.Linear(3, width)


def conv(width: int) -> nn.Module:
    return nn.Conv2d(3, width, 1)


@pytest.mark.parametrize(
    ("stem", "layer", "shape"),
    [
        pytest.param(linear, lambda width: nn.Linear(width, 5), TOKENS, id="linear"),
        pytest.param(linear, Transposed, TOKENS, id="weight (in, out)"),
        pytest.param(linear, Matrix, TOKENS, id="product"),
        pytest.param(linear, Heads, TOKENS, id="einsum"),
        pytest.param(linear, Fused, TOKENS, id="fused"),
        pytest.param(linear, lambda width: nn.Linear(width, width), TOKENS, id="square"),
        pytest.param(conv, lambda width: nn.Conv2d(width, 5, 3, padding=1), IMAGES, id="conv"),
        pytest.param(conv, lambda width: nn.Conv2d(width, 5, 2, 2, dilation=2), IMAGES, id="strided conv"),
        pytest.param(conv, lambda width: nn.Conv2d(width, 2 * width, 3, groups=2), IMAGES, id="two groups"),
        pytest.param(conv, lambda width: nn.Conv2d(width, width, 3, groups=width), IMAGES, id="depthwise"),
        pytest.param(conv, lambda width: nn.ConvTranspose2d(width, 5, 3, 2), IMAGES, id="transposed conv"),
        pytest.param(
            conv, lambda width: nn.ConvTranspose2d(width, 2 * width, 3, groups=2), IMAGES, id="transposed, two groups"
        ),
        pytest.param(
            conv, lambda width: nn.Sequential(nn.Flatten(), nn.Linear(16 * width, 5)), IMAGES, id="flattened image"
        ),
    ],
)
def test_the_variance_is_kept_exactly(
    file: Path, stem: Callable[[int], nn.Module], layer: Callable[[int], nn.Module], shape: tuple[int, ...]
) -> None:
    student, teacher = (whole(stem(width), layer(width), shape) for width in (4, 12))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in teacher.parameters():  # one size, either sign
            tensor.copy_(0.7 * torch.randint(0, 2, tensor.shape, generator=generator).mul(2).sub(1))
    ws.apply(plan_by(file, RULES, student, teacher, shape), student, teacher)
    found = [variances(model, shape) for model in (student, teacher)]
    torch.testing.assert_close(found[0].unique(), found[1].unique(), rtol=1e-12, atol=1e-12)


def whole(stem: nn.Module, layer: nn.Module, shape: tuple[int, ...]) -> nn.Sequential:
    """With a third layer, so that the output of the second may be selected from."""
    features = layer(stem(torch.zeros(shape)))
    last = (
        nn.Conv2d(features.shape[1], 3, 1)
        if features.dim() == 4 and shape == IMAGES
        else nn.Linear(features.shape[-1], 3)
    )
    return nn.Sequential(stem, layer, last).double()


def variances(model: nn.Sequential, shape: tuple[int, ...]) -> torch.Tensor:
    """The variance of every output of the second layer, for independent inputs of unit variance."""
    x = model[0](torch.zeros(shape, dtype=torch.float64)).detach()
    jacobian = torch.autograd.functional.jacobian(model[1], x)
    assert isinstance(jacobian, torch.Tensor)
    return jacobian.flatten(-x.dim()).pow(2).sum(-1).mul(1e6).round() / 1e6


def test_for_any_weights_it_is_exact_on_average_over_all_selections(file: Path) -> None:
    """The mean over all subsets of `D / S * sum of kept squares` is the sum of all squares."""
    student, teacher = (nn.Sequential(linear(width), nn.Linear(width, 5)).double() for width in (2, 5))
    found = []
    for kept in itertools.combinations(range(5), 2):
        ws.apply(
            plan_by(file, f"  - {{take: {list(kept)}, rescale: variance}}", student, teacher, TOKENS), student, teacher
        )
        found.append(student[1].weight.detach().pow(2).sum(1))
    torch.testing.assert_close(torch.stack(found).mean(0), teacher[1].weight.detach().pow(2).sum(1), rtol=1e-12, atol=0)


def test_elements_by_score_are_left_out_too(file: Path) -> None:
    student, teacher = (nn.Sequential(linear(width), nn.Linear(width, 5)) for width in (3, 12))
    plan = plan_by(file, "  - {take: {score: l2}, rescale: variance}", student, teacher, TOKENS)
    assert scales(plan) == {"1.weight": 2.0}


def test_a_bias_of_two_dims_is_no_weight(file: Path) -> None:
    class Biased(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.stem, self.bias, self.weight = linear(width), nn.Parameter(torch.zeros(2, width)), linear(width)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.addmm(self.bias, self.stem(x), torch.eye(self.stem.out_features)) + self.weight(x)

    plan = plan_by(file, RULES, Biased(4), Biased(8), (2, 3))
    assert scales(plan) == {}


def test_embeddings_are_no_sums(file: Path) -> None:
    ids = {"input": torch.arange(6).reshape(2, 3)}
    student, teacher = (nn.Sequential(nn.Embedding(9, width), nn.Linear(width, 5)) for width in (4, 16))
    assert scales(plan_by(file, RULES, student, teacher, ids)) == {"1.weight": 2.0}


@pytest.mark.parametrize("name", ["default", "paper", "llm", "compensated"])
def test_it_is_off_in_shipped_files(name: str) -> None:
    student, teacher = (nn.Sequential(linear(width), nn.Linear(width, 5)) for width in (3, 12))
    assert scales(ws.plan(student, teacher, TOKENS, rules=name)) == {}
