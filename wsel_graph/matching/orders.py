"""In which order parts of one value are laid together: pooled by mean and by maximum, sines and cosines, two inputs.

Sizes and axes do not tell such parts apart, and neither do the edges of the component graph where all parts come from
one node, or from inputs. What happens to each part does. Two models in which the same parts come in another order do
not correspond there; where their parts differ in any other way, nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import fx

from wsel_graph.capture.schemas import bind
from wsel_graph.matching import operators as ops
from wsel_graph.matching.components import UNORDERED, ComponentGraph, Mark, Order
from wsel_graph.matching.consistency import branches
from wsel_graph.matching.parts import Cut, bare, exchanged_parts, in_place
from wsel_graph.matching.signature import digest
from wsel_graph.matching.values import Fixed, Flow, Operand, Value, union

_BY_PART = ("by part", "")
"""Begins orders of parts as they lie in their value, whatever order they are laid together in."""

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
    """The order of operands that are laid end to end, and that of parts of one value that meet again."""
    name = ops.name_of(node.target)
    flows = [(argument, value) for argument, value in operands if isinstance(value, Flow)]
    one = len({flow.source for _, flow in flows}) < 2
    found: list[Order] = []
    if laid_together(node) and len(operands) > 1:
        if bind(node.target, node.args, node.kwargs).get("dim") == 0:  # over samples
            return ()
        found.append(tuple(_mark(value, "", one) for _, value in operands))
    parts = _parts(flows) if one else []
    if len(parts) > 1:
        own_order = tuple(_joined([(" ".join(ops.operand_tags(name, a)), flow) for a, flow in own]) for own in parts)
        found.append((_BY_PART, *own_order))
    return tuple(found)


def _parts(flows: Sequence[tuple[str, Flow]]) -> list[list[tuple[str, Flow]]]:
    """Operands that are parts of one value, by part, in the order of their first elements; those of all of it left out.

    Nothing where parts overlap, or are of different values.
    """
    if len(flows) < 2:
        return []
    cuts = {flow.cuts for _, flow in flows if flow.cuts}
    if len(cuts) > 1:
        return [[item for item in flows if item[1].cuts == own] for own in in_place(cuts)] if _of_one(cuts) else []
    masks = [flow.mask() for _, flow in flows]
    known = {mask for mask in masks if mask}
    if sum(mask.bit_count() for mask in known) != union(known).bit_count():
        return []
    return [
        [item for item, mask in zip(flows, masks, strict=True) if mask == own]
        for own in sorted(known, key=lambda mask: mask & -mask)
    ]


def _of_one(parts: Iterable[tuple[Cut, ...]]) -> bool:
    return len({cuts[0][0] for cuts in parts}) == 1


def _joined(own: Sequence[tuple[str, Flow]]) -> Mark:
    """What happens to one part, which several operands may hold."""
    marks = [_mark(flow, word, one=True) for word, flow in own]
    return " ".join(sorted({mark[0] for mark in marks})), " ".join(sorted({mark[1] for mark in marks}))


def _mark(value: Value, word: str, one: bool) -> Mark:
    """What happened to a part, in words that implementations share, and exactly."""
    if isinstance(value, Flow):
        return (" ".join(sorted({*bare(value.tags), word})), value.way) if one else ("a result", _made(value))
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
    return _with_branches(student, found)


def nodes_of_exchanged_parts(student: ComponentGraph, teacher: ComponentGraph, pairs: Mapping[int, int]) -> set[int]:
    """Paired student nodes that give a part where their counterparts give another, and what reads the parts."""
    return _with_branches(student, set(exchanged_parts(student, teacher, pairs)))


def _with_branches(graph: ComponentGraph, found: set[int]) -> set[int]:
    sources = {n: [edge.source for edge in node.inputs] for n, node in enumerate(graph.nodes)}
    for number in [number for number in found if not graph.nodes[number].slots]:
        found |= branches(sources[number], sources.__getitem__)  # each was paired by its place among the others
    return _through_norms(graph, found)


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
