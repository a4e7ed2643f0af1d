"""A parameter as an operator sees it, by numbering: which of its elements lies where.

Views of a parameter (transposes, slices, reshapes) are replayed on a tensor that holds the number of every element.
So no layout has to be understood, and what was fitted can be written back through any chain of views.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import fx

from wsel_graph.capture.program import Program

VIEWS = frozenset(
    {
        "aten::t", "aten::permute", "aten::transpose", "aten::view", "aten::reshape", "aten::_unsafe_view",
        "aten::slice", "aten::select", "aten::narrow", "aten::unsqueeze", "aten::squeeze", "aten::clone",
        "aten::contiguous", "aten::detach", "aten::alias", "aten::flatten", "aten::numpy_T", "aten::movedim",
    }
)  # fmt: skip
"""Operators that rearrange or cut their first operand, all other arguments being literals."""


def schema_name(node: fx.Node) -> str:
    """`aten::linear`; nothing for nodes that are no ATen operator."""
    return str(getattr(getattr(node.target, "_schema", None), "name", ""))


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One parameter or buffer as an operator sees it.

    Attributes:
        name: Its first name.
        numbers: For every element that is seen, its place in the flattened parameter; int64, the shape that is seen.
    """

    name: str
    numbers: torch.Tensor

    def read(self, values: torch.Tensor) -> torch.Tensor:
        """What the operator sees of these values of the parameter."""
        return values.detach().reshape(-1)[self.numbers.to(values.device)]

    def write(self, values: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """The parameter's values with what the operator sees replaced; `values` is left as it is."""
        changed = values.detach().clone().reshape(-1)
        changed[self.numbers.reshape(-1).to(values.device)] = seen.reshape(-1).to(changed)
        return changed.reshape(values.shape)


def seen_parameter(program: Program, operand: object) -> Seen | None:
    """The parameter behind an operand, when nothing but views lies between; None otherwise."""
    chain: list[fx.Node] = []
    node = operand
    while isinstance(node, fx.Node) and node.op == "call_function" and schema_name(node) in VIEWS:
        chain.append(node)
        node = node.args[0]
    if not isinstance(node, fx.Node) or "state" not in node.meta:
        return None
    tensor = program.attribute(node)
    numbers = torch.arange(tensor.numel(), device="cpu").reshape(tensor.shape)
    for view in reversed(chain):
        if any(isinstance(value, fx.Node) for value in (*view.args[1:], *view.kwargs.values())):
            return None
        numbers = view.target(numbers, *view.args[1:], **view.kwargs)  # type: ignore[operator]
    return Seen(str(node.meta["state"]), numbers)
