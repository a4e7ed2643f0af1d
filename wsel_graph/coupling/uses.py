"""Where a graph uses its parameters and buffers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import fx

from wsel_graph.capture.trace import Captured

_aten = torch.ops.aten

# Operators that hand a tensor on: what follows them is the use.
_TRANSPARENT = frozenset(
    {
        "aten::view", "aten::permute", "aten::transpose", "aten::t", "aten::expand", "aten::unsqueeze", "aten::squeeze",
        "aten::clone", "aten::_to_copy", "aten::detach", "aten::alias", "aten::_unsafe_view", "aten::reshape",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Use:
    """The first operator that takes a tensor, and as which argument."""

    operator: str
    argument: str

    def __str__(self) -> str:
        return f"{self.argument} of {self.operator}"


def first_uses(captured: Captured) -> dict[str, Use]:
    """The use of every state that the forward pass uses, in order of execution."""
    origin: dict[fx.Node, str] = {}
    uses: dict[str, Use] = {}
    for node in captured.graph.nodes:
        if node.op == "get_attr" and "state" in node.meta:
            origin[node] = node.meta["state"]
        elif node.op == "call_function":
            _note(node, origin, uses)
    return uses


def _note(node: fx.Node, origin: dict[fx.Node, str], uses: dict[str, Use]) -> None:
    schema = getattr(node.target, "_schema", None)
    sources = [source for source in node.all_input_nodes if source in origin]
    if not sources or schema is None:
        return
    if schema.name in _TRANSPARENT and node.users:
        origin[node] = origin[sources[0]]
        return
    for source in sources:
        uses.setdefault(origin[source], Use(str(schema.name), _argument(node, source, schema)))


def _argument(node: fx.Node, source: fx.Node, schema: torch.FunctionSchema) -> str:
    for argument, value in zip(schema.arguments, node.args, strict=False):
        if value is source:
            return str(argument.name)
        if isinstance(value, (list, tuple)) and source in value:
            return f"{argument.name}[{value.index(source)}]"
    return next((name for name, value in node.kwargs.items() if value is source), "")
