"""Which features of a projection an operand of a product is made of, and whether anything else reads them."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx

from wsel_graph.planner.operands import moves, shape, stays, word
from wsel_graph.planner.sources import NotLinear, Operand, Origin


def rows(origin: Origin, operand: Operand, side: fx.Node, product: fx.Node) -> tuple[int, ...] | None:
    """The features of an origin that reach an operand of a product; None for all of them.

    Args:
        side: The node that the product reads as this operand.
    Raises:
        NotLinear: If any of them reaches something else too, so that a factor on them would change that.
    """
    numbers = _numbered(origin)
    own, others, followed = set[int](), set[int](), {origin.node}
    for source, user, index in _readers(origin.node, numbers, operand.path, followed):
        inside = user in operand.path or (user is product and source is side and _times_read(product, side) == 1)
        (own if inside else others).update(torch.unique(index).tolist())
    for node in sorted(operand.path - followed, key=lambda node: node.name):
        if outside := [user for user in node.users if user is not product and user not in operand.path]:
            raise NotLinear(f"{node.name} is read by {outside[0].name} too")
    if own & others or not own:
        raise NotLinear(f"some of {origin.node.name} is read elsewhere too")
    everything = own == set(range(int(numbers.max()) + 1))
    if not everything and any(weight.dim is None for weight in origin.weights):
        raise NotLinear(f"a part of {origin.weights[0].name} is used on its own")
    return None if everything else tuple(sorted(own))


def _times_read(node: fx.Node, operand: fx.Node) -> int:
    """How often a node reads another: queries may be keys or values too."""
    found: list[fx.Node] = []
    fx.node.map_arg((node.args, dict(node.kwargs)), found.append)
    return found.count(operand)


def _numbered(origin: Origin) -> torch.Tensor:
    """The number of the feature that every element of an origin's result is; all 0 where they are not told apart."""
    sizes = shape(origin.node)
    if origin.feature is None:
        return torch.zeros(sizes, dtype=torch.int64, device="cpu")
    dim = origin.feature % len(sizes)
    return torch.arange(sizes[dim], device="cpu").view(-1, *([1] * (len(sizes) - dim - 1))).expand(sizes)


def _readers(
    node: fx.Node, index: torch.Tensor, path: frozenset[fx.Node], followed: set[fx.Node]
) -> Iterator[tuple[fx.Node, fx.Node, torch.Tensor]]:
    """Who reads a value, changes of layout passed through, with the node it reads and the feature numbers in it.

    Args:
        path: Nodes whose elementwise operators are passed through too.
        followed: Receives the nodes that were passed through.
    """
    todo: list[tuple[fx.Node, Any]] = [(node, index)]
    while todo:
        source, value = todo.pop()
        for user in source.users:
            moved = value if user in path and _keeps_features(user, value) else _moved(user, source, value)
            if moved is None:
                yield source, user, value
            else:
                followed.add(user)
                todo.append((user, moved))


def _keeps_features(node: fx.Node, value: Any) -> bool:
    """Whether every element of a node is made of the elements of its operands at the same place."""
    elementwise = word(node) in ("add", "sub", "mul", "div", "true_divide", "neg")
    return elementwise and isinstance(value, torch.Tensor) and shape(node) == tuple(value.shape)


def _moved(node: fx.Node, source: fx.Node, value: Any) -> Any:
    """A value after a change of layout; None after anything else, or what cannot be done with numbers."""
    if node.target is operator.getitem:
        return value[node.args[1]]
    if not moves(node) or node.args[0] is not source:
        return None
    if stays(node):
        return value
    if word(node) in ("view", "_unsafe_view", "reshape"):
        return value.reshape(node.args[1])
    try:
        return node.target(value, *node.args[1:], **node.kwargs)  # type: ignore[operator]
    except Exception:
        return None  # such as a view as complex numbers: from there on everything counts as read
