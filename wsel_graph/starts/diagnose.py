"""A look at a start: how a student's activations and gradients are, beside the teacher's and a fresh random start's.

Activations are measured on the recorded graphs, gradients and learning rates on a copy of the module. The models
themselves never run: their mode, gradients, hooks and random states stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from wsel_graph.apply.memory import named_tensors
from wsel_graph.capture.inputs import Inputs, normalize_inputs
from wsel_graph.capture.replay import Program, Recordings, correspondence
from wsel_graph.coupling.graph import trace
from wsel_graph.errors import DiagnosisError
from wsel_graph.plan import Plan
from wsel_graph.starts.agreement import (
    Agreement,
    Look,
    Rows,
    feature_look,
    look_at,
    operator_looks,
    operator_rows,
    rectified_looks,
    section_rows,
)
from wsel_graph.starts.diagnosis import BlockRow, Diagnosis, OperatorRow
from wsel_graph.starts.fresh import Fresh, fresh_start
from wsel_graph.starts.partners import Side, operators, pairings
from wsel_graph.starts.rates import RATES, Optimizing, Rate, find_rate
from wsel_graph.starts.sections import Section, sections
from wsel_graph.starts.slopes import Goals, Loss, Probe, Slope, goals, with_gradients
from wsel_graph.starts.symptoms import symptoms

_EQUAL = 1e-9
"""A default loss below this is rounding: the student computes what the teacher does."""


def diagnose(
    student: nn.Module,
    inputs: Any,
    *,
    teacher: nn.Module | None = None,
    plan: Plan | None = None,
    fresh: Fresh | None = None,
    loss: Loss | Sequence[Loss] | None = None,
    teacher_inputs: Any = None,
    optimizer: Optimizing = torch.optim.Adam,
    steps: int = 10,
    rates: Sequence[float] = RATES,
    seed: int = 0,
) -> Diagnosis:
    """Look at a student before it is trained: scales, gradients, explained variance, and a first learning rate.

    Nothing is changed in the models. Everything is measured in evaluation mode. Activations count all batches,
    gradients the first one. For the learning rate, `steps` steps of the optimizer are taken on a copy, on all batches
    but the last in turn, at one rate after the other; a rate is good as long as the loss does not rise by more than a
    tenth, and has not risen in the end, on the last batch neither. It holds for that loss and batch size. Hooks of the student run on the copy too.

    Args:
        student: The network to look at.
        inputs: One batch as `example_inputs`, or a list of batches. Several make a better learning rate; the
            teacher's block outputs on all of them are kept in memory meanwhile.
        teacher: The pretrained network that it was initialised from.
        plan: The plan that it was initialised with; it says which channels correspond.
        fresh: The student with fresh random values, or a function that makes one. By default a copy whose modules all
            did `reset_parameters`; where some cannot, the columns stay empty and the notes say so.
        loss: From what the student returns to a number; a list has one for each batch (such as with its labels). By
            default the squared difference to the teacher's block outputs and results, over their mean square.
        teacher_inputs: The same batches as the teacher takes them, where that differs.
        optimizer: Makes the optimizer that will be used, from parameters and `lr=`.
        steps: Steps at each learning rate; 0 leaves the learning rate out.
        rates: What to try, ascending.
        seed: Of the fresh start.
    Raises:
        DiagnosisError: If what is given does not go together; the text says what to give.
        CaptureError: If a model does not run on the inputs.

    >>> import wsel_graph as ws
    >>> make = lambda width: nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))
    >>> student, teacher = make(8), make(16)
    >>> plan = ws.initialize(student, teacher, (2, 4)).plan
    >>> found = diagnose(student, [torch.randn(32, 4), torch.randn(32, 4)], teacher=teacher, plan=plan)
    >>> [row.name for row in found.blocks]
    ['0.weight', '2.weight']
    """
    _check(student, teacher, plan, steps)
    batches = _batches(inputs, "inputs")
    others = batches if teacher_inputs is None else _batches(teacher_inputs, "teacher_inputs")
    if len(batches) != len(others):
        raise DiagnosisError(f"{len(batches)} batches for the student, {len(others)} for the teacher: give the same")
    losses = _losses(loss, len(batches))
    pair = _Pair(student, teacher, plan, batches, others)
    made = fresh_start(student, fresh, seed)
    notes = [made] if isinstance(made, str) else []
    if fresh is None and not notes:
        notes.append("fresh: every module's own reset_parameters; pass fresh= where the model is initialised otherwise")
    found = pair.blocks(None if isinstance(made, str) else made)
    return _with_gradients(
        pair, found, losses, None if isinstance(made, str) else made, notes, (optimizer, steps, rates)
    )


# -- arguments


def _check(student: nn.Module, teacher: nn.Module | None, plan: Plan | None, steps: int) -> None:
    if (teacher is None) != (plan is None):
        lack, have = ("plan", "teacher") if plan is None else ("teacher", "plan")
        raise DiagnosisError(
            f"{have}= is given without {lack}=: the plan says which channels of the teacher the student's stand for, "
            "so both are needed. ws.plan(student, teacher, example_inputs) makes it, ws.initialize returns it as .plan"
        )
    if steps < 0:
        raise DiagnosisError(f"steps must be at least 0, got steps={steps!r}")
    if plan is None or teacher is None:
        return
    for word, model in (("student", student), ("teacher", teacher)):
        tensors = named_tensors(model)
        for copy in plan.copies:
            name, shape = (
                (copy.student, copy.student_shape) if word == "student" else (copy.teacher, copy.teacher_shape)
            )
            if name not in tensors or tuple(tensors[name].shape) != tuple(shape):
                here = f"{list(tensors[name].shape)} here" if name in tensors else "missing here"
                raise DiagnosisError(
                    f"the plan is for another {word}: {name} is {list(shape)} in the plan, {here}. Give the models "
                    "that it was made for, student first"
                )


def _batches(given: Any, what: str) -> list[Inputs]:
    """A list (or another iterable) holds batches; a tensor, tuple, mapping or shape is one."""
    if isinstance(given, (torch.Tensor, Mapping, Inputs, tuple, str)) or not isinstance(given, Iterable):
        return [normalize_inputs(given)]
    found = [normalize_inputs(batch) for batch in given]
    if not found:
        raise DiagnosisError(f"{what} holds no batch: pass inputs, or a list of them")
    return found


def _losses(loss: Loss | Sequence[Loss] | None, batches: int) -> list[Loss | None]:
    if loss is None or callable(loss):
        return [loss] * batches
    if len(loss) != batches:
        raise DiagnosisError(f"loss: {len(loss)} functions for {batches} batches: give one for each, or one for all")
    return list(loss)


# -- activations


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What was seen of one section."""

    section: Section
    output: Look
    spanned: Look | None
    fresh: Look | None
    operators: tuple[tuple[str, Look], ...]
    rectified: tuple[Look, ...]


