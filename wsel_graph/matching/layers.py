"""Layer selection: which teacher blocks fill a student's, the paper's first step.

Reference: Xu et al., "Initializing Models with Larger Ones", arXiv:2311.18823, section 3 and appendix (first-N, mid-N,
last-N, uniform).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from wsel_graph.axes import evenly_spaced
from wsel_graph.errors import MatchError

LayerMethod: TypeAlias = str | Sequence[int]
"""`first`, `last`, `middle`, `uniform`, `merge`, or the teacher's blocks one by one, zero-based."""

MERGE = "merge"
"""Every student block is the average of a run of teacher blocks."""

METHODS: dict[str, Callable[[int, int], Sequence[int]]] = {
    "first": lambda teacher, student: range(student),
    "last": lambda teacher, student: range(teacher - student, teacher),
    "middle": lambda teacher, student: range((teacher - student) // 2, (teacher - student) // 2 + student),
    "uniform": evenly_spaced,
}


def select_layers(method: LayerMethod, teacher: int, student: int, stage: str) -> list[int]:
    """Zero-based teacher blocks for the student's blocks 0, 1, ...; fewer when the teacher has fewer.

    Args:
        method: See `LayerMethod`.
        teacher: Blocks that the teacher has.
        student: Blocks that the student has.
        stage: Name of the stage, for messages.
    Raises:
        MatchError: If an explicit list does not fit.

    >>> select_layers("last", 12, 6, "blocks"), select_layers("uniform", 12, 4, "blocks")
    ([6, 7, 8, 9, 10, 11], [0, 3, 6, 9])
    """
    if isinstance(method, str):
        return list(METHODS[method](teacher, min(student, teacher)))
    chosen = list(method)
    if len(chosen) != student or any(not 0 <= block < teacher for block in chosen):
        raise MatchError(
            f"layers: stage {stage!r} has {student} student blocks and {teacher} teacher blocks of this kind, and the "
            f"list names {chosen}. Give one teacher block (0 to {teacher - 1}) per student block."
        )
    return chosen


def layer_runs(teacher: int, student: int) -> list[range]:
    """Zero-based teacher blocks that each student block averages: runs that follow each other, nearly equally long.

    >>> layer_runs(7, 3)
    [range(0, 2), range(2, 4), range(4, 7)]
    """
    count = min(student, teacher)
    return [range(number * teacher // count, (number + 1) * teacher // count) for number in range(count)]
