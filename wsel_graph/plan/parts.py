"""What a plan holds besides its copies: what is kept, what was chosen, which blocks and features correspond."""

from __future__ import annotations

from dataclasses import dataclass, field

from wsel_graph.plan.copies import Indices, describe_indices


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
