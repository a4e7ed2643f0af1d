"""Which dims of two activations hold the same positions, proven by the inputs that the positions come from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from wsel_graph.axes import UNIT, Atom, Axis, Concat, Product
from wsel_graph.coupling.origins import InputDim, Origins


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


def tokens(axis: Axis, origins: Origins) -> tuple[Token, ...] | None:
    """What the positions of an axis are, the slowest first; None where the graph does not show it."""
    if (run := origins.runs.get(axis)) is not None:
        return (Run(axis.size, run.inputs, run.line, run.place),)
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


def _atom(axis: Axis, origins: Origins) -> tuple[Token, ...] | None:
    origin = origins.atoms.get(axis) if isinstance(axis, Atom) else None
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
    return before.line >= 0 and before.line == token.line and token.last == before.last + 1


def _agree(ours: Sequence[Token], theirs: Sequence[Token]) -> bool:
    return len(ours) == len(theirs) and all(map(_same, ours, theirs))


def _same(ours: Token, theirs: Token) -> bool:
    if isinstance(ours, Run) and isinstance(theirs, Run):
        return ours.size == theirs.size and not ours.inputs.isdisjoint(theirs.inputs)
    if isinstance(ours, Laid) and isinstance(theirs, Laid):
        return len(ours.parts) == len(theirs.parts) and all(map(_agree, ours.parts, theirs.parts))
    return ours is None and theirs is None


@dataclass(frozen=True, slots=True)
class Positions:
    """The dims of one tensor that hold positions.

    Attributes:
        side: `student` or `teacher`, for messages.
        node: The graph node whose result the tensor is.
        dims: Zero-based, each with its axis.
    """

    side: str
    node: str
    dims: tuple[tuple[int, Axis], ...]
    origins: Origins

    @property
    def sizes(self) -> list[int]:
        """Positions of every dim."""
        return [axis.size for _, axis in self.dims]

    @property
    def units(self) -> list[int]:
        """Dims of one position."""
        return [dim for dim, axis in self.dims if axis == UNIT]

    def unit(self, dim: int) -> Run | None:
        """A dim of one position, where the graph shows what it is."""
        inputs = self.origins.units.get((self.node, dim))
        return None if inputs is None else Run(1, inputs, -1, -1)


def corresponding(student: Positions, teacher: Positions) -> tuple[tuple[int, ...], tuple[int, ...]] | str:
    """The dims of both sides in the order in which they correspond; or why that cannot be proven."""
    differ = f"the positions differ: {student.sizes} in the student, {teacher.sizes} in the teacher"
    if math.prod(student.sizes) != math.prod(teacher.sizes):
        return differ
    several = any(len(side.units) > 1 for side in (student, teacher))  # a lone one is told by being the only one
    for side in (student, teacher):
        if several and (unknown := [dim for dim in side.units if side.unit(dim) is None]):
            return (
                f"dim {unknown[0]} of the {side.side} has one element on the example inputs, and the graph does not "
                "show which dim of the inputs it is: plan on larger inputs (two samples, more positions)"
            )
    found = []
    for side in (student, teacher):
        shown = {
            dim: (side.unit(dim) if several else None,) if axis == UNIT else tokens(axis, side.origins)
            for dim, axis in side.dims
        }
        if unknown := [dim for dim, part in shown.items() if part is None]:
            return f"the graph does not show where the positions of dim {_listed(unknown)} of the {side.side} come from"
        found.append(shown)
    here = _joined([found[0][dim] for dim, _ in student.dims])
    orders = [
        order
        for order in itertools.permutations(dim for dim, _ in teacher.dims)
        if _agree(here, _joined([found[1][dim] for dim in order]))
    ]
    if len(orders) == 1 and _are_told_apart(here):
        return tuple(dim for dim, _ in student.dims), orders[0]
    if orders:
        return f"several dims of the inputs are one axis of the models, which leaves the order of {student.sizes} open"
    return f"{differ}, or they are in another order"


def _listed(dims: Sequence[int]) -> str:
    return " and ".join(map(str, dims))


def _joined(found: Sequence[tuple[Token, ...] | None]) -> tuple[Token, ...]:
    return _merged([token for part in found for token in part or ()])


def _are_told_apart(found: Sequence[Token]) -> bool:
    runs = [token for token in found if isinstance(token, Run)]
    return all(one.inputs.isdisjoint(other.inputs) for one, other in itertools.combinations(runs, 2))
