"""`ModelGraph`: what tracing a model gives."""

from __future__ import annotations

import difflib
import gc
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import fx, nn
from torch.fx import Node

from wsel_graph import notebook
from wsel_graph.axes import Atom, Axis, atoms, positions
from wsel_graph.capture.trace import Captured, capture
from wsel_graph.coupling.explain import Explainer, Explanation
from wsel_graph.coupling.groups import CoupledGroup, Member, TensorAxes, collect_groups, mark_outputs, tensor_axes
from wsel_graph.coupling.merging import Merging
from wsel_graph.coupling.neighbours import Order, find_orders
from wsel_graph.coupling.origins import Origins, find_origins
from wsel_graph.coupling.places import Place, find_places
from wsel_graph.coupling.propagate import propagate
from wsel_graph.coupling.tables import complete_tables
from wsel_graph.coupling.uses import Use, first_uses
from wsel_graph.errors import UnknownNameError


class ModelGraph:
    """A traced model: its graph, the axes of its tensors, and its coupled groups.

    Attributes:
        tensors: Parameters and carried buffers by name; shared ones under each of their names.
        groups: Coupled groups, in order of first use by the model's parameters.
        unknown_ops: Operators without a propagation rule, with the text of the rule that would teach them.
        outputs: Axes of every result tensor.
        captured: The recorded forward pass.
    """

    def __init__(self, captured: Captured) -> None:
        walk = propagate(captured)
        mark_outputs(captured, walk)
        complete_tables(captured, walk)
        self.captured = captured
        self.groups: tuple[CoupledGroup, ...] = collect_groups(walk)
        self.unknown_ops: Mapping[str, str] = dict(walk.unknown)
        self.outputs: tuple[tuple[Axis, ...], ...] = tuple(
            tuple(walk.solver.resolve(axis) for axis in axes) for axes in walk.outputs
        )
        own = tensor_axes(walk, self.groups)
        names = {name: state.name for state in captured.states for name in state.names if state.name in own}
        self.tensors: Mapping[str, TensorAxes] = {name: own[first] for name, first in names.items()}
        self._walk = walk

    @cached_property
    def fx(self) -> fx.GraphModule:
        """The graph as a runnable module that holds the model's own tensors."""
        return self.captured.module

    @cached_property
    def _nodes(self) -> dict[str, Node]:
        return {node.name: node for node in self.captured.graph.nodes}

    @cached_property
    def uses(self) -> Mapping[str, Use]:
        """The first use of every tensor that the forward pass uses, in order of execution."""
        return {name: use for name, use in first_uses(self.captured).items() if name in self.tensors}

    @cached_property
    def merging(self) -> Merging:
        """Where elements of an axis may be merged."""
        return Merging(self.captured.graph, self._walk)

    @cached_property
    def places(self) -> Mapping[CoupledGroup, tuple[Place, ...]]:
        """Where the activations of every coupled group can be seen; no entry for groups without such a place."""
        return find_places(self.captured, self._walk, self.groups)

    @cached_property
    def own_names(self) -> tuple[str, ...]:
        """Every traced parameter and buffer once, shared ones under their first name."""
        return tuple(name for name, tensor in self.tensors.items() if name == tensor.name)

    def tensor(self, name: str) -> TensorAxes:
        """The axes of one tensor.

        Raises:
            UnknownNameError: If there is no such tensor; the text lists near names.
        """
        if name not in self.tensors:
            near = difflib.get_close_matches(name, self.tensors, n=3)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            raise UnknownNameError(f"no traced parameter or buffer is named {name!r}{hint}")
        return self.tensors[name]

    def target(self, node: str) -> Any:
        """The operator of a graph node."""
        return self._nodes[node].target

    @cached_property
    def _roles(self) -> Mapping[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        for group in self.groups:
            for name, _ in group.members:
                found.setdefault(name, set()).add(group.role)
        return {name: frozenset(roles) for name, roles in found.items()}

    def roles_of(self, name: str) -> frozenset[str]:
        """The roles of the axes of a tensor, given by its first name."""
        return self._roles.get(name, frozenset())

    def pins_of(self, name: str, dim: int) -> frozenset[str]:
        """As `pins_on`, for one dim of a tensor."""
        return self.pins_on(self.tensor(name).axes[dim])

    def pins_on(self, axis: Axis) -> frozenset[str]:
        """The reasons for which the atoms of an axis are pinned; empty when some atom is not."""
        marks = [self._walk.solver.pinned.get(atom) for atom in atoms(axis)]
        return frozenset(mark.reason for mark in marks if mark) if all(marks) else frozenset()

    def input_dim(self, axis: Axis) -> int | None:
        """The dim of a model input (zero-based) of which a pinned axis is a part; None when there is not just one."""
        own = set(atoms(axis))
        found = {
            dim
            for node in self.captured.graph.nodes
            if node.op == "placeholder"
            for dim, known in enumerate(self._axes_at(node.name))
            if own and own <= set(atoms(self._walk.solver.resolve(known)))
        }
        return found.pop() if len(found) == 1 else None

    def node_axes(self, node: str) -> tuple[Axis, ...]:
        """The axes of the (first) result of a graph node."""
        return tuple(self._walk.solver.resolve(axis) for axis in self._axes_at(node))

    def stream(self, node: str) -> frozenset[Atom]:
        """The atoms that may be selected from in the (first) result of a graph node."""
        pinned = self._walk.solver.pinned
        return frozenset(atom for atom in self.all_atoms(node) if atom not in pinned)

    def all_atoms(self, node: str) -> frozenset[Atom]:
        """Every atom in the (first) result of a graph node, pinned ones too."""
        solver = self._walk.solver
        return frozenset(atom for axis in self._axes_at(node) for atom in atoms(solver.resolve(axis)))

    def positions(self, node: str) -> int:
        """How many elements the (first) result of a graph node has for one element of its stream."""
        solver = self._walk.solver
        sizes = [
            1 if any(atom not in solver.pinned for atom in atoms(solver.resolve(axis))) else axis.size
            for axis in self._axes_at(node)
        ]
        return math.prod(sizes)

    def axes_at(self, node: str) -> tuple[Axis, ...]:
        """The axes of the (first) result of a graph node."""
        return tuple(self._walk.solver.resolve(axis) for axis in self._axes_at(node))

    @cached_property
    def origins(self) -> Origins:
        """Which dim of which input positions come from, as far as the graph shows it."""
        return find_origins(self.captured, self._walk)

    @cached_property
    def neighbours(self) -> Mapping[str, Order]:
        """In which order a tensor, by its first name, reads neighbouring positions that are laid end to end."""
        return find_orders(self.captured)

    def node(self, name: str) -> Node:
        """A graph node by its name."""
        return self._nodes[name]

    def _axes_at(self, node: str) -> tuple[Axis, ...]:
        value = self._walk.values.get(self._nodes[node])
        return (value[0] if isinstance(value, list) else value).axes if value else ()

    def group_of(self, name: str, dim: int) -> tuple[CoupledGroup, ...]:
        """The coupled groups that make up one dim (zero-based), outermost first."""
        member = (self.tensor(name).name, dim)
        return tuple(group for group in self.groups if member in group.members)

    def index(self, name: str, dim: int, chosen: Mapping[CoupledGroup, torch.Tensor]) -> torch.Tensor:
        """The index list of a dim when each given group takes these elements, and others are whole.

        Args:
            name: A tensor of the model.
            dim: Zero-based dim.
            chosen: For a group, the zero-based elements to take, integers `[elements]`.
        Returns:
            Zero-based positions, int64 `[elements of the dim]`.
        """
        picks = {group.atom: elements.tolist() for group, elements in chosen.items()}
        return torch.tensor(list(positions(self.tensor(name).axes[dim], picks)), dtype=torch.int64, device="cpu")

    @cached_property
    def explainer(self) -> Explainer:
        """Finds the chains that tie places of a coupled group."""
        return Explainer(self._walk, self._nodes)

    def explain(self, first: Member, last: Member) -> Explanation:
        """The chain of graph nodes that ties two places, each given as (tensor name, zero-based dim).

        Raises:
            UnknownNameError: If a name does not exist or the two places share no coupled group.
        """
        one, two = ((self.tensor(name).name, dim) for name, dim in (first, last))
        for group in self.groups:
            if one in group.members and two in group.members:
                return self.explainer.explain(group, one, two)
        raise UnknownNameError(
            f"{first[0]} dim {first[1]} and {last[0]} dim {last[1]} share no coupled group: nothing in the graph "
            "ties them. `graph.groups` lists what is tied"
        )

    def free_fraction(self, *, anchored: bool = True) -> float:
        """Share of parameter elements in tensors with a free (or anchored) axis, from 0 to 1."""
        movable = [group for group in self.groups if group.free or (anchored and group.pinned is None)]
        names = {name for group in movable for name, _ in group.members}
        sizes = {s.name: s.tensor.numel() for s in self.captured.states if s.kind == "parameter"}
        return sum(n for name, n in sizes.items() if name in names) / max(1, sum(sizes.values()))

    def _repr_html_(self) -> str:
        kept = sum(group.pinned is not None for group in self.groups)
        free = sum(group.free for group in self.groups)
        line = (
            f"{len(self.own_names)} tensors, {len(self.groups)} coupled groups ({free} free, "
            f"{len(self.groups) - free - kept} anchored, {kept} pinned); {100 * self.free_fraction():.1f} % of the "
            "parameters can be selected from"
        )
        groups = [
            (group.size, group.role, group.status, ", ".join(f"{name}:{dim}" for name, dim in group.members[:3]))
            for group in self.groups
        ]
        tensors = [(name, list(self.tensors[name].shape), self.tensors[name].notation) for name in self.own_names]
        return notebook.card(
            "ModelGraph",
            line,
            notebook.table("Coupled groups", ("size", "role", "status", "first places"), groups),
            notebook.table("Tensors", ("name", "shape", "axes"), tensors, folded=True),
            notebook.table("Operators without a propagation rule", ("", ""), self.unknown_ops.items()),
        )

    def __repr__(self) -> str:
        free = sum(group.free for group in self.groups)
        unknown = f", {len(self.unknown_ops)} unknown operators" if self.unknown_ops else ""
        return f"ModelGraph({len(self.tensors)} tensors, {len(self.groups)} coupled groups, {free} free{unknown})"


def trace(model: nn.Module | Any, example_inputs: Any) -> ModelGraph:
    """Trace a model and work out which axes belong together.

    Args:
        model: Any `nn.Module`, `torch.fx.GraphModule` or `torch.export.ExportedProgram`.
        example_inputs: A tensor, a tuple, a dict of keyword arguments, or a shape.
    Raises:
        ExampleInputsError: If the inputs are missing or refused.
        CaptureError: If the model cannot be run.

    >>> graph = trace(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), (1, 4))
    >>> graph.tensors["2.weight"].notation
    'label hidden'
    """
    with paused_garbage_collection():
        return ModelGraph(capture(model, example_inputs))


@contextmanager
def paused_garbage_collection() -> Iterator[None]:
    """A graph is many small objects that stay alive: full collections while it grows make time superlinear."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
