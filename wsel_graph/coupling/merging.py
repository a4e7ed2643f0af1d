"""Where the elements of an axis may be merged: who makes the axis, who reads it, and what stands against it.

Say some elements of an axis carry the same activations. One element can stand for them all, exactly, where every
operator either works on each element by itself or sums the elements up against weights. Weights that make an element
are averaged then (they may as well be equal), weights that read it are added up. What normalises over the axis,
reduces it, or multiplies two activations over it counts its elements: there a merge would change the function, and
the axis is refused. So is what is not known to do neither.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from torch import fx

from wsel_graph.axes import Atom, atoms
from wsel_graph.capture.schemas import bind
from wsel_graph.coupling.groups import CoupledGroup, Member
from wsel_graph.coupling.merging_rules import RULES, Against, Step, Tensor, works_elementwise
from wsel_graph.coupling.propagate import Propagation, rebuilt_call
from wsel_graph.coupling.weight_views import WeightOrigin, find_weight_origins, hands_on
from wsel_graph.ops import find_rule
from wsel_graph.ops.pointwise import is_pointwise

Part: TypeAlias = Literal["makes", "reads"]
"""What a weight does with an axis: it makes its elements, or it sums over them."""


class Unmergeable(Exception):
    """Elements of this axis cannot be merged; carries why, in words that follow the name of the axis."""


class Merging:
    """Answers for the coupled groups of one model."""

    def __init__(self, graph: fx.Graph, walk: Propagation) -> None:
        self._walk = walk
        self._origins: Mapping[fx.Node, WeightOrigin] = find_weight_origins(graph, walk)
        self._axes: dict[fx.Node, tuple[frozenset[Atom], ...]] = {}
        self._holders: dict[Atom, list[fx.Node]] = {}
        for node in graph.nodes:
            self._axes[node] = axes = self._atoms_of(walk.values.get(node))
            for atom in frozenset().union(*axes):
                self._holders.setdefault(atom, []).append(node)

    def _atoms_of(self, value: Any) -> tuple[frozenset[Atom], ...]:
        """Atoms dim by dim; what an operator gives several of is read by its parts."""
        if value is None or isinstance(value, list):
            return ()
        return tuple(frozenset(atoms(self._walk.solver.resolve(axis))) for axis in value.axes)

    def parts(self, group: CoupledGroup) -> Mapping[Member, Part]:
        """What every member of a coupled group does with its axis.

        Raises:
            Unmergeable: If merging would change the function even where the merged elements are equal.
        """
        if group.pinned is not None:
            raise Unmergeable(f"is pinned ({group.pinned}, at graph node {group.marked_at}): it is taken whole")
        if group.anchored not in (None, "output"):
            raise Unmergeable(f"is tied to {group.anchored} at graph node {group.marked_at}: its elements differ")
        found: dict[Member, Part] = {}
        for node in self._touching(group.atom):
            self._follow(node, group.atom, found)
        if missing := [member for member in group.members if member not in found]:
            raise Unmergeable(f"has a weight whose use was not recognised, {missing[0][0]} dim {missing[0][1]}")
        if "makes" not in found.values():
            raise Unmergeable("is made by no weight")
        return {member: found[member] for member in group.members}

    def _touching(self, atom: Atom) -> list[fx.Node]:
        """The operators that take the axis in, in order of execution."""
        users = {user: None for node in self._holders.get(atom, ()) for user in node.users}
        order = {node: place for place, node in enumerate(self._axes)}
        return sorted((node for node in users if node.op == "call_function"), key=order.__getitem__)

    def _follow(self, node: fx.Node, atom: Atom, found: dict[Member, Part]) -> None:
        if node.target is operator.getitem:
            return
        read = self._reads(node, atom)
        for operand in node.all_input_nodes:
            origin = self._origins.get(operand)
            for dim, own in enumerate(self._axes[operand]) if origin is not None else ():
                if atom not in own:
                    continue
                part: Part = "reads" if (operand, dim) in read else "makes"
                if part == "reads" or not (node in self._origins and hands_on(node)):
                    self._note(self._origins[operand], dim, atom, part, found)

    def _reads(self, node: fx.Node, atom: Atom) -> set[tuple[fx.Node, int]]:
        """The weights, each with a dim, that an operator sums the axis up against."""
        rule, at = find_rule(node.target), _at(node)
        elementwise = is_pointwise(node.target) if rule is None else works_elementwise(rule)
        if elementwise:
            return set()
        check: Callable[[Step], list[tuple[Tensor, int]]] | None = RULES.get(rule) if rule is not None else None
        if check is None:
            raise Unmergeable(f"goes into {at}, which may mix its elements")
        step = self._step(node, atom)
        try:
            read = {(weight.node, dim % len(weight.axes)) for weight, dim in check(step)}
        except Against as fault:
            raise Unmergeable(f"{fault} ({at})") from None
        operands = [tensor.node for tensor in step.tensors]
        if any(operands.count(weight) > 1 for weight, _ in read):
            raise Unmergeable(f"meets one weight in two roles ({at})")
        return read

    def _step(self, node: fx.Node, atom: Atom) -> Step:
        def tensor(operand: Any) -> Any:
            return Tensor(operand, self._axes[operand], operand in self._origins)

        bound = bind(node.target, node.args, node.kwargs)
        arguments: dict[str, Any] = {name: fx.node.map_arg(value, tensor) for name, value in bound.items()}
        return Step(atom, arguments, rebuilt_call(self._walk, node))

    def _note(self, origin: WeightOrigin, dim: int, atom: Atom, part: Part, found: dict[Member, Part]) -> None:
        """Write down what a weight does, by its own dims; it must be one thing for each."""
        if origin.dims is None and part == "reads":
            raise Unmergeable(f"is read by weights that are computed from {', '.join(sorted(origin.states))} first")
        for name in sorted(origin.states):
            own = {
                d for d, axis in enumerate(self._walk.states[name]) if atom in atoms(self._walk.solver.resolve(axis))
            }
            dims = own if origin.dims is None else own & origin.dims[dim]
            if part == "reads" and len(dims) != 1:
                raise Unmergeable(f"is read through a view of {name} that cannot be followed to one of its dims")
            for d in dims:
                if found.setdefault((name, d), part) != part:
                    raise Unmergeable(
                        f"is both made and read by dim {d} of {name}, which cannot be averaged and summed"
                    )


@dataclass(frozen=True, slots=True)
class _Place:
    operator: str
    node: str
    module: str

    def __str__(self) -> str:
        return f"{self.operator} at graph node {self.node}" + (f", module {self.module}" if self.module else "")


def _at(node: fx.Node) -> _Place:
    return _Place(str(node.target._schema.name), node.name, str(node.meta.get("module") or ""))  # type: ignore[union-attr]
