"""The walk of a compensation: both graphs, batch by batch, from one operator that is fitted to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from wsel_graph.capture.inputs import Inputs, tensor_labels
from wsel_graph.capture.recorder import TensorInfo
from wsel_graph.capture.replay import Recordings
from wsel_graph.capture.results import paired_results
from wsel_graph.capture.trace import untouched_globals
from wsel_graph.coupling.graph import trace
from wsel_graph.errors import CompensationError
from wsel_graph.plan import Plan
from wsel_graph.starts.channel_fits import Recalibration, Rescaling
from wsel_graph.starts.contractions import Contraction
from wsel_graph.starts.fits import Fit, Outcome, Regression, Sample
from wsel_graph.starts.frontier import Batch, Frontier
from wsel_graph.starts.gains import Gain, gain
from wsel_graph.starts.journal import Journal
from wsel_graph.starts.least_squares import bytes_needed
from wsel_graph.starts.partners import Pairing, Side, operators, pairings
from wsel_graph.starts.settings import Settings
from wsel_graph.starts.spans import Spans
from wsel_graph.starts.targets import Target

HELD_EVERY = 5
"""Every fifth batch is held out; of fewer batches, the last fifth of the rows of each."""


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """One place of the student's graph where something is measured.

    Attributes:
        number: The student's graph node.
        fit: What is measured.
        use: Which use of the fit's parameter this is, of `uses`.
        target: What is to be computed; None where that does not matter.
        inputs: How many inputs the fit has, which says how many rows it needs.
    """

    number: int
    fit: Fit
    use: int
    uses: int
    target: Target | None
    inputs: int

    @property
    def teacher_nodes(self) -> tuple[int, ...]:
        """The teacher's nodes whose values are read."""
        return () if self.target is None else self.target.teacher_nodes


