"""Pairs that contradict each other: towers of equal structure that two models run in another order.

Segments are aligned in order of execution. Where whole branches are alike, that may exchange them; then a paired node
reads another input, gives another result, is another operand than its counterpart, or takes another part of what it
reads. Such branches are left open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from wsel_graph.matching.components import ComponentGraph, Edge, Node
from wsel_graph.matching.parts import PART
from wsel_graph.matching.signature import Detail, edge_mark

SIGNS = frozenset({"neg", "inverse"})


def contradictions(student: ComponentGraph, teacher: ComponentGraph, pairs: Mapping[int, int]) -> set[int]:
    """Student nodes in branches that their counterparts contradict."""
    roots = _reading_another_input(student, teacher, pairs)
    ends = [
        *_other_results(student, teacher, pairs),
        *_other_operands(student, teacher, pairs),
        *_other_parts(student, teacher, pairs),
    ]
    readers = {n: [reader for reader, _ in uses] for n, uses in enumerate(student.consumers)}
    sources = {n: [edge.source for edge in node.inputs] for n, node in enumerate(student.nodes)}
    return branches(roots, readers.__getitem__) | branches(ends, sources.__getitem__)


def branches(starts: Iterable[int], following: Callable[[int], list[int]]) -> set[int]:
    """What is reached from some starts, without what is reached from all of them."""
    reached = [_reached(start, following) for start in dict.fromkeys(starts)]
    everything: set[int] = set().union(*reached)
    return everything if len(reached) < 2 else everything.difference(reached[0].intersection(*reached[1:]))


def _reached(start: int, following: Callable[[int], list[int]]) -> set[int]:
    seen, todo = {start}, [start]
    while todo:
        new = [number for number in following(todo.pop()) if number not in seen]
        seen.update(new)
        todo.extend(new)
    return seen


def _inputs(graph: ComponentGraph) -> set[str]:
    return {found for node in graph.nodes if (found := _input_of(node))}


def _input_of(node: Node) -> str:
    """Which input a component reads directly; nothing where it reads an activation."""
    return node.reads if not node.inputs else ""


def _reading_another_input(student: ComponentGraph, teacher: ComponentGraph, pairs: Mapping[int, int]) -> list[int]:
    if _inputs(student) != _inputs(teacher):
        return []
    read = {s: (_input_of(student.nodes[s]), _input_of(teacher.nodes[t])) for s, t in pairs.items()}
    return [s for s, (ours, theirs) in read.items() if ours and theirs and ours != theirs]


def _other_results(student: ComponentGraph, teacher: ComponentGraph, pairs: Mapping[int, int]) -> list[int]:
    ours, theirs = [edge.source for edge in student.results], [edge.source for edge in teacher.results]
    if len(ours) != len(theirs):
        return []
    return [s for s, t in zip(ours, theirs, strict=True) if s in pairs and pairs[s] != t and pairs[s] in theirs]


def _other_operands(student: ComponentGraph, teacher: ComponentGraph, pairs: Mapping[int, int]) -> list[int]:
    """Operands of joins that stand in another place, or with another sign, than their counterparts."""
    found = []
    for s, t in pairs.items():
        node, other = student.nodes[s], teacher.nodes[t]
        if node.slots:
            continue
        theirs = [(edge.source, _place(other, i, edge)) for i, edge in enumerate(other.inputs)]
        for i, edge in enumerate(node.inputs):
            places = [place for source, place in theirs if source == pairs.get(edge.source)]
            if places and _place(node, i, edge) not in places:
                found.append(edge.source)
    return found


def _other_parts(student: ComponentGraph, teacher: ComponentGraph, pairs: Mapping[int, int]) -> list[int]:
    """Nodes that take another part of an activation than their counterparts: experts that run in another order.

    Where a part begins may be a size, which is another in a smaller model: only the same parts, exchanged, contradict.
    """
    read: dict[str, list[tuple[int, list[str], list[str]]]] = {}
    for s, t in pairs.items():
        ours, theirs = _parts(student.nodes[s]), _parts(teacher.nodes[t])
        read.setdefault(student.nodes[s].label, []).append((s, ours, theirs))
    found: list[int] = []
    for nodes in read.values():
        if sorted(ours for _, ours, _ in nodes) == sorted(theirs for _, _, theirs in nodes):
            found.extend(s for s, ours, theirs in nodes if ours != theirs)
    return found


def _parts(node: Node) -> list[str]:
    return sorted(tag for edge in node.inputs for tag in edge.tags if tag.startswith(PART))


def _place(node: Node, number: int, edge: Edge) -> object:
    ordered = edge_mark(node, number, edge, Detail.NONE) if node.label not in ("add", "mul", "write") else 0
    return ordered, tuple(sorted(edge.tags & SIGNS))
