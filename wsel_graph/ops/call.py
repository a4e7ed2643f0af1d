"""What a propagation rule sees: one operator call with axes instead of tensors, and the verbs it may use.

A rule reads axes from the call's arguments, states which are the same, which are taken whole and why,
and returns the axes of each output tensor. Rules never touch tensors and never look at other calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from wsel_graph.axes import UNIT, Axis, AxisSolver, concat, product

Axes: TypeAlias = tuple[Axis, ...]
Outputs: TypeAlias = Axes | list[Axes]
"""One output tensor: its axes. Several: a list of axes."""


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor argument as a rule sees it."""

    axes: Axes
    shape: tuple[int, ...]
    constant: bool  # made of constants alone: neither inputs nor parameters took part
    state: bool  # a parameter or buffer, possibly viewed differently: not an activation
    mask: bool  # boolean (or byte) elements
    filled: bool  # all elements equal: made by a constant-filling operator
    contiguous: bool = True  # row-major in memory

    @property
    def dim(self) -> int:
        """Number of dims."""
        return len(self.axes)


@dataclass(frozen=True, slots=True)
class Call:
    """One operator call.

    `arguments` are bound by the operator's schema, defaults filled in; tensors appear as `Value`.
    """

    op: Any
    arguments: Mapping[str, Any]
    shapes: tuple[tuple[int, ...], ...]  # of the output tensors
    used: Callable[[int], bool]  # whether output number i is used
    solver: AxisSolver
    roles: list[tuple[Axis, str]]
    consumed: list[Axis]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The argument `name`, or `default` when the schema has none of that name."""
        return self.arguments.get(name, default)

    @property
    def tensors(self) -> list[Value]:
        """All tensor arguments in schema order, lists opened."""
        found: list[Value] = []
        for value in self.arguments.values():
            items = value if isinstance(value, (list, tuple)) else (value,)
            found.extend(item for item in items if isinstance(item, Value))
        return found

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first output."""
        return self.shapes[0]

    # -- verbs

    def unify(self, left: Axis, right: Axis) -> None:
        """The two axes are the same; sizes must be equal."""
        self.solver.unify(left, right)

    def couple(self, left: Axis, right: Axis) -> None:
        """The two axes are the same if they have the same size; otherwise both are opaque."""
        if left.size == right.size:
            self.solver.unify(left, right)
        else:
            self.pin(left, "opaque")
            self.pin(right, "opaque")

    def pin(self, axis: Axis, reason: str) -> None:
        """The axis is taken whole."""
        self.solver.pin(axis, reason)

    def pin_all(self, *values: Value, reason: str = "opaque") -> None:
        """Every axis of these tensors is taken whole."""
        for value in values:
            for axis in value.axes:
                self.solver.pin(axis, reason)

    def pinned(self, size: int, reason: str) -> Axis:
        """A new axis that is taken whole."""
        return self.solver.fresh(size, pinned=reason)

    def fresh(self, size: int) -> Axis:
        """A new free axis."""
        return self.solver.fresh(size)

    def anchored(self, size: int) -> Axis:
        """A new axis whose positions carry fixed values."""
        return self.solver.fresh(size, anchored="fixed values")

    def anchor(self, *axes: Axis) -> None:
        """Values that differ from element to element (a random mask, say) meet the axes."""
        for axis in axes:
            self.solver.anchor(axis, "fixed values")

    def split(self, axis: Axis, tail: int) -> tuple[Axis, Axis]:
        """Read the axis as `(head tail)`."""
        return self.solver.split(axis, tail)

    def span(self, axis: Axis, start: int, stop: int) -> Axis:
        """Positions `start` to `stop` (zero-based, stop excluded) of the axis."""
        right = self.solver.cut(axis, start)[1]
        return self.solver.cut(right, stop - start)[0]

    def consume(self, *axes: Axis) -> None:
        """The axes are summed over or normalised: their elements are features, not labels."""
        self.consumed.extend(axes)

    def role(self, axis: Axis, name: str) -> None:
        """Suggest a readable role."""
        self.roles.append((axis, name))

    def broadcast(self, *operands: Sequence[Axis]) -> Axes:
        """Axes of operands broadcast against each other; axes of size 1 never couple."""
        rank = max((len(axes) for axes in operands), default=0)
        result: list[Axis] = [UNIT] * rank
        for axes in operands:
            for i, axis in enumerate(axes, start=rank - len(axes)):
                if result[i].size == 1:
                    result[i] = axis
                elif axis.size != 1:
                    self.unify(result[i], axis)
        return tuple(result)

    def pinned_axes(self, shape: Sequence[int], reason: str = "opaque") -> Axes:
        """New axes of the given sizes, all taken whole."""
        return tuple(self.pinned(size, reason) for size in shape)


__all__ = ["UNIT", "Axes", "Axis", "Call", "Outputs", "Value", "concat", "product"]