class Walk:
    """Everything that a compensation or a recalibration does.

    Args:
        models: The student, and the teacher where there is one.
        batches: The same batches for each model.
        settings: How to go about it.
    """

    def __init__(self, models: Sequence[nn.Module], batches: Sequence[list[Inputs]], settings: Settings) -> None:
        self._settings, self._batches = settings, batches
        widest = max(range(len(batches[0])), key=lambda i: _elements(batches[0][i]))
        graphs = [trace(model, own[widest]) for model, own in zip(models, batches, strict=True)]
        self._recordings = [
            Recordings(model, own[widest], graph.captured)
            for model, own, graph in zip(models, batches, graphs, strict=True)
        ]
        self._sides = [Side(graph, made.base) for graph, made in zip(graphs, self._recordings, strict=True)]
        self.tensors: Mapping[str, torch.Tensor] = {s.name: s.tensor for s in graphs[0].captured.states}
        self.kept: dict[str, str] = {}
        self.peak = self.spilled = 0

    # -- what to do

    def compensation(self, plan: Plan) -> list[Event]:
        """The places where a plan's weights are fitted, and batch norms estimated anew; in order of execution."""
        found, kept = pairings(plan, self._sides[0], self._sides[1])
        rules = bool(plan.compensate or plan.recalibrate)
        asked = set(plan.compensate) if rules else {*kept, *(pairing.name for pairing in found)}
        self.kept = {name: reason for name, reason in kept.items() if name in asked}
        spans = Spans(found, self._sides[0], self._sides[1], self._settings.aims)
        filled = frozenset(copy.student for copy in plan.copies)
        renewed = frozenset(plan.recalibrate).union(*(_renewed(one, filled) for one in found if one.name in asked))
        events = [event for one in found if one.name in asked for event in self._fits(one, spans, filled, renewed)]
        known = {*self.kept, *(pairing.name for pairing in found)}
        self.kept |= dict.fromkeys(sorted(asked - known), "no operator uses it in a way that can be fitted")
        if rest := set(plan.recalibrate) - {event.fit.mean for event in events}:
            events.extend(self.recalibration(rest))
        return sorted(events, key=lambda event: (event.number, event.use))

    def recalibration(self, means: set[str] | None = None) -> list[Event]:
        """The places where batch norms of these running means (all when None) are estimated anew."""
        uses = [use for own in operators(self._sides[0].program).uses.values() for use in own]
        norms = [use for use in uses if isinstance(use, Gain) and use.statistics is not None]
        wanted = [norm for norm in norms if norm.statistics and (means is None or norm.statistics[0] in means)]
        names = [norm.statistics[0] for norm in wanted if norm.statistics]
        self.kept |= {mean: "a batch norm that is used several times" for mean in names if names.count(mean) > 1}
        once = [norm for norm, mean in zip(wanted, names, strict=True) if names.count(mean) == 1]
        events = [Event(norm.number, Recalibration(norm), 0, 1, None, 1) for norm in once]
        return sorted(events, key=lambda event: event.number)

    def _fits(self, pairing: Pairing, spans: Spans, filled: frozenset[str], renewed: frozenset[str]) -> Iterator[Event]:
        targets = [spans.target(use) for use in pairing.uses]
        if any(not torch.equal(targets[0].own, other.own) for other in targets[1:]):
            self.kept[pairing.name] = "its uses stand for other channels of the teacher's each"
            return
        filled = filled & pairing.private
        contractions = [use.operator for use in pairing.uses if isinstance(use.operator, Contraction)]
        gains = [use.operator for use in pairing.uses if isinstance(use.operator, Gain)]
        if contractions:
            form, bias = contractions[0].form, contractions[0].bias
            need = bytes_needed(form.groups, form.inputs + 1, form.outputs)
            if need > self._settings.memory:
                self.kept[pairing.name] = f"its second moments need {need >> 20:,} MB, more than the memory allowed"
                return
            free = bias is not None and bias.name in filled
            centred = all(self._feeds_batch_norm(own, renewed) for own in contractions)
            fit: Fit = Regression(contractions, targets, self.tensors, free=free, centred=centred)
            inputs = form.inputs
        elif len(gains) == 1:
            fit, inputs = Rescaling(gains[0], targets[0], self.tensors, filled), 1
        else:
            self.kept[pairing.name] = "a norm or scale that is used several times"
            return
        numbers = [use.operator.number for use in pairing.uses]
        for use, (number, target) in enumerate(zip(numbers, targets, strict=True)):
            yield Event(number, fit, use, len(targets), target, inputs)

    def _feeds_batch_norm(self, contraction: Contraction, renewed: frozenset[str]) -> bool:
        """Whether nothing reads the result but a batch norm whose running mean is one of these."""
        program = self._sides[0].program
        readers = list(program.nodes[contraction.number].users)
        only = readers[0] if len(readers) == 1 else None
        norm = gain(program, program.numbers[only]) if only is not None and only.op == "call_function" else None
        return norm is not None and norm.statistics is not None and norm.statistics[0] in renewed

    # -- judging it

    def error_of_results(self) -> float | None:
        """How far the student's results are from the teacher's on held-out batches: squared error over spread.

        None where no result of the two has one shape.
        """
        sides = [[(n, side.program.nodes[n].meta["value"]) for n in side.program.outputs] for side in self._sides]
        partners = paired_results(*(side.program.captured for side in self._sides))
        pairs = [
            (ours, theirs)
            for (ours, small), (theirs, large) in ((sides[0][s], sides[1][t]) for s, t in partners.items())
            if isinstance(small, TensorInfo) and isinstance(large, TensorInfo) and small.dtype.is_floating_point
            and small.shape == large.shape and small.shape
        ]  # fmt: skip
        error = spread = 0.0
        for number in self._held_out() if pairs else ():
            runs = [made.run(own[number], held) for made, own, held in zip(
                self._recordings, self._batches, zip(*pairs, strict=True), strict=True
            )]  # fmt: skip
            with untouched_globals():
                for run in runs:
                    run.advance()
            for ours, theirs in pairs:
                results = [run.value(node).double() for run, node in zip(runs, (ours, theirs), strict=True)]
                made, wanted = (result.reshape(-1, result.shape[-1]) for result in results)
                if made.shape != wanted.shape:
                    raise CompensationError(
                        f"{len(made)} positions in the student and {len(wanted)} in the teacher on one batch: give "
                        "both models the same inputs."
                    )
                error += float((made - wanted).square().sum())
                spread += float((wanted - wanted.mean(0)).square().sum())
        return error / spread if spread else None

    def _held_out(self) -> range:
        count = len(self._batches[0])
        return range(HELD_EVERY - 1, count, HELD_EVERY) if count >= HELD_EVERY else range(count)

    # -- doing it

    def run(
        self, events: Sequence[Event], journal: Journal, watch: Callable[[Iterable[Event]], Iterable[Event]]
    ) -> list[Outcome]:
        """Measure and solve, in order.

        Args:
            events: In order of execution.
            journal: Keeps what is solved.
            watch: Hands events on one by one, to show progress.
        """
        held = {node for event in events for node in event.teacher_nodes}
        last = {node: place for place, event in enumerate(events) for node in event.teacher_nodes}
        outcomes = []
        batches = [self._start(number, held) for number in range(len(self._batches[0]))]
        with torch.random.fork_rng(), Frontier(batches, self._settings.memory) as frontier:
            for place, event in enumerate(watch(events)):
                done = journal.read(place) if event.uses == 1 else None
                if done is None:
                    self._measure(frontier, event, {node for node in event.teacher_nodes if last[node] == place})
                if event.use < event.uses - 1:
                    continue
                outcome, changes = done or event.fit.solve(self.tensors)
                journal.write(place, outcome, changes)
                outcomes.append(outcome)
                self._write(changes)
                if changes and event.uses > 1:
                    frontier.restart_student()
            self.peak, self.spilled = frontier.peak, frontier.spilled
        return outcomes

    def _start(self, number: int, held: Iterable[int]) -> Batch:
        student = self._recordings[0].run(self._batches[0][number])
        teacher = self._recordings[1].run(self._batches[1][number], held) if len(self._recordings) > 1 else None
        return Batch(student, teacher)

    def _measure(self, frontier: Frontier, event: Event, done: Iterable[int]) -> None:
        for number in range(len(frontier)):
            batch = frontier.open(number)
            batch.student.advance(event.number)
            for node in event.teacher_nodes:
                batch.teacher_run.advance_past(node)
            event.fit.gather(event.use, batch, self._sample(event, number))
            for node in done:
                batch.teacher_run.drop(node)
            frontier.close(number)

    def _sample(self, event: Event, number: int) -> Sample:
        count = len(self._batches[0])
        wanted = max(self._settings.least, self._settings.rows * event.inputs)
        held = (float(number % HELD_EVERY == HELD_EVERY - 1)) if count >= HELD_EVERY else 1 / HELD_EVERY
        return Sample(-(-wanted // count), held, self._settings.seed + number)

    def _write(self, changes: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, values in changes.items():
                self.tensors[name].copy_(values)


def _renewed(pairing: Pairing, filled: frozenset[str]) -> set[str]:
    """The running mean that a fit of this pairing estimates anew, where it is that of a batch norm."""
    norm = pairing.uses[0].operator
    if len(pairing.uses) > 1 or not isinstance(norm, Gain) or norm.statistics is None:
        return set()
    return {norm.statistics[0]} if (filled & pairing.private).issuperset(norm.statistics) else set()


def _elements(inputs: Inputs) -> int:
    return sum(tensor.numel() for _, tensor in tensor_labels(inputs))
