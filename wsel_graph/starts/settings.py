"""How a compensation goes about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from wsel_graph.errors import CompensationError

Repair: TypeAlias = Literal["never", "last", "always"]
REPAIRS: tuple[Repair, ...] = ("never", "last", "always")


@dataclass(frozen=True, slots=True)
class Aims:
    """What operators are fitted to.

    Attributes:
        repair: Which branches are to make the student's residual stream right, whatever went wrong before, and not only
            to add what the teacher's add: the last one (nothing comes after it that could), all, or none.
        stand_in: A block of the student is to do what the teacher blocks do that were skipped after its own.
    """

    repair: Repair = "last"
    stand_in: bool = True


@dataclass(frozen=True, slots=True)
class Settings:
    """How a compensation goes about.

    Attributes:
        memory: Bytes for activations, more go to disk; and for the second moments of one operator.
        rows: Rows that are measured per operator, as a multiple of its inputs (and at least `least`).
        least: Rows that are measured at least, if there are so many.
        seed: Of the draw of rows.
        aims: What operators are fitted to.
    """

    memory: int = 2 << 30
    rows: int = 16
    least: int = 8192
    seed: int = 0
    aims: Aims = field(default_factory=Aims)

    def __post_init__(self) -> None:
        for name in ("memory", "rows", "least"):
            if getattr(self, name) < 1:
                raise CompensationError(f"{name} must be at least 1, got {name}={getattr(self, name)!r}")
        if self.aims.repair not in REPAIRS:
            raise CompensationError(f"repair must be one of {', '.join(REPAIRS)}, got {self.aims.repair!r}")
