"""The fits of a compensation: what is measured at an operator of the student, and what becomes of its parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from wsel_graph.starts.contractions import Contraction
from wsel_graph.starts.frontier import Batch
from wsel_graph.starts.gains import Gain
from wsel_graph.starts.least_squares import NO_BETTER, WORTHWHILE, Moments, centred, rounding, solve, stays
from wsel_graph.starts.parameters import Seen
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
            return torch.arange(count)
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(count, generator=generator)[: self.rows].sort().values


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


class Rescaling:
    """Scale, shift and statistics of a norm, channel by channel.

    Args:
        operator: Where they are used.
        target: What it is to compute.
        tensors: The student's.
        free: Names of the tensors that may change.
    """

    def __init__(self, operator: Gain, target: Target, tensors: Tensors, free: frozenset[str]) -> None:
        self._operator, self._target, self._free = operator, target, free
        names = [operator.scale.name if operator.scale is not None else "", *(operator.statistics or ())]
        self.name = next(name for name in names if name)
        self.mean = operator.statistics[0] if operator.statistics is not None else ""
        self.names = tuple(name for name in names if name)
        self._reference = tensors[self.name]
        self._train, self._held = _Lines(), _Lines()

    def gather(self, use: int, batch: Batch, sample: Sample) -> None:
        """See `Fit`."""
        wanted = self._target.rows(batch)
        picked = sample.picked(len(wanted)).to(wanted.device)
        limit = len(picked) - round(len(picked) * sample.held)
        rows = self._operator.plain(batch.student)[:, self._target.own]
        check_positions(self.name, len(rows), len(wanted))
        for part, lines in ((picked[:limit], self._train), (picked[limit:], self._held)):
            if len(part):
                lines.add(rows[part].double(), wanted[part])

    def solve(self, tensors: Tensors) -> tuple[Outcome, Changes]:
        """See `Fit`."""
        own = self._target.own
        start = self._line(tensors, {})
        if not self._train.count or not self._held.count:
            why = stays(self._train.count, self._held.count, 0.0, 0.0, finite=True)
            return Outcome(self.name, math.nan, math.nan, why, False), {}
        spread = float(self._held.spread().sum()) or 1.0
        best, chosen, how = float(self._held.error(*start).sum()) / spread, {}, NO_BETTER
        before = best
        exact = rounding(self._reference.dtype) * float(self._held.magnitude(*start).sum())
        finite = self._train.finite
        if why := stays(self._train.count, self._held.count, before * spread, exact, finite=finite):
            return Outcome(self.name, before, before, why, False), {}
        for word, changes in self._candidates(tensors, start, own):
            error = float(self._held.error(*self._line(tensors, changes)).sum()) / spread
            if error < min(best, WORTHWHILE * before) and all(bool(v.isfinite().all()) for v in changes.values()):
                best, chosen, how = error, changes, word
        return Outcome(self.name, before, best, how, bool(chosen)), chosen

    def _candidates(
        self, tensors: Tensors, start: tuple[torch.Tensor, torch.Tensor], own: torch.Tensor
    ) -> list[tuple[str, Changes]]:
        found: list[tuple[str, Changes]] = []
        fresh: Changes = {}
        if self._operator.statistics is not None and self._free.issuperset(self._operator.statistics):
            fresh = self._statistics(tensors, own)
            found.append(("statistics", fresh))
        if self._operator.scale is not None and self._operator.scale.name in self._free:
            shifted = self._operator.shift is not None and self._operator.shift.name in self._free
            line = self._train.fit(start, shifted=shifted)
            changes = {**fresh, **self._affine(self._operator.scale, tensors, fresh, line)}
            found.append(
                (" and ".join(["scale", *(["shift"] if shifted else []), *(["statistics"] if fresh else [])]), changes)
            )
        return found

    def _statistics(self, tensors: Tensors, own: torch.Tensor) -> Changes:
        changes: Changes = {}
        for name, fresh in zip(self._operator.statistics or (), self._train.moments(), strict=False):
            changes[name] = tensors[name].detach().clone()
            changes[name][own] = fresh.to(changes[name])
        return changes

    def _normaliser(self, tensors: Tensors, changes: Changes) -> tuple[torch.Tensor, torch.Tensor]:
        """What is taken off and divided by first: a batch norm's mean and root of the variance, else nothing."""
        if self._operator.statistics is None:
            return torch.zeros((), device=self._reference.device), torch.ones((), device=self._reference.device)
        mean, variance = ((changes.get(name, tensors[name])).detach().double() for name in self._operator.statistics)
        own = self._target.own
        return mean[own], (variance[own] + self._operator.epsilon).sqrt()

    def _line(self, tensors: Tensors, changes: Changes) -> tuple[torch.Tensor, torch.Tensor]:
        """Slope and offset per channel of what is gathered, with these values."""
        mean, root = self._normaliser(tensors, changes)
        own, device = self._target.own, self._reference.device
        scale = shift = None
        if self._operator.scale is not None:
            name = self._operator.scale.name
            scale = self._operator.scale.read(changes.get(name, tensors[name])).double().reshape(-1)[own]
        if self._operator.shift is not None:
            name = self._operator.shift.name
            shift = self._operator.shift.read(changes.get(name, tensors[name])).double().reshape(-1)[own]
        one = torch.ones(len(own), dtype=torch.float64, device=device)
        slope = (one if scale is None else scale) / root
        return slope, (0 * one if shift is None else shift) - slope * mean

    def _affine(
        self, scale: Seen, tensors: Tensors, fresh: Changes, line: tuple[torch.Tensor, torch.Tensor]
    ) -> Changes:
        """Scale and shift that give a line on top of these statistics."""
        mean, root = self._normaliser(tensors, fresh)
        changes = {scale.name: self._changed(scale, tensors, line[0] * root)}
        shift = self._operator.shift
        if shift is not None and shift.name in self._free:
            changes[shift.name] = self._changed(shift, tensors, line[1] + line[0] * mean)
        return changes

    def _changed(self, seen: Seen, tensors: Tensors, values: torch.Tensor) -> torch.Tensor:
        own = seen.read(tensors[seen.name]).double().reshape(-1)
        own[self._target.own] = values
        return seen.write(tensors[seen.name], own)


