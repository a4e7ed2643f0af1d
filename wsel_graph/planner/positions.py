"""Which dims of two activations hold the same positions, proven by the inputs that the positions come from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from wsel_graph.axes import UNIT, Atom, Axis, Concat, Product
from wsel_graph.coupling.origins import InputDim, Origin


@dataclass(frozen=True, slots=True)
class Run:
    """Positions in the order of one dim of the inputs."""

    size: int
    inputs: frozenset[InputDim]
    line: int
    last: int  # place of its last part on the line


@dataclass(frozen=True, slots=True)
class Laid:
    """Runs laid end to end, such as single tokens and a grid."""

    parts: tuple[tuple[Token, ...], ...]


Token: TypeAlias = Run | Laid | None
"""None stands for one position, or one of which the graph does not tell where it comes from."""


def tokens(axis: Axis, origins: Mapping[Atom, Origin]) -> tuple[Token, ...] | None:
    """What the positions of an axis are, the slowest first; None where the graph does not show it."""
    if isinstance(axis, Concat):
        parts = [() if part == UNIT else tokens(part, origins) for part in axis.parts]
        known = [part for part in parts if part is not None]
        return (Laid(tuple(known)),) if len(known) == len(parts) else None
    found: list[Token] = []
    for factor in axis.factors if isinstance(axis, Product) else (axis,):
        inner = tokens(factor, origins) if isinstance(factor, Concat) else _atom(factor, origins)
        if inner is None:
            return None
        found.extend(inner)
    return _merged(found)


def _atom(axis: Axis, origins: Mapping[Atom, Origin]) -> tuple[Token, ...] | None:
    origin = origins.get(axis) if isinstance(axis, Atom) else None
    return None if origin is None else (Run(axis.size, origin.inputs, origin.line, origin.place),)


def _merged(found: Sequence[Token]) -> tuple[Token, ...]:
    """Parts of one line that follow each other are one run."""
    result: list[Token] = []
    for token in found:
        before = result[-1] if result else None
        if isinstance(before, Run) and isinstance(token, Run) and _continues(before, token):
            result[-1] = replace(before, size=before.size * token.size, last=token.last)
        else:
            result.append(token)
    return tuple(result)


def _continues(before: Run, token: Run) -> bool:
    return before.line == token.line and token.last == before.last + 1


def _agree(ours: Sequence[Token], theirs: Sequence[Token]) -> bool:
    return len(ours) == len(theirs) and all(map(_same, ours, theirs))


def _same(ours: Token, theirs: Token) -> bool:
    if isinstance(ours, Run) and isinstance(theirs, Run):
        return ours.size == theirs.size and not ours.inputs.isdisjoint(theirs.inputs)
    if isinstance(ours, Laid) and isinstance(theirs, Laid):
        return len(ours.parts) == len(theirs.parts) and all(map(_agree, ours.parts, theirs.parts))
    return ours is None and theirs is None


Side: TypeAlias = Sequence[tuple[int, Axis]]
"""Dims of a tensor that hold positions, each with its axis."""


def corresponding(
    student: Side, teacher: Side, origins: tuple[Mapping[Atom, Origin], Mapping[Atom, Origin]]
) -> tuple[tuple[int, ...], tuple[int, ...]] | str:
    """The dims of both sides in the order in which they correspond; or why that cannot be proven.

    Args:
        student: The student's dims.
        teacher: The teacher's dims.
        origins: Where the positions of both models come from.
    """
    sizes = [[axis.size for _, axis in side] for side in (student, teacher)]
    differ = f"the positions differ: {sizes[0]} in the student, {sizes[1]} in the teacher"
    if math.prod(sizes[0]) != math.prod(sizes[1]):
        return differ
    for word, side in (("student", student), ("teacher", teacher)):
        single = [dim for dim, axis in side if axis == UNIT]
        if len(single) > 1:
            return (
                f"the {word}'s dims {_listed(single)} have one element each on the example inputs, which does not tell "
                "one from the other: plan on larger inputs (two samples, more positions)"
            )
    ours, theirs = (_all_tokens(side, known) for side, known in zip((student, teacher), origins, strict=True))
    for word, side, found in (("student", student, ours), ("teacher", teacher, theirs)):
        if None in found.values():
            dims = [dim for dim, _ in side if found[dim] is None]
            return f"the graph does not show where the positions of the {word}'s dims {_listed(dims)} come from"
    here = _joined([ours[dim] for dim, _ in student])
    found_orders = [
        order
        for order in itertools.permutations(dim for dim, _ in teacher)
        if _agree(here, _joined([theirs[dim] for dim in order]))
    ]
    if len(found_orders) == 1 and _are_told_apart(here):
        return tuple(dim for dim, _ in student), found_orders[0]
    if found_orders:
        return f"several dims of the inputs are one axis of the models, so that the positions {sizes[0]} have no order"
    return f"{differ}, or they are in another order"


def _listed(dims: Sequence[int]) -> str:
    return " and ".join(map(str, dims))


def _all_tokens(side: Side, known: Mapping[Atom, Origin]) -> dict[int, tuple[Token, ...] | None]:
    return {dim: (None,) if axis == UNIT else tokens(axis, known) for dim, axis in side}


def _joined(found: Sequence[tuple[Token, ...] | None]) -> tuple[Token, ...]:
    return _merged([token for part in found for token in part or ()])


def _are_told_apart(found: Sequence[Token]) -> bool:
    runs = [token for token in found if isinstance(token, Run)]
    return all(one.inputs.isdisjoint(other.inputs) for one, other in itertools.combinations(runs, 2))
