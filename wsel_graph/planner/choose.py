"""One choice per joint group: which teacher elements the student takes, or why it keeps its own values."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from wsel_graph.axes import Atom, Axis
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.coupling.groups import CoupledGroup
from wsel_graph.errors import PlanError
from wsel_graph.plan import Choice
from wsel_graph.planner.decide import Chosen, Decider
from wsel_graph.planner.elements import Elements
from wsel_graph.planner.flat import Run, find_runs, flat_positions, flat_runs, pieces
from wsel_graph.planner.joint import Joint, Joints, PairedDim
from wsel_graph.planner.merge import Terms, mixed_terms
from wsel_graph.planner.runs import groups, pinned, role, sizes, status
from wsel_graph.planner.settings import Governor, Settings, subjects_of
from wsel_graph.planner.unfit import Unfit, all_of
from wsel_graph.selection.subject import Subject


@dataclass(frozen=True, slots=True)
class Shared:
    """What the atoms of an axis, or runs of them, take from the teacher, and which student elements that fills."""

    taken: Mapping[tuple[Atom, ...], Sequence[int]]
    filled: Mapping[tuple[Atom, ...], Sequence[int]]

    def teacher_positions(self, axis: Axis) -> Sequence[int]:
        """The positions of the teacher's axis that are taken."""
        return _positions(axis, self.taken)

    def student_positions(self, axis: Axis) -> Sequence[int]:
        """The positions of the student's axis that are filled."""
        return _positions(axis, self.filled)


