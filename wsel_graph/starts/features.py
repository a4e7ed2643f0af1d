"""Which features of a student and its teacher to compare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal

from wsel_graph.errors import DistillationError
from wsel_graph.plan import Feature, Plan


def feature_pairs(
    plan: Plan,
    *,
    stages: str | Iterable[str] = "*",
    blocks: Iterable[int] | None = None,
    teacher: Literal["copied", "spanned"] = "copied",
) -> tuple[Feature, ...]:
    """The ends of student blocks, with the teacher's block and channels that each came from.

    Args:
        plan: A plan that was made here or loaded from a file.
        stages: Globs over the student's stage names.
        blocks: The student's blocks of these stages, zero-based; None for all.
        teacher: For a block after which the student leaves teacher blocks out: `copied` is the block that it was
            copied from, `spanned` the last one that it stands in for. Other blocks are as copied both times.
    Returns:
        In the order of the stages and blocks. One whose `problem` is not empty cannot be compared, and says why.
    Raises:
        DistillationError: If nothing fits.

    >>> import wsel_graph as ws
    >>> from torch import nn
    >>> class Block(nn.Module):
    ...     def __init__(self, width):
    ...         super().__init__()
    ...         self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
    ...     def forward(self, x):
    ...         return x + self.down(self.up(x).relu())
    >>> make = lambda width, depth: nn.Sequential(nn.Linear(4, width), *(Block(width) for _ in range(depth)))
    >>> made = ws.plan(make(8, 2), make(16, 4), (2, 4))
    >>> for pair in feature_pairs(made, teacher="spanned"):
    ...     print(pair)
    stage 0 <- 0: 1 <- 1, channels 0:16:2 of 16
    stage 1 <- 3: 2 <- 4, channels 0:16:2 of 16
    """
    if teacher not in ("copied", "spanned"):
        raise DistillationError(f"teacher: {teacher!r} is not a choice; write 'copied' or 'spanned'")
    if not plan.features:
        raise DistillationError(
            "the plan holds no features: neither model has repeated blocks that were paired, or an earlier wsel_graph "
            "made the plan (make it again)"
        )
    globs = (stages,) if isinstance(stages, str) else tuple(stages)
    inside = [feature for feature in plan.features if any(fnmatchcase(feature.stage, glob) for glob in globs)]
    if not inside:
        known = ", ".join(dict.fromkeys(feature.stage for feature in plan.features))
        raise DistillationError(f"stages: no stage of the plan fits {_listed(globs)}; it has {known}")
    numbers = None if blocks is None else tuple(blocks)
    _check_numbers(inside, numbers)
    spanned = {(feature.stage, feature.block) for feature in inside if feature.spanned}
    wanted = spanned if teacher == "spanned" else set()
    return tuple(
        feature
        for feature in inside
        if (numbers is None or feature.block in numbers)
        and feature.spanned == ((feature.stage, feature.block) in wanted)
    )


def _check_numbers(inside: Sequence[Feature], numbers: tuple[int, ...] | None) -> None:
    known = sorted({feature.block for feature in inside})
    if numbers is not None and (not numbers or not set(numbers) <= set(known)):
        raise DistillationError(f"blocks: {list(numbers)} are not all blocks of these stages; they have {known}")


def _listed(globs: Sequence[str]) -> str:
    return " or ".join(map(repr, globs))
