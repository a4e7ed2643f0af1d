"""The `flat` unit: a product of axes such as `(heads head_dim)` is one run of channels, as in the paper.

A run may be flat only where that keeps channels together: its inner axes (all but the first) occur nowhere else, in no
other run, in no other order and not on their own, and its first axis occurs only as the first of flat runs, which
then mix its elements in the same proportion. Other products are selected factor by factor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from wsel_graph.axes import UNIT, Atom, Axis, Concat, Product, children, positions, product
from wsel_graph.planner.joint import Joint, Joints

Run: TypeAlias = tuple[Joint, ...]
"""The joint groups of a product, in row-major order; a single one for an axis on its own."""


def trailing_atoms(axis: Product) -> tuple[Axis, tuple[Atom, ...]]:
    """`(lead, atoms)` where the axis is `(lead atoms...)` and the lead ends in what is no plain atom."""
    factors = list(axis.factors)
    run: list[Atom] = []
    while factors and isinstance(last := factors[-1], Atom):
        run.insert(0, last)
        factors.pop()
    return product(*factors) if factors else UNIT, tuple(run)


def pieces(axis: Axis) -> Iterator[tuple[Atom, ...]]:
    """Every atom of an axis once per occurrence; those that a product ends in come as one piece.

    >>> a, b = Atom(2), Atom(3)
    >>> list(pieces(product(a, b))) == [(a, b)]
    True
    """
    if isinstance(axis, Atom):
        yield (axis,)
        return
    lead, run = trailing_atoms(axis) if isinstance(axis, Product) else (axis, ())
    for child in children(lead):
        yield from pieces(child)
    if run:
        yield run


def find_runs(joints: Joints) -> dict[Joint, set[Run]]:
    """For every joint group that the teacher has, the runs in which it occurs."""
    found: dict[Joint, set[Run]] = {}
    for dims in joints.dims.values():
        for paired in dims:
            for piece in pieces(paired.teacher):
                run = tuple(joint for atom in piece if (joint := joints.of(atom)) is not None)
                for joint in run:
                    found.setdefault(joint, set()).add(run)
    return found


def flat_runs(joints: Joints, found: Mapping[Joint, set[Run]], wanted: Callable[[Run], bool]) -> set[Run]:
    """The runs that are wanted flat and can be selected as one axis without taking channels apart."""
    runs = {run for runs in found.values() for run in runs if len(run) > 1 and len(set(run)) == len(run)}
    flat = {run for run in runs if all(found[joint] == {run} for joint in run[1:]) and _movable(joints, run)}
    flat = {run for run in flat if wanted(run)}
    while odd := {run for run in flat if not found[run[0]] <= flat}:
        flat -= odd
    return flat


def _movable(joints: Joints, run: Run) -> bool:
    free = all(group.pinned is None for joint in run for group in joints.groups(joint))
    return free and not any(joint.whole_at for joint in run)


def flat_positions(
    axis: Axis, picks: Mapping[Atom, Sequence[int]], runs: Mapping[tuple[Atom, ...], Sequence[int]]
) -> Sequence[int]:
    """As `positions`, with the given runs of atoms taken as one axis each.

    >>> h, d = Atom(2), Atom(3)
    >>> list(flat_positions(product(h, d), {}, {(h, d): [0, 2, 4]}))
    [0, 2, 4]
    """
    if isinstance(axis, Atom) or not runs:
        return positions(axis, picks)
    if isinstance(axis, Concat):
        return _laid_out([(part.size, flat_positions(part, picks, runs)) for part in axis.parts])
    lead, run = trailing_atoms(axis)
    if run in runs:
        return _merged([(lead.size, flat_positions(lead, picks, runs)), (axis.size // lead.size, runs[run])])
    return _merged([(factor.size, flat_positions(factor, picks, runs)) for factor in axis.factors])


def _laid_out(parts: Iterable[tuple[int, Sequence[int]]]) -> list[int]:
    result: list[int] = []
    offset = 0
    for size, chosen in parts:
        result.extend(offset + place for place in chosen)
        offset += size
    return result


def _merged(factors: Iterable[tuple[int, Sequence[int]]]) -> list[int]:
    result = [0]
    for size, chosen in factors:
        result = [outer * size + inner for outer in result for inner in chosen]
    return result
