"""The picture of attention weights: products against attention computed by timm, diagonals that are there or not."""

from __future__ import annotations

import doctest
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from tests.zoo import torchvision_stub

torchvision_stub.install()
diagonals = pytest.importorskip("examples.paper.diagonals")

from examples.paper import mimetic, models  # noqa: E402
from examples.paper.experiment import ExperimentError  # noqa: E402


def test_doctests() -> None:
    result = doctest.testmod(diagonals)
    assert (result.attempted, result.failed) == (1, 0)


def test_products_are_those_of_the_attention() -> None:
    model = models.build("small_vit_student", 10).double()
    x = torch.randn(3, 5, 64, dtype=torch.float64)
    attention = model.blocks[1].attn
    nn.init.zeros_(attention.qkv.bias)
    query, key, value = attention.qkv(x).reshape(3, 5, 3, 2, 32).permute(2, 0, 3, 1, 4)[:, :, 1]
    scores, outputs = diagonals.products(model, block=1, head=1)
    torch.testing.assert_close(x @ scores @ x.mT, query @ key.mT)
    torch.testing.assert_close(x @ outputs, value @ attention.proj.weight[:, 32:].T)


def test_mimetic_initialisation_has_diagonals_and_the_default_has_none() -> None:
    model = models.build("small_vit_teacher", 10)
    plain = [diagonals.dominance(product) for product in diagonals.products(model)]
    mimetic.initialise(model)
    mimicked = [diagonals.dominance(product) for product in diagonals.products(model)]
    assert max(plain) < 1.5 < 2 < mimicked[0]


def test_the_picture_is_one_svg() -> None:
    columns = [("random < 1", diagonals.products(models.build("small_vit_student", 10)))] * 2
    root = ElementTree.fromstring(diagonals.svg(columns))
    kinds = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert kinds.count("image") == 4
    assert diagonals.svg(columns) == diagonals.svg(columns)


def test_a_network_without_attention_is_refused() -> None:
    with pytest.raises(ExperimentError, match="ConvNeXt has no blocks with attention; the picture is of a ViT"):
        diagonals.products(models.build("small_convnext_student", 10))
