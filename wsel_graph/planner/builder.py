"""Build the plan: pair tensors, align their axes, choose once per joint group, write down every index list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from wsel_graph.capture.trace import State
from wsel_graph.coupling.graph import ModelGraph, paused_garbage_collection
from wsel_graph.coupling.propagate import is_coupled_state
from wsel_graph.errors import MatchError, PlanError
from wsel_graph.matching.pairs import NO_WISHES, Matching, match
from wsel_graph.matching.sides import Piece
from wsel_graph.matching.wishes import Wishes
from wsel_graph.plan import Copy, Kept, Plan
from wsel_graph.planner.choose import Chooser
from wsel_graph.planner.copies import make_copy
from wsel_graph.planner.elements import Elements
from wsel_graph.planner.fan_in import scale
from wsel_graph.planner.features import FeaturePlanner
from wsel_graph.planner.join import join
from wsel_graph.planner.joint import Joints
from wsel_graph.planner.layout import Layouts
from wsel_graph.planner.messages import unexplained_message
from wsel_graph.planner.rescale import rescaled
from wsel_graph.planner.unfit import Unfit
from wsel_graph.planner.values import Values, asked, notes
from wsel_graph.planner.widths import Widths

NO_VALUES = Values()

Sources = tuple[tuple[Piece, ...], ...]
"""What fills one tensor: its pieces, of every teacher tensor that is averaged into it."""


def build_plan(
    student: ModelGraph,
    teacher: ModelGraph,
    elements: Elements | None = None,
    wishes: Wishes = NO_WISHES,
    values: Values = NO_VALUES,
) -> Plan:
    """Decide, for every student tensor, which teacher elements it takes. Reads shapes only.

    Args:
        wishes: What the user wants of matching.
        values: What is to be done to values afterwards; the plan names the tensors.
    Raises:
        MatchError: If a student tensor has no counterpart.
        PlanError: If a counterpart does not fit, or nothing would be copied.
    """
    with paused_garbage_collection():
        return _build(student, teacher, elements or Elements(), wishes, values)


def _build(student: ModelGraph, teacher: ModelGraph, elements: Elements, wishes: Wishes, values: Values) -> Plan:
    matching = match(student, teacher, wishes)
    if matching.unexplained:
        raise MatchError(unexplained_message(student, matching))
    unfit: dict[str, str] = {}
    while True:
        try:
            return _Builder(student, teacher, elements, matching, values, unfit).build()
        except Unfit as fault:
            new = [name for name in fault.tensors if name not in unfit]
            if wishes.unmatched != "keep" or not new:
                raise
            unfit |= dict.fromkeys(new, f"unmatched: {fault.why}")


@dataclass(frozen=True)
class _Builder:
    student: ModelGraph
    teacher: ModelGraph
    elements: Elements
    matching: Matching
    values: Values
    unfit: Mapping[str, str]  # paired, but left out, with the reason

    def build(self) -> Plan:
        """The plan for everything that was paired and is not left out."""
        filled = [(name, own) for name, own in self.matching.pieces if name not in self.unfit]
        sources = {name: (own, *self.matching.also.get(name, ())) for name, own in filled}
        used = dict.fromkeys(piece for own in sources.values() for each in own for piece in each)
        joints = join(self.student, self.teacher, used, self.matching.paired)
        chooser = Chooser(joints, self.elements, (self.student, self.teacher), self.matching.subjects)
        self._check_numbered(joints, chooser)
        widths = Widths(chooser)
        states = {state.name: state for state in self.student.captured.states}
        kept = [_kept(states[name], reason) for name, reason in (*self.matching.kept, *self.unfit.items())]
        own = {name: reason for name in sources if (reason := _reason_to_keep(sources[name], joints, chooser))}
        kept.extend(_kept(states[name], reason) for name, reason in own.items())
        filler = _Filler(self.student, self.teacher, joints, widths, Layouts(self.student, self.teacher, chooser))
        made = [filler.copies(states[name], sources[name]) for name in sources if name not in own]
        copies = [copy for each in made for copy, _ in each]
        lines = [*self.matching.notes, *(line for each in made for _, notes in each for line in notes)]
        if not copies:
            raise PlanError(_nothing_message(kept))
        copies, rescaling = rescaled(copies, self.student, self.teacher, widths)
        self._check_required(kept)
        kept.extend(_configuration(states.values()))
        after = asked(self.values, self.student, dict.fromkeys(c.student for c in copies), self.matching.subjects)
        lines.extend((*rescaling, *chooser.notes(), *notes(self.values, after)))
        features = FeaturePlanner(self.student, self.teacher, joints, chooser, self.matching.exits).features()
        return Plan(
            tuple(copies),
            tuple(kept),
            tuple(chooser.choices),
            self.matching.layers,
            tuple(lines),
            after.compensate,
            after.recalibrate,
            tuple(features),
            self.matching.outlines,
        )

    def _check_numbered(self, joints: Joints, chooser: Chooser) -> None:
        """Elements that other components take by their numbers, such as an expert's, keep these numbers.

        Raises:
            PlanError: If others than the first are taken: the components that they belong to were not chosen with them.
        """
        for paired in joints.paired_dims:
            name, taken = paired.piece.student.tensor, list(chooser.taken(paired))
            opaque = "opaque" in self.student.pins_on(paired.student)
            if name in self.matching.numbered and opaque and taken != list(range(len(taken))):
                raise PlanError(
                    f"{paired.place}: elements {taken} of teacher {paired.piece.teacher.tensor} are asked for, and the "
                    "graph takes its elements by their numbers: what belongs to each (an expert) is paired by its own "
                    f"number, so that these would not fit. Take the first ones, {list(range(len(taken)))}."
                )

    def _check_required(self, kept: Iterable[Kept]) -> None:
        for item in kept:
            if (place := self.matching.required.get(item.student)) is not None:
                raise MatchError(
                    f"{place}: the rule requires {item.student} to be initialised, and it is not: {item.reason}"
                )


def _reason_to_keep(sources: Sources, joints: Joints, chooser: Chooser) -> str | None:
    """Why a tensor that was paired keeps its own values all the same; None where it does not."""
    reasons = (chooser.reason_to_keep(joints.dims.get(piece, ())) for own in sources for piece in own)
    return next(filter(None, reasons), None)


@dataclass(frozen=True)
class _Filler:
    student: ModelGraph
    teacher: ModelGraph
    joints: Joints
    widths: Widths
    layouts: Layouts

    def copies(self, state: State, sources: Sources) -> list[tuple[Copy, list[str]]]:
        """The copies that fill a tensor, of each with what the user should know; averages where sources are several."""
        made = [[self._copy(piece, state) for piece in own] for own in sources]
        found = []
        for (first, lines), *others in zip(*made, strict=True):
            count = 1 + len(others)
            also = tuple(replace(copy, scale=copy.scale / count) for copy, _ in others)
            found.append((replace(first, scale=first.scale / count, also=also), lines))
        return found

    def _copy(self, piece: Piece, state: State) -> tuple[Copy, list[str]]:
        """The copy for one piece, and what the user should know about it."""
        dims = self.joints.dims.get(piece, [])
        laid = [self.layouts.layout(paired, dims) for paired in dims]
        shapes = tuple(state.tensor.shape), self.teacher.tensors[piece.teacher.tensor].shape
        made = make_copy(piece, shapes, dims, laid, self.joints)
        factor = scale(self.student, self.teacher, dims, self.widths)
        lines = [layout.note for layout in laid if layout.note]
        return replace(made, parameter=state.kind == "parameter", scale=factor), lines


def _kept(state: State, reason: str) -> Kept:
    return Kept(state.name, tuple(state.tensor.shape), reason, state.kind == "parameter")


def _configuration(states: Iterable[State]) -> Iterator[Kept]:
    """Integer tensors, masks and buffers outside the state dict are configuration: the student's own."""
    for state in states:
        if not is_coupled_state(state):
            mask = state.mask and state.tensor.is_floating_point()
            held = "a mask: only compared with numbers" if mask else "integer values are configuration"
            yield _kept(state, held if state.persistent else "not in the state dict: the student computes it")


def _nothing_message(kept: list[Kept]) -> str:
    reasons = ", ".join(dict.fromkeys(item.reason for item in kept))
    return (
        f"the plan would copy nothing: no student tensor receives teacher values ({reasons or 'the student has none'})."
    )
