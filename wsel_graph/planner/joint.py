"""Joint groups: student and teacher atoms that share one index list.

Aligning the axes of paired tensors relates student atoms to teacher atoms; connected atoms form a joint group,
which makes one choice: `student_size` elements out of `teacher_size`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from wsel_graph.axes import Atom, Axis
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.coupling.groups import CoupledGroup
from wsel_graph.errors import PlanError
from wsel_graph.matching.pairs import Pair
from wsel_graph.planner.align import Leaf, Misaligned, align


@dataclass(slots=True)
class Joint:
    """One connected set of student and teacher atoms."""

    student: list[Atom] = field(default_factory=list)
    teacher: list[Atom] = field(default_factory=list)

    @property
    def student_size(self) -> int:
        """Elements that the student needs; 1 where it has no atom."""
        return self.student[0].size if self.student else 1

    @property
    def teacher_size(self) -> int:
        """Elements that the teacher has; 1 where it has no atom."""
        return self.teacher[0].size if self.teacher else 1


@dataclass(frozen=True, slots=True)
class PairedDim:
    """The atoms of one dim of a tensor pair."""

    pair: Pair
    dim: int
    student: Axis
    teacher: Axis
    leaves: tuple[Leaf, ...]


class Joints:
    """Pairs dims one after another and keeps the connected sets."""

    def __init__(self, student: ModelGraph, teacher: ModelGraph) -> None:
        self._student, self._teacher = student, teacher
        self._of: dict[Atom, Joint] = {}
        self._groups = {group.atom: group for graph in (student, teacher) for group in graph.groups}
        self.dims: list[PairedDim] = []

    def of(self, atom: Axis) -> Joint | None:
        """The joint group of an atom of either model."""
        return self._of.get(atom) if isinstance(atom, Atom) else None

    def group(self, atom: Atom) -> CoupledGroup | None:
        """The coupled group of an atom of either model."""
        return self._groups.get(atom)

    @property
    def all(self) -> list[Joint]:
        """Every joint group once, in order of first use."""
        return list({id(joint): joint for joint in self._of.values()}.values())

    def add_pairs(self, pairs: Iterable[Pair]) -> None:
        """Align every dim of every pair, plain ones first: what they relate guides the others."""
        todo = [(pair, dim) for pair in pairs for dim in range(self._rank(pair))]
        todo.sort(key=lambda item: not self._plain(*item))  # stable
        for pair, dim in todo:
            self._add(pair, dim)

    def _axes(self, pair: Pair, dim: int) -> tuple[Axis, Axis]:
        return self._student.tensors[pair.student].axes[dim], self._teacher.tensors[pair.teacher].axes[dim]

    def _plain(self, pair: Pair, dim: int) -> bool:
        s, t = self._axes(pair, dim)
        return isinstance(s, Atom) and isinstance(t, Atom)

    def _rank(self, pair: Pair) -> int:
        ours, theirs = self._student.tensors[pair.student], self._teacher.tensors[pair.teacher]
        if len(ours.shape) != len(theirs.shape):
            raise PlanError(
                f"student {pair.student} {list(ours.shape)} and teacher {pair.teacher} {list(theirs.shape)} have "
                f"different numbers of dims. Build both the same way, or pass keep=[{pair.student!r}]."
            )
        return len(ours.shape)

    def _add(self, pair: Pair, dim: int) -> None:
        s, t = self._axes(pair, dim)
        try:
            leaves = align(s, t, self._belong)
        except Misaligned as fault:
            raise PlanError(self._misaligned_message(pair, dim, fault)) from None
        for leaf in leaves:
            self._relate(leaf)
        self.dims.append(PairedDim(pair, dim, s, t, tuple(leaves)))

    def _belong(self, student: Atom, teacher: Atom) -> bool:
        known = self._of.get(student)
        if known is not None and known is self._of.get(teacher):
            return True
        ours, theirs = self._groups.get(student), self._groups.get(teacher)
        return known is None and ours is not None and theirs is not None and ours.role == theirs.role

    def _relate(self, leaf: Leaf) -> None:
        joint = self._of.get(leaf.student) if isinstance(leaf.student, Atom) else None  # type: ignore[arg-type]
        other = self._of.get(leaf.teacher) if isinstance(leaf.teacher, Atom) else None  # type: ignore[arg-type]
        if joint is None or other is None:
            joint = joint or other or Joint()
        elif joint is not other:
            joint.student += other.student
            joint.teacher += other.teacher
            for atom in (*other.student, *other.teacher):
                self._of[atom] = joint
        for atom, side in ((leaf.student, joint.student), (leaf.teacher, joint.teacher)):
            if isinstance(atom, Atom) and self._of.get(atom) is not joint:
                side.append(atom)
                self._of[atom] = joint

    def _misaligned_message(self, pair: Pair, dim: int, fault: Misaligned) -> str:
        ours, theirs = self._student.tensors[pair.student], self._teacher.tensors[pair.teacher]
        return (
            f"dim {dim} of student {pair.student} {list(ours.shape)} and teacher {pair.teacher} {list(theirs.shape)} "
            f"are built differently:\n  student: {ours.notation}\n  teacher: {theirs.notation}\n"
            f"The parts of size {fault.student.size or '?'} and {fault.teacher.size or '?'} do not correspond. "
            f"Change the student's layout, or pass keep=[{pair.student!r}]."
        )

    def check_sizes(self) -> None:
        """Every joint group must have one student size and one teacher size.

        Raises:
            PlanError: With the members of two sizes.
        """
        for joint in self.all:
            for side, graph, word in ((joint.student, self._student, "student"), (joint.teacher, self._teacher, "teacher")):
                sizes = {atom.size: atom for atom in side}
                if len(sizes) > 1:
                    places = "; ".join(f"{size}: {self._members(graph, atom)}" for size, atom in sorted(sizes.items()))
                    raise PlanError(
                        f"axes of different size in the {word} correspond to one coupled group of the other model: "
                        f"{places}. Teacher and student couple their axes differently; keep one side with keep=[...]."
                    )

    @staticmethod
    def _members(graph: ModelGraph, atom: Atom) -> str:
        names = [f"{name} dim {dim}" for group in graph.groups if group.atom is atom for name, dim in group.members]
        return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")

