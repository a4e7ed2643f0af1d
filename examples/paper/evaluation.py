"""How good a network is: accuracy and loss on a data set; and of features, without any training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Subset

from examples.paper import processes
from examples.paper.learner import features


@dataclass(frozen=True, slots=True)
class Score:
    """Over all positions of a data set."""

    accuracy: float
    """Share of right first answers, from 0 to 1."""
    loss: float
    """Cross-entropy, in nats."""


@torch.no_grad()
def evaluate(model: nn.Module, data: Dataset[Any], device: torch.device, batch: int = 256, workers: int = 0) -> Score:
    """Score a network, or a learner; every process does its share."""
    was = model.training
    model.eval()
    found = torch.zeros(3, dtype=torch.float64)
    for inputs, labels in _batches(_share(data), batch, workers):
        output = model(inputs.to(device))
        logits = (output[0] if isinstance(output, tuple) else output).flatten(0, -2).float().cpu()
        truth = labels.flatten()
        right = (logits.argmax(1) == truth).sum()
        lost = functional.cross_entropy(logits, truth, reduction="sum")
        found += torch.tensor([float(right), float(lost), len(truth)], dtype=torch.float64)
    right_total, lost_total, positions = processes.total(found.to(device)).tolist()
    model.train(was)
    return Score(right_total / positions, lost_total / positions)


@torch.no_grad()
def nearest(model: nn.Module, known: Dataset[Any], asked: Dataset[Any], device: torch.device) -> float:
    """Share of images whose nearest known image, by the cosine of features, is of their class."""
    was = model.training
    model.eval()
    (ours, classes), (theirs, truth) = (_features(model, data, device) for data in (known, asked))
    model.train(was)
    return float((classes[(theirs @ ours.T).argmax(1)] == truth).double().mean())


def _features(model: nn.Module, data: Dataset[Any], device: torch.device) -> tuple[Tensor, Tensor]:
    found = [(features(model, inputs.to(device)).cpu(), labels) for inputs, labels in _batches(data, 256, 0)]
    seen, labels = (torch.cat(part) for part in zip(*found, strict=True))
    return functional.normalize(seen - seen.mean(0), dim=1), labels


def _share(data: Dataset[Any]) -> Dataset[Any]:
    if processes.count() == 1:
        return data
    return Subset(data, range(processes.rank(), len(data), processes.count()))  # type: ignore[arg-type]


def _batches(data: Dataset[Any], batch: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    yield from DataLoader(data, max(1, batch), num_workers=workers)
