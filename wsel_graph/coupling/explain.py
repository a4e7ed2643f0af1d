"""Why two places belong to one coupled group: the chain of graph nodes that ties them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from torch import fx

from wsel_graph.axes import Atom, AxisSolver, Tie, atoms
from wsel_graph.coupling.groups import CoupledGroup, Member
from wsel_graph.coupling.propagate import Propagation


@dataclass(frozen=True, slots=True)
class Link:
    """One graph node that ties two axes."""

    node: str
    operator: str
    module: str

    def __str__(self) -> str:
        return f"{self.node}: {self.operator} in {self.module or '(top level)'}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """The chain from one member of a group to another."""

    first: Member
    last: Member
    group: CoupledGroup
    chain: tuple[Link, ...]

    def __str__(self) -> str:
        title = f"{_place(self.first)} and {_place(self.last)} share {self.group.role} (size {self.group.size}):"
        lines = [f"  {link}" for link in self.chain] or ["  they hold the same axis"]
        return "\n".join([title, *lines])


def _place(member: Member) -> str:
    return f"{member[0]} dim {member[1]}"


def explain(
    walk: Propagation, nodes: Mapping[str, fx.Node], group: CoupledGroup, first: Member, last: Member
) -> Explanation:
    """The shortest chain of recorded ties between two members of `group`."""
    start, goal = (_origins(walk, group.atom, member) for member in (first, last))
    ties = _shortest(walk.solver, group.atom, start, goal)
    names = dict.fromkeys(tie.node for tie in ties)
    return Explanation(first, last, group, tuple(_link(nodes, name) for name in names))


def _origins(walk: Propagation, goal: Atom, member: Member) -> set[Atom]:
    name, dim = member
    return {atom for atom in atoms(walk.states[name][dim]) if _holds(walk.solver, atom, goal)}


def _holds(solver: AxisSolver, atom: Atom, goal: Atom) -> bool:
    return any(inner is goal for inner in atoms(solver.resolve(atom)))


def _shortest(solver: AxisSolver, group: Atom, start: set[Atom], goal: set[Atom]) -> list[Tie]:
    by_atom: dict[Atom, list[Tie]] = {}
    for tie in solver.ties:
        for atom in dict.fromkeys((*atoms(tie.left), *atoms(tie.right))):
            by_atom.setdefault(atom, []).append(tie)
    came: dict[Atom, tuple[Atom, Tie] | None] = dict.fromkeys(start)
    queue = deque(sorted(start, key=lambda atom: atom.serial))
    while queue and not goal & came.keys():
        atom = queue.popleft()
        for tie in by_atom.get(atom, []):
            for other in (*atoms(tie.left), *atoms(tie.right)):
                if other not in came and _holds(solver, other, group):
                    came[other] = (atom, tie)
                    queue.append(other)
    return _walk_back(came, min(goal & came.keys(), key=lambda atom: atom.serial, default=None))


def _walk_back(came: Mapping[Atom, tuple[Atom, Tie] | None], end: Atom | None) -> list[Tie]:
    chain: list[Tie] = []
    while end is not None and (step := came[end]) is not None:
        end, tie = step
        chain.append(tie)
    return chain[::-1]


def _link(nodes: Mapping[str, fx.Node], name: str) -> Link:
    node = nodes.get(name)
    if node is None:
        return Link(name, "", "")
    return Link(name, str(node.target), str(node.meta.get("module", "")))
