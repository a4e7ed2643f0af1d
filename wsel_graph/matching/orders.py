"""In which order parts of one value are laid together: pooled by mean and by maximum, sines and cosines, two inputs.

Sizes and axes do not tell such parts apart, and neither do the edges of the component graph where all parts come from
one node, or from inputs. What happens to each part does. Two models in which the same parts come in another order do
not correspond there; where their parts differ in any other way, nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import fx

from wsel_graph.capture.schemas import bind
from wsel_graph.matching import operators as ops
from wsel_graph.matching.components import UNORDERED, ComponentGraph, Mark, Order
from wsel_graph.matching.consistency import branches
from wsel_graph.matching.signature import digest
from wsel_graph.matching.values import Fixed, Flow, Operand, Value, disjoint

_LAID = frozenset({"aten::cat", "aten::concat", "aten::concatenate", "aten::stack"})
_SIZED = frozenset({"aten::view", "aten::reshape", "aten::_unsafe_view", "aten::expand", "aten::_reshape_alias"})


def way_of(node: fx.Node, operands: Sequence[Operand]) -> str:
    """A hash of an operator and of how its operands were made, without the sizes of views."""
    name = ops.name_of(node.target)
    settings = () if name in _SIZED else fx.node.map_arg((node.args, dict(node.kwargs)), lambda _: None)
    made = [(argument, value.way if isinstance(value, (Fixed, Flow)) else "") for argument, value in operands]
    return digest(name, settings, made)


def made_of(node: fx.Node, label: str, operands: Sequence[Operand]) -> str:
    """A hash of all that a node of the component graph is made of, back to the inputs."""
    made = [(argument, _made(value)) for argument, value in operands]
    if label in UNORDERED:
        made = sorted(("", own) for _, own in made)
    settings = () if label in UNORDERED else fx.node.map_arg((node.args, dict(node.kwargs)), lambda _: None)
    return digest(label, settings, made)


def _made(value: Value) -> str:
    match value:
        case Flow():
            return digest(value.made, value.way)
        case Fixed():
            return value.way
    return value.shown()


def orders_of(node: fx.Node, operands: Sequence[Operand]) -> tuple[Order, ...]:
    """The orders that operands bring along, and the one that the node adds."""
    held = [value.orders for _, value in operands]
    return tuple(dict.fromkeys(order for own in (*held, _added(node, operands)) for order in own))


def laid_together(node: fx.Node) -> bool:
    """Whether an operator lays its operands end to end."""
    return ops.name_of(node.target) in _LAID


def _added(node: fx.Node, operands: Sequence[Operand]) -> tuple[Order, ...]:
    name = ops.name_of(node.target)
    flows = [(argument, value) for argument, value in operands if isinstance(value, Flow)]
    one = len({flow.source for _, flow in flows}) < 2
    if laid_together(node) and len(operands) > 1:
        over_samples = bind(node.target, node.args, node.kwargs).get("dim") == 0
        return () if over_samples else (tuple(_mark(value, "", one) for _, value in operands),)
    if len(flows) < 2 or not one or not disjoint([flow for _, flow in flows]):
        return ()
    rows = sorted(flows, key=lambda item: (mask := item[1].mask() or 0) & -mask)
    return (tuple(_mark(flow, " ".join(ops.operand_tags(name, argument)), one) for argument, flow in rows),)


def _mark(value: Value, word: str, one: bool) -> Mark:
    """What happened to a part, in words that implementations share, and exactly."""
    if isinstance(value, Flow):
        return (" ".join(sorted({*value.tags, word})), value.way) if one else ("a result", _made(value))
    return "no result", value.way if isinstance(value, Fixed) else value.shown()


def in_another_order(ours: Iterable[Order], theirs: Iterable[Order]) -> bool:
    """Whether one model lays the same parts together in another order than the other.

    >>> mean, largest = ("mean", "1"), ("amax", "2")
    >>> in_another_order([(mean, largest)], [(largest, mean)]), in_another_order([(mean, largest)], [(mean, mean)])
    (True, False)
    """
    for level in (1, 2):
        mine, other = ({tuple(mark[:level] for mark in order) for order in orders} for orders in (ours, theirs))
        if any(sorted(one) == sorted(two) for one in mine - other for two in other - mine):
            return True
    return False


def nodes_in_another_order(student: ComponentGraph, teacher: ComponentGraph, pairs: dict[int, int]) -> set[int]:
    """Paired student nodes that read parts, or give results of parts, in another order than their counterparts."""
    found = {s for s, t in pairs.items() if in_another_order(_read(student, s), _read(teacher, t))}
    for ours in student.results:
        alike = [theirs for theirs in teacher.results if theirs.argument == ours.argument]
        if any(pairs.get(ours.source) == t.source and in_another_order(ours.orders, t.orders) for t in alike):
            found.add(ours.source)
    sources = {n: [edge.source for edge in node.inputs] for n, node in enumerate(student.nodes)}
    for number in [number for number in found if not student.nodes[number].slots]:
        found |= branches(sources[number], sources.__getitem__)  # each was paired by its place among the others
    return _through_norms(student, found)


def _through_norms(graph: ComponentGraph, found: set[int]) -> set[int]:
    """These nodes, and what reads those of them that only rescale."""
    todo = list(found)
    while todo:
        number = todo.pop()
        new = {reader for reader, _ in graph.consumers[number]} - found if graph.nodes[number].light else set()
        found |= new
        todo.extend(new)
    return found


def _read(graph: ComponentGraph, number: int) -> list[Order]:
    node = graph.nodes[number]
    return [*node.orders, *(order for edge in node.inputs for order in edge.orders)]
