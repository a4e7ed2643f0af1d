"""From an operand of an attention product back to the parameters that it is proportional to.

Between a projection (or the gain of a norm) and the product lie changes of layout, numbers, and rotary codes: all of
them linear, so that a factor on the parameters is a factor on the operand.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import fx

from wsel_graph.planner.operands import Reader, arguments, moves, shape, stays, word


class NotLinear(Exception):
    """The way back from an operand meets what no factor passes; says what."""


@dataclass(frozen=True, slots=True)
class Weight:
    """A parameter of an origin.

    Attributes:
        node: The node that fetches it.
        dim: Its dim of output features; None where a factor goes to all of it.
        start: The number of its first feature, where several are laid end to end.
    """

    node: fx.Node
    dim: int | None = None
    start: int = 0

    @property
    def name(self) -> str:
        """Its first name."""
        return str(self.node.meta["state"])


@dataclass(frozen=True, slots=True)
class Origin:
    """A place where parameters make an operand.

    Attributes:
        node: What the parameters make: all that lies between it and the product is linear.
        weights: Parameters that a factor goes to.
        feature: Dim of the node's result that holds the features which the weights' dims number; None for none.
    """

    node: fx.Node
    weights: tuple[Weight, ...]
    feature: int | None


@dataclass(frozen=True, slots=True)
class Operand:
    """What an operand of a product is made of.

    Attributes:
        factor: The product of all numbers on the way.
        origins: Where it comes from.
        path: The nodes in between, the operand itself among them.
    """

    factor: float
    origins: frozenset[Origin]
    path: frozenset[fx.Node]


class Tracer:
    """Traces operands of one model's graph."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[fx.Node, Operand | NotLinear] = {}

    def trace(self, node: fx.Node) -> Operand:
        """What a node is made of.

        Raises:
            NotLinear: If it is not proportional to parameters, or they cannot be found.
        """
        if node not in self._known:
            try:
                self._known[node] = self._trace(node)
            except NotLinear as fault:
                self._known[node] = fault
        found = self._known[node]
        if isinstance(found, NotLinear):
            raise found
        return replace(found, path=found.path | {node})

    def _trace(self, node: fx.Node) -> Operand:
        if node in self._reader.overwritten:
            raise NotLinear(f"{node.name} is written to in place")
        if self._reader.parameter(node) is node:
            return _begins(Origin(node, (Weight(node),), None))
        if node.target is operator.getitem and isinstance(node.args[0], fx.Node):
            return self._part(node, node.args[0])
        if stays(node) or moves(node):
            return self.trace(_node(node.args[0]))
        name = word(node)
        if name in _ORIGINS:
            return _begins(self._made(node, _ORIGINS[name](arguments(node))))
        if name in _STEPS:
            return _STEPS[name](self, node, arguments(node))
        raise NotLinear(f"it passes {name or node.op} at {node.name}")

    def _part(self, node: fx.Node, whole: fx.Node) -> Operand:
        if moves(whole):
            return self.trace(_node(whole.args[0]))
        if word(whole) in _NORMS and node.args[1] == 0:
            return _begins(self._made(node, _NORMS[word(whole)](whole, arguments(whole))))
        raise NotLinear(f"it passes {word(whole)} at {whole.name}")

    def _made(self, node: fx.Node, parts: tuple[Any, int | None, Any, int | None]) -> Origin:
        weight, dim, bias, feature = parts
        if weight is None:
            raise NotLinear(
                f"it passes {word(node) or 'a norm'} at {node.name}, which has no gain to fold a factor into"
            )
        held = [self._weight(node, weight, dim)]
        if bias is not None:
            held.extend(self._biases(node, bias, None if dim is None else 0))
        return Origin(node, tuple(held), feature)

    def _weight(self, node: fx.Node, value: Any, dim: int | None) -> Weight:
        fetched = self._reader.parameter(value)
        turned = fetched is not value and _turned(value) and value.args[0] is fetched
        if fetched is None or (dim is not None and fetched is not value and not turned):
            raise NotLinear(f"what the operand is multiplied by at {node.name} is no parameter as it is")
        return Weight(fetched, 1 - dim if dim is not None and turned else dim)

    def _biases(self, node: fx.Node, value: Any, dim: int | None) -> Iterator[Weight]:
        """One parameter, or several and fixed ones laid end to end."""
        if word(value) != "cat" or dim is None or len(shape(value)) != 1:
            yield self._weight(node, value, dim)
            return
        start = 0
        for part in value.args[0]:
            if part in self._reader.varying:
                yield replace(self._weight(node, part, 0), start=start)
            start += shape(part)[0]

    # -- steps

    def _scaled(self, node: fx.Node, bound: dict[str, Any]) -> Operand:
        one, other = bound["self"], bound["other"]
        pairs = [(one, other)] if "div" in word(node) else [(one, other), (other, one)]
        for data, by in pairs:
            if (number := self._reader.number(by)) is not None and number != 0:
                found = self.trace(_node(data))
                return replace(found, factor=found.factor * (1 / number if "div" in word(node) else number))
            if (gain := self._reader.parameter(by)) is not None and "mul" in word(node):
                return _begins(Origin(node, (Weight(gain),), None))
            if isinstance(by, fx.Node) and by not in self._reader.varying and "mul" in word(node):
                return self.trace(_node(data))  # a rotary code
        raise NotLinear(f"it passes {word(node)} of two values at {node.name}")

    def _sum(self, node: fx.Node, bound: dict[str, Any]) -> Operand:
        one, other = _node(bound["self"]), _node(bound["other"])
        for data, by in ((one, other), (other, one)):
            if self._reader.parameter(by) is not None and data in self._reader.fed:
                return self._with_bias(self.trace(data), _node(self._reader.parameter(by)))
        return self._joined([self.trace(one), self.trace(other)], node)

    def _with_bias(self, found: Operand, bias: fx.Node) -> Operand:
        """An operand with a bias added: of one origin, the bias has its features."""
        (origin, *others) = found.origins
        if others:
            raise NotLinear(f"{bias.name} is added to values of several origins")
        alike = origin.feature is not None and shape(bias) == (shape(origin.node)[origin.feature],)
        made = replace(origin, weights=(*origin.weights, Weight(bias, 0 if alike else None)))
        return replace(found, origins=frozenset({made}))

    def _cat(self, node: fx.Node, bound: dict[str, Any]) -> Operand:
        parts = [part for part in bound["tensors"] if math.prod(shape(part))]  # an empty cache adds nothing
        return self._joined([self.trace(part) for part in parts], node)

    def _joined(self, parts: list[Operand], node: fx.Node) -> Operand:
        if any(not math.isclose(part.factor, parts[0].factor, rel_tol=1e-9) for part in parts):
            raise NotLinear(f"values of different scale meet at {node.name}")
        origins = frozenset().union(*(part.origins for part in parts))
        if len({origin.node for origin in origins}) < len(origins):
            raise NotLinear(f"values with and without a bias meet at {node.name}")
        return Operand(parts[0].factor, origins, frozenset().union(*(part.path for part in parts)))

    def _same(self, node: fx.Node, bound: dict[str, Any]) -> Operand:
        return self.trace(_node(bound["self"]))


