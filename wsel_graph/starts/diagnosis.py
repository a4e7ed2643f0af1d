"""What a look at a start finds, as frozen data."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from wsel_graph import notebook
from wsel_graph.starts.rates import Rate
from wsel_graph.starts.slopes import Slope


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """One matched activation: the output of a student's operator, beside the teacher's channels that it stands for.

    Attributes:
        name: The parameter that the operator is known by.
        node: Its graph node.
        student: Root mean square of its output.
        teacher: Root mean square of the teacher's channels.
        explained: One minus squared error over the teacher's variance; None where its channels do not vary.
    """

    name: str
    node: str
    student: float
    teacher: float | None
    explained: float | None


@dataclass(frozen=True, slots=True)
class BlockRow:
    """One block of the student, or what lies before, between or after blocks.

    Attributes:
        name: Such as `blocks 1`.
        stage: The stage that it is a block of; empty outside of stages.
        student: Root mean square of its output, in the channels that came from the teacher.
        teacher: The same of the teacher's channels; None where the two cannot be compared.
        fresh: The same of a fresh random start.
        explained: Share of the variance of the teacher's output that the student's explains; below 0 it is farther
            from it than the mean of every channel.
        spanned: The same against the last teacher block that this one stands in for, where that is another one.
        slope: Gradients of the student.
        fresh_slope: Gradients of the fresh start.
        operators: Its matched activations, in order of execution.
        dead: Units of rectifiers that are zero everywhere, and
        units: how many there are.
        problem: Why it cannot be compared with the teacher.
    """

    name: str
    stage: str
    student: float
    teacher: float | None = None
    fresh: float | None = None
    explained: float | None = None
    spanned: float | None = None
    slope: Slope | None = None
    fresh_slope: Slope | None = None
    operators: tuple[OperatorRow, ...] = ()
    dead: int = 0
    units: int = 0
    problem: str = ""

    @property
    def least(self) -> float | None:
        """The least explained variance of its matched activations."""
        return min((row.explained for row in self.operators if row.explained is not None), default=None)

    @property
    def median(self) -> float | None:
        """The median of them."""
        found = [row.explained for row in self.operators if row.explained is not None]
        return statistics.median(found) if found else None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a look at a start found. `print` it, or `plot` it.

    Attributes:
        blocks: In order of execution.
        loss: Which loss the gradients are of.
        student_loss: Its value for the student on the first batch; None where gradients were not measured.
        fresh_loss: The same for the fresh start.
        rate: A first learning rate; None where it was not asked for.
        warnings: What is wrong, each with numbers and what to do.
        notes: What could not be measured, and why.
    """

    blocks: tuple[BlockRow, ...]
    loss: str = ""
    student_loss: float | None = None
    fresh_loss: float | None = None
    rate: Rate | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        from wsel_graph.starts.tables import text  # which loads rich

        return text(self)

    def __repr__(self) -> str:
        rate = "" if self.rate is None else f", rate {self.rate.rate}"
        return f"Diagnosis({len(self.blocks)} blocks, {len(self.warnings)} warnings{rate})"

    def _repr_html_(self) -> str:
        from wsel_graph.starts.picture import svg
        from wsel_graph.starts.tables import number

        line = "no warnings" if not self.warnings else f"{len(self.warnings)} warnings"
        rows = [
            (row.name, *map(number, (row.student, row.teacher, row.fresh, row.explained, row.median)))
            for row in self.blocks
        ]
        return notebook.card(
            "Diagnosis",
            line if self.rate is None else f"{line}; {self.rate}",
            notebook.lines("Warnings", self.warnings),
            notebook.table("Activations", ("block", "student", "teacher", "fresh", "explained", "of operators"), rows),
            notebook.folded("Picture", svg(self)) if self.blocks else "",
            notebook.lines("Notes", self.notes),
        )

    def plot(self, path: str | Path) -> None:
        """Write a picture as SVG: scales of activations on a logarithmic axis, and explained variances.

        Raises:
            DiagnosisError: If the name ends in anything but `.svg`.
            OSError: If the file cannot be written.
        """
        from wsel_graph.starts.picture import write

        write(self, Path(path))
