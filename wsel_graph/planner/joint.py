"""Joint groups: student and teacher atoms that share one index list.

Aligning the axes of paired tensors relates student atoms to teacher atoms; connected atoms form a joint group,
which makes one choice: `student_size` elements out of `teacher_size`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from wsel_graph.axes import UNIT, Atom, Axis, atoms, children, product, restrict
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.coupling.groups import CoupledGroup
from wsel_graph.matching.sides import Piece, Side
from wsel_graph.planner.align import Leaf, Misaligned, align
from wsel_graph.planner.rows import rows
from wsel_graph.planner.unfit import Unfit

HEADS = frozenset({"heads", "groups", "queries"})
"""Roles of what attention computes side by side."""


@dataclass(slots=True, eq=False)
class Joint:
    """One connected set of student and teacher atoms; compared by identity."""

    student: list[Atom] = field(default_factory=list)
    teacher: list[Atom] = field(default_factory=list)
    places: list[str] = field(default_factory=list)  # student dims that were aligned, "name:dim"
    whole_at: str = ""  # the place that needs all elements, because the two models build it differently

    def meets(self, paired: PairedDim) -> bool:
        """Whether an atom of a paired dim is one of these."""
        own = {*self.student, *self.teacher}
        return any(atom in own for axis in (paired.student, paired.teacher) for atom in atoms(axis))

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
    """One dim of a student part and the teacher's dim that corresponds, their axes aligned."""

    piece: Piece
    number: int  # place in the `dims` of both sides
    student: Axis
    teacher: Axis
    leaves: tuple[Leaf, ...]
    cores: bool = False  # whether the leaves leave out single rows around the axes, which differ

    @property
    def dim(self) -> int:
        """The student tensor's own dim, zero-based."""
        return self.piece.student.own_dim(self.piece.student.dims[self.number])[0]

    @property
    def place(self) -> str:
        """The student's dim, `"name:dim"`."""
        return f"{self.piece.student.tensor}:{self.dim}"


