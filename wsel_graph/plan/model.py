"""The plan: frozen data that says which teacher elements every student tensor receives.

Nothing else is needed to apply it: no graph, no rules, no model code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from wsel_graph.errors import UnknownNameError
from wsel_graph.notebook import card
from wsel_graph.plan.outline import Outline
from wsel_graph.plan.provenance import Provenance

Indices: TypeAlias = range | tuple[int, ...]
"""Zero-based elements of one dim; a `range` when they are regularly spaced."""


def compact(indices: Sequence[int]) -> Indices:
    """The same elements, as a range when they are evenly spaced and ascending.

    >>> compact([0, 2, 4])
    range(0, 6, 2)
    >>> compact([0, 2, 5])
    (0, 2, 5)
    """
    if isinstance(indices, range):
        return indices
    items = tuple(indices)
    step = items[1] - items[0] if len(items) > 1 else 1
    if items and step > 0:
        regular = range(items[0], items[0] + step * len(items), step)
        if tuple(regular) == items:
            return regular
    return items


@dataclass(frozen=True, slots=True)
class View:
    """How a selected block is laid out anew: reshaped, permuted, and reshaped to where it goes."""

    shape: tuple[int, ...]
    order: tuple[int, ...]


ResizeKind: TypeAlias = Literal["linear", "bicubic", "bicubic-antialias", "pseudoinverse", "sum", "repeat"]
"""`linear`, `bicubic`: as images are resized. `pseudoinverse`: patch embeddings. `sum`, `repeat`: input channels."""


@dataclass(frozen=True, slots=True)
class Resize:
    """How one dim of a selected block is resampled.

    The dim holds `lead` rows, then a row-major grid, then `trail` rows; every grid axis whose size differs is
    resampled on its own, and the rows around the grid stay as they are.
    """

    kind: ResizeKind
    dim: int  # of the teacher, zero-based
    teacher_grid: tuple[int, ...]
    student_grid: tuple[int, ...]
    lead: int = 0
    trail: int = 0

    @property
    def teacher_size(self) -> int:
        """Rows before.

        >>> Resize("bicubic", 0, (14, 14), (10, 10), lead=1).teacher_size
        197
        """
        return self.lead + math.prod(self.teacher_grid) + self.trail

    @property
    def student_size(self) -> int:
        """Rows after.

        >>> Resize("bicubic", 0, (14, 14), (10, 10), lead=1).student_size
        101
        """
        return self.lead + math.prod(self.student_grid) + self.trail


@dataclass(frozen=True, slots=True)
class Mix:
    """One dim of a selected block is made of weighted sums: row `i` of `weights[i][j] * teacher[indices[i][j]]`."""

    dim: int  # of the teacher, zero-based
    indices: tuple[tuple[int, ...], ...]  # teacher positions of every element, its representative first
    weights: tuple[tuple[float, ...], ...]  # one per teacher position


@dataclass(frozen=True, slots=True)
class Copy:
    """Teacher elements for one student tensor, or for a region of it.

    The block `teacher[indices[0], :][:, indices[1]]...` is resampled, laid out anew (`view`), multiplied by `scale`,
    and goes to the student's `region`. Along the dims of `mix` it holds weighted sums of elements, and `indices` one
    representative of each. The values of `also`, which has the same student side, are added to it: averages of blocks.
    """

    student: str
    teacher: str
    student_shape: tuple[int, ...]
    teacher_shape: tuple[int, ...]
    indices: tuple[Indices, ...]  # one per teacher dim
    parameter: bool  # False for a buffer
    region: tuple[Indices, ...] | None = None  # one per student dim; None for all of it
    view: View | None = None  # None where dims correspond one to one
    resize: tuple[Resize, ...] = ()  # one per dim that is resampled
    scale: float = 1.0
    mix: tuple[Mix, ...] = ()  # one per dim that is merged
    also: tuple[Copy, ...] = ()  # what is added, each with a scale of its own

    @property
    def sources(self) -> tuple[Copy, ...]:
        """This copy, and those whose values are added."""
        return (self, *self.also)

    def times(self, factor: float) -> Copy:
        """The copy with all of its values multiplied; factors that cancel leave it as it was."""
        scale = self.scale * factor
        scale = 1.0 if math.isclose(scale, 1, rel_tol=1e-12) else scale
        return replace(self, scale=scale, also=tuple(other.times(factor) for other in self.also))

    @property
    def block_shape(self) -> tuple[int, ...]:
        """Shape of the selected block once it is resampled; one size per teacher dim."""
        after = {resize.dim: resize.student_size for resize in self.resize}
        return tuple(after.get(dim, len(indices)) for dim, indices in enumerate(self.indices))

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Shape of the region that is filled."""
        return self.student_shape if self.region is None else tuple(map(len, self.region))


