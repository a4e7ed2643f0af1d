"""Why two places belong to one coupled group: the chain of graph nodes that ties them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from torch import fx

from wsel_graph.axes import Atom, Tie, atoms
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


class Explainer:
    """Finds chains in one traced model; what is looked up again and again is looked up once."""

    def __init__(self, walk: Propagation, nodes: Mapping[str, fx.Node]) -> None:
        self._walk, self._nodes = walk, nodes
        self._by_atom: dict[Atom, list[Tie]] = {}
        self._holders: tuple[Atom | None, dict[Atom, bool]] = (None, {})  # of the last group asked for
        for tie in walk.solver.ties:
            for atom in dict.fromkeys((*atoms(tie.left), *atoms(tie.right))):
                self._by_atom.setdefault(atom, []).append(tie)

    def explain(self, group: CoupledGroup, first: Member, last: Member) -> Explanation:
        """The shortest chain of recorded ties between two members of `group`."""
        start, goal = (self._origins(group.atom, member) for member in (first, last))
        ties = self._shortest(group.atom, start, goal)
        names = dict.fromkeys(tie.node for tie in ties)
        return Explanation(first, last, group, tuple(_link(self._nodes, name) for name in names))

    def _origins(self, goal: Atom, member: Member) -> set[Atom]:
        name, dim = member
        return {atom for atom in atoms(self._walk.states[name][dim]) if self._holds(atom, goal)}

    def _shortest(self, group: Atom, start: set[Atom], goal: set[Atom]) -> list[Tie]:
        came: dict[Atom, tuple[Atom, Tie] | None] = dict.fromkeys(start)
        queue = deque(sorted(start, key=lambda atom: atom.serial))
        while queue and not goal & came.keys():
            atom = queue.popleft()
            for tie in self._by_atom.get(atom, []):
                for other in (*atoms(tie.left), *atoms(tie.right)):
                    if other not in came and self._holds(other, group):
                        came[other] = (atom, tie)
                        queue.append(other)
        return _walk_back(came, min(goal & came.keys(), key=lambda atom: atom.serial, default=None))

    def _holds(self, atom: Atom, group: Atom) -> bool:
        """Whether an atom became the group's, or was refined into it and others."""
        if self._holders[0] is not group:
            self._holders = group, {}
        known = self._holders[1]
        if atom not in known:
            known[atom] = any(inner is group for inner in atoms(self._walk.solver.resolve(atom)))
        return known[atom]


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