class Recalibration:
    """The running statistics of a batch norm, from what its own network feeds it."""

    def __init__(self, operator: Gain) -> None:
        self._operator = operator
        self.names: tuple[str, ...] = operator.statistics or ()
        self.name = self.mean = self.names[0] if self.names else ""
        self._lines = _Lines()

    def gather(self, use: int, batch: Batch, sample: Sample) -> None:
        """See `Fit`."""
        rows = self._operator.plain(batch.student)
        rows = rows[sample.picked(len(rows)).to(rows.device)].double()
        self._lines.add(rows, rows)

    def solve(self, tensors: Tensors) -> tuple[Outcome, Changes]:
        """See `Fit`."""
        fresh = self._lines.moments()
        changes = {name: values.to(tensors[name]) for name, values in zip(self.names, fresh, strict=True)}
        if not all(bool(values.isfinite().all()) for values in changes.values()):
            return Outcome(self.name, math.nan, math.nan, "not finite on these batches", False), {}
        return Outcome(self.name, math.nan, math.nan, "statistics estimated anew", True), changes


class _Lines:
    """Moments of pairs of numbers, channel by channel, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: torch.Tensor | None = None

    def add(self, rows: torch.Tensor, targets: torch.Tensor) -> None:
        """Count rows `(rows, channels)` and their targets of the same shape."""
        parts = (rows, targets, rows.square(), rows * targets, targets.square())
        sums = torch.stack([part.sum(0) for part in parts])
        self._sums = sums if self._sums is None else self._sums + sums
        self.count += len(rows)

    def _known(self) -> torch.Tensor:
        if self._sums is None:
            raise ValueError("no rows were counted")
        return self._sums

    @property
    def finite(self) -> bool:
        """Whether everything that was counted is finite."""
        return bool(self._known().isfinite().all())

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and unbiased variance of the rows."""
        x, _, xx, _, _ = self._known()
        mean = x / self.count
        return mean, ((xx / self.count - mean.square()).clamp_min(0) * self.count / max(1, self.count - 1))

    def error(self, slope: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        """Squared error of a line for every channel, summed over rows."""
        x, y, xx, xy, yy = self._known()
        squares = yy + slope.square() * xx + self.count * offset.square()
        found: torch.Tensor = squares + 2 * (slope * offset * x - slope * xy - offset * y)
        return found.clamp_min(0)

    def magnitude(self, slope: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        """Sum of squares, per channel, of all that an error is the difference of."""
        _, _, xx, _, yy = self._known()
        found: torch.Tensor = yy + slope.square() * xx + self.count * offset.square()
        return found

    def spread(self) -> torch.Tensor:
        """Squared distance of the targets from their mean, summed over rows."""
        _, y, _, _, yy = self._known()
        found: torch.Tensor = yy - y.square() / self.count
        return found.clamp_min(0)

    def fit(self, start: tuple[torch.Tensor, torch.Tensor], *, shifted: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """The line of least squared error; channels that hardly move keep their slope."""
        x, y, xx, xy, _ = self._known()
        if not shifted:
            still = xx <= 0
            slope = torch.where(still, start[0], (xy - start[1] * x) / xx.masked_fill(still, 1))
            return slope, start[1]
        across, along = xy - x * y / self.count, xx - x.square() / self.count
        still = along <= 1e-12 * xx
        slope = torch.where(still, start[0], across / along.masked_fill(still, 1))
        return slope, (y - slope * x) / self.count
