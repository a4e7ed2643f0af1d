"""Build the plan: one choice per joint group, then the index list of every dim of every pair."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from wsel_graph.axes import Atom
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.coupling.propagate import is_coupled_state
from wsel_graph.errors import PlanError
from wsel_graph.matching.pairs import Pair, match
from wsel_graph.plan import Choice, Copy, Indices, Kept, Plan, compact
from wsel_graph.planner.elements import Elements, method_name
from wsel_graph.planner.flat import Run, RunKey, find_runs, flat_positions, runs_in
from wsel_graph.planner.joint import Joint, Joints, PairedDim
from wsel_graph.planner.layers import layer_maps

_ADVICE = {
    "label": "",
    "input": "Give the student the teacher's input channels",
    "kernel": "Give the student the teacher's kernel size",
    "position": "Give the student the teacher's resolution or sequence length",
    "vocabulary": "Give the student the teacher's vocabulary",
    "opaque": "Give the student the teacher's size here",
}


@dataclass(slots=True)
class _Draft:
    """What is known while the plan is being made."""

    joints: Joints
    elements: Elements
    picks: dict[int, Sequence[int]] = field(default_factory=dict)  # id(joint) -> teacher elements
    choices: list[Choice] = field(default_factory=list)
    resized: dict[int, str] = field(default_factory=dict)  # id(joint) -> why its tensors keep their values
    runs: dict[RunKey, Run] = field(default_factory=dict)  # what the flat unit takes as one axis
    run_picks: dict[RunKey, Sequence[int]] = field(default_factory=dict)


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
    draft = _Draft(Joints(student, teacher), elements or Elements())
    draft.joints.add_pairs(matching.pairs)
    draft.joints.check_sizes()
    if draft.elements.unit == "flat":
        draft.runs = {key: run for key, run in find_runs(draft.joints).items() if _selectable(draft.joints, run)}
    for joint in draft.joints.all:
        _choose(draft, joint)
    for key in draft.runs:
        _choose_run(draft, key)
    copies, kept = _copies(draft, student, teacher, matching.pairs)
    kept = [*(_kept(student, name, reason) for name, reason in matching.kept), *kept, *_not_carried(student)]
    if not copies:
        raise PlanError("the plan would copy nothing: no student tensor receives teacher values")
    return Plan(tuple(copies), tuple(kept), tuple(draft.choices), layer_maps(copies, teacher))


# -- one choice per joint group


def _selectable(joints: Joints, run: Run) -> bool:
    return all(_description(joints, joint)[2] is None for joint in run.joints)


def _choose(draft: _Draft, joint: Joint) -> None:
    role, status, pinned = _description(draft.joints, joint)
    places = _places(draft.joints, joint)
    small, large = joint.student_size, joint.teacher_size
    if small == large:
        draft.picks[id(joint)] = range(large)
        method = "whole"
        if draft.runs and _in_runs_only(draft, joint):
            return
    elif pinned is not None:
        if pinned != "label":
            raise PlanError(_pinned_message(pinned, places, small, large, draft.joints, joint))
        draft.resized[id(joint)] = f"label axis of size {small}, the teacher's has {large}"
        method = "kept"
    elif draft.runs and _in_runs_only(draft, joint):
        draft.picks[id(joint)] = ()  # the run chooses
        return
    elif small > large:
        raise PlanError(_larger_message(role, places, small, large))
    else:
        chosen = draft.elements.method_for(role, places)
        draft.picks[id(joint)] = draft.elements.choose(chosen, large, small, places[0] if places else role)
        method = method_name(chosen)
    draft.choices.append(Choice(role, status, large, small, method, tuple(places)))


def _description(joints: Joints, joint: Joint) -> tuple[str, str, str | None]:
    """Role, status text and pin reason; the student's own word comes first."""
    groups = [group for atom in (*joint.student, *joint.teacher) if (group := joints.group(atom)) is not None]
    pinned = next((group for group in groups if group.pinned is not None), None)
    anchored = next((group for group in groups if group.anchored is not None), None)
    strongest = pinned or anchored or (groups[0] if groups else None)
    if strongest is None:
        return "channels", "free", None
    return (strongest if pinned else groups[0]).role, strongest.status, pinned.pinned if pinned else None


def _places(joints: Joints, joint: Joint) -> list[str]:
    found = [group for atom in joint.student if (group := joints.group(atom)) is not None]
    return [f"{name}:{dim}" for group in found for name, dim in group.members]


def _pinned_message(
    reason: str, places: list[str], small: int, large: int, joints: Joints, joint: Joint
) -> str:
    node = next((g.marked_at for a in (*joint.student, *joint.teacher) if (g := joints.group(a)) and g.pinned), "")
    names = sorted({place.rpartition(":")[0] for place in places})
    return (
        f"{', '.join(places[:3]) or 'an axis'}: size {small} in the student, {large} in the teacher, and the axis is pinned "
        f"({reason}, at graph node {node}), so it cannot be selected from. {_ADVICE.get(reason, _ADVICE['opaque'])}, "
        f"or keep the student's own values with keep={names[:3]!r}."
    )