class _Pair:
    """The models as recordings, and the sections of the student."""

    def __init__(
        self, student: nn.Module, teacher: nn.Module | None, plan: Plan | None, ours: list[Inputs], theirs: list[Inputs]
    ) -> None:
        self.batches = (ours, theirs)
        self.model = student
        models = [student] if teacher is None else [student, teacher]
        graphs = [trace(model, own[0]) for model, own in zip(models, self.batches, strict=False)]
        self.recordings = [
            Recordings(model, own[0], graph.captured)
            for model, own, graph in zip(models, self.batches, graphs, strict=False)
        ]
        sides = [Side(graph, made.base) for graph, made in zip(graphs, self.recordings, strict=True)]
        self.pairings = pairings(plan, sides[0], sides[1])[0] if plan is not None else []
        self._uses = {use.operator.number: use for pairing in self.pairings for use in pairing.uses}
        self.program: Program = sides[0].program
        self.sections = sections(sides[0], plan, self._uses)
        self._problems = {
            (feature.stage, feature.block): feature.problem
            for feature in (() if plan is None else plan.features)
            if not feature.spanned
        }

    def blocks(self, fresh: nn.Module | None) -> list[BlockRow]:
        """All rows, without gradients."""
        matched = list(operator_looks(self.pairings))
        rectified = list(rectified_looks(self.program))
        seen = [self._seen(section, matched, rectified, fresh is not None) for section in self.sections]
        looks = [look for one in seen for look in (one.output, one.spanned) if look is not None]
        look_at([*looks, *(look for _, look in matched), *rectified], self.recordings, self.batches)
        if fresh is not None:
            look_at([one.fresh for one in seen if one.fresh is not None], [self._beside(fresh)], self.batches[:1])
        return [self._row(one) for one in seen]

    def _seen(
        self, section: Section, matched: Sequence[tuple[str, Look]], rectified: Sequence[Look], fresh: bool
    ) -> _Seen:
        inside = range(section.first, section.last + 1)
        rows, output = self._output(section)
        spanned = None
        if section.spanned is not None and len(self.recordings) > 1:
            spanned = feature_look(section, section.spanned, self.recordings[1].base)
        return _Seen(
            section,
            output,
            spanned,
            Look(section.output, rows) if fresh else None,
            tuple((name, look) for name, look in matched if look.number in inside),
            tuple(look for look in rectified if look.number in inside),
        )

    def _output(self, section: Section) -> tuple[Rows, Look]:
        """What stands for a section, beside the teacher's where something corresponds."""
        if section.copied is not None and len(self.recordings) > 1:
            found = feature_look(section, section.copied, self.recordings[1].base)
            if found is not None:
                return found.rows, found
        use = None if section.stage else self._uses.get(section.output)
        if use is not None:
            found = next(look for _, look in operator_looks(self.pairings) if look.number == section.output)
            return found.rows, Look(found.number, found.rows, Agreement(), found.target, found.teacher_nodes)
        made = {own.number: own for uses in operators(self.program).uses.values() for own in uses}
        operator = None if section.stage else made.get(section.output)
        rows = section_rows(section) if operator is None else operator_rows(operator)
        return rows, Look(section.output, rows)

    def _beside(self, fresh: nn.Module) -> Recordings:
        recorded = Recordings(fresh, self.batches[0][0])
        if correspondence(self.program, recorded.base) is not None:
            raise DiagnosisError(
                "fresh runs other operators than the student: make it as the student was made, with the same options"
            )
        return recorded

    def _row(self, seen: _Seen) -> BlockRow:
        section, found = seen.section, seen.output.found
        alive = [look.found.alive for look in seen.rectified if look.found.alive is not None]
        return BlockRow(
            name=section.name,
            stage=section.stage,
            student=found.scale,
            teacher=found.teacher_scale,
            fresh=None if seen.fresh is None else seen.fresh.found.scale,
            explained=found.explained,
            spanned=None if seen.spanned is None else seen.spanned.found.explained,
            operators=tuple(self._operator(name, look) for name, look in seen.operators),
            dead=sum(int((~one).sum()) for one in alive),
            units=sum(one.numel() for one in alive),
            problem=self._problem(section),
        )

    def _problem(self, section: Section) -> str:
        if len(self.recordings) < 2 or section.copied is not None or not section.stage:
            return ""
        stage, _, block = section.name.rpartition(" ")
        return self._problems.get((stage, int(block)), "the plan pairs it with no block of the teacher")

    def _operator(self, name: str, look: Look) -> OperatorRow:
        node = self.program.nodes[look.number].name
        return OperatorRow(name, node, look.found.scale, look.found.teacher_scale, look.found.explained)


