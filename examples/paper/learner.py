"""The student with what is trained beside it, and what is minimised: labels, and a teacher's outputs or features."""

from __future__ import annotations

from typing import Any

import torch
from timm.loss import SoftTargetCrossEntropy
from torch import Tensor, nn
from torch.nn import functional

import wsel_graph as ws
from examples.paper.experiment import Distil, ExperimentError, Recipe


class Learner(nn.Module):
    """A student; for feature distillation with a small network from its features to the width of the teacher's.

    Args:
        student: A network; one of timm where features are read.
        teacher_width: Channels of the teacher's features; 0: no features. The paper says MLP and no more: this
            one has a hidden layer as wide as the teacher.
        probe: Train a new last layer alone, behind a normalisation without weights (arXiv:2111.06377).
    """

    def __init__(self, student: nn.Module, teacher_width: int = 0, *, probe: bool = False) -> None:
        super().__init__()
        self.student, self.projector = student, None
        if teacher_width:
            width = int(student.num_features)  # type: ignore[arg-type]
            self.projector = nn.Sequential(
                nn.Linear(width, teacher_width), nn.GELU(), nn.Linear(teacher_width, teacher_width)
            )
        self.probe = nn.BatchNorm1d(int(student.num_features), affine=False, eps=1e-6) if probe else None  # type: ignore[arg-type]
        if probe:
            student.requires_grad_(False)
            classifier(student).requires_grad_(True)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits, and projected features `(batch, teacher_width)` where these are trained."""
        if self.projector is None and self.probe is None:
            return self.student(inputs), None
        seen = features(self.student, inputs)
        if self.probe is not None:
            seen = self.probe(seen.detach())
        logits: Tensor = classifier(self.student)(seen)
        return logits, None if self.projector is None else self.projector(seen)

    def train(self, mode: bool = True) -> Learner:
        """As always; a probed backbone stays in evaluation mode."""
        super().train(mode)
        if self.probe is not None:
            self.student.eval()
        return self

    def no_weight_decay(self) -> set[str]:
        """What timm's optimisers exempt besides biases and 1-D parameters: position and class tokens."""
        own: Any = getattr(self.student, "no_weight_decay", set)
        return {f"student.{name}" for name in own()}


def features(network: Any, inputs: Tensor) -> Tensor:
    """What a timm network hands to its last layer, `(batch, channels)`."""
    seen: Tensor = network.forward_head(network.forward_features(inputs), pre_logits=True)
    return seen


def classifier(network: Any) -> nn.Module:
    """The last layer of a timm network."""
    layer: nn.Module = network.get_classifier()
    return layer


class Objective:
    """The loss of one batch: `L_class + alpha * KL` for logits, `L_class + alpha * L1` for features, as in table 4."""

    def __init__(self, recipe: Recipe, *, mixed: bool, distil: Distil | None, teacher: nn.Module | None) -> None:
        if distil is not None and teacher is None:
            raise ExperimentError("distillation needs a teacher")
        self._labels: nn.Module = (
            SoftTargetCrossEntropy() if mixed else nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        )
        self._distil, self._teacher = distil, teacher
        self._logits = ws.LogitDistillation(distil.temperature, weight=1.0) if distil else None

    def __call__(self, output: tuple[Tensor, Tensor | None], inputs: Tensor, labels: Tensor) -> Tensor:
        """A number. Labels are classes `(batch, ...)`, or shares of classes `(batch, classes)` when they are mixed."""
        logits, projected = output
        flat = logits.flatten(0, -2)
        loss: Tensor = self._labels(flat, labels if labels.is_floating_point() else labels.flatten())
        if self._distil is None or self._teacher is None or self._logits is None:
            return loss
        with torch.no_grad():
            theirs = self._teacher(inputs) if self._distil.kind == "logits" else features(self._teacher, inputs)
        if self._distil.kind == "logits":
            added = self._logits(logits, theirs)
        elif projected is None:
            raise ExperimentError("features are distilled, and the learner has no projection")
        else:
            added = functional.l1_loss(projected, theirs)
        total: Tensor = loss + self._distil.alpha * added
        return total
