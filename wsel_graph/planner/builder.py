"""Build the plan: pair tensors, align their axes, choose once per joint group, write down every index list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wsel_graph.capture.trace import State
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.coupling.propagate import is_coupled_state
from wsel_graph.errors import PlanError
from wsel_graph.matching.pairs import Pair, match
from wsel_graph.plan import Copy, Kept, Plan, compact
from wsel_graph.planner.align import Misaligned
from wsel_graph.planner.choose import Chooser
from wsel_graph.planner.elements import Elements
from wsel_graph.planner.joint import Joints
from wsel_graph.planner.layers import layer_maps


def build_plan(
    student: ModelGraph, teacher: ModelGraph, elements: Elements | None = None, keep: Iterable[str] = ()
) -> Plan:
    """Decide, for every student tensor, which teacher elements it takes. Reads shapes only.

    Args:
        keep: Glob patterns of student tensors that keep their own values.
    Raises:
        MatchError: If a student tensor has no counterpart.
        PlanError: If a counterpart does not fit, or nothing would be copied.
    """
    matching = match(student, teacher, keep)
    joints = Joints(student, teacher)
    joints.add_pairs(matching.pairs)
    chooser = Chooser(joints, elements or Elements())
    states = {state.name: state for state in student.captured.states}
    copies: list[Copy] = []
    kept = [_kept(states[name], reason) for name, reason in matching.kept]
    for pair in matching.pairs:
        reason = chooser.reason_to_keep(joints.dims.get(pair.student, ()))
        if reason is None:
            copies.append(_copy(states[pair.student], teacher, pair, joints, chooser))
        else:
            kept.append(_kept(states[pair.student], reason))
    if not copies:
        raise PlanError(_nothing_message(kept))
    kept.extend(_configuration(states.values()))
    return Plan(tuple(copies), tuple(kept), tuple(chooser.choices), layer_maps(copies, teacher))


def _copy(state: State, teacher: ModelGraph, pair: Pair, joints: Joints, chooser: Chooser) -> Copy:
    indices = []
    for paired in joints.dims.get(pair.student, ()):
        chosen = chooser.positions(paired)
        if len(chosen) != paired.student.size:
            raise PlanError(joints.misaligned_message(pair, paired.dim, Misaligned(paired.student, paired.teacher)))
        indices.append(compact(chosen))
    shapes = tuple(state.tensor.shape), teacher.tensors[pair.teacher].shape
    return Copy(pair.student, pair.teacher, *shapes, tuple(indices), state.kind == "parameter")


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