# -- gradients


def _with_gradients(
    pair: _Pair,
    rows: list[BlockRow],
    losses: list[Loss | None],
    fresh: nn.Module | None,
    notes: list[str],
    trying: tuple[Optimizing, int, Sequence[float]],
) -> Diagnosis:
    cut = pair.sections
    notes.extend(f"{row.name}: not compared with the teacher: {row.problem}" for row in rows if row.problem)
    wanted = range(len(losses)) if trying[1] else range(1)
    aims = [_goals(pair, number, losses[number]) for number in wanted]
    words = _loss_words(losses[0], aims[0])
    with with_gradients():
        probe = Probe(pair.model, cut)
        student_loss, slopes = _slopes(probe, pair.batches[0][0], aims[0], losses[0])
        fresh_loss, others = None, None
        if fresh is not None:
            fresh_loss, others = _slopes(Probe(fresh, cut), pair.batches[0][0], aims[0], losses[0])
        rate = _rate(probe, pair.batches[0], aims, losses, student_loss, trying) if trying[1] else None
    rows = [replace(row, slope=slope) for row, slope in zip(rows, slopes, strict=True)]
    if others is not None:
        rows = [replace(row, fresh_slope=slope) for row, slope in zip(rows, others, strict=True)]
    tensors = named_tensors(pair.model)
    held = [{name: tensors[name].detach() for name in section.parameters} for section in cut]
    equal = losses[0] is None and bool(aims[0]) and student_loss < _EQUAL  # then there is no gradient, rightly
    reached = [False] * len(cut) if equal else _reached(cut, losses[0], aims[0])
    warnings = symptoms(rows, held, reached)
    return Diagnosis(tuple(rows), words, student_loss, fresh_loss, rate, warnings, tuple(notes))


