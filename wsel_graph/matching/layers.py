"""Layer selection: which teacher blocks fill a student's, the paper's first step.

Reference: Xu et al., "Initializing Models with Larger Ones", arXiv:2311.18823, section 3 and appendix (first-N, mid-N,
last-N, uniform).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from wsel_graph.axes import evenly_spaced
from wsel_graph.errors import MatchError
from wsel_graph.selection.model import Score

LayerMethod: TypeAlias = str | Sequence[int] | Score
"""`first`, `last`, `middle`, `uniform`, `merge`, the teacher's blocks one by one, zero-based, or a score of blocks."""

MERGE = "merge"
"""Every student block is the average of a run of teacher blocks."""

METHODS: dict[str, Callable[[int, int], Sequence[int]]] = {
    "first": lambda teacher, student: range(student),
    "last": lambda teacher, student: range(teacher - student, teacher),
    "middle": lambda teacher, student: range((teacher - student) // 2, (teacher - student) // 2 + student),
    "uniform": evenly_spaced,
}


def select_layers(
    method: LayerMethod, teacher: int, student: int, stage: str, influence: Sequence[float] | None = None
) -> list[int]:
    """Zero-based teacher blocks for the student's blocks 0, 1, ...; fewer when the teacher has fewer.

    Args:
        method: See `LayerMethod`.
        teacher: Blocks that the teacher has.
        student: Blocks that the student has.
        stage: Name of the stage, for messages.
        influence: For scores, how much each of the teacher's blocks changes its stream; infinite where unknown.
    Raises:
        MatchError: If an explicit list does not fit, or the influence of too many blocks is unknown.

    >>> select_layers("last", 12, 6, "blocks"), select_layers("uniform", 12, 4, "blocks")
    ([6, 7, 8, 9, 10, 11], [0, 3, 6, 9])
    """
    if isinstance(method, Score):
        return _most_influential(teacher, min(student, teacher), stage, influence)
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


def _most_influential(teacher: int, student: int, stage: str, influence: Sequence[float] | None) -> list[int]:
    """The blocks that change their stream most, in order; of equal ones the first. Unknown ones are always taken."""
    if student == teacher:
        return list(range(teacher))
    if influence is None:
        raise MatchError(
            f"layers: take: {{score: depth}} needs statistics of the teacher's activations for stage {stage!r}: pass "
            "statistics=ws.statistics(teacher, batches)"
        )
    unknown = sum(map(math.isinf, influence))
    if unknown > student:
        raise MatchError(
            f"layers: of the teacher's {teacher} blocks of stage {stage!r} the student takes {student}, and {unknown} "
            "do not pass on the stream that they start from, so how much they change it cannot be told. Name the "
            f"blocks, such as take: {list(range(student))}"
        )
    return sorted(sorted(range(teacher), key=lambda block: -influence[block])[:student])