@dataclass(frozen=True, slots=True)
class Kept:
    """One student tensor that keeps the student's own values, and why."""

    student: str
    shape: tuple[int, ...]
    reason: str
    parameter: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """The elements that one coupled group takes: the same in all its members."""

    role: str
    status: str  # free, anchored or pinned, with the reason
    teacher_size: int
    student_size: int
    method: str
    members: tuple[str, ...]  # student places, "name:dim"
    rule: str = field(default="", compare=False)  # where the selection rule that governed it is written


@dataclass(frozen=True, slots=True)
class LayerMap:
    """Which teacher block fills which student block of one stage; zero-based block numbers.

    A student block that stands in several pairs is the average of their teacher blocks.
    """

    stage: str
    teacher_depth: int
    pairs: tuple[tuple[int, int], ...]  # (student, teacher)
    influence: tuple[float | None, ...] = ()  # of every teacher block, where it decided; None where not known
    rule: str = field(default="", compare=False)  # where the selection rule that governed it is written

    @property
    def blocks(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Every student block that is filled, with the teacher blocks that make it.

        >>> LayerMap("", 4, ((0, 0), (0, 1), (1, 2))).blocks
        ((0, (0, 1)), (1, (2,)))
        """
        found: dict[int, tuple[int, ...]] = {}
        for student, teacher in self.pairs:
            found[student] = (*found.get(student, ()), teacher)
        return tuple(found.items())

    def __str__(self) -> str:
        """The map in short.

        >>> print(LayerMap("", 4, ((0, 0), (0, 1), (1, 2))))
        0<-0+1, 1<-2
        """
        return ", ".join(f"{student}<-{'+'.join(map(str, teachers))}" for student, teachers in self.blocks)


@dataclass(frozen=True, slots=True)
class Tap:
    """Where a model shows one value while it runs.

    Attributes:
        node: Name of the graph node that makes the value.
        module: Path of a module that returns it; empty where none does.
        place: Where in the module's result it stands: positions of tuples, keys of dicts, names of fields.
        call: Which call of the module returns it, zero-based.
        calls: How often one forward pass calls the module.
        dims: The tensor's dims, zero-based, in the order in which they correspond to the other model's: positions
            first, then the features.
        size: How many features it has.
    """

    node: str
    module: str = ""
    place: tuple[int | str, ...] = ()
    call: int = 0
    calls: int = 1
    dims: tuple[int, ...] = ()
    size: int = 0

    def __str__(self) -> str:
        return f"{self.module}{''.join(f'[{step!r}]' for step in self.place)}" if self.module else self.node


@dataclass(frozen=True, slots=True)
class Feature:
    """What a student block passes on, and the teacher's channels that it came from.

    `teacher[..., indices]` corresponds to `student[..., filled]`, channels last, in every position.

    Attributes:
        stage: The student's stage.
        block: The student's block of this stage, zero-based.
        teacher_block: The teacher's block that it is compared with.
        indices: Teacher channels, zero-based.
        filled: Student channels that correspond to them; None for all.
        spanned: The teacher block is the last one that the student leaves out before the next that it copies.
        problem: Why the two cannot be compared; empty where they can.
    """

    stage: str
    block: int
    teacher_block: int
    student: Tap
    teacher: Tap
    indices: Indices = ()
    filled: Indices | None = None
    spanned: bool = False
    problem: str = ""

    def __str__(self) -> str:
        head = f"{self.stage} {self.block} <- {self.teacher_block}: {self.student} <- {self.teacher}"
        channels = f"channels {describe_indices(self.indices)} of {self.teacher.size}"
        return f"{head}, {self.problem or channels}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that initialising one student from one teacher needs."""

    copies: tuple[Copy, ...]  # one or more per student tensor that is filled
    kept: tuple[Kept, ...]  # one per student tensor that keeps its own values
    choices: tuple[Choice, ...]  # one per coupled group: the elements it takes
    layers: tuple[LayerMap, ...]  # one per stage of repeated blocks
    notes: tuple[str, ...] = ()  # what the user should know besides
    compensate: tuple[str, ...] = ()  # student weights that rules ask to fit on calibration data; first names
    recalibrate: tuple[str, ...] = ()  # running means of the batch norms whose statistics rules ask to estimate anew
    features: tuple[Feature, ...] = ()  # what can be compared while the student learns from the teacher
    outlines: tuple[Outline, ...] = field(default=(), compare=False)  # student and teacher, for reports
    provenance: Provenance | None = field(default=None, compare=False)  # what made it; plans that do the same are equal

    def save(self, path: str | Path) -> None:
        """Write the plan to a JSON file, which `load_plan` reads; the file is there whole or not at all.

        Raises:
            OSError: If the file cannot be written.
        """
        from wsel_graph.plan.serial import save_plan  # which needs the classes of this module

        save_plan(self, path)

    def explain(self, name: str) -> str:
        """Where the values of one student tensor come from, in words.

        Raises:
            UnknownNameError: If the plan does not know the tensor.
        """
        if own := [_explain_copy(copy, self.choices) for copy in self.copies if copy.student == name]:
            return "\n".join((*own, *self._afterwards(name)))
        for kept in self.kept:
            if kept.student == name:
                return f"{name} {list(kept.shape)} keeps the student's own values: {kept.reason}"
        raise UnknownNameError(f"the plan knows no student tensor named {name!r}")

    def __repr__(self) -> str:
        return f"Plan({len(self.copies)} copies, {len(self.kept)} kept, {len(self.choices)} choices)"

    def __str__(self) -> str:
        from wsel_graph.plan.tables import as_text  # which needs the classes of this module

        return as_text(self)

    def _repr_html_(self) -> str:
        from wsel_graph.plan.tables import as_html, headline

        return card("Plan", headline(self), *as_html(self))

    def _afterwards(self, name: str) -> Iterator[str]:
        """What calibration data is to do to a tensor once it is filled."""
        if name in self.compensate:
            yield "  then compensated on calibration data (regression)"
        if name in self.recalibrate:
            yield "  then estimated anew on calibration data, with the other running statistics of its batch norm"


def _explain_copy(copy: Copy, choices: tuple[Choice, ...]) -> str:
    """One copy as lines; what is added to it follows, without repeating the student's side."""
    head = [f"{copy.student} {list(copy.student_shape)} <- {copy.teacher} {list(copy.teacher_shape)}"]
    for other in copy.also:
        head.append(f"  + {other.teacher} {list(other.teacher_shape)}")
    alike = all(_taken(other) == _taken(copy) for other in copy.also)
    for number, source in enumerate([copy] if alike else copy.sources):
        head.extend([] if alike else [f"  of {source.teacher}:"])
        head.extend(_explain_source(source, choices, first=not number))
    return "\n".join(head)


def _taken(copy: Copy) -> tuple[object, ...]:
    return copy.indices, copy.mix, copy.resize, copy.scale, copy.teacher_shape


def _explain_source(copy: Copy, choices: tuple[Choice, ...], first: bool) -> list[str]:
    lines = []
    if copy.region is not None and first:
        lines.append("  fills " + ", ".join(describe_indices(indices) for indices in copy.region))
    mixed = {mix.dim: mix for mix in copy.mix}
    for dim, indices in enumerate(copy.indices):
        place = f"{copy.student}:{_student_dim(copy, dim)}"
        groups = [f"{c.role} {c.teacher_size} -> {c.student_size} {c.method}" for c in choices if place in c.members]
        what = "; ".join(groups) or "fixed"
        elements = describe_mix(mixed[dim]) if dim in mixed else describe_indices(indices)
        lines.append(f"  dim {dim}: {elements} of {copy.teacher_shape[dim]} ({what})")
    lines.extend(f"  dim {resize.dim}: {describe_resize(resize)}" for resize in copy.resize)
    if copy.scale != 1:
        lines.append(f"  {'each ' if copy.also else ''}multiplied by {copy.scale:.6g}")
    return lines


def _student_dim(copy: Copy, dim: int) -> int:
    """The student dim that a teacher dim goes to, where every dim stays whole."""
    return copy.view.order.index(dim) if copy.view is not None and dim in copy.view.order else dim


def describe_resize(resize: Resize) -> str:
    """A short reading of a resampling.

    >>> describe_resize(Resize("bicubic", 0, (13, 13), (15, 15), trail=3))
    'resampled 13 x 13 -> 15 x 15 (bicubic), 3 rows besides as they are'
    """
    sizes = " -> ".join(" x ".join(map(str, grid)) for grid in (resize.teacher_grid, resize.student_grid))
    besides = f", {resize.lead + resize.trail} rows besides as they are" if resize.lead + resize.trail else ""
    return f"resampled {sizes} ({resize.kind}){besides}"


def describe_mix(mix: Mix) -> str:
    """A short reading of merged elements.

    >>> describe_mix(Mix(0, ((0, 3), (1,)), ((0.5, 0.5), (1.0,))))
    'averages [0, 3] [1]'
    """
    pairs = [(weight, len(own)) for own in mix.weights for weight in own]
    word = "sums" if all(weight == 1 for weight, _ in pairs) else "weighted sums"
    if all(weight == 1 / count for weight, count in pairs):
        word = "averages"
    listed = " ".join(str(list(own)) if len(own) <= 8 else f"[{len(own)} elements]" for own in mix.indices[:4])
    return f"{word} {listed}" + (f" ... ({len(mix.indices)} elements)" if len(mix.indices) > 4 else "")


def describe_indices(indices: Indices) -> str:
    """A short reading of an index list.

    >>> describe_indices(range(0, 384, 2))
    '0:384:2'
    >>> describe_indices((0, 2, 5))
    '[0, 2, 5]'
    """
    if isinstance(indices, range):
        return f"{indices.start}:{indices.stop}" + (f":{indices.step}" if indices.step != 1 else "")
    if len(indices) <= 8:
        return str(list(indices))
    return f"[{', '.join(map(str, indices[:6]))}, ... {indices[-1]}] ({len(indices)} elements)"
