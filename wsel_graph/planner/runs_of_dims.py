"""Several dims of one tensor that correspond to one dim of another: heads and their channels, apart and together."""

from __future__ import annotations

from collections.abc import Sequence

from wsel_graph.matching.sides import Piece
from wsel_graph.plan import Indices, View


def taken_apart(positions: Sequence[int], sizes: Sequence[int]) -> list[list[int]] | None:
    """For positions along a row-major run of dims the elements of every dim; None where they are no block.

    >>> taken_apart([0, 2, 6, 8], (3, 3)), taken_apart([0, 1, 2, 3, 4], (3, 3))
    ([[0, 2], [0, 2]], None)
    """
    found: list[list[int]] = []
    rest = list(positions)
    for size in reversed(sizes):
        found.insert(0, list(dict.fromkeys(position % size for position in rest)))
        rest = [position // size for position in rest]
    again = [0]
    for size, chosen in zip(sizes, found, strict=True):
        again = [outer * size + inner for outer in again for inner in chosen]
    return found if again == list(positions) else None


def view_of_runs(piece: Piece, taken: Sequence[Indices], filled: Sequence[Indices]) -> View | None:
    """How the teacher's block is turned into the student's region; None where no single view does it.

    Args:
        taken: Elements of every own dim of the teacher's tensor.
        filled: Elements of every own dim of the student's.
    """
    factors: dict[int, list[int]] = {}  # sizes of the factors of every teacher dim
    made: dict[int, list[tuple[int, int]]] = {}  # for every student dim the teacher's dims and factors that make it
    for ours, theirs in zip(piece.student.runs, piece.teacher.runs, strict=True):
        if len(theirs) == 1:
            factors[theirs[0]] = [len(filled[dim]) for dim in ours]
            made |= {dim: [(theirs[0], place)] for place, dim in enumerate(ours)}
        elif len(ours) == 1:
            made[ours[0]] = [(dim, 0) for dim in theirs]
        else:
            return None
    names = [(dim, place) for dim in range(len(taken)) for place in range(len(factors.get(dim, (0,))))]
    shape = [size for dim, chosen in enumerate(taken) for size in factors.get(dim, [len(chosen)])]
    order = [names.index(name) for dim in range(len(filled)) for name in made.get(dim, ())]
    left_out = [place for place in range(len(names)) if place not in order]  # dims of size 1
    return View(tuple(shape), (*order, *left_out))