class Joints:
    """Pairs dims one after another and keeps the connected sets.

    Args:
        paired: Student tensors that a rule paired, each with the place of that rule: errors name it.

    Attributes:
        dims: Every paired dim, by piece, in the order of its dims.
    """

    def __init__(self, student: ModelGraph, teacher: ModelGraph, paired: Mapping[str, str] | None = None) -> None:
        self._student, self._teacher = student, teacher
        self._paired = paired or {}
        self._of: dict[Atom, Joint] = {}
        self._groups = {group.atom: group for graph in (student, teacher) for group in graph.groups}
        self.dims: dict[Piece, list[PairedDim]] = {}

    def of(self, axis: Axis) -> Joint | None:
        """The joint group of an atom of either model; None for other axes."""
        return self._of.get(axis) if isinstance(axis, Atom) else None

    def groups(self, joint: Joint) -> list[CoupledGroup]:
        """The coupled groups of both models that a joint group connects, the student's first."""
        return list(itertools.chain(*self.groups_of_each(joint)))

    def groups_of_each(self, joint: Joint) -> tuple[list[CoupledGroup], list[CoupledGroup]]:
        """The student's coupled groups, and the teacher's."""
        return [self._groups[atom] for atom in joint.student], [self._groups[atom] for atom in joint.teacher]

    def places(self, joint: Joint) -> tuple[str, ...]:
        """The student's places, `"name:dim"`; where it has no such axis, the dims in which the teacher's stands."""
        members = (member for group in self.groups_of_each(joint)[0] for member in group.members)
        return tuple(f"{name}:{dim}" for name, dim in members) or tuple(dict.fromkeys(joint.places))

    def is_pinned(self, atom: Atom) -> bool:
        """Whether an atom of either model is pinned."""
        return self._groups[atom].pinned is not None

    def is_place(self, axis: Axis) -> bool:
        """Whether an axis of either model is an atom of positions."""
        return isinstance(axis, Atom) and self._groups[axis].pinned == "position"

    def role(self, axis: Axis) -> str:
        """The role of an atom of either model; empty for other axes."""
        return str(self._groups[axis].role) if isinstance(axis, Atom) else ""

    @property
    def graphs(self) -> tuple[ModelGraph, ModelGraph]:
        """The student's and the teacher's graph."""
        return self._student, self._teacher

    @property
    def paired_dims(self) -> Iterator[PairedDim]:
        """Every paired dim of every piece."""
        return itertools.chain.from_iterable(self.dims.values())

    @property
    def all(self) -> list[Joint]:
        """Every joint group once, in order of first use."""
        return list(dict.fromkeys(self._of.values()))

    def add_pieces(self, pieces: Iterable[Piece]) -> None:
        """Align every dim of every piece, the simplest first: what they relate guides the others.

        Raises:
            Unfit: If two dims are built differently.
        """
        todo = [(piece, number) for piece in pieces for number in range(len(piece.student.dims))]
        todo.sort(key=lambda item: max(len(list(atoms(axis))) for axis in self._axes(*item)))  # stable
        for piece, number in todo:
            self._add(piece, number)
        for dims in self.dims.values():
            dims.sort(key=lambda paired: paired.number)

    def _axes(self, piece: Piece, number: int) -> tuple[Axis, Axis]:
        found = []
        for graph, side in ((self._student, piece.student), (self._teacher, piece.teacher)):
            axis = _axis(graph, side, number)
            if axis is None:
                message = (
                    f"a part of {side.tensor} is used on its own, and its dim {side.dims[number]} "
                    f"({graph.tensors[side.tensor].notation}) cannot be cut there. "
                    f"Pass keep=[{piece.student.tensor!r}]."
                )
                raise Unfit(message, [piece.student.tensor], f"{side.tensor} cannot be cut where it is used")
            found.append(axis)
        return found[0], found[1]

    def _add(self, piece: Piece, number: int) -> None:
        ours, theirs = self._axes(piece, number)
        try:
            leaves, cores = self._aligned(ours, theirs)
        except Misaligned as fault:
            raise self.misaligned(piece, number, fault) from None
        if (piece.student.tails or piece.teacher.tails) and not self._are_told_apart(leaves):
            raise self.misaligned(piece, number, Misaligned(ours, theirs))  # heads meet head channels
        paired = PairedDim(piece, number, ours, theirs, leaves, cores)
        for leaf in leaves:
            if leaf.whole:
                self._take_whole(leaf, paired.place)
            else:
                self._relate(leaf, paired.place)
        self.dims.setdefault(piece, []).append(paired)

    def _aligned(self, ours: Axis, theirs: Axis) -> tuple[tuple[Leaf, ...], bool]:
        """The leaves, and whether single rows around two position axes are left out (differing class tokens)."""
        if self._same_places(ours, theirs):
            return (Leaf(ours, theirs),), False
        small, large = rows(ours), rows(theirs)
        inner = [atom for axis in (ours, theirs) for atom in atoms(axis)]
        differ = (small.lead, small.trail) != (large.lead, large.trail)
        cores = differ and bool(inner) and all(self._groups[atom].pinned == "position" for atom in inner)
        pair = (small.core, large.core) if cores else (ours, theirs)
        return tuple(align(*pair, self._belong, self.is_pinned)), cores

    def _same_places(self, student: Axis, teacher: Axis) -> bool:
        """Whether both are all pinned and of one size, yet seen in another way: as a grid, or as one run."""
        pinned = all(self.is_pinned(atom) for axis in (student, teacher) for atom in atoms(axis))
        return pinned and student.size == teacher.size and not _alike(student, teacher)

    def _belong(self, student: Axis, teacher: Axis) -> bool:
        """Whether two parts are known to belong together: related before, or not related yet and of one role."""
        ours, theirs = self.of(student), self.of(teacher)
        if not isinstance(student, Atom):
            return theirs is not None and not theirs.student
        if not isinstance(teacher, Atom):
            return ours is not None and not ours.teacher
        if ours is not None or theirs is not None:
            return ours is theirs
        return self._groups[student].role == self._groups[teacher].role

    def _are_told_apart(self, leaves: Iterable[Leaf]) -> bool:
        """Whether roles show which of several dims is which: heads meet heads, and their channels are the one other."""
        atoms_of = [(leaf.student, leaf.teacher) for leaf in leaves]
        roles = [[self._groups[a].role if isinstance(a, Atom) else "" for a in pair] for pair in atoms_of]
        agree = all(pair[0] == pair[1] or not all(pair) or HEADS.isdisjoint(pair) for pair in roles)
        others = [pair for pair in roles if not HEADS.intersection(pair)]
        return agree and len(others) < 2

    def _take_whole(self, leaf: Leaf, place: str) -> None:
        alone = [Leaf(atom, UNIT) for atom in atoms(leaf.student)] + [Leaf(UNIT, atom) for atom in atoms(leaf.teacher)]
        for each in alone:
            joint = self._relate(each, place)
            joint.whole_at = joint.whole_at or place

    def _relate(self, leaf: Leaf, place: str) -> Joint:
        joint = self._joint(leaf)
        joint.places.append(place)
        for axis, side in ((leaf.student, joint.student), (leaf.teacher, joint.teacher)):
            if isinstance(axis, Atom) and axis not in self._of:
                side.append(axis)
                self._of[axis] = joint
        return joint

    def _joint(self, leaf: Leaf) -> Joint:
        ours, theirs = self.of(leaf.student), self.of(leaf.teacher)
        if ours is not None and theirs is not None and ours is not theirs:
            ours.student += theirs.student
            ours.teacher += theirs.teacher
            ours.places += theirs.places
            ours.whole_at = ours.whole_at or theirs.whole_at
            self._of |= dict.fromkeys((*theirs.student, *theirs.teacher), ours)
        return ours or theirs or Joint()

    def misaligned(self, piece: Piece, number: int, fault: Misaligned) -> Unfit:
        """The error for a paired dim whose two axes do not correspond."""
        ours = self._student.tensors[piece.student.tensor]
        theirs = self._teacher.tensors[piece.teacher.tensor]
        places = [side.own_dim(side.dims[number])[0] for side in (piece.student, piece.teacher)]
        message = (
            f"dim {places[0]} of student {piece.student.tensor} {list(ours.shape)} and dim "
            f"{places[1]} of teacher {piece.teacher.tensor} {list(theirs.shape)} "
            f"are built differently:\n  student: {ours.notation}\n  teacher: {theirs.notation}\n"
            f"The parts of size {fault.student.size} and {fault.teacher.size} do not correspond. "
            f"Change the student's layout, or pass keep=[{piece.student.tensor!r}]."
        )
        message = self.after_rules(message, [piece])
        why = f"built differently: {ours.notation}, the teacher's {theirs.notation}"
        return Unfit(message, [piece.student.tensor], why)

    def after_rules(self, message: str, pieces: Iterable[Piece]) -> str:
        """An error text, after the rules that paired some of the tensors that it is about."""
        rules = {
            f"{self._paired[piece.student.tensor]}: the rule pairs {piece.student.tensor} with {piece.teacher.tensor}, "
            "whose axes are coupled to others that do not fit:"
            for piece in pieces
            if piece.student.tensor in self._paired
        }
        return "\n".join([*sorted(rules), message])


def _axis(graph: ModelGraph, side: Side, number: int) -> Axis | None:
    """The axis of one dim of a part; None where the tensor's axis cannot be cut there."""
    dim, factor = side.own_dim(side.dims[number])
    axis = (
        product(*(graph.tensors[side.tensor].axes[own] for own in side.run(number)))
        if side.tails
        else (graph.tensors[side.tensor].axes[dim])
    )
    if factor is not None:
        return children(axis)[factor]
    if side.rows is None or side.rows[0] != dim:
        return axis
    return restrict(axis, side.rows[1])


def _alike(one: Axis, other: Axis) -> bool:
    """Whether two axes are built the same way, of parts of the same sizes."""
    parts, others = children(one), children(other)
    same = type(one) is type(other) and one.size == other.size and len(parts) == len(others)
    return same and all(map(_alike, parts, others))


def shorten(names: Iterable[str], limit: int = 3) -> str:
    """The first few names, and dots where there are more.

    >>> shorten("abcde")
    'a, b, c, ...'
    """
    listed = list(names)
    return ", ".join(listed[:limit]) + (", ..." if len(listed) > limit else "")