def _slopes(probe: Probe, inputs: Inputs, goal: Goals, own: Loss | None) -> tuple[float, tuple[Slope, ...]]:
    value = probe.loss(inputs, goal, own)
    if not value.requires_grad:
        raise DiagnosisError(
            "the loss depends on no parameter that requires gradients: set requires_grad on what is to be trained, and "
            "detach nothing on the way"
        )
    value.backward()  # type: ignore[no-untyped-call]
    found = probe.slopes()
    probe.clear()
    return float(value.detach()), found


def _goals(pair: _Pair, number: int, own: Loss | None) -> Goals:
    if own is not None or len(pair.recordings) < 2:
        return Goals()
    ours, theirs = pair.batches[0][number], pair.batches[1][number]
    return goals(pair.sections, pair.recordings[0], pair.recordings[1], (ours, theirs))


def _loss_words(own: Loss | None, goal: Goals) -> str:
    if own is not None:
        return "the given loss"
    if not goal:
        return "the mean of the squared results"
    parts = [f"{len(goal.features)} block outputs"] if goal.features else []
    parts += [f"{len(goal.results)} results"] if goal.results else []
    return f"the squared difference to the teacher's {' and '.join(parts)}, over their mean square"


def _reached(cut: Sequence[Section], own: Loss | None, goal: Goals) -> list[bool]:
    """Whether the loss is made from something at or after each section."""
    last = max(goal.features, default=-1)
    everything = own is not None or bool(goal.results) or not goal
    return [everything or place <= last for place, _ in enumerate(cut)]


def _rate(
    probe: Probe,
    batches: Sequence[Inputs],
    aims: Sequence[Goals],
    losses: Sequence[Loss | None],
    start: float,
    trying: tuple[Optimizing, int, Sequence[float]],
) -> Rate:
    make, steps, rates = trying
    if losses[0] is None and not aims[0]:
        return Rate(None, reason="there is no loss to lower: give loss=, or teacher= and plan=.")
    if losses[0] is None and start < _EQUAL:
        return Rate(None, reason="the student computes what the teacher does: give the loss= of the training.")

    def closure(inputs: Inputs, goal: Goals, own: Loss | None) -> Callable[[], torch.Tensor]:
        return lambda: probe.loss(inputs, goal, own)

    made = [closure(*one) for one in zip(batches, aims, losses, strict=True)]
    return find_rate(made, probe.parameters.values(), make, steps=steps, restore=probe.restore, rates=rates)
