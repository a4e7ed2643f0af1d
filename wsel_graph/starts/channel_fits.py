"""Fits of operators that work channel by channel: scale, shift and statistics of norms."""

from __future__ import annotations

import math

import torch

from wsel_graph.starts.fits import Changes, Outcome, Sample, Tensors
from wsel_graph.starts.frontier import Batch
from wsel_graph.starts.gains import Gain
from wsel_graph.starts.least_squares import NO_BETTER, WORTHWHILE, rounding, stays
from wsel_graph.starts.parameters import Seen
from wsel_graph.starts.targets import Target, check_positions


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
        self._noise = 0.0

    def gather(self, use: int, batch: Batch, sample: Sample) -> None:
        """See `Fit`."""
        wanted = self._target.rows(batch)
        picked = sample.picked(len(wanted)).to(wanted.device)
        limit = len(picked) - round(len(picked) * sample.held)
        self._noise += rounding(self._reference.dtype) * (len(picked) - limit) * self._target.magnitude(batch)
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
        exact = self._noise + rounding(self._reference.dtype) * float(self._held.magnitude(*start).sum())
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
