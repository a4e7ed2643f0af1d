"""Which rows of one dim are taken and filled, and how they are resampled in between.

References: position grids as timm's `resample_abs_pos_embed` (bicubic, antialiased), tables of relative positions as
its `resize_rel_pos_bias_table_simple` (bicubic), patch embeddings as its `resample_patch_embed` (the pseudo-inverse
resize of FlexiViT, Beyer et al., arXiv:2212.08013), input channels as its `adapt_input_conv`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx

from wsel_graph.axes import UNIT, Atom, Axis, Concat
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.coupling.groups import CoupledGroup
from wsel_graph.plan import Resize
from wsel_graph.plan.copies import ResizeKind
from wsel_graph.planner.align import Leaf
from wsel_graph.planner.choose import Chooser
from wsel_graph.planner.grids import Table, find_table
from wsel_graph.planner.joint import Joint, PairedDim
from wsel_graph.planner.merge import Terms
from wsel_graph.planner.pinned import reads_features
from wsel_graph.planner.rows import rows
from wsel_graph.planner.unfit import Unfit


@dataclass(frozen=True, slots=True)
class Layout:
    """One paired dim of one piece.

    Attributes:
        taken: Teacher positions, within the part.
        filled: Student positions, within the part, that receive them.
        resize: How the taken rows are resampled; its `dim` is the teacher's.
        note: What the user should know.
        terms: What each taken row is the weighted sum of; None where rows are taken as they are.
    """

    taken: Sequence[int]
    filled: Sequence[int]
    resize: Resize | None = None
    note: str = ""
    terms: Sequence[Terms] | None = None


@dataclass(frozen=True, slots=True)
class _Shape:
    """Single rows, a grid, single rows."""

    lead: int
    grid: tuple[int, ...]
    trail: int

    def cut(self, positions: Sequence[int], lead: int, trail: int) -> Sequence[int]:
        """The positions without the single rows that have no counterpart."""
        if (lead, trail) == (self.lead, self.trail):
            return positions
        stop = len(positions) - self.trail
        return [*positions[:lead], *positions[self.lead : stop], *positions[stop : stop + trail]]


class Layouts:
    """Works out the layout of paired dims."""

    def __init__(self, student: ModelGraph, teacher: ModelGraph, chooser: Chooser) -> None:
        self._student, self._teacher, self._chooser = student, teacher, chooser

    def layout(self, paired: PairedDim, all_dims: Sequence[PairedDim]) -> Layout:
        """The rows of one dim.

        Args:
            all_dims: All paired dims of the same piece.
        Raises:
            PlanError: If the axis has to be resampled, and its rows have no order to resample along.
        """
        taken, filled = self._chooser.taken(paired), self._chooser.filled(paired)
        leaves = [leaf for leaf in paired.leaves if self.reason(leaf)]
        ours, theirs = rows(paired.student), rows(paired.teacher)
        terms = self._chooser.terms(paired)
        if not leaves and not paired.cores:
            return Layout(taken, filled, terms=terms)
        if terms is not None:
            raise self._refusal(paired, "some of its elements are merged")
        small, large = (_Shape(side.lead, (), side.trail) for side in (ours, theirs))
        kind: ResizeKind = "linear"
        if leaves:
            kind, small, large = self._grids(paired, leaves, all_dims)
        lead, trail = min(small.lead, large.lead), small.trail if small.trail == large.trail else 0
        note = _note(paired, small, large, lead, trail)
        taken, filled = large.cut(taken, lead, trail), small.cut(filled, lead, trail)
        if small.grid == large.grid:
            return Layout(taken, filled, None, note)
        dim = paired.piece.teacher.dims[paired.number]
        resize = Resize(kind, dim, large.grid, small.grid, lead, trail)
        if (resize.teacher_size, resize.student_size) != (len(taken), len(filled)):
            raise self._refusal(paired, "its rows are no plain grid")
        return Layout(taken, filled, resize, note)

    def reason(self, leaf: Leaf) -> str:
        """Why the atoms of a leaf are resampled; nothing where they are not."""
        found = self._resampled(leaf)
        return str(found.pinned) if found is not None else ""

    def _resampled(self, leaf: Leaf) -> CoupledGroup | None:
        if leaf.whole or (found := self._chosen(leaf)) is None or found[1] != "interpolated":
            return None
        return self._chooser.pinned((found[0],))

    def _chosen(self, leaf: Leaf) -> tuple[Joint, str, int] | None:
        """The joint group of a leaf, how it was chosen, and how many teacher elements it takes."""
        for axis in (leaf.student, leaf.teacher):
            if (found := self._chooser.chosen(axis)) is not None:
                return found[0], found[1].name, len(found[1].taken)
        return None

    # -- grids

    def _grids(
        self, paired: PairedDim, leaves: Sequence[Leaf], all_dims: Sequence[PairedDim]
    ) -> tuple[ResizeKind, _Shape, _Shape]:
        """How the leaves are resampled, and the rows of the student and of the teacher."""
        ours, theirs = rows(paired.student), rows(paired.teacher)
        reasons = {self.reason(leaf) for leaf in leaves}
        if isinstance(ours.core, Concat) or isinstance(theirs.core, Concat) or len(reasons) > 1:
            raise self._refusal(paired, "its rows are no plain grid")
        single = all(isinstance(side.core, Atom) or side.core == UNIT for side in (ours, theirs))
        if reasons == {"position"} and single:
            tables = self._tables(paired)
            if tables is not None:
                return tables
        grids = (
            tuple(leaf.student.size if self.reason(leaf) else self._elements(leaf) for leaf in paired.leaves),
            tuple(leaf.teacher.size if self.reason(leaf) else self._elements(leaf) for leaf in paired.leaves),
        )
        small, large = _Shape(ours.lead, grids[0], ours.trail), _Shape(theirs.lead, grids[1], theirs.trail)
        return self._kind(paired, leaves, all_dims), small, large

    def _elements(self, leaf: Leaf) -> int:
        found = self._chosen(leaf)
        return leaf.teacher.size if found is None else found[2]

    def _kind(self, paired: PairedDim, leaves: Sequence[Leaf], all_dims: Sequence[PairedDim]) -> ResizeKind:
        reason = self.reason(leaves[0])
        if reason == "kernel":
            return "pseudoinverse" if self._cuts_patches(leaves[0], paired) else "bicubic-antialias"
        if reason == "input" and reads_features(self._student, paired.piece.student.tensor):
            return "sum" if paired.student.size == 1 else "repeat"
        grid = sum(self._is_position(leaf) for each in all_dims for leaf in each.leaves)
        return "bicubic-antialias" if grid > 1 else "linear"

    def _is_position(self, leaf: Leaf) -> bool:
        found = None if leaf.whole else self._chosen(leaf)
        pinned = None if found is None else self._chooser.pinned((found[0],))
        return pinned is not None and pinned.pinned == "position"

    def _cuts_patches(self, leaf: Leaf, paired: PairedDim) -> bool:
        """Whether both models cut their input into patches here: the stride equals the kernel."""
        sides = ((self._student, paired.piece.student.tensor), (self._teacher, paired.piece.teacher.tensor))
        return all(_stride(graph, name) == graph.tensors[name].shape[2:] for graph, name in sides)

    # -- tables that are looked up

    def _tables(self, paired: PairedDim) -> tuple[ResizeKind, _Shape, _Shape] | None:
        names = paired.piece.student.tensor, paired.piece.teacher.tensor
        small, large = find_table(self._student, names[0]), find_table(self._teacher, names[1])
        if small is None and large is None:
            return None
        for side, table in (("student's", small), ("teacher's", large)):
            if not isinstance(table, Table):
                raise self._refusal(paired, f"of the {side} table: {table or 'nothing looks it up'}")
        return self._relative(paired, small, large) if isinstance(small, Table) and isinstance(large, Table) else None

    def _relative(self, paired: PairedDim, small: Table, large: Table) -> tuple[ResizeKind, _Shape, _Shape]:
        flat = [len(table.grid) == 2 and table.grid[0] == 1 for table in (small, large)]  # a line has no second axis
        if (small.kind, small.reverse, flat[0]) != (large.kind, large.reverse, flat[1]):
            raise self._refusal(paired, "the two models count positions in different ways")
        kind: ResizeKind = "bicubic" if small.kind == "relative" and small.grid[0] > 1 else "linear"
        return kind, _shape(small, paired.student), _shape(large, paired.teacher)

    def _refusal(self, paired: PairedDim, why: str) -> Unfit:
        name = paired.piece.student.tensor
        message = (
            f"{paired.place}: size {paired.student.size} in the student, {paired.teacher.size} in the teacher, and the "
            f"axis cannot be resampled: {why}. Give the student the teacher's size, or keep the student's own values "
            f"with keep=[{name!r}], or write in `elements` of a rule file:\n"
            f'  - where: {{student: "{name}"}}\n    resize: keep'
        )
        return Unfit(message, [name], f"cannot be resampled: {why}")


def _shape(table: Table, axis: Axis) -> _Shape:
    if table.kind == "line":
        return _Shape(table.lead, (axis.size - table.lead,), 0)
    cells = table.grid[0] * table.grid[1]
    return _Shape(0, table.grid, axis.size - cells)


def _stride(graph: ModelGraph, name: str) -> tuple[int, ...]:
    """The stride of the convolution that uses a weight; nothing where no convolution does."""
    for node in graph.captured.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if getattr(schema, "name", "") == "aten::convolution" and len(node.args) > 3:
            weight = node.args[1]
            if isinstance(weight, fx.Node) and weight.meta.get("state") == name:
                return tuple(node.args[3])
    return ()


def _note(paired: PairedDim, small: _Shape, large: _Shape, lead: int, trail: int) -> str:
    spare, missing = large.lead - lead + large.trail - trail, small.lead - lead + small.trail - trail
    if not spare and not missing:
        return ""
    return (
        f"{paired.place}: {small.lead + small.trail} single rows in the student, {large.lead + large.trail} in the "
        f"teacher: {lead + trail} are taken, {spare} of the teacher are left out, "
        f"{missing} of the student keep its own values"
    )
