"""Losses for a student that learns from the teacher that it was cut out of.

Feature distillation compares activations inside the two networks; usually a projector between the two widths has to be
trained along (Romero et al., "FitNets", arXiv:1412.6550). Here the plan says which teacher channels the student's came
from, so that these are compared and no others. `l2` as in Sun et al., "Patient Knowledge Distillation",
arXiv:1908.09355. Logit distillation: Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv:1503.02531.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, TypeAlias

import torch
from torch import nn
from torch.nn import functional as F

from wsel_graph.errors import DistillationError
from wsel_graph.plan import Feature, Indices, Tap
from wsel_graph.starts.watch import Watch

Comparison: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From the student's and the teacher's features, both `(positions..., channels)`, to a number."""

LOSSES: dict[str, Comparison] = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "cosine": lambda ours, theirs: 1 - F.cosine_similarity(ours, theirs, dim=-1).mean(),
}

NORMALIZATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda features: features,
    "layer": lambda features: F.layer_norm(features, features.shape[-1:]),
    "l2": lambda features: F.normalize(features, dim=-1),
}


class FeatureDistillation(nn.Module):
    """The difference between a student's features and the teacher's channels that they came from.

    Run both models once on the same inputs, then call the loss. It hooks the chosen modules and keeps what they return,
    so that nothing runs twice; the teacher's features carry no gradient. The models may be wrapped (`DataParallel`,
    `DistributedDataParallel`, `torch.compile`). They are no part of this module: it has no parameters and no state.
    Compile after making the loss, since compiled code does not see later hooks; and under `DistributedDataParallel` add
    a loss of the outputs, since it expects all parameters to take part.

    Args:
        student: The network that learns.
        teacher: The network that it was planned with.
        pairs: What to compare, from `feature_pairs`.
        loss: `mse`, `l1`, `cosine`, or a function of two tensors `(positions..., channels)`.
        normalize: What is done to the compared channels of every position first: `none`, `layer` (mean 0, variance 1)
            or `l2` (length 1).
        weights: One factor per pair; without them every pair counts alike and the loss is the mean.
    Raises:
        DistillationError: If a pair cannot be compared, or a model lacks a module of it.

    >>> import wsel_graph as ws
    >>> class Block(nn.Module):
    ...     def __init__(self, width):
    ...         super().__init__()
    ...         self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
    ...     def forward(self, x):
    ...         return x + self.down(self.up(x).relu())
    >>> make = lambda width: nn.Sequential(nn.Linear(4, width), Block(width), Block(width))
    >>> student, teacher = make(8), make(16)
    >>> plan = ws.initialize(student, teacher, (2, 4)).plan
    >>> with FeatureDistillation(student, teacher, ws.feature_pairs(plan)) as distill:
    ...     x = torch.randn(2, 4)
    ...     _, _ = student(x), distill.run_teacher(x)
    ...     distill().backward()
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        pairs: Iterable[Feature],
        *,
        loss: str | Comparison = "mse",
        normalize: str = "none",
        weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.pairs = _usable(pairs)
        self.weights = _weights(weights, len(self.pairs))
        self._compare = loss if callable(loss) else _named("loss", loss, LOSSES)
        self._normalize = _named("normalize", normalize, NORMALIZATIONS)
        for number, pair in enumerate(self.pairs):
            self._register(f"taken_{number}", pair.indices)
            self._register(f"filled_{number}", pair.filled)
        self._student = Watch(student, [pair.student for pair in self.pairs], "student", detached=False)
        try:
            self._teacher = Watch(teacher, [pair.teacher for pair in self.pairs], "teacher", detached=True)
        except DistillationError:
            self._student.remove()
            raise
        self._unhook = weakref.finalize(self, _remove, self._student, self._teacher)

    def _register(self, name: str, indices: Indices | None) -> None:
        held = None if indices is None or isinstance(indices, range) else torch.tensor(indices, device="cpu")
        self.register_buffer(name, held, persistent=False)

    # -- a step

    def run_teacher(self, *args: Any, **kwargs: Any) -> Any:
        """The teacher's outputs, without gradients. Put it in evaluation mode first, unless you mean it otherwise."""
        with torch.no_grad():
            return self._teacher.model(*args, **kwargs)

    def forward(self, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The loss of the last forward passes.

        Args:
            mask: True for positions that count, of the shape of the student's features without their channels, such
                as `(batch, length)`.
        Returns:
            A number: the weighted sum over the pairs, each the mean over positions and channels.
        Raises:
            DistillationError: If a model has not run since the last loss, or its features have another shape than
                planned.
        """
        if not self._unhook.alive:
            raise DistillationError("the hooks of this loss were removed: make a new FeatureDistillation")
        ours, theirs = self._student.take(), self._teacher.take()
        terms = [
            self._term(number, *_gathered(pair, ours[number], theirs[number]), mask) * weight
            for number, (pair, weight) in enumerate(zip(self.pairs, self.weights, strict=True))
        ]
        return torch.stack([term.to(terms[0].device) for term in terms]).sum()

    def _term(self, number: int, ours: torch.Tensor, theirs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        pair = self.pairs[number]
        ours = self._picked(f"filled_{number}", pair.filled, ours)
        theirs = self._picked(f"taken_{number}", pair.indices, theirs).to(ours.device)
        if mask is not None:
            if mask.shape != ours.shape[:-1]:
                raise DistillationError(
                    f"mask: it has the shape {list(mask.shape)}, the positions of {pair.student} are "
                    f"{list(ours.shape[:-1])}: give one value for each of them"
                )
            ours, theirs = ours[mask], theirs.reshape(ours.shape)[mask]
        elif ours.dim() != theirs.dim():
            ours, theirs = ours.flatten(0, -2), theirs.flatten(0, -2)
        return self._compare(self._normalize(_precise(ours)), self._normalize(_precise(theirs)))

    def _picked(self, name: str, indices: Indices | None, features: torch.Tensor) -> torch.Tensor:
        if indices is None:
            return features
        if isinstance(indices, range):
            return features[..., indices.start : indices.stop : indices.step]
        held = self.get_buffer(name)
        if held.device != features.device:
            held = held.to(features.device)
            setattr(self, name, held)
        return features.index_select(-1, held)

    # -- the hooks

    def remove(self) -> None:
        """Take all hooks off the two models. Safe to call again."""
        self._unhook()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def extra_repr(self) -> str:
        """The pairs, one a line."""
        return "\n".join(map(str, self.pairs))


def _remove(*watches: Watch) -> None:
    for watch in watches:
        watch.remove()


def _usable(pairs: Iterable[Feature]) -> tuple[Feature, ...]:
    found = tuple(pairs)
    if not found:
        raise DistillationError("pairs: there is nothing to compare; take them from feature_pairs(plan)")
    for pair in found:
        if pair.problem:
            raise DistillationError(
                f"block {pair.block} of {pair.stage!r} cannot be compared with the teacher's block "
                f"{pair.teacher_block}: {pair.problem}. Leave it out: [pair for pair in pairs if not pair.problem]"
            )
    return found


def _weights(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    if weights is None:
        return (1 / count,) * count
    if len(weights) != count:
        raise DistillationError(f"weights: {len(weights)} factors for {count} pairs: give one for each")
    return tuple(map(float, weights))


def _named(option: str, name: str, known: dict[str, Any]) -> Any:
    if name not in known:
        raise DistillationError(f"{option}: {name!r} is not one of {', '.join(known)}")
    return known[name]


def _precise(features: torch.Tensor) -> torch.Tensor:
    """In float32 at least; what was made under `inference_mode` is copied, so that it can take part."""
    low = features.dtype in (torch.float16, torch.bfloat16)
    features = features.clone() if features.is_inference() and not torch.is_inference_mode_enabled() else features
    return features.float() if low else features


# -- shapes


def _gathered(
    pair: Feature, ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both sides with channels last; what several devices hold comes as rows, one device after the other."""
    if len(ours) != len(theirs):
        raise DistillationError(
            f"{pair.student}: the student ran on {len(ours)} devices, the teacher on {len(theirs)}: wrap both in "
            "DataParallel with the same device_ids"
        )
    sides = [
        (_laid_out("student", pair.student, one), _laid_out("teacher", pair.teacher, other))
        for one, other in zip(ours, theirs, strict=True)
    ]
    for one, other in sides:
        _check_positions(pair, one, other)
    if len(sides) == 1:
        return sides[0]
    rows = [[part.flatten(0, -2).to(side[0].device) for part in side] for side in zip(*sides, strict=True)]
    return torch.cat(rows[0]), torch.cat(rows[1])


def _laid_out(side: str, tap: Tap, value: torch.Tensor) -> torch.Tensor:
    """The positions in the common order, then the channels."""
    if value.dim() != len(tap.dims) or value.shape[tap.dims[-1]] != tap.size:
        raise DistillationError(
            f"{side}: {tap} returned a tensor {list(value.shape)}, and the plan expects {len(tap.dims)} dims with "
            f"{tap.size} channels in dim {tap.dims[-1]}: is this the model that the plan was made for?"
        )
    return value if tap.dims == tuple(range(value.dim())) else value.permute(tap.dims)


def _check_positions(pair: Feature, ours: torch.Tensor, theirs: torch.Tensor) -> None:
    small, large = ours.shape[:-1], theirs.shape[:-1]
    if small != large if len(small) == len(large) else small.numel() != large.numel():
        raise DistillationError(
            f"{pair.student} of the student has the positions {list(small)}, {pair.teacher} of the teacher "
            f"{list(large)}: run both on the same inputs, at the same resolution"
        )
