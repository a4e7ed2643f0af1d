"""The `flat` unit: a product of axes such as `(heads head_dim)` is one run of channels, as in the paper.

A run is flat only where that is consistent: all its places merge the same axes in the same order, and no
tensor holds two of its axes as separate dims. Other products are selected factor by factor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wsel_graph.axes import UNIT, Atom, Axis, Concat, Product, children, positions, product
from wsel_graph.planner.joint import Joint, Joints, PairedDim

RunKey = tuple[int, ...]
"""Identities of the joint groups of a run, in row-major order."""


@dataclass(frozen=True, slots=True)
class Run:
    """A product of at least two atoms, and the places where it occurs."""

    joints: tuple[Joint, ...]
    places: tuple[PairedDim, ...]

    @property
    def sizes(self) -> tuple[int, int]:
        """Teacher and student elements."""
        return math.prod(j.teacher_size for j in self.joints), math.prod(j.student_size for j in self.joints)


def trailing_atoms(axis: Product) -> tuple[Axis, tuple[Atom, ...]]:
    """`(lead, atoms)` where the axis is `(lead atoms...)` and the lead holds what is no plain atom."""
    factors = list(axis.factors)
    run: list[Atom] = []
    while factors and isinstance(factors[-1], Atom):
        run.insert(0, factors.pop())  # type: ignore[arg-type]
    return product(*factors) if factors else UNIT, tuple(run)


def runs_in(axis: Axis) -> Iterable[tuple[Atom, ...]]:
    """Every product of at least two atoms within an axis."""
    if isinstance(axis, Concat):
        for part in axis.parts:
            yield from runs_in(part)
    elif isinstance(axis, Product):
        lead, run = trailing_atoms(axis)
        for factor in children(lead) if isinstance(lead, Product) else (lead,):
            yield from runs_in(factor) if isinstance(factor, Concat) else ()
        if len(run) > 1:
            yield run


def find_runs(joints: Joints) -> dict[RunKey, Run]:
    """Every run that may be selected flat."""
    found: dict[RunKey, list[PairedDim]] = {}
    members: dict[RunKey, tuple[Joint, ...]] = {}
    for paired in joints.dims:
        for atoms in runs_in(paired.teacher):
            group = tuple(joint for atom in atoms if (joint := joints.of(atom)) is not None)
            key = tuple(id(joint) for joint in group)
            found.setdefault(key, []).append(paired)
            members[key] = group
    orders = [frozenset(key) for key in found]
    return {
        key: Run(members[key], tuple(places))
        for key, places in found.items()
        if orders.count(frozenset(key)) == 1 and not _taken_apart(joints, key)
    }


def _taken_apart(joints: Joints, key: RunKey) -> bool:
    """Whether some tensor holds two axes of the run as separate dims."""
    dims: dict[str, set[int]] = {}
    for paired in joints.dims:
        joint = joints.of(paired.teacher)
        if joint is not None and id(joint) in key:
            dims.setdefault(paired.pair.student, set()).add(paired.dim)
    return any(len(found) > 1 for found in dims.values())


def flat_positions(
    axis: Axis, picks: Mapping[Atom, Sequence[int]], runs: Mapping[tuple[Atom, ...], Sequence[int]]
) -> Sequence[int]:
    """As `positions`, with the given runs of atoms taken as one axis each.

    >>> h, d = Atom(2), Atom(3)
    >>> list(flat_positions(product(h, d), {}, {(h, d): [0, 2, 4]}))
    [0, 2, 4]
    """
    if isinstance(axis, Concat):
        result: list[int] = []
        offset = 0
        for part in axis.parts:
            result.extend(offset + place for place in flat_positions(part, picks, runs))
            offset += part.size
        return result
    if isinstance(axis, Product):
        lead, atoms = trailing_atoms(axis)
        if atoms in runs:
            size = math.prod(atom.size for atom in atoms)
            outer = flat_positions(lead, picks, runs)
            return [place * size + inner for place in outer for inner in runs[atoms]]
    return positions(axis, picks)
