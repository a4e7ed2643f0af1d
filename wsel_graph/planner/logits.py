"""Products of queries and keys, library attention and written out: by which number they are multiplied."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import fx

from wsel_graph.axes import Axis
from wsel_graph.planner.operands import Reader, arguments, moves, shape, stays, word


@dataclass(frozen=True, slots=True)
class Product:
    """Scores of queries and keys.

    Attributes:
        node: The graph node that multiplies them.
        sides: The two operands, queries first.
        scale: What the product is multiplied by before it goes through a softmax or another curve.
        axis: The axis that is summed over.
    """

    node: fx.Node
    sides: tuple[fx.Node, fx.Node]
    scale: float
    axis: Axis


def products(reader: Reader) -> Iterator[Product]:
    """Every attention product of a model, in order of execution."""
    for node in reader.nodes:
        if "scaled_dot_product" in word(node):
            yield _library(reader, node)
        elif word(node) in ("_softmax", "softmax", "_safe_softmax"):
            found = list(_written(reader, node.args[0], 1.0))
            if len(found) == 1:  # several products that are added have no scale in common
                yield found[0]


def _library(reader: Reader, node: fx.Node) -> Product:
    bound = arguments(node)
    query, key = bound["query"], bound["key"]
    scale = bound.get("scale")
    factor = 1 / math.sqrt(shape(query)[-1]) if scale is None else float(scale)
    return Product(node, (query, key), factor, reader.graph.axes_at(query.name)[-1])


def _written(reader: Reader, value: Any, factor: float) -> Iterator[Product]:
    """The products that a value is made of, through numbers, masks and biases."""
    while isinstance(value, fx.Node) and value not in reader.overwritten:
        name = word(value)
        if stays(value) or moves(value):
            value = value.args[0]
        elif name in ("mul", "div", "true_divide") and (step := _step(reader, value)) is not None:
            factor *= step[1]
            value = step[0]
        elif name == "tanh":  # what follows a cap on the scores is the same in both models, or no matter of scale
            value, factor = value.args[0], 1.0
        elif name in ("add", "sub", "where", "masked_fill", "maximum"):
            for operand in value.all_input_nodes:
                yield from _written(reader, operand, factor)
            return
        else:
            product = _product(reader, value) if name in ("bmm", "matmul", "baddbmm", "einsum") else None
            if product is not None:
                yield replace(product, scale=product.scale * factor)
            return


def _step(reader: Reader, node: fx.Node) -> tuple[Any, float] | None:
    bound = arguments(node)
    by = reader.number(bound["other"])
    if by is not None and by != 0:
        return bound["self"], 1 / by if "div" in word(node) else by
    by = reader.number(bound["self"]) if word(node) == "mul" else None
    return None if by is None else (bound["other"], by)


def _product(reader: Reader, node: fx.Node) -> Product | None:
    """A contraction of two activations over one axis."""
    bound, scale = arguments(node), 1.0
    if word(node) == "baddbmm":
        sides, scale = (bound["batch1"], bound["batch2"]), float(bound["alpha"])
    elif word(node) == "bmm":
        sides = bound["self"], bound["mat2"]
    elif word(node) == "matmul":
        sides = bound["self"], bound["other"]
    else:
        sides = tuple(bound["tensors"])
    if len(sides) != 2 or any(not isinstance(side, fx.Node) or side not in reader.fed for side in sides):
        return None
    place = _contracted(str(bound["equation"])) if word(node) == "einsum" else -1
    axes = reader.graph.axes_at(sides[0].name)
    return None if place is None or not axes else Product(node, (sides[0], sides[1]), scale, axes[place])


def _contracted(equation: str) -> int | None:
    """The dim of the first operand of an einsum that it sums over with the second.

    >>> _contracted("bqhd,bkhd->bhqk")
    3
    """
    inputs, _, output = equation.replace(" ", "").partition("->")
    first, _, second = inputs.partition(",")
    summed = [dim for dim, letter in enumerate(first) if letter in second and letter not in output]
    return summed[0] if len(summed) == 1 else None