def _node(value: Any) -> fx.Node:
    if not isinstance(value, fx.Node):
        raise NotLinear("it is a number")
    return value


def _begins(origin: Origin) -> Operand:
    return Operand(1.0, frozenset({origin}), frozenset({origin.node}))


def _turned(value: fx.Node) -> bool:
    """Whether a value is a transposed matrix."""
    return word(value) in ("t", "transpose", "numpy_T", "mT", "permute") and len(shape(value)) == 2


_Parts = tuple[Any, int | None, Any, int | None]
_ORIGINS: dict[str, Callable[[Any], _Parts]] = {
    "linear": lambda a: (a["weight"], 0, a["bias"], -1),
    "addmm": lambda a: (a["mat2"], 1, a["self"], -1),
    "mm": lambda a: (a["mat2"], 1, None, -1),
    "matmul": lambda a: (a["other"], 1, None, -1),
    "einsum": lambda a: (_weight_of(a), None, None, None),
    "convolution": lambda a: (None if a["transposed"] else a["weight"], 0, a["bias"], 1),
    "batch_norm": lambda a: (a["weight"], 0, a["bias"], 1),
    "layer_norm": lambda a: (a["weight"], None, a["bias"], None),
    "rms_norm": lambda a: (a["weight"], None, None, None),
}
"""For operators that make an operand: weight, dim of its output features, bias, and dim of them in the result."""

_NORMS: dict[str, Callable[[fx.Node, Any], _Parts]] = {
    "native_layer_norm": lambda node, a: (a["weight"], None, a["bias"], None),
    "_fused_rms_norm": lambda node, a: (a["weight"], None, None, None),
    "native_batch_norm": lambda node, a: (a["weight"], 0, a["bias"], 1),
    "_native_batch_norm_legit_no_training": lambda node, a: (a["weight"], 0, a["bias"], 1),
    "_batch_norm_no_update": lambda node, a: (a["weight"], 0, a["bias"], 1),
    "native_group_norm": lambda node, a: (a["weight"], 0, a["bias"], 1),
}


def _weight_of(bound: Any) -> Any:
    """The operand of an einsum that is fetched as it is."""
    if len(bound["tensors"]) != 2:
        raise NotLinear("it passes an einsum of several values")
    return next((value for value in bound["tensors"] if value.op == "get_attr"), bound["tensors"][1])


_STEPS: dict[str, Callable[[Tracer, fx.Node, Any], Operand]] = {
    "mul": Tracer._scaled, "div": Tracer._scaled, "true_divide": Tracer._scaled, "add": Tracer._sum,
    "sub": Tracer._sum, "cat": Tracer._cat, "stack": Tracer._cat, "neg": Tracer._same,
    "repeat_interleave": Tracer._same, "repeat": Tracer._same, "dropout": Tracer._same,
}  # fmt: skip
