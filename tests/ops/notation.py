"""What rules say about calls and chains of calls, as text: `"a (b c) -> b a c"`.

Free atoms are lower case letters in order of appearance, pinned and anchored ones upper case; `()` is a scalar.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tests.ops.equivariance import Case, follow
from wsel_graph.axes import Axis, AxisSolver, atoms, format_axes
from wsel_graph.capture.trace import capture
from wsel_graph.coupling.propagate import propagate


def shown(call: Case) -> str:
    """Axes of the operands and results of one call."""
    followed = follow(call)
    return _text(followed.solver, [axes for _, axes in followed.operands], followed.results)


def said(function: Callable[..., Any], *shapes: tuple[int, ...]) -> str:
    """Axes of the arguments and results of a Python function on floating point tensors, captured and walked."""
    walk = propagate(capture(_Function(function, shapes), (1,)))
    operands = [walk.states[f"arguments.{i}"] for i in range(len(shapes))]
    return _text(walk.solver, operands, walk.outputs)


class _Function(nn.Module):
    """A function whose arguments are parameters: their axes are free, where those of inputs are pinned."""

    def __init__(self, function: Callable[..., Any], shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self.arguments = nn.ParameterList(torch.rand(shape) for shape in shapes)
        self.function = function

    def forward(self, _: Tensor) -> Any:
        return self.function(*self.arguments)


def _text(solver: AxisSolver, operands: Iterable[Sequence[Axis]], results: Iterable[Sequence[Axis]]) -> str:
    sides = [[tuple(map(solver.resolve, axes)) for axes in side] for side in (operands, results)]
    found = dict.fromkeys(atom for side in sides for axes in side for axis in axes for atom in atoms(axis))
    marked = {*solver.pinned, *solver.anchored}
    names = {a: _letters(i, upper=a in marked) for i, a in enumerate(found)}
    return " -> ".join(", ".join(format_axes(axes, names) or "()" for axes in side) for side in sides).strip()


def _letters(i: int, *, upper: bool) -> str:
    return (string.ascii_uppercase if upper else string.ascii_lowercase)[i]
