"""The fits of a compensation: what is measured at an operator of the student, and what becomes of its parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from wsel_graph.starts.contractions import Contraction
from wsel_graph.starts.frontier import Batch
from wsel_graph.starts.least_squares import Moments, centred, rounding, solve
from wsel_graph.starts.targets import Target, check_positions

CHUNK = 1 << 24
"""Elements of input rows that are in memory at once."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Which rows of a batch are measured.

    Attributes:
        rows: Rows that are drawn, at most.
        held: Share of these that are held out, at the end of the batch: 0, 1, or between where batches are few.
        seed: Of the draw.
    """

    rows: int
    held: float
    seed: int

    def picked(self, count: int) -> torch.Tensor:
        """Zero-based rows, ascending."""
        if self.rows >= count:
            return torch.arange(count, device="cpu")
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(count, generator=generator, device="cpu")[: self.rows].sort().values


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a fit did.

    Attributes:
        name: The student's parameter.
        before: Squared error on held-out rows over the spread of the targets, with the selected values.
        after: The same with the values that were chosen.
        how: `ridge 0.001`, `scale and shift`, ...; or why the selected values stay.
        fitted: Whether values were changed.
    """

    name: str
    before: float
    after: float
    how: str
    fitted: bool

    def __str__(self) -> str:
        if math.isnan(self.before):
            return f"{self.name}: {self.how}"
        change = f"{self.before:.3g} -> {self.after:.3g}" if self.fitted else f"{self.before:.3g}"
        return f"{self.name}: relative error {change} ({self.how})"


Tensors = Mapping[str, torch.Tensor]
Changes = dict[str, torch.Tensor]


class Fit(Protocol):
    """One parameter and what comes with it.

    Attributes:
        name: The student's parameter.
        names: All tensors that may change.
        mean: The running mean among them, or nothing.
    """

    name: str
    names: tuple[str, ...]
    mean: str

    def gather(self, use: int, batch: Batch, sample: Sample) -> None:
        """Measure one batch, whose runs stand right before the student's operator and after the teacher's."""
        ...

    def solve(self, tensors: Tensors) -> tuple[Outcome, Changes]:
        """What was found, and the new values of the student's tensors."""
        ...


class Regression:
    """Weights and bias of a contraction, from the student's own inputs to the target.

    Args:
        operators: Every use of the weight.
        targets: What each is to compute.
        tensors: The student's.
        free: Whether the bias may change too.
        centred: Whether a batch norm that is estimated anew takes the mean off the result, so that it does not count.
    """

    def __init__(
        self,
        operators: Sequence[Contraction],
        targets: Sequence[Target],
        tensors: Tensors,
        *,
        free: bool,
        centred: bool = False,
    ) -> None:
        self._operators, self._targets = operators, targets
        first = operators[0]
        self.name, self.mean = first.weight.name, ""
        self.names = (self.name, *([first.bias.name] if first.bias is not None else []))
        self._form = first.form
        self._free = free and first.bias is not None
        self._centred = centred and first.bias is None
        self._constant = self._free or self._centred
        weight = tensors[self.name]
        self._dtype, self._device = weight.dtype, weight.device
        size = self._form.groups, self._form.inputs + self._constant, self._form.outputs
        self._train, self._held = Moments(*size, self._device), Moments(*size, self._device)
        self._noise = 0.0

    def gather(self, use: int, batch: Batch, sample: Sample) -> None:
        """See `Fit`."""
        operator, target = self._operators[use], self._targets[use]
        wanted = target.rows(batch)
        if self._free is False and operator.bias is not None:
            tensors = {state.name: state.tensor for state in batch.student.program.captured.states}
            wanted = wanted - operator.bias.read(tensors[operator.bias.name]).double()[target.own]
        picked = sample.picked(len(wanted)).to(wanted.device)
        limit = len(picked) - round(len(picked) * sample.held)
        data = batch.student.value(operator.data)
        check_positions(self.name, _positions(batch, operator), len(wanted))
        self._noise += rounding(self._dtype) * (len(picked) - limit) * target.magnitude(batch)
        for start, stop, moments in ((0, limit, self._train), (limit, len(picked), self._held)):
            step = max(1, CHUNK // max(1, self._form.groups * self._form.inputs))
            for place in range(start, stop, step):
                part = picked[place : min(stop, place + step)]
                moments.add(self._rows(operator, data, part), self._laid(target, wanted[part]))

    def _rows(self, operator: Contraction, data: torch.Tensor, picked: torch.Tensor) -> torch.Tensor:
        rows = operator.form.rows(data, picked).double()
        return torch.cat((rows, rows.new_ones(*rows.shape[:2], 1)), -1) if self._constant else rows

    def _laid(self, target: Target, wanted: torch.Tensor) -> torch.Tensor:
        """Target rows `(groups, rows, outputs)`; channels without a target are zero."""
        full = wanted.new_zeros(len(wanted), self._form.groups * self._form.outputs)
        full[:, target.own] = wanted
        return full.reshape(len(wanted), self._form.groups, self._form.outputs).transpose(0, 1)

    def solve(self, tensors: Tensors) -> tuple[Outcome, Changes]:
        """See `Fit`."""
        first = self._operators[0]
        own = torch.zeros(self._form.groups * self._form.outputs, dtype=torch.bool, device=self._device)
        own[self._targets[0].own] = True
        own = own.reshape(self._form.groups, self._form.outputs)
        start = first.form.matrix(first.weight.read(tensors[self.name])).double()
        bias = None if first.bias is None or not self._free else first.bias.read(tensors[first.bias.name]).double()
        if bias is not None:
            start = torch.cat((start, bias.reshape(*own.shape, 1)), -1)
        if self._centred:
            start = centred(self._train, torch.cat((start, start.new_zeros(*own.shape, 1)), -1))
        found = solve(self._train, self._held, start, own, free=self._constant, noise=self._noise, dtype=self._dtype)
        if found.strength is None:
            return Outcome(self.name, found.before, found.before, found.why, False), {}
        how = f"ridge {found.strength:g}" if found.strength else "scaled"
        return Outcome(self.name, found.before, found.after, how, True), self._changes(
            tensors, torch.where(own.unsqueeze(-1), found.weights, start)
        )

    def _changes(self, tensors: Tensors, weights: torch.Tensor) -> Changes:
        first = self._operators[0]
        places = first.form.matrix(first.weight.numbers).to(self._device)
        values = tensors[self.name].detach().clone()
        values.reshape(-1)[places] = weights[..., : self._form.inputs].to(values)
        changes = {self.name: values}
        if self._free and first.bias is not None:
            own = tensors[first.bias.name]
            changes[first.bias.name] = first.bias.write(own, weights[..., -1].reshape(-1))
        return changes


def _positions(batch: Batch, operator: Contraction) -> int:
    shape: torch.Size = batch.student.node(operator.number).meta["value"].shape
    return torch.Size(shape).numel() // (operator.form.groups * operator.form.outputs)