class Chooser:
    """Chooses once for every joint group and flat run; a run of one is a joint group on its own.

    Attributes:
        choices: What was chosen, in order of first use.
    """

    def __init__(
        self,
        joints: Joints,
        elements: Elements,
        graphs: tuple[ModelGraph, ModelGraph],
        subjects: Mapping[str, Subject],
    ) -> None:
        self._joints, self._elements, self._graphs, self._subjects = joints, elements, graphs, subjects
        self._governor = Governor(elements)
        self._settings: dict[Run, Settings] = {}
        self._found = find_runs(joints)
        self._flat = flat_runs(joints, self._found, lambda run: self.settings(run).unit == "flat")
        self._decider = Decider(joints, elements, graphs, self._found)
        self._chosen: dict[Run, Chosen] = {}
        self._own: dict[Joint, str] = {}
        self._used_overrides: set[str] = set()
        self.choices: list[Choice] = []
        faults: list[Unfit] = []
        for run in (run for joint in joints.all for run in self._runs_of(joint)):
            try:
                self._choose(run)
            except Unfit as fault:
                faults.append(fault)
        if faults:
            raise all_of(faults)
        self._check_overrides()

    def _runs_of(self, joint: Joint) -> list[Run]:
        """What to choose for a joint group: itself, or the flat runs that it leads."""
        runs = self._found.get(joint, {(joint,)})
        if not runs <= self._flat:
            return [(joint,)]
        return sorted((run for run in runs if run[0] is joint), key=lambda run: self._joints.places(run[-1]))

    def settings(self, run: Run) -> Settings:
        """What governs a run."""
        if run not in self._settings:
            fixed = self.pinned(run)
            reason = None if fixed is None else fixed.pinned
            self._settings[run] = self._governor.settings(self._seen(run), reason, self._key(run))
        return self._settings[run]

    def _seen(self, run: Run) -> Callable[[], Sequence[Subject]]:
        sides = groups(self._joints, run)
        return cache(lambda: subjects_of(*self._graphs, sides, self._subjects))

    def pinned(self, run: Run) -> CoupledGroup | None:
        """The first pinned coupled group of a run."""
        return pinned(self._joints, run)

    def _role(self, run: Run) -> str:
        return role(self._joints, run)

    def _key(self, run: Run) -> str | None:
        return self._elements.override_key(self._role(run), self._joints.places(run[-1]))

    # -- choosing

    def _choose(self, run: Run) -> None:
        small, large = sizes(run)
        if (key := self._key(run)) is not None:
            self._used_overrides.add(key)
        try:
            chosen = self._chosen[run] = self._decider.decide(run, self.settings(run), overridden=key is not None)
        except Unfit:
            raise
        except PlanError as error:
            at = self.settings(run).places.get("take", "")
            raise (type(error)(f"{at}: {error}") if at else error) from None
        if chosen.kept:
            self._own[run[0]] = chosen.kept
        if chosen.name == "whole":  # also where only one model has the axis
            small = large = max(small, large)
        places = self._joints.places(run[-1])
        rule = self.settings(run).places.get(_decisive(chosen.name), "")
        self.choices.append(Choice(self._role(run), status(self._joints, run), large, small, chosen.name, places, rule))

    def _taken_at(self, run: Run, place: str) -> Sequence[int]:
        """The elements that one dim takes: the group's, unless every dim draws its own."""
        chosen, settings = self._chosen[run], self.settings(run)
        if settings.consistent or chosen.method is None:
            return chosen.taken
        small, large = sizes(run)
        return self._elements.choose(chosen.method, large, small, place, settings.seed)

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

    # -- what the builder asks

    def notes(self) -> tuple[str, ...]:
        """A line for every rule that governed nothing."""
        return self._governor.notes()

    def chosen(self, axis: Axis) -> tuple[Joint, Chosen] | None:
        """The joint group of an atom of either model and what it takes on its own; None in flat runs."""
        joint = self._joints.of(axis)
        return None if joint is None or (joint,) not in self._chosen else (joint, self._chosen[joint,])

    def reason_to_keep(self, dims: Iterable[PairedDim]) -> str | None:
        """Why a tensor with these dims keeps the student's own values; None when it does not."""
        axes = (axis for paired in dims for leaf in paired.leaves for axis in (leaf.student, leaf.teacher))
        joints = (joint for axis in axes if (joint := self._joints.of(axis)) is not None)
        return next((self._own[joint] for joint in joints if joint in self._own), None)

    def runs(self, axis: Axis) -> list[tuple[tuple[Atom, ...], Run]]:
        """The atoms of one model's axis, those of a flat run together, each with the run that chooses for it."""
        flat = {tuple(j for j in run if len(j.student)): run for run in self._flat} | {run: run for run in self._flat}
        found: list[tuple[tuple[Atom, ...], Run]] = []
        for piece in pieces(axis):
            joints = [(atom, joint) for atom in piece if (joint := self._joints.of(atom)) is not None]
            run = flat.get(tuple(joint for _, joint in joints))
            if run is not None:
                found.append((piece, run))
            else:
                found.extend(((atom,), (joint,)) for atom, joint in joints)
        return found

    def reduction(self, run: Run) -> float:
        """By how much a choice of elements makes an axis smaller: teacher elements per student element, else 1."""
        small, large = sizes(run)
        return large / small if run in self._chosen and self._chosen[run].subset else 1.0

    def joint(self, atom: Axis) -> Joint | None:
        """The joint group of an atom of either model; None for other axes."""
        return self._joints.of(atom)

    @property
    def decided(self) -> Mapping[Run, Settings]:
        """Everything that a choice was made for, with what governs it."""
        return {run: self.settings(run) for run in self._chosen}

    def taken(self, paired: PairedDim) -> Sequence[int]:
        """The teacher positions that one student dim takes."""
        return _positions(
            paired.teacher, {atoms: self._taken_at(run, paired.place) for atoms, run in self.runs(paired.teacher)}
        )

    def terms(self, paired: PairedDim) -> list[Terms] | None:
        """Teacher positions and weights of every position that one student dim takes; None where none is merged.

        Raises:
            PlanError: If a merged axis is a part of a run that is taken flat.
        """
        runs = [(atoms, self._chosen[run]) for atoms, run in self.runs(paired.teacher) if run in self._chosen]
        merged = {atoms[0]: chosen.merged for atoms, chosen in runs if chosen.merged is not None}
        if not merged:
            return None
        if any(len(atoms) > 1 for atoms, _ in runs):
            raise PlanError(f"{paired.place}: merged elements and a flat run stand in one dim: write unit: whole")
        side = paired.piece.teacher
        member = self._graphs[1].tensors[side.tensor].name, side.own_dim(side.dims[paired.number])[0]
        terms = {atom: own.terms(*member) for atom, own in merged.items()}
        return mixed_terms(paired.teacher, terms, {atoms[0]: chosen.taken for atoms, chosen in runs})

    def shared(self, axis: Axis) -> Shared | str:
        """What an axis of an activation takes, or why no single answer holds for it.

        Args:
            axis: Of either model, all of its atoms in joint groups.
        """
        taken: dict[tuple[Atom, ...], Sequence[int]] = {}
        filled: dict[tuple[Atom, ...], Sequence[int]] = {}
        for atoms, run in self.runs(axis):
            chosen = self._chosen.get(run)
            if chosen is None:
                return "its channels are chosen only as a part of a merged axis"
            if chosen.method is not None and not self.settings(run).consistent:
                return "every tensor draws its own channels (consistent: false)"
            if chosen.name in ("kept", "interpolated"):
                return f"its channels do not correspond to the teacher's one to one ({chosen.name})"
            if chosen.merged is not None:
                return f"its channels are averages of the teacher's ({chosen.name})"
            taken[atoms] = chosen.taken
            if chosen.filled is not None:
                filled[atoms] = chosen.filled
        return Shared(taken, filled)

    def filled(self, paired: PairedDim) -> Sequence[int]:
        """The student positions that receive them."""
        runs = [(atoms, self._chosen.get(run)) for atoms, run in self.runs(paired.student)]
        filled = {atoms: chosen.filled for atoms, chosen in runs if chosen is not None and chosen.filled is not None}
        return _positions(paired.student, filled)


def _positions(axis: Axis, picks: Mapping[tuple[Atom, ...], Sequence[int]]) -> Sequence[int]:
    single = {atoms[0]: elements for atoms, elements in picks.items() if len(atoms) == 1}
    return flat_positions(axis, single, {atoms: elements for atoms, elements in picks.items() if len(atoms) > 1})


def _decisive(name: str) -> str:
    """The key of a rule that decides about what is chosen under this name; nothing decides about whole axes."""
    keys = {"whole": "", "interpolated": "resize", "kept": "resize", "tiled": "grow", "grown": "grow"}
    return keys.get(name.partition(",")[0], "take")
