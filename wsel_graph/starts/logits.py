"""Distillation of the outputs.

Reference: Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv:1503.02531, section 2: both
distributions at a temperature T, the loss multiplied by T squared so that its gradients keep their size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from wsel_graph.errors import DistillationError


class LogitDistillation(nn.Module):
    """`weight * T^2 * KL(teacher at T || student at T)`, and `(1 - weight) * cross entropy` where labels are given.

    Args:
        temperature: T, above 0.
        weight: Share of the distillation term, from 0 to 1.
        classes: For a teacher of other classes: the teacher's class, zero-based, of each of the student's. The
            teacher's distribution is over these alone.
        dim: The dim of the logits that holds the classes.
        ignore_index: Positions of this label count in neither term.
    Raises:
        DistillationError: If an option is out of range.

    >>> loss = LogitDistillation(temperature=2.0, weight=0.5)
    >>> logits = torch.tensor([[1.0, 2.0, 3.0]])
    >>> float(loss(logits, logits))
    0.0
    """

    def __init__(
        self,
        temperature: float = 4.0,
        weight: float = 0.9,
        *,
        classes: Sequence[int] | None = None,
        dim: int = -1,
        ignore_index: int = -100,
    ) -> None:
        super().__init__()
        if not 0 < temperature < float("inf"):
            raise DistillationError(f"temperature: {temperature} is not above 0")
        if not 0 <= weight <= 1:
            raise DistillationError(f"weight: {weight} is not between 0 and 1")
        if classes is not None and (not len(classes) or min(classes) < 0 or len(set(classes)) < len(classes)):
            raise DistillationError(f"classes: {list(classes)[:8]} are no teacher classes, zero-based and different")
        self.temperature, self.weight, self.dim, self.ignore_index = temperature, weight, dim, ignore_index
        held = None if classes is None else torch.tensor(list(classes), device="cpu")
        self.classes: torch.Tensor | None
        self.register_buffer("classes", held, persistent=False)

    def forward(self, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """The loss of one batch.

        Args:
            student: The student's logits, of any shape.
            teacher: The teacher's logits, of the same shape apart from the classes. No gradient reaches them.
            labels: The student's class of every position, of the logits' shape without the classes.
        Returns:
            A number, the mean over positions.
        Raises:
            DistillationError: If the shapes do not fit.
        """
        ours, theirs = self._rows(student), self._taken(self._rows(teacher.detach()))
        if student.dim() != teacher.dim() or ours.shape != theirs.shape:
            raise DistillationError(
                f"the student's logits are {list(student.shape)}, the teacher's {list(teacher.shape)}, classes in dim "
                f"{self.dim}: the two must agree. A teacher of other classes needs classes=[...], its class for each "
                "of the student's"
            )
        if labels is None:
            return self.weight * self._divergence(ours, theirs)
        targets = self._targets(student, labels)
        task = F.cross_entropy(ours, targets, ignore_index=self.ignore_index)
        counted = targets != self.ignore_index
        return self.weight * self._divergence(ours, theirs, counted) + (1 - self.weight) * task

    def _rows(self, logits: torch.Tensor) -> torch.Tensor:
        """`(positions, classes)`, in float32 at least."""
        rows = logits.movedim(self.dim, -1).flatten(0, -2) if logits.dim() > 1 else logits[None]
        return rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows

    def _taken(self, rows: torch.Tensor) -> torch.Tensor:
        if self.classes is None:
            return rows
        if int(self.classes.max()) >= rows.shape[-1]:
            raise DistillationError(
                f"classes: they name class {int(self.classes.max())}, the teacher has {rows.shape[-1]}: write "
                "zero-based classes of the teacher, one for each of the student's"
            )
        return rows.index_select(-1, self.classes.to(rows.device))

    def _targets(self, student: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        positions = [size for dim, size in enumerate(student.shape) if dim != self.dim % student.dim()]
        if list(labels.shape) != positions:
            raise DistillationError(
                f"labels: {list(labels.shape)}, and the logits {list(student.shape)} need {positions}: "
                "one class per position"
            )
        return labels.flatten()

    def _divergence(
        self, ours: torch.Tensor, theirs: torch.Tensor, counted: torch.Tensor | None = None
    ) -> torch.Tensor:
        small, large = (F.log_softmax(logits / self.temperature, -1) for logits in (ours, theirs))
        each = F.kl_div(small, large, reduction="none", log_target=True).sum(-1)
        mean = each.mean() if counted is None else each.where(counted, 0).sum() / counted.sum()
        return mean * self.temperature**2
