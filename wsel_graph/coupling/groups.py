"""Coupled groups: all places where one atom occurs, with a role and what may be done with them.

The order of the graph's execution decides the order of groups, so equal models give equal lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from wsel_graph.axes import Atom, Axis, Mark, Product, atoms, format_axes
from wsel_graph.capture.trace import Captured
from wsel_graph.coupling.propagate import Propagation
from wsel_graph.notebook import card, table

ROLES = ("heads", "head_dim", "groups", "embed", "queries", "hidden")
"""Roles that operators suggest, the strongest first; `queries` are the query heads that share one key head."""

Member = tuple[str, int]
"""A tensor name and a zero-based dim."""


@dataclass(frozen=True, slots=True, eq=False)
class CoupledGroup:
    """All (tensor, dim) places that must share one index list.

    `pinned` and `anchored` hold the reason or None. A group with neither is free: any permutation of its
    elements leaves the function unchanged. Groups are compared by identity.
    """

    size: int
    role: str
    pinned: str | None
    anchored: str | None
    members: tuple[Member, ...]
    atom: Atom = field(repr=False)
    marked_at: str = field(default="", repr=False)  # the graph node that pinned or anchored the group

    @property
    def free(self) -> bool:
        """Neither pinned nor anchored."""
        return self.pinned is None and self.anchored is None

    @property
    def status(self) -> str:
        """`free`, `anchored: reason` or `pinned: reason`."""
        if self.pinned is not None:
            return f"pinned: {self.pinned}"
        return "free" if self.anchored is None else f"anchored: {self.anchored}"

    def __repr__(self) -> str:
        (name, dim), more = self.members[0], len(self.members) - 1
        others = f" and {more} more" if more else ""
        return f"CoupledGroup({self.role} {self.size}, {self.status}, {name}:{dim}{others})"

    def _repr_html_(self) -> str:
        marked = f", decided at graph node {self.marked_at}" if self.marked_at else ""
        line = f"{self.size} elements, {self.status}{marked}: these places share one index list"
        return card(f"Coupled group {self.role}", line, table("Places", ("tensor", "dim"), self.members))


@dataclass(frozen=True, slots=True)
class TensorAxes:
    """The axes of one parameter or buffer."""

    name: str
    shape: tuple[int, ...]
    axes: tuple[Axis, ...]
    notation: str


def mark_outputs(captured: Captured, walk: Propagation) -> None:
    """Decide what the axes of the model's results mean.

    An axis that is summed over or normalised somewhere carries features: anchored, because the order shows in
    the output, yet a selection of features is still meaningful. An axis that is only produced carries labels.
    """
    features = {atom for axis in walk.consumed for atom in atoms(walk.solver.resolve(axis))}
    walk.solver.node = "output"
    for axes in walk.outputs:
        for axis in axes:
            for atom in dict.fromkeys(atoms(walk.solver.resolve(axis))):
                if atom in features:
                    walk.solver.anchor(atom, "output")
                else:
                    walk.solver.pin(atom, "label")


def collect_groups(walk: Propagation) -> tuple[CoupledGroup, ...]:
    """One group per atom that occurs in a parameter or a carried buffer."""
    members: dict[Atom, list[Member]] = {}
    for name, axes in walk.states.items():
        for dim, axis in enumerate(axes):
            for atom in dict.fromkeys(atoms(walk.solver.resolve(axis))):
                members.setdefault(atom, []).append((name, dim))
    roles = find_roles(walk)
    return tuple(_group(walk, atom, tuple(places), roles) for atom, places in members.items())


def _group(walk: Propagation, atom: Atom, members: tuple[Member, ...], roles: Mapping[Atom, str]) -> CoupledGroup:
    pinned, anchored = walk.solver.pinned.get(atom), walk.solver.anchored.get(atom)
    mark: Mark | None = pinned or anchored
    return CoupledGroup(
        size=atom.size,
        role=pinned.reason if pinned is not None else roles.get(atom, "hidden"),
        pinned=pinned.reason if pinned is not None else None,
        anchored=anchored.reason if anchored is not None and pinned is None else None,
        members=members,
        atom=atom,
        marked_at=mark.node if mark is not None else "",
    )


def find_roles(walk: Propagation) -> dict[Atom, str]:
    """The strongest role suggested for each atom.

    A compound axis of one atom, such as the two equal halves that rotary codes make, names that atom. Heads that
    are a product of two are grouped queries: `(heads queries)`. Any other compound axis names none of its atoms.
    """
    found: dict[Atom, str] = {}
    for axis, role in walk.roles:
        for atom, name in _named_atoms(walk, walk.solver.resolve(axis), role):
            found[atom] = min(found.get(atom, name), name, key=ROLES.index)
    return found


def _named_atoms(walk: Propagation, axis: Axis, role: str) -> list[tuple[Atom, str]]:
    selectable = [atom for atom in dict.fromkeys(atoms(axis)) if atom not in walk.solver.pinned]  # leaves out the batch
    if len(selectable) == 1:
        return [(selectable[0], role)]
    if role == "heads" and len(selectable) == 2 and isinstance(axis, Product):
        return list(zip(selectable, ("heads", "queries"), strict=True))
    return []


def tensor_axes(walk: Propagation, groups: Iterable[CoupledGroup]) -> dict[str, TensorAxes]:
    """Axes and notation of every parameter and carried buffer."""
    names = {group.atom: group.role for group in groups}
    return {name: _tensor(name, walk, axes, names) for name, axes in walk.states.items()}


def _tensor(name: str, walk: Propagation, axes: Sequence[Axis], names: Mapping[Atom, str]) -> TensorAxes:
    resolved = tuple(walk.solver.resolve(axis) for axis in axes)
    return TensorAxes(name, tuple(axis.size for axis in resolved), resolved, format_axes(resolved, names))
