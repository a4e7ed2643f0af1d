"""Compensation: fit the student's selected weights to the teacher's activations, in closed form.

Selection leaves out inputs, so every sum that the student computes lacks terms. Compensation walks the student's graph
in order of execution. At every operator whose weights were selected it solves for the weights that come closest, from
the student's own activations, to what the teacher computes in the selected channels, and goes on with these weights.
Nothing is trained and no label is needed.

The idea is that of reconstruction by least squares after channel pruning (He et al., "Channel Pruning for Accelerating
Very Deep Neural Networks", arXiv:1707.06168, section 3.1, "linear least squares"), here for any pair of graphs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from wsel_graph.apply.memory import apply_plan, named_tensors
from wsel_graph.capture.inputs import Inputs, normalize_inputs
from wsel_graph.capture.replay import Recordings
from wsel_graph.coupling.graph import trace
from wsel_graph.errors import CompensationError
from wsel_graph.plan import Plan
from wsel_graph.starts.contractions import Contraction
from wsel_graph.starts.fits import Fit, Outcome, Regression, Rescaling, Sample
from wsel_graph.starts.frontier import Batch, Frontier
from wsel_graph.starts.gains import Gain
from wsel_graph.starts.least_squares import bytes_needed
from wsel_graph.starts.partners import Pairing, Side, pairings
from wsel_graph.starts.spans import Aims, Spans

HELD_EVERY = 5
"""Every fifth batch is held out; of fewer batches, the last fifth of the rows of each."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a compensation goes about.

    Attributes:
        memory: Bytes for activations, and for the second moments of one operator.
        rows: Rows that are measured per operator, as a multiple of its inputs (and at least `least`).
        least: Rows that are measured at least, if there are so many.
        seed: Of the draw of rows.
        aims: What operators are fitted to.
    """

    memory: int = 2 << 30
    rows: int = 16
    least: int = 8192
    seed: int = 0
    aims: Aims = field(default_factory=Aims)


@dataclass(frozen=True, slots=True)
class Compensation:
    """What a compensation did. `print` it.

    Attributes:
        outcomes: One per parameter, in order of the student's execution.
        peak: Most bytes of activations at one time, of both models.
        spilled: Bytes of activations that were written to disk.
    """

    outcomes: tuple[Outcome, ...]
    peak: int = 0
    spilled: int = 0

    @property
    def fitted(self) -> tuple[str, ...]:
        """The parameters whose values were changed."""
        return tuple(outcome.name for outcome in self.outcomes if outcome.fitted)


def compensate(
    plan: Plan,
    student: nn.Module,
    teacher: nn.Module,
    calibration: Iterable[Any],
    *,
    teacher_calibration: Iterable[Any] | None = None,
    settings: Settings | None = None,
) -> Compensation:
    """Apply a plan, then fit what it filled to the teacher's activations. In place; all or nothing.

    Args:
        plan: The plan for these two models.
        student: The network to initialise.
        teacher: The pretrained network; it is not changed.
        calibration: Batches of inputs, each as `example_inputs`; no labels.
        teacher_calibration: The same batches as the teacher takes them, where that differs.
    Raises:
        CompensationError: If there are no batches, or those of the two models differ in number.
        WselError: If a model cannot run on them, or the plan does not fit. The student is unchanged then.
    """
    batches = [normalize_inputs(batch) for batch in calibration]
    others = batches if teacher_calibration is None else [normalize_inputs(batch) for batch in teacher_calibration]
    if not batches:
        raise CompensationError("no calibration batches: pass an iterable of inputs, such as a list of tensors.")
    if len(batches) != len(others):
        raise CompensationError(f"{len(batches)} calibration batches for the student, {len(others)} for the teacher.")
    tensors = named_tensors(student)
    before = {copy.student: tensors[copy.student].detach().clone() for copy in plan.copies if copy.student in tensors}
    try:
        apply_plan(plan, student, teacher)
        return _Walk(plan, (student, teacher), (batches, others), settings or Settings()).run()
    except BaseException:
        with torch.no_grad():
            for name, values in before.items():
                tensors[name].copy_(values)
        raise


@dataclass(slots=True, eq=False)
class _Event:
    """One place of the student's graph where something is measured."""

    number: int
    fit: Fit
    use: int
    last: bool
    restart: bool
    teacher_nodes: tuple[int, ...]
    inputs: int