def _larger_message(role: str, places: list[str], small: int, large: int) -> str:
    return (
        f"the student is larger than the teacher on the coupled axis {role}: {small} > {large} "
        f"(student {', '.join(places[:3])}{', ...' if len(places) > 3 else ''}). Weight selection takes a subset: give the "
        "student at most the teacher's size, or exchange student and teacher."
    )


# -- index lists


def _copies(
    draft: _Draft, student: ModelGraph, teacher: ModelGraph, pairs: Iterable[Pair]
) -> tuple[list[Copy], list[Kept]]:
    dims: dict[str, list[PairedDim]] = {}
    for paired in sorted(draft.joints.dims, key=lambda item: item.dim):
        dims.setdefault(paired.pair.student, []).append(paired)
    copies, kept = [], []
    kinds = {state.name: state.kind for state in student.captured.states}
    for pair in pairs:
        reason = _resized(draft, dims.get(pair.student, []))
        if reason is not None:
            kept.append(_kept(student, pair.student, reason))
            continue
        indices = tuple(_indices(draft, paired) for paired in dims.get(pair.student, []))
        shapes = student.tensors[pair.student].shape, teacher.tensors[pair.teacher].shape
        copies.append(Copy(pair.student, pair.teacher, *shapes, indices, kinds[pair.student] == "parameter"))
    return copies, kept


def _resized(draft: _Draft, dims: list[PairedDim]) -> str | None:
    for paired in dims:
        for leaf in paired.leaves:
            joint = draft.joints.of(leaf.student) or draft.joints.of(leaf.teacher)
            if joint is not None and id(joint) in draft.resized:
                return draft.resized[id(joint)]
    return None


def _indices(draft: _Draft, paired: PairedDim) -> Indices:
    picks = {
        leaf.teacher: _pick(draft, joint, paired)
        for leaf in paired.leaves
        if isinstance(leaf.teacher, Atom) and (joint := draft.joints.of(leaf.teacher)) is not None
    }
    return compact(flat_positions(paired.teacher, picks, _flat_picks(draft, paired)))


def _pick(draft: _Draft, joint: Joint, paired: PairedDim) -> Sequence[int]:
    chosen = draft.picks[id(joint)]
    if draft.elements.consistent or len(chosen) == joint.teacher_size:
        return chosen
    role, _, _ = _description(draft.joints, joint)
    place = f"{paired.pair.student}:{paired.dim}"
    method = draft.elements.method_for(role, (place,))
    return draft.elements.choose(method, joint.teacher_size, joint.student_size, place)


def _flat_picks(draft: _Draft, paired: PairedDim) -> dict[tuple[Atom, ...], Sequence[int]]:
    """For the runs in one dim, the teacher atoms and the elements taken of their product."""
    picks: dict[tuple[Atom, ...], Sequence[int]] = {}
    for atoms in runs_in(paired.teacher):
        key = tuple(id(draft.joints.of(atom)) for atom in atoms)
        if key in draft.runs:
            place = f"{paired.pair.student}:{paired.dim}"
            picks[atoms] = draft.run_picks[key] if draft.elements.consistent else _run_elements(draft, key, place)
    return picks


def _choose_run(draft: _Draft, key: RunKey) -> None:
    run = draft.runs[key]
    large, small = run.sizes
    roles = [_description(draft.joints, joint)[0] for joint in run.joints]
    places = tuple(f"{paired.pair.student}:{paired.dim}" for paired in run.places)
    draft.run_picks[key] = _run_elements(draft, key, places[0])
    method = "whole" if large == small else method_name(draft.elements.method_for(_run_role(roles), places)) + ", flat"
    draft.choices.append(Choice(_run_role(roles), "free", large, small, method, places))


def _run_role(roles: Iterable[str]) -> str:
    return f"({' '.join(roles)})"


def _run_elements(draft: _Draft, key: RunKey, place: str) -> Sequence[int]:
    run = draft.runs[key]
    large, small = run.sizes
    if large == small:
        return range(large)
    roles = [_description(draft.joints, joint)[0] for joint in run.joints]
    return draft.elements.choose(draft.elements.method_for(_run_role(roles), (place,)), large, small, place)


def _in_runs_only(draft: _Draft, joint: Joint) -> bool:
    """Whether every place of a joint group is inside a flat run, so that its own choice shows nowhere."""
    outside = [
        paired
        for paired in draft.joints.dims
        if any(draft.joints.of(leaf.teacher) is joint for leaf in paired.leaves)
        and not any(joint in run.joints and paired in run.places for run in draft.runs.values())
    ]
    return bool(draft.runs) and not outside


# -- what the student keeps


def _kept(student: ModelGraph, name: str, reason: str) -> Kept:
    kinds = {state.name: state.kind for state in student.captured.states}
    return Kept(name, student.tensors[name].shape, reason, kinds[name] == "parameter")


def _not_carried(student: ModelGraph) -> list[Kept]:
    """Integer tensors and buffers outside the state dict are configuration: the student's own."""
    return [
        Kept(state.name, tuple(state.tensor.shape), _configuration_reason(state.persistent), state.kind == "parameter")
        for state in student.captured.states
        if not is_coupled_state(state)
    ]


def _configuration_reason(persistent: bool) -> str:
    return "integer values are configuration" if persistent else "not in the state dict: the student computes it"
