"""Token maps: which rows of a vocabulary are filled."""

from __future__ import annotations

from collections.abc import Sequence

from wsel_graph.errors import PlanError
from wsel_graph.planner.joint import shorten
from wsel_graph.selection.model import TokenMap


def token_rows(tokens: TokenMap, places: Sequence[str], small: int, large: int) -> tuple[list[int], list[int] | None]:
    """Teacher rows, and the student rows that receive them (None for all).

    Args:
        places: The student's places, for messages.
        small: Size of the student's vocabulary.
        large: Size of the teacher's.
    Raises:
        PlanError: If the map names a token that a vocabulary lacks.

    >>> token_rows(TokenMap("map.json", ((2, 0), (0, 7))), ("embed.weight:0",), 3, 8)
    ([7, 0], [0, 2])
    """
    pairs = sorted(tokens.pairs)
    for side, size, ids in (("student", small, [s for s, _ in pairs]), ("teacher", large, [t for _, t in pairs])):
        if outside := [number for number in ids if number >= size]:
            raise PlanError(
                f"the token map {tokens.path} names {side} token {outside[0]}, and the {side}'s vocabulary at "
                f"{shorten(places)} has {size} tokens, 0..{size - 1}. Correct the map."
            )
    ours = [student for student, _ in pairs]
    return [teacher for _, teacher in pairs], None if ours == list(range(small)) else ours