class _Walk:
    def __init__(
        self, plan: Plan, models: tuple[nn.Module, nn.Module], batches: tuple[list[Inputs], list[Inputs]],
        settings: Settings,
    ) -> None:  # fmt: skip
        self._settings, self._batches = settings, batches
        widest = max(range(len(batches[0])), key=lambda i: _elements(batches[0][i]))
        graphs = [trace(model, own[widest]) for model, own in zip(models, batches, strict=True)]
        self._recordings = [
            Recordings(model, own[widest], graph.captured)
            for model, own, graph in zip(models, batches, graphs, strict=True)
        ]
        self._sides = [Side(graph, made.base) for graph, made in zip(graphs, self._recordings, strict=True)]
        self._tensors = {state.name: state.tensor for state in graphs[0].captured.states}
        self._filled = frozenset(copy.student for copy in plan.copies)
        self._outcomes: list[Outcome] = []
        found, kept = pairings(plan, self._sides[0], self._sides[1])
        self._kept = kept
        self._events = sorted(self._all_events(found), key=lambda event: (event.number, event.use))

    def run(self) -> Compensation:
        held = {node for event in self._events for node in event.teacher_nodes}
        runs = [
            Batch(self._recordings[0].run(ours), self._recordings[1].run(theirs, held))
            for ours, theirs in zip(*self._batches, strict=True)
        ]
        with Frontier(runs, self._settings.memory) as frontier:
            for place, event in enumerate(self._events):
                self._measure(frontier, event, place)
            outcomes = [
                *self._outcomes,
                *(Outcome(n, float("nan"), float("nan"), why, False) for n, why in self._kept.items()),
            ]
            return Compensation(tuple(outcomes), frontier.peak, frontier.spilled)

    def _measure(self, frontier: Frontier, event: _Event, place: int) -> None:
        later = {node for other in self._events[place + 1 :] for node in other.teacher_nodes}
        for number in range(len(frontier)):
            batch = frontier.open(number)
            batch.student.advance(event.number)
            batch.teacher.advance_past(max(event.teacher_nodes))
            event.fit.gather(event.use, batch, self._sample(event, number))
            for node in set(event.teacher_nodes) - later:
                batch.teacher.drop(node)
            frontier.close(number)
        if event.last:
            outcome, changes = event.fit.solve(self._tensors)
            with torch.no_grad():
                for name, values in changes.items():
                    self._tensors[name].copy_(values)
            self._outcomes.append(outcome)
            if changes and event.restart:
                frontier.restart_student()

    def _sample(self, event: _Event, number: int) -> Sample:
        count = len(self._batches[0])
        wanted = max(self._settings.least, self._settings.rows * event.inputs)
        held = (float(number % HELD_EVERY == HELD_EVERY - 1)) if count >= HELD_EVERY else 1 / HELD_EVERY
        return Sample(-(-wanted // count), held, self._settings.seed + number)

    def _all_events(self, found: Sequence[Pairing]) -> Iterator[_Event]:
        spans = Spans(found, self._sides[0], self._sides[1], self._settings.aims)
        for pairing in found:
            operators = [use.operator for use in pairing.uses]
            targets = [spans.target(use) for use in pairing.uses]
            first = operators[0]
            if isinstance(first, Contraction):
                free = first.bias is not None and first.bias.name in self._filled
                need = bytes_needed(first.form.groups, first.form.inputs + 1, first.form.outputs)
                if need > self._settings.memory:
                    self._kept[pairing.name] = (
                        f"its second moments need {need / 2**20:,.0f} MB, more than the memory allowed"
                    )
                    continue
                fit: Fit = Regression(operators, targets, self._tensors, free=free)  # type: ignore[arg-type]
                inputs = first.form.inputs
            elif isinstance(first, Gain) and len(operators) == 1:
                fit, inputs = Rescaling(first, targets[0], self._tensors, self._filled), 1
            else:
                self._kept[pairing.name] = "a norm that is used several times"
                continue
            for use, (operator, target) in enumerate(zip(operators, targets, strict=True)):
                last = use == len(operators) - 1
                yield _Event(operator.number, fit, use, last, len(operators) > 1, target.teacher_nodes, inputs)


def _elements(inputs: Inputs) -> int:
    sizes: list[int] = []
    inputs.map(lambda tensor: sizes.append(tensor.numel()))
    return sum(sizes)
