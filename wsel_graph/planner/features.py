"""What a student block passes on, the teacher's value that it corresponds to, and the teacher's channels in it.

A student that was cut out of a teacher can be compared with it feature by feature while it learns: its channel i came
from the teacher's channel `indices[i]`, in every block of the stream. No projector has to be trained, as it has to
where the two do not correspond (Romero et al., "FitNets", arXiv:1412.6550). Everything here is a by-product of a plan,
and nothing of it may fail one: what cannot be compared says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from wsel_graph.axes import Axis, atoms
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.matching.exits import Exit, PairedExits
from wsel_graph.matching.operators import name_of
from wsel_graph.plan import Feature, Tap, compact
from wsel_graph.planner.align import Leaf, Misaligned, align
from wsel_graph.planner.choose import Chooser
from wsel_graph.planner.joint import Joints
from wsel_graph.planner.positions import Positions, corresponding
from wsel_graph.planner.taps import Candidate, candidates

_MOVING = frozenset({"aten::roll", "aten::flip", "aten::rot90"})


@dataclass(frozen=True)
class FeaturePlanner:
    """Writes down the features of all paired blocks."""

    student: ModelGraph
    teacher: ModelGraph
    joints: Joints
    chooser: Chooser
    stages: Sequence[PairedExits]

    def features(self) -> Iterator[Feature]:
        """For every paired block, its end and that of the teacher's block; and the last one that it stands in for."""
        for stage in self.stages:
            runs = stage.runs
            for ours, run in runs.items():
                after = len(stage.teacher) if ours + 1 == len(stage.student) else 0
                following = runs[ours + 1][0] if ours + 1 in runs else after
                yield self._feature(stage, ours, run, run[-1])
                if following - 1 > run[-1]:
                    yield self._feature(stage, ours, run, following - 1)

    def _feature(self, stage: PairedExits, ours: int, run: Sequence[int], theirs: int) -> Feature:
        """A student block that stands for a run of teacher blocks, against one that ends with the run or later."""
        copied = run[0]
        small, large, source = stage.student[ours], stage.teacher[theirs], stage.teacher[copied]
        empty = Feature(
            stage.stage, ours, theirs, Tap(small.node if small else ""), Tap(large.node if large else ""),
            spanned=theirs != run[-1],
        )  # fmt: skip
        if len(run) != run[-1] - copied + 1:
            return replace(empty, problem=f"it averages teacher blocks that do not follow each other: {list(run)}")
        if small is None or large is None or source is None:
            word = "student" if small is None else "teacher"
            return replace(empty, problem=f"not just one value leaves the {word}'s block")
        if ours not in stage.paired:
            return replace(empty, problem="the ends of the two blocks do not correspond")
        if self.teacher.axes_at(large.node) != self.teacher.axes_at(source.node):
            return replace(empty, problem=f"the teacher's block {theirs} ends in other axes than its block {copied}")
        chosen = self._shown(small, large)
        return replace(empty, problem=chosen) if isinstance(chosen, str) else self._compared(empty, *chosen)

    # -- which modules show the values

    def _shown(self, small: Exit, large: Exit) -> tuple[Candidate, Candidate] | str:
        ours = candidates(self.student, small, self._others(small, student=True))
        theirs = candidates(self.teacher, large, self._others(large, student=False))
        if isinstance(ours, str) or isinstance(theirs, str):
            word, reason = ("student", ours) if isinstance(ours, str) else ("teacher", theirs)
            return f"{word}: {reason}"
        pairs = [(one, other) for one in ours for other in theirs if one.words == other.words]
        if not pairs:
            return (
                f"{ours[0].returned.module} returns its value after {_words(ours[0])}, {theirs[0].returned.module} "
                f"of the teacher after {_words(theirs[0])}"
            )
        return min(pairs, key=lambda pair: (pair[0].rank[0] + pair[1].rank[0], pair[0].rank, pair[1].rank))

    def _others(self, end: Exit, *, student: bool) -> list[Exit]:
        ends = [one for stage in self.stages for one in (stage.student if student else stage.teacher)]
        return [one for one in ends if one is not None and one != end]

    # -- how they correspond

    def _compared(self, empty: Feature, ours: Candidate, theirs: Candidate) -> Feature:
        small, large = self.student.axes_at(ours.returned.node), self.teacher.axes_at(theirs.returned.node)
        dims = [self._feature_dim(*side) for side in ((self.student, small), (self.teacher, large))]
        if dims[0] is None or dims[1] is None:
            word, shape = ("student", small) if dims[0] is None else ("teacher", large)
            sizes = [axis.size for axis in shape]
            return replace(empty, problem=f"not just one dim of the {word}'s value {sizes} holds channels")
        mine, other = dims[0], dims[1]
        orders = self._moved or corresponding(
            Positions("student", ours.returned.node, _without(small, mine), self.student.origins),
            Positions("teacher", theirs.returned.node, _without(large, other), self.teacher.origins),
        )
        channels = self._channels(small[mine], large[other])
        if isinstance(orders, str) or isinstance(channels, str):
            return replace(empty, problem=orders if isinstance(orders, str) else str(channels))
        taken, filled = channels
        whole = list(filled) == list(range(small[mine].size))
        return replace(
            empty,
            student=_tap(ours, (*orders[0], mine), small[mine].size),
            teacher=_tap(theirs, (*orders[1], other), large[other].size),
            indices=compact(taken),
            filled=None if whole else compact(filled),
        )

    @cached_property
    def _moved(self) -> str:
        """Why axes do not tell the order of positions: operators that move elements along an axis keep it."""
        ours, theirs = (
            {name_of(node.target) for node in graph.captured.graph.nodes} & _MOVING
            for graph in (self.student, self.teacher)
        )
        if ours == theirs:
            return ""
        word, name = ("student", min(ours - theirs)) if ours - theirs else ("teacher", min(theirs - ours))
        return f"only the {word} moves positions ({name}), so that their order cannot be proven"

    def _feature_dim(self, graph: ModelGraph, axes: Sequence[Axis]) -> int | None:
        """The only dim with channels: in parameters, and not pinned, or not for its place."""
        held = [
            dim
            for dim, axis in enumerate(axes)
            if any(atoms(axis)) and all(self.joints.of(atom) is not None for atom in atoms(axis))
        ]
        free = [dim for dim in held if not graph.pins_on(axes[dim])]
        found = free or [dim for dim in held if not graph.pins_on(axes[dim]) & {"position", "kernel"}]
        return found[0] if len(found) == 1 else None

    def _channels(self, small: Axis, large: Axis) -> tuple[Sequence[int], Sequence[int]] | str:
        """The teacher's channels and the student's that they correspond to; or why there are none."""
        try:
            same = lambda one, other: self.joints.of(one) is self.joints.of(other)  # noqa: E731
            leaves = align(small, large, same, self.joints.is_pinned)
        except Misaligned:
            return "the channels of the two are built differently"
        if not all(map(self._is_joint, leaves)):
            return "the channels of the two are not chosen together"
        ours, theirs = self.chooser.shared(small), self.chooser.shared(large)
        if isinstance(ours, str) or isinstance(theirs, str):
            return ours if isinstance(ours, str) else str(theirs)
        taken, filled = theirs.teacher_positions(large), ours.student_positions(small)
        if len(taken) != len(filled):
            return f"{len(taken)} channels of the teacher stand against {len(filled)} of the student"
        return taken, filled

    def _is_joint(self, leaf: Leaf) -> bool:
        """Whether one choice governs both sides of a leaf."""
        ours, theirs = self.joints.of(leaf.student), self.joints.of(leaf.teacher)
        if leaf.whole:
            inner = [self.joints.of(atom) for axis in (leaf.student, leaf.teacher) for atom in atoms(axis)]
            return all(joint is not None and joint.whole_at for joint in inner)
        if not any(atoms(leaf.student)):
            return theirs is not None and not theirs.student
        if not any(atoms(leaf.teacher)):
            return ours is not None and not ours.teacher
        return ours is not None and ours is theirs


def _without(axes: Sequence[Axis], dim: int) -> tuple[tuple[int, Axis], ...]:
    return tuple((number, axis) for number, axis in enumerate(axes) if number != dim)


def _tap(candidate: Candidate, dims: tuple[int, ...], size: int) -> Tap:
    shown = candidate.returned
    return Tap(shown.node, shown.module, shown.place, shown.call, shown.calls, dims, size)


def _words(candidate: Candidate) -> str:
    return ", ".join(candidate.words) or "nothing more"
