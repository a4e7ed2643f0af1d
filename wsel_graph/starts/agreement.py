"""How large a student's activations are, and how much of the teacher's they explain; streamed over batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from wsel_graph.capture.inputs import Inputs
from wsel_graph.capture.program import Program
from wsel_graph.capture.replay import Recordings, Run
from wsel_graph.capture.schemas import written_parameters
from wsel_graph.capture.trace import untouched_globals
from wsel_graph.errors import DiagnosisError
from wsel_graph.plan import Feature, Indices, Tap
from wsel_graph.starts.frontier import Batch
from wsel_graph.starts.parameters import schema_name
from wsel_graph.starts.partners import Pairing, operators
from wsel_graph.starts.sections import Section, tapped
from wsel_graph.starts.targets import Operator, direct_target, feature_dims, output_rows

_RECTIFIERS = frozenset({"aten::relu", "aten::relu_"})
_STEPS = 4
"""How many operators may lie between a rectifier and the operator whose channels its units are."""

Rows = Callable[[torch.Tensor], torch.Tensor]
"""From a value to `(rows, channels)`."""


@dataclass(slots=True, eq=False)
class Agreement:
    """Sums over all rows seen of a student's value, and of the teacher's channels that it stands for; float64.

    Means of batches are merged by the formula of Chan, Golub and LeVeque (1979), which does not cancel.
    """

    count: int = 0  # numbers
    rows: int = 0
    ours: float = 0.0  # sum of squares
    theirs: float = 0.0
    error: float = 0.0  # sum of squared differences
    spread: float = 0.0  # sum of the teacher's squared deviations from the mean of each channel
    compared: bool = False
    mean: torch.Tensor | None = None
    alive: torch.Tensor | None = None  # channels that were not zero everywhere

    def add(self, ours: torch.Tensor, theirs: torch.Tensor | None = None) -> None:
        """Count rows `(rows, channels)` of the student, and the teacher's for them."""
        ours = ours.detach().double()
        self.count += ours.numel()
        self.ours += float(ours.square().sum())
        alive = (ours != 0).any(0)
        self.alive = alive if self.alive is None else self.alive | alive
        if theirs is not None:
            self._compare(ours, theirs.detach().double().to(ours.device))

    def _compare(self, ours: torch.Tensor, theirs: torch.Tensor) -> None:
        if ours.shape != theirs.shape:
            raise DiagnosisError(
                f"the student shows {list(ours.shape)} rows and channels where the teacher shows {list(theirs.shape)}: "
                "run both on the same inputs, at the same resolution"
            )
        self.compared = True
        self.theirs += float(theirs.square().sum())
        self.error += float((ours - theirs).square().sum())
        mean, new = theirs.mean(0), theirs.shape[0]
        self.spread += float((theirs - mean).square().sum())
        if self.mean is None:
            self.mean, self.rows = mean, new
            return
        total = self.rows + new
        self.spread += float((mean - self.mean).square().sum()) * self.rows * new / total
        self.mean = self.mean + (mean - self.mean) * (new / total)
        self.rows = total

    @property
    def scale(self) -> float:
        """Root mean square of the student's numbers."""
        return math.sqrt(self.ours / self.count) if self.count and self.ours >= 0 else math.nan

    @property
    def teacher_scale(self) -> float | None:
        """Root mean square of the teacher's numbers; None where there are none."""
        if not self.compared:
            return None
        return math.sqrt(self.theirs / self.count) if self.theirs >= 0 else math.nan

    @property
    def explained(self) -> float | None:
        """One minus error over spread; None without a teacher, or where its channels do not vary."""
        if not self.compared or self.spread == 0:
            return None
        return 1 - self.error / self.spread if math.isfinite(self.spread) else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Something to look at in the student's graph.

    Attributes:
        number: The student's graph node.
        rows: What of its value counts.
        target: The teacher's rows for them; None where nothing is compared.
        teacher_nodes: The teacher's nodes that `target` reads.
    """

    number: int
    rows: Rows
    found: Agreement = field(default_factory=Agreement)
    target: Callable[[Batch], torch.Tensor] | None = None
    teacher_nodes: tuple[int, ...] = ()


class Kept(Run):
    """A run that keeps held values as they were when they were made, whatever writes to their memory later."""

    def __init__(
        self, program: Program, inputs: Inputs, held: Iterable[int] = (), places: Mapping[int, int] | None = None
    ) -> None:
        super().__init__(program, inputs, held, places)
        self._kept: dict[int, torch.Tensor] = {}
        self._writes = any(_writes(node.target) for node in program.nodes if node.op == "call_function")

    def value(self, number: int) -> torch.Tensor:
        """See `Run`."""
        place = self._place(number)
        return self._kept[place] if place in self._kept else super().value(number)

    def drop(self, number: int) -> None:
        """See `Run`."""
        self._kept.pop(self._place(number), None)
        super().drop(number)

    def _step(self, place: int) -> None:
        super()._step(place)
        if place in self._held and self._writes:
            self._kept[place] = self._tensor(place).clone()


def _writes(target: Any) -> bool:
    return getattr(target, "_schema", None) is not None and bool(written_parameters(target))


def look_at(looks: Sequence[Look], models: Sequence[Recordings], batches: Sequence[Sequence[Inputs]]) -> None:
    """Run all batches through the student, and the teacher where there is one, and count what the looks want."""
    ordered = sorted(looks, key=lambda look: (look.number, look.teacher_nodes))
    ours = {look.number: place for place, look in enumerate(ordered)}
    theirs = {node: place for place, look in enumerate(ordered) for node in look.teacher_nodes}
    with untouched_globals():
        for number, inputs in enumerate(batches[0]):
            torch.manual_seed(number)
            student = _run(models[0], inputs, ours)
            teacher = _run(models[1], batches[1][number], theirs) if len(models) > 1 else None
            batch = Batch(student, teacher)
            for place, look in enumerate(ordered):
                student.advance_past(look.number)
                for node in look.teacher_nodes:
                    batch.teacher_run.advance_past(node)
                target = None if look.target is None else look.target(batch)
                look.found.add(look.rows(student.value(look.number)), target)
                if ours[look.number] == place:
                    student.drop(look.number)
                for node in look.teacher_nodes:
                    if theirs[node] == place:
                        batch.teacher_run.drop(node)


def _run(model: Recordings, inputs: Inputs, held: Iterable[int]) -> Kept:
    program, places = model.find(inputs)
    return Kept(program, inputs, held, places)


# -- what to look at


def operator_looks(found: Iterable[Pairing]) -> Iterator[tuple[str, Look]]:
    """Every matched operator, with the parameter that tells which is which."""
    for pairing in found:
        for use in pairing.uses:
            target = direct_target(use.channels, use.partners)
            rows = operator_rows(use.operator, target.own)
            yield pairing.name, Look(use.operator.number, rows, Agreement(), target.rows, target.teacher_nodes)


def operator_rows(operator: Operator, own: torch.Tensor | None = None) -> Rows:
    """Output rows of an operator: all channels, or the own ones."""
    if own is None:
        return lambda value: output_rows(operator, value)
    return lambda value: output_rows(operator, value)[:, own.to(value.device)]


def feature_look(section: Section, feature: Feature, teacher: Program) -> Look | None:
    """A block's output beside that of the teacher's block; None where this recording does not show it."""
    number = tapped(teacher, feature.teacher)
    if number is None:
        return None

    def target(batch: Batch) -> torch.Tensor:
        return feature_rows(feature.teacher, feature.indices, batch.teacher_run.value(number)).flatten(0, -2)

    rows = section_rows(section)
    return Look(section.output, rows, Agreement(), target, (number,))


def section_rows(section: Section, operator: Operator | None = None, own: torch.Tensor | None = None) -> Rows:
    """The numbers of a section's output that count: the channels that stand for teacher channels, where known."""
    feature = section.copied or section.spanned
    if feature is not None:
        return lambda value: feature_rows(feature.student, feature.filled, value).flatten(0, -2)
    if operator is not None:
        return operator_rows(operator, own)
    return lambda value: value.reshape(-1, 1)


def feature_rows(tap: Tap, taken: Indices | None, value: torch.Tensor) -> torch.Tensor:
    """A tapped value as `(positions..., channels)`, with the channels that are compared."""
    laid = value.permute(tap.dims) if len(tap.dims) == value.dim() else value
    if taken is None:
        return laid
    return laid.index_select(-1, torch.tensor(list(taken), device=laid.device))


def rectified_looks(program: Program) -> Iterator[Look]:
    """Rectifiers whose units are the channels of a contraction or a norm shortly before."""
    made = {use.number: use for uses in operators(program).uses.values() for use in uses}
    for number, node in enumerate(program.nodes):
        if node.op != "call_function" or schema_name(node) not in _RECTIFIERS:
            continue
        shape, behind = node.meta["value"].shape, node
        for _ in range(_STEPS):
            before = [one for one in behind.all_input_nodes if not program.is_fixed(one)]
            behind = before[-1] if before else behind
            operator = made.get(program.numbers[behind])
            same = getattr(behind.meta.get("value"), "shape", None) == shape
            if not before or not same:
                break
            if operator is not None and feature_dims(operator):
                yield Look(number, operator_rows(operator))
                break
