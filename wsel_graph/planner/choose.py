"""One choice per joint group: which teacher elements the student takes, or why it keeps its own values."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from wsel_graph.axes import Atom
from wsel_graph.coupling.groups import ROLES, CoupledGroup
from wsel_graph.errors import PlanError
from wsel_graph.plan import Choice
from wsel_graph.planner.elements import Elements, Method, method_name
from wsel_graph.planner.flat import Run, find_runs, flat_positions, flat_runs, pieces
from wsel_graph.planner.joint import Joint, Joints, PairedDim, shorten

_ADVICE = {
    "input": "Give the student the teacher's input channels or length",
    "kernel": "Give the student the teacher's kernel size",
    "position": "Give the student the teacher's resolution or sequence length",
    "vocabulary": "Give the student the teacher's vocabulary",
    "opaque": "Give the student the teacher's size here",
}


class Chooser:
    """Chooses once for every joint group and flat run; a run of one is a joint group on its own.

    Attributes:
        choices: What was chosen, in order of first use.
    """

    def __init__(self, joints: Joints, elements: Elements) -> None:
        self._joints, self._elements = joints, elements
        self._found = find_runs(joints)
        self._flat = flat_runs(joints, self._found) if elements.unit == "flat" else set()
        self._methods: dict[Run, Method] = {}
        self._chosen: dict[Run, Sequence[int]] = {}
        self._own: dict[Joint, str] = {}
        self._used_overrides: set[str] = set()
        self.choices: list[Choice] = []
        for joint in joints.all:
            for run in self._runs_of(joint):
                self._choose(run)
        self._check_overrides()

    def _runs_of(self, joint: Joint) -> list[Run]:
        """What to choose for a joint group: itself, or the flat runs that it leads."""
        runs = self._found.get(joint, {(joint,)})
        if not runs <= self._flat:
            return [(joint,)]
        return sorted((run for run in runs if run[0] is joint), key=lambda run: self._joints.places(run[-1]))

    # -- choosing

    def _choose(self, run: Run) -> None:
        small, large = _sizes(run)
        role, places = self._role(run), self._joints.places(run[-1])
        key = self._elements.override_key(role, places)
        name = self._settled(run, places, key)
        if name:
            self._chosen[run] = range(large)
        else:
            method = self._elements.method if key is None else self._elements.overrides[key]
            self._methods[run] = method
            self._chosen[run] = self._elements.choose(method, large, small, min(places))
            name = method_name(method) + (", flat" if len(run) > 1 else "")
        if name == "whole":  # also where only one model has the axis
            small = large = max(small, large)
        self.choices.append(Choice(role, self._status(run), large, small, name, places))

    def _settled(self, run: Run, places: Sequence[str], key: str | None) -> str:
        """`whole` or `kept` where there is nothing to choose, nothing where an element method has to."""
        small, large = _sizes(run)
        if key is not None:
            self._used_overrides.add(key)
        if whole_at := next((joint.whole_at for joint in run if joint.whole_at), ""):
            self._check_whole(run, whole_at, key)
            return "whole"
        if key is None and small == large:
            return "whole"
        pinned = self._pinned(run)
        if key is None and pinned is not None and pinned.pinned == "label":
            self._own[run[0]] = f"label axis of size {small}, the teacher's has {large}"
            return "kept"
        if key is None and pinned is not None:
            raise PlanError(_pinned_message(pinned, places, small, large))
        if small > large:
            raise PlanError(self._larger_message(run))
        return ""

    def _check_whole(self, run: Run, whole_at: str, key: str | None) -> None:
        small, large = _sizes(run)
        both = all(joint.student and joint.teacher for joint in run)
        if key is not None or (both and small != large):
            name = whole_at.rpartition(":")[0]
            raise PlanError(
                f"{shorten(self._joints.places(run[-1]))}: size {small} in the student, {large} in the teacher, and "
                f"all elements are needed at {whole_at}, which the two models build differently. Build it the same "
                f"way, or pass keep=[{name!r}]."
            )

    def _elements_at(self, run: Run, place: str) -> Sequence[int]:
        """The elements that one dim takes: the group's, unless every dim draws its own."""
        if self._elements.consistent or run not in self._methods:
            return self._chosen[run]
        small, large = _sizes(run)
        return self._elements.choose(self._methods[run], large, small, place)

    def _check_overrides(self) -> None:
        unused = [key for key in self._elements.overrides if key not in self._used_overrides]
        if not unused:
            return
        roles = sorted({choice.role for choice in self.choices})
        near = difflib.get_close_matches(unused[0], [*roles, *(p for c in self.choices for p in c.members)], n=1)
        raise PlanError(
            f"overrides name no coupled group: {', '.join(map(repr, unused))}. "
            f"Keys are roles (here {', '.join(roles)}) or places (tensor name:dim)"
            + (f"; did you mean {near[0]!r}?" if near else "")
        )

    # -- facts about a run

    def _groups(self, run: Run) -> list[CoupledGroup]:
        return [group for joint in run for group in self._joints.groups(joint)]

    def _pinned(self, run: Run) -> CoupledGroup | None:
        return next((group for group in self._groups(run) if group.pinned is not None), None)

    def _role(self, run: Run) -> str:
        """`heads`, or `(heads head_dim)`: the reason of a pinned group, else the strongest role of either model."""
        if (pinned := self._pinned(run)) is not None:
            return pinned.role
        roles = [min((group.role for group in self._joints.groups(joint)), key=ROLES.index) for joint in run]
        return roles[0] if len(roles) == 1 else f"({' '.join(roles)})"

    def _status(self, run: Run) -> str:
        groups = self._groups(run)
        marked = [group for group in groups if group.pinned is not None] or [g for g in groups if not g.free]
        return (marked or groups)[0].status

    def _larger_message(self, run: Run) -> str:
        small, large = _sizes(run)
        merged = any(len(other) > 1 for other in self._found.get(run[0], ()))
        hint = ", or select merged axes as one with unit='flat'" if merged and self._elements.unit != "flat" else ""
        return (
            f"the student is larger than the teacher on the coupled axis {self._role(run)}: {small} > {large} "
            f"(student {shorten(self._joints.places(run[-1]))}). Weight selection takes a subset: give the student at "
            f"most the teacher's size, or exchange student and teacher{hint}."
        )

    # -- what the builder asks

    def reason_to_keep(self, dims: Iterable[PairedDim]) -> str | None:
        """Why a tensor with these dims keeps the student's own values; None when it does not."""
        axes = (axis for paired in dims for leaf in paired.leaves for axis in (leaf.student, leaf.teacher))
        joints = (joint for axis in axes if (joint := self._joints.of(axis)) is not None)
        return next((self._own[joint] for joint in joints if joint in self._own), None)

    def positions(self, paired: PairedDim) -> Sequence[int]:
        """The teacher positions that one student dim takes."""
        picks: dict[Atom, Sequence[int]] = {}
        flat: dict[tuple[Atom, ...], Sequence[int]] = {}
        for piece in pieces(paired.teacher):
            joints = [self._joints.of(atom) for atom in piece]
            if tuple(joints) in self._flat:
                flat[piece] = self._elements_at(tuple(joint for joint in joints if joint), paired.place)
                continue
            for atom, joint in zip(piece, joints, strict=True):
                if joint is not None:
                    picks[atom] = self._elements_at((joint,), paired.place)
        return flat_positions(paired.teacher, picks, flat)


def _sizes(run: Run) -> tuple[int, int]:
    """Student and teacher elements."""
    small = large = 1
    for joint in run:
        small *= joint.student_size
        large *= joint.teacher_size
    return small, large


def _pinned_message(pinned: CoupledGroup, places: Sequence[str], small: int, large: int) -> str:
    names = ", ".join(repr(name) for name in dict.fromkeys(place.rpartition(":")[0] for place in places))
    return (
        f"{shorten(places)}: size {small} in the student, {large} in the teacher, and the axis is pinned "
        f"({pinned.pinned}, at graph node {pinned.marked_at}), so it cannot be selected from. "
        f"{_ADVICE.get(str(pinned.pinned), _ADVICE['opaque'])}, or keep the student's own values with keep=[{names}], "
        f"or name the teacher's elements with overrides={{{places[0]!r}: [...]}}."
    )
