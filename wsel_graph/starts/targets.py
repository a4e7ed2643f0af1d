"""What an operator of the student is to compute: the channels of the teacher's graph that it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from wsel_graph.errors import CompensationError
from wsel_graph.starts.channels import Channels
from wsel_graph.starts.contractions import Contraction
from wsel_graph.starts.frontier import Batch
from wsel_graph.starts.gains import Gain

Operator = Contraction | Gain


class Target(Protocol):
    """Rows to be like.

    Attributes:
        own: The student's channels that have a target, zero-based, ascending.
    """

    @property
    def own(self) -> torch.Tensor:
        """See the class."""
        ...

    @property
    def teacher_nodes(self) -> tuple[int, ...]:
        """The nodes that the teacher must have run."""
        ...

    def rows(self, batch: Batch) -> torch.Tensor:
        """Float64 `(rows, channels of own)`, rows in row-major order of positions."""
        ...

    def magnitude(self, batch: Batch) -> float:
        """Sum of squares, per row, of values that a target is the difference of; 0 where it is none."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class OutputTarget:
    """The outputs of teacher operators.

    Attributes:
        own: The student's channels that have a target, zero-based.
        sources: Teacher operators, each with the places in `own` that it serves and its channels for them.
    """

    own: torch.Tensor
    sources: tuple[tuple[Operator, torch.Tensor, torch.Tensor], ...]

    @property
    def teacher_nodes(self) -> tuple[int, ...]:
        """See `Target`."""
        return tuple(operator.number for operator, _, _ in self.sources)

    def rows(self, batch: Batch) -> torch.Tensor:
        """See `Target`."""
        parts = []
        order = []
        for operator, places, channels in self.sources:
            output = output_rows(operator, batch.teacher_run.value(operator.number))
            parts.append(output[:, channels.to(output.device)].double())
            order.append(places)
        columns = torch.cat(order).argsort()
        return torch.cat(parts, 1)[:, columns.to(parts[0].device)]

    def magnitude(self, batch: Batch) -> float:
        """See `Target`."""
        return 0.0


def check_positions(name: str, ours: int, theirs: int) -> None:
    """Refuse rows of the two models that cannot correspond.

    Raises:
        CompensationError: If their numbers differ.
    """
    if ours != theirs:
        raise CompensationError(
            f"{name}: {ours} positions in the student and {theirs} in the teacher on one batch: give both models the "
            "same inputs."
        )


def output_rows(operator: Operator, output: torch.Tensor) -> torch.Tensor:
    """`(rows, channels)` of an operator's output."""
    return operator.form.channels(output) if isinstance(operator, Contraction) else operator.channels(output)


def feature_dims(operator: Operator) -> tuple[int, ...]:
    """The dims of an operator's output that hold channels, zero-based."""
    return operator.form.feature_dims if isinstance(operator, Contraction) else operator.feature_dims


def direct_target(channels: Channels, operators: Mapping[str, Operator]) -> OutputTarget:
    """The output of the very operators whose parameters were selected from."""
    names = list(dict.fromkeys(channels.teacher))
    places: Sequence[torch.Tensor] = [
        torch.tensor([i for i, own in enumerate(channels.teacher) if own == name], device="cpu") for name in names
    ]
    sources = tuple((operators[name], at, channels.theirs[at]) for name, at in zip(names, places, strict=True))
    return OutputTarget(channels.own, sources)
