"""What the harness asks of a network: a teacher, students, calibration inputs, an exam, and short training."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

NETWORKS = ("fcpe", "crepe", "minilm", "efficientnet", "smollm")
"""Modules of this package, each with a class `Network`."""


@dataclass(frozen=True, slots=True)
class Training:
    """Equal short training: AdamW, a linear warm-up, then a constant learning rate."""

    rates: tuple[float, ...]
    """Learning rates among which each start gets the one that serves it best."""
    warm_up: int
    """Steps until the full learning rate."""
    stops: tuple[int, ...]
    """Steps after which the exam is taken, ascending; the last ends the training."""
    tried: int
    """Steps for which each learning rate is tried."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One training batch: what the student reads, and what the loss compares its output with."""

    inputs: Any
    target: Tensor


class Network(Protocol):
    """A pretrained teacher, a smaller student of its kind, and data."""

    packages: tuple[str, ...]
    """Distributions whose versions decide the numbers."""
    training: Training | None
    """How to train; None where training says nothing."""
    example_inputs: Any

    def teacher(self) -> nn.Module:
        """The pretrained network, in evaluation mode."""

    def student(self, seed: int) -> nn.Module:
        """A student with a fresh random initialisation."""

    def calibration(self, seed: int) -> list[Any]:
        """Unlabelled inputs, several batches, from none of the exam's sources."""

    def exam(self, model: nn.Module) -> dict[str, float]:
        """Scores by the name of the measure; larger is better."""

    def batches(self, seed: int) -> Iterator[Batch]:
        """Training batches without end, the same for every method, from none of the exam's sources."""

    def validation(self) -> list[Batch]:
        """Batches by which learning rates are chosen, from none of the exam's sources and not trained on."""

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The network's own loss, a scalar."""


def load(name: str) -> Network:
    """The network of this name, with its data read."""
    module = importlib.import_module(f"{__package__}.{name}")
    network: Network = module.Network()
    return network


def package_folder(package: str) -> Path:
    """Folder of an installed package, found without importing it.

    Raises:
        ModuleNotFoundError: If it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package} is not installed; the docstring of {__package__} has the pip lines")
    return Path(spec.origin).parent


def call(model: nn.Module, inputs: Any) -> Tensor:
    """Run a model on a tensor, or on a dict of keyword arguments."""
    output: Tensor = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    return output


def stream(seed: int, use: str) -> torch.Generator:
    """A random stream of its own for each seed and use, so that no sound of the exam turns up elsewhere."""
    uses = ("exam", "calibration", "training", "validation")
    return torch.Generator().manual_seed(len(uses) * seed + uses.index(use))
