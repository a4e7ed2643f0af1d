"""Match a student with a teacher: by graph structure, and by name where structure leaves a choice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.matching.blocks import Methods, pair_structures
from wsel_graph.matching.pieces import Found, Piece, PieceFinder, pieces_by_name
from wsel_graph.matching.structure import Structure, structure
from wsel_graph.plan import LayerMap


@dataclass(frozen=True, slots=True)
class Matching:
    """What fills what.

    Attributes:
        pieces: For every student tensor that is filled, in the order in which the student holds its tensors.
        kept: Tensors that keep the student's own values, each with the reason.
        unexplained: Tensors that nothing explains, each with the reason.
        layers: Which teacher block fills which student block.
        notes: What was decided by names.
    """

    pieces: tuple[tuple[str, tuple[Piece, ...]], ...]
    kept: tuple[tuple[str, str], ...]
    unexplained: tuple[tuple[str, str], ...]
    layers: tuple[LayerMap, ...]
    notes: tuple[str, ...] = field(default=())


def match(
    student: ModelGraph, teacher: ModelGraph, keep: Iterable[str] = (), methods: Methods = lambda stage: "first"
) -> Matching:
    """Find the teacher part for every student tensor.

    Args:
        keep: Glob patterns of student tensor names that keep the student's own values.
        methods: The layer selection method for a student stage, by its name.
    """
    ours, theirs = structure(student), structure(teacher)
    paired = pair_structures(ours, theirs, methods)
    found = PieceFinder(ours, theirs).find(paired.pairs, paired.reasons)
    notes = _by_name(ours, theirs, found)
    patterns = tuple(keep)
    kept = {name: why for name in student.own_names if (why := _own_reason(ours, name, patterns)) is not None}
    filled = [(name, found.pieces[name]) for name in student.own_names if name in found.pieces and name not in kept]
    done = {name for name, _ in filled} | kept.keys()
    unexplained = [
        (name, _with_hint(theirs, name, found.reasons.get(name, ""))) for name in student.own_names if name not in done
    ]
    return Matching(tuple(filled), tuple(kept.items()), tuple(unexplained), tuple(paired.layers), notes)


def _by_name(student: Structure, teacher: Structure, found: Found) -> tuple[str, ...]:
    taken = {piece.teacher.tensor for pieces in found.pieces.values() for piece in pieces}
    named = pieces_by_name(student, teacher, found.reasons, taken)
    found.pieces |= {name: (piece,) for name, piece in named.items()}
    if not named:
        return ()
    first = next(iter(named))
    return (f"{len(named)} tensors were paired by equal names, where structure left a choice, such as {first}",)


def _with_hint(teacher: Structure, name: str, reason: str) -> str:
    """The reason, and what became of a teacher tensor of the same name that could not take part."""
    dtypes = {alias: state.tensor.dtype for state in teacher.graph.captured.states for alias in state.names}
    if name in teacher.components.unused:
        return f"{reason} (the teacher's {name} is not used by its forward pass)"
    if name in dtypes and name not in teacher.graph.tensors:
        return f"{reason} (the teacher's {name} is {dtypes[name]}, which carries no values to select: dequantize it)"
    return reason


def _own_reason(student: Structure, name: str, patterns: Iterable[str]) -> str | None:
    aliases = next(state.names for state in student.graph.captured.states if state.name == name)
    for pattern in patterns:
        if any(fnmatchcase(alias, pattern) for alias in aliases):
            return f"asked for by keep: {pattern}"
    return "not used by the forward pass" if name in student.components.unused else None
