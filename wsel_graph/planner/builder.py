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
        layouts = Layouts(self.student, self.teacher, chooser)
        states = {state.name: state for state in self.student.captured.states}
        kept = [_kept(states[name], reason) for name, reason in (*self.matching.kept, *self.unfit.items())]
        copies: list[Copy] = []
        lines = list(self.matching.notes)
        for name in sources:
            pieces = [piece for each in sources[name] for piece in each]
            reasons = [chooser.reason_to_keep(joints.dims.get(piece, ())) for piece in pieces]
            if (reason := next(filter(None, reasons), None)) is not None:
                kept.append(_kept(states[name], reason))
                continue
            made = [
                [self._copy(piece, states[name], joints, widths, layouts) for piece in each] for each in sources[name]
            ]
            for first, *others in zip(*made, strict=True):
                count = 1 + len(others)
                also = tuple(replace(copy, scale=copy.scale / count) for copy, _ in others)
                copies.append(replace(first[0], scale=first[0].scale / count, also=also))
                lines.extend(first[1])
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

    def _copy(
        self, piece: Piece, state: State, joints: Joints, widths: Widths, layouts: Layouts
    ) -> tuple[Copy, list[str]]:
        """The copy for one piece, and what the user should know about it."""
        dims = joints.dims.get(piece, [])
        laid = [layouts.layout(paired, dims) for paired in dims]
        shapes = tuple(state.tensor.shape), self.teacher.tensors[piece.teacher.tensor].shape
        made = make_copy(piece, shapes, dims, laid, joints)
        factor = scale(self.student, self.teacher, dims, widths)
        lines = [layout.note for layout in laid if layout.note]
        return replace(made, parameter=state.kind == "parameter", scale=factor), lines

    def _check_numbered(self, joints: Joints, chooser: Chooser) -> None:
        """Elements that other components take by their numbers, such as an expert's, keep these numbers.

        Raises:
            PlanError: If others than the first are taken: the components that they belong to were not chosen with them.
        """
        for paired in (paired for dims in joints.dims.values() for paired in dims):
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
