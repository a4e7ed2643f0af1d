"""Which part of a value goes where, where its features are not numbered: halves, thirds, elements that are picked.

A component that cannot be cut into one component per part (its weight is computed, its groups are mixed, it is a sum)
stays one node, and several edges leave it. What each carries is told by its place among the others: two models that
give the value and its gate in another order do not correspond there.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

import torch
from torch import fx

from wsel_graph.capture.recorder import TensorInfo
from wsel_graph.capture.schemas import bind
from wsel_graph.matching import operators as ops
from wsel_graph.matching.components import UNORDERED, ComponentGraph, Edge, Node
from wsel_graph.matching.constants import constant_value

Cut: TypeAlias = tuple[str, int]
"""A graph node of which a part is taken, views passed over, and the first element of the part."""

PART = "from "
"""How tags begin that say where a part of an activation begins."""

PartUses: TypeAlias = list[tuple[int, str]]
"""Zero-based parts of what one node gives, each with what reads it and how."""

_PICKS = frozenset({"aten::index_select", "aten::index"})
_STARTS = {"aten::select": "index", "aten::slice": "start", "aten::narrow": "start"}


def cut_of(node: fx.Node, known: Mapping[str, torch.Tensor]) -> tuple[Cut, ...]:
    """The part that a graph node takes of its operand; nothing where it takes all of it, or in another way.

    Args:
        known: Constants and buffers by the names under which the graph fetches them.
    """
    if node.target is operator.getitem:
        source = node.args[0]
        start = _start_of_item(source, node.args[1])  # type: ignore[arg-type]
    else:
        source, start = node, _start(node, known)
    if start is None:
        return ()
    return ((base_of(source.all_input_nodes[0]).name, start),)  # type: ignore[union-attr]


def _start_of_item(source: fx.Node, number: int) -> int | None:
    """Where an item of what a split gives begins."""
    name = ops.name_of(source.target)
    if name == "aten::unbind":
        return number
    items, whole = source.meta.get("value"), source.all_input_nodes[0].meta.get("value")
    if name not in ops.CUTS or not isinstance(items, (list, tuple)) or not isinstance(whole, TensorInfo):
        return None
    size = whole.shape[int(bind(source.target, source.args, source.kwargs).get("dim") or 0)]
    before = sum(torch.Size(item.shape).numel() for item in items[:number])
    return size * before // max(1, torch.Size(whole.shape).numel())


def _start(node: fx.Node, known: Mapping[str, torch.Tensor]) -> int | None:
    name = ops.name_of(node.target)
    if name not in _STARTS and name not in _PICKS:
        return None
    whole, result = node.all_input_nodes[0].meta.get("value"), node.meta.get("value")
    if not isinstance(whole, TensorInfo) or not isinstance(result, TensorInfo):
        return None
    bound = bind(node.target, node.args, node.kwargs)
    if name in _PICKS:
        return _first_picked(bound, known)
    start = bound.get(_STARTS[name]) or 0
    if torch.Size(whole.shape).numel() == torch.Size(result.shape).numel() or not isinstance(start, int):
        return None
    return start % max(1, whole.shape[int(bound.get("dim") or 0)])


def _first_picked(bound: Mapping[str, object], known: Mapping[str, torch.Tensor]) -> int | None:
    given = bound.get("index", bound.get("indices"))
    picked = [each for each in (given if isinstance(given, (list, tuple)) else [given]) if isinstance(each, fx.Node)]
    value = constant_value(picked[0], known) if len(picked) == 1 else None
    return int(value.min()) if value is not None and value.numel() and not value.is_floating_point() else None


def base_of(node: fx.Node) -> fx.Node:
    """What a view of all elements is a view of."""
    while node.op == "call_function" and ops.is_layout(node.target) and len(node.all_input_nodes) == 1:
        source = node.all_input_nodes[0]
        facts = [each.meta.get("value") for each in (node, source)]
        if len({torch.Size(f.shape).numel() for f in facts if isinstance(f, TensorInfo)}) != 1 or None in facts:
            return node
        node = source
    return node


def places_of_parts(
    taken: Iterable[tuple[int, tuple[Cut, ...]]],
) -> dict[tuple[int, tuple[Cut, ...]], int]:
    """Zero-based places of parts among those of the same value; nothing where only one part of it is taken.

    Args:
        taken: Source nodes, each with the cuts that lead to a part of what it gives.
    """
    values: dict[tuple[int, str], set[tuple[Cut, ...]]] = {}
    for number, cuts in taken:
        if cuts:
            values.setdefault((number, cuts[0][0]), set()).add(cuts)
    return {
        (number, cuts): place
        for (number, _), own in values.items()
        if len(own) > 1
        for place, cuts in enumerate(in_place(own))
    }


def in_place(parts: Iterable[tuple[Cut, ...]]) -> list[tuple[Cut, ...]]:
    """Parts of one value in the order of their first elements."""
    return sorted(parts, key=lambda cuts: [start for _, start in cuts])


def bare(tags: frozenset[str]) -> frozenset[str]:
    """Tags without those that say where a part begins."""
    return frozenset(tag for tag in tags if not tag.startswith(PART))


# -- the relation of parts and readers in two models


def exchanged_parts(student: ComponentGraph, teacher: ComponentGraph, pairs: Mapping[int, int]) -> Iterator[int]:
    """Student nodes of which the same readers take the same parts as of their counterparts, in another order.

    The readers too: which of them are wrong, and which is the part, cannot be told.
    """
    back = {theirs: ours for ours, theirs in pairs.items()}
    for ours, theirs in pairs.items():
        if not _has_parts(student, ours) or not _has_parts(teacher, theirs):
            continue
        for exact in (True, False):
            mine = _uses(student, ours, lambda reader: reader if reader in pairs else None, exact=exact)
            other = _uses(teacher, theirs, back.get, exact=exact)
            if mine != other and _alike(mine, other):
                yield from (ours, *(reader for reader, _ in student.consumers[ours] if reader in pairs))
                break


def part_uses(graph: ComponentGraph, number: int) -> PartUses:
    """Where the parts of a node go, by the labels of what reads them; nothing where it is not taken apart."""
    if not _has_parts(graph, number):
        return []
    return _uses(graph, number, lambda reader: graph.nodes[reader].label, exact=True)


def same_parts(ours: PartUses, theirs: PartUses) -> bool:
    """Whether parts that both models take go to the same places."""
    common = {part for part, _ in ours} & {part for part, _ in theirs}
    return [use for use in ours if use[0] in common] == [use for use in theirs if use[0] in common]


def _has_parts(graph: ComponentGraph, number: int) -> bool:
    edges = [edge for _, edge in graph.consumers[number]] + graph.results_of(number)
    return len({edge.part for edge in edges} - {None}) > 1


def _alike(mine: PartUses, other: PartUses) -> bool:
    """Whether the same parts occur, and the same readers equally often."""
    parts, readers = ([[use[i] for use in uses] for uses in (mine, other)] for i in (0, 1))
    return set(parts[0]) == set(parts[1]) and sorted(readers[0]) == sorted(readers[1])


def _uses(graph: ComponentGraph, number: int, shown: Callable[[int], object], *, exact: bool) -> PartUses:
    """Every part of a node with the reader that takes it, and how.

    Args:
        shown: What stands for a reader; None leaves it out.
    """
    found = [
        (edge.part, repr((name, _way(graph.nodes[reader], edge, exact=exact))))
        for reader, edge in graph.consumers[number]
        if edge.part is not None and (name := shown(reader)) is not None
    ]
    found += [(edge.part, f"result {edge.argument}") for edge in graph.results_of(number) if edge.part is not None]
    return sorted(found)


def _way(node: Node, edge: Edge, *, exact: bool) -> object:
    place = node.inputs.index(edge) if node.label not in UNORDERED else 0
    return place, sorted(bare(edge.tags)) if exact else "act" in edge.tags
