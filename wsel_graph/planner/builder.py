"""Build the plan: pair tensors, align their axes, choose once per joint group, write down every index list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from wsel_graph.capture.trace import State
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.coupling.propagate import is_coupled_state
from wsel_graph.errors import MatchError, PlanError
from wsel_graph.matching.pairs import NO_WISHES, match
from wsel_graph.matching.pieces import Piece, Side
from wsel_graph.matching.wishes import Wishes
from wsel_graph.plan import Copy, Indices, Kept, Plan, View, compact
from wsel_graph.planner.align import Misaligned
from wsel_graph.planner.choose import Chooser
from wsel_graph.planner.elements import Elements
from wsel_graph.planner.fan_in import scale
from wsel_graph.planner.joint import Joints
from wsel_graph.planner.layout import Layout, Layouts
from wsel_graph.planner.messages import unexplained_message


def build_plan(
    student: ModelGraph, teacher: ModelGraph, elements: Elements | None = None, wishes: Wishes = NO_WISHES
) -> Plan:
    """Decide, for every student tensor, which teacher elements it takes. Reads shapes only.

    Args:
        wishes: What the user wants of matching.
    Raises:
        MatchError: If a student tensor has no counterpart.
        PlanError: If a counterpart does not fit, or nothing would be copied.
    """
    matching = match(student, teacher, wishes)
    if matching.unexplained:
        raise MatchError(unexplained_message(student, matching))
    pieces = [piece for _, own in matching.pieces for piece in own]
    joints = Joints(student, teacher)
    joints.add_pieces(pieces)
    chooser = Chooser(joints, elements or Elements(), (student, teacher), matching.subjects)
    layouts = Layouts(student, teacher, chooser)
    states = {state.name: state for state in student.captured.states}
    copies: list[Copy] = []
    notes = list(matching.notes)
    kept = [_kept(states[name], reason) for name, reason in matching.kept]
    for name, own in matching.pieces:
        reasons = [chooser.reason_to_keep(joints.dims.get(piece, ())) for piece in own]
        reason = next(filter(None, reasons), None)
        if reason is None:
            for piece in own:
                dims = joints.dims.get(piece, [])
                laid = [layouts.layout(paired, dims) for paired in dims]
                factor = scale(student, dims, chooser)
                copies.append(_copy(states[name], teacher, piece, joints, laid, factor))
                notes.extend(layout.note for layout in laid if layout.note)
        else:
            kept.append(_kept(states[name], reason))
    if not copies:
        raise PlanError(_nothing_message(kept))
    kept.extend(_configuration(states.values()))
    return Plan(tuple(copies), tuple(kept), tuple(chooser.choices), matching.layers, (*notes, *chooser.notes()))


def _copy(
    state: State, teacher: ModelGraph, piece: Piece, joints: Joints, layouts: Sequence[Layout], factor: float
) -> Copy:
    shapes = tuple(state.tensor.shape), teacher.tensors[piece.teacher.tensor].shape
    indices: list[Indices] = [range(size) for size in shapes[1]]
    region: list[Indices] = _part(piece.student, shapes[0])
    for paired, layout in zip(joints.dims.get(piece, ()), layouts, strict=True):
        arrives = len(layout.taken) if layout.resize is None else layout.resize.student_size
        if arrives != len(layout.filled):
            fault = Misaligned(paired.student, paired.teacher)
            raise PlanError(joints.misaligned_message(piece, paired.number, fault))
        indices[piece.teacher.dims[paired.number]] = compact(_within(piece.teacher, paired.number, layout.taken))
        region[paired.dim] = compact(_within(piece.student, paired.number, layout.filled))
    names = piece.student.tensor, piece.teacher.tensor
    resize = tuple(layout.resize for layout in layouts if layout.resize is not None)
    whole = all(indices == range(size) for indices, size in zip(region, shapes[0], strict=True))
    made = Copy(*names, *shapes, tuple(indices), state.kind == "parameter", None if whole else tuple(region))
    made = replace(made, resize=resize, scale=factor)
    return replace(made, view=_view(piece, shapes[0], made.block_shape))


def _within(side: Side, number: int, chosen: Sequence[int]) -> Sequence[int]:
    """Positions in a part as positions in the whole tensor."""
    if side.rows is None or side.rows[0] != side.dims[number]:
        return chosen
    return [side.rows[1][position] for position in chosen]


def _part(side: Side, shape: tuple[int, ...]) -> list[Indices]:
    """The region that a part makes up, dim by dim."""
    region: list[Indices] = [range(size) for size in shape]
    if side.rows is not None:
        region[side.rows[0]] = compact(side.rows[1])
    return region


def _view(piece: Piece, shape: tuple[int, ...], block: tuple[int, ...]) -> View | None:
    """How the selected teacher block is turned into the student's region; None when dims correspond as they are."""
    by_place = [piece.teacher.dims[piece.student.dims.index(d)] for d in range(len(shape)) if d in piece.student.dims]
    order = (*by_place, *(d for d in range(len(block)) if d not in by_place))  # left out: dims of size 1
    if order == tuple(range(len(shape))) and len(block) == len(shape):
        return None
    return View(block, order)


def _kept(state: State, reason: str) -> Kept:
    return Kept(state.name, tuple(state.tensor.shape), reason, state.kind == "parameter")


def _configuration(states: Iterable[State]) -> Iterator[Kept]:
    """Integer tensors and buffers outside the state dict are configuration: the student's own."""
    for state in states:
        if not is_coupled_state(state):
            integer = "integer values are configuration"
            yield _kept(state, integer if state.persistent else "not in the state dict: the student computes it")


def _nothing_message(kept: list[Kept]) -> str:
    reasons = ", ".join(dict.fromkeys(item.reason for item in kept))
    return (
        f"the plan would copy nothing: no student tensor receives teacher values ({reasons or 'the student has none'})."
    )
