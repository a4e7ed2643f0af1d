"""Where the activations of a coupled group can be seen: graph nodes of whose results it is an axis.

What a network makes of an element shows where the element is consumed: as input of a contraction with a parameter
(linear, convolution, matrix product, recurrent layer). A group that no parameter consumes (labels; channels of queries,
which meet keys) is looked at where it comes into being. Places are found by axes, never by names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import fx

from wsel_graph.axes import Atom, Axis, Concat, Product, atoms
from wsel_graph.capture.trace import Captured
from wsel_graph.coupling.groups import CoupledGroup
from wsel_graph.coupling.propagate import Propagation
from wsel_graph.ops import Value, find_rule

_CONTRACTIONS = frozenset(f"wsel_graph.ops.{family}" for family in ("contraction", "convolution", "recurrent"))
"""Families of propagation rules whose operators sum over an axis of a parameter; norms reduce, but do not contract."""

_OBSERVED = (None, "label", "input")
"""Why a group may be pinned and still be looked at: other pinned axes change with the inputs, or are no features."""


@dataclass(frozen=True, slots=True)
class Place:
    """One dim of one graph node's (first) result.

    Attributes:
        node: The node's number in order of execution, zero-based, the output node not counted.
        dim: Zero-based.
        before: The node before which it must be read; later ones may write to its memory.
        axis: What the dim is made of.
        words: `into blocks.0.mlp.fc2`: the module that consumes it; `out of` where it comes into being.
    """

    node: int
    dim: int
    before: int
    axis: Axis
    words: str


def find_places(
    captured: Captured, walk: Propagation, groups: Iterable[CoupledGroup]
) -> Mapping[CoupledGroup, tuple[Place, ...]]:
    """The places of every coupled group, in order of execution; no entry for a group that has none."""
    finder = _Finder(captured, walk)
    consumed, made = finder.consumed(), finder.made()
    found = {}
    for group in groups:
        places = consumed.get(group.atom) or made.get(group.atom)
        if places and group.pinned in _OBSERVED:
            found[group] = tuple(places.values())
    return found


_Found = dict[Atom, dict[tuple[int, int], Place]]


class _Finder:
    def __init__(self, captured: Captured, walk: Propagation) -> None:
        self._walk = walk
        self._nodes = [node for node in captured.graph.nodes if node.op != "output"]
        self._numbers = {node: number for number, node in enumerate(self._nodes)}

    def consumed(self) -> _Found:
        """Operands of contractions with a parameter, each once, however many operators read it."""
        found: _Found = {}
        for node, axes in self._walk.consumed_at.items():
            if not _contracts(node.target):
                continue
            summed = {atom for axis in axes for atom in self._atoms(axis)}
            operands = [(operand, self._value(operand)) for operand in node.all_input_nodes]
            held = {
                atom for _, value in operands if value is not None and value.state for atom in self._atoms_of(value)
            }
            for operand, value in operands:
                if value is not None and _is_activation(value):
                    self._add(found, operand, value, self._numbers[node], summed & held, f"into {_module(node)}")
        return found

    def made(self) -> _Found:
        """Results that get an atom from a parameter; the axis may have been there before, its elements all alike."""
        found: _Found = {}
        got: dict[fx.Node, set[Atom]] = {}  # what parameters brought into every activation
        for number, node in enumerate(self._nodes):
            value = self._walk.values.get(node)
            if not isinstance(value, Value) or not _is_activation(value):
                continue  # one of several results is looked at where it is taken out
            operands = self._operands(node)
            before = {atom for operand in operands for atom in got.get(operand, ())}
            states = [known for operand in operands if (known := self._value(operand)) is not None and known.state]
            own = set(self._atoms_of(value))
            new = own.intersection(atom for state in states for atom in self._atoms_of(state)) - before
            got[node] = (before | new) & own
            self._add(found, node, value, number + 1, new, f"out of {_module(node)}")
        return found

    def _operands(self, node: fx.Node) -> list[fx.Node]:
        """What a node is made of; for one of several results, what the operator that gives them read."""
        source = node.args[0] if node.args else None
        several = isinstance(source, fx.Node) and isinstance(self._walk.values.get(source), list)
        return (source if several else node).all_input_nodes  # type: ignore[union-attr]

    def _add(self, found: _Found, node: fx.Node, value: Value, before: int, wanted: set[Atom], words: str) -> None:
        number = self._numbers[node]
        for dim, axis in enumerate(value.axes):
            resolved = self._walk.solver.resolve(axis)
            for atom in wanted.intersection(atoms(resolved)):
                if not _squared(resolved, atom):
                    place = Place(number, dim, before, resolved, words)
                    found.setdefault(atom, {}).setdefault((number, dim), place)

    def _value(self, node: fx.Node) -> Value | None:
        value = self._walk.values.get(node)
        if isinstance(value, list):
            return value[0] if value else None
        return value

    def _atoms(self, axis: Axis) -> Iterator[Atom]:
        return atoms(self._walk.solver.resolve(axis))

    def _atoms_of(self, value: Value) -> Iterator[Atom]:
        return (atom for axis in value.axes for atom in self._atoms(axis))


def _is_activation(value: Value) -> bool:
    return not (value.state or value.constant)


def _contracts(operator: Any) -> bool:
    """Whether an operator sums products; a rule of the user's own that consumes an axis is taken to do so."""
    rule = find_rule(operator)
    return rule is not None and (rule.__module__ in _CONTRACTIONS or not rule.__module__.startswith("wsel_graph.ops."))


def _module(node: fx.Node) -> str:
    return node.meta.get("module") or "(top level)"


def _squared(axis: Axis, atom: Atom) -> bool:
    """Whether some position of the axis belongs to two elements of the atom, as in `(a a)`."""
    if isinstance(axis, Concat):
        return any(_squared(part, atom) for part in axis.parts)
    if isinstance(axis, Product):
        inside = [factor for factor in axis.factors if atom in atoms(factor)]
        return len(inside) > 1 or any(_squared(factor, atom) for factor in inside)
    return False


def element_of(axis: Axis, atom: Atom) -> list[int]:
    """For every position of an axis the element of the atom that it belongs to, -1 for none.

    >>> h, d = Atom(2), Atom(3)
    >>> element_of(Product((h, d), 6), h), element_of(Concat((d, h, d), 8), d)
    ([0, 0, 0, 1, 1, 1], [0, 1, 2, -1, -1, 0, 1, 2])
    """
    if isinstance(axis, Atom):
        return list(range(axis.size)) if axis is atom else [-1] * axis.size
    if isinstance(axis, Concat):
        return [element for part in axis.parts for element in element_of(part, atom)]
    found = [-1]
    for factor in axis.factors:
        inner = element_of(factor, atom)
        found = [max(outer, element) for outer in found for element in inner]
    return found
