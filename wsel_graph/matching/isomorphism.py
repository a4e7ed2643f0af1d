"""Pair the nodes of two parts: by equal structure, then by what surrounds the nodes that are paired already.

Where structure alone leaves a choice between nodes that play the same role (two equal branches that meet in a
sum), the order of execution decides: any such pairing gives the same function.
"""

from __future__ import annotations

from collections.abc import Iterable

from wsel_graph.matching.components import ComponentGraph
from wsel_graph.matching.signature import Colours, Detail, Part, classes

RADII = (4, 3, 2)
"""How far surroundings are compared where the two parts differ: never the next nodes alone, which prove too little."""

Pairs = dict[int, int]


def pair_nodes(student: ComponentGraph, ours: Iterable[int], teacher: ComponentGraph, theirs: Iterable[int]) -> Pairs:
    """Teacher node for student node; nodes without a certain counterpart are left out."""
    ours, theirs = list(ours), list(theirs)
    for detail in (Detail.TRAILS, Detail.RESULTS, Detail.WORDS, Detail.NONE):
        whole = Part(student, ours, detail=detail), Part(teacher, theirs, detail=detail)
        if (pairs := _isomorphic(*whole)) is not None:
            return pairs
    coarse = Part(student, ours, coarse=True), Part(teacher, theirs, coarse=True)
    found = _isomorphic(*coarse)
    if found is None:
        found = _surroundings(*coarse, {})
    return _surroundings(*whole, found)


def _isomorphic(student: Part, teacher: Part) -> Pairs | None:
    """A pairing of all nodes that keeps all structure; None when there is none, or when it is not certain."""
    if len(student.members) != len(teacher.members):
        return None
    fixed: list[tuple[int, int]] = []
    for _ in range(len(student.members) + 1):
        mine = classes(student.both({s: f"pair {i}" for i, (s, _) in enumerate(fixed)}))
        other = classes(teacher.both({t: f"pair {i}" for i, (_, t) in enumerate(fixed)}))
        if {c: len(n) for c, n in mine.items()} != {c: len(n) for c, n in other.items()}:
            return None
        open_ = next((colour for colour, nodes in mine.items() if len(nodes) > 1), None)
        if open_ is None:
            pairs = {nodes[0]: other[colour][0] for colour, nodes in mine.items()}
            return pairs if _keeps_edges(student, teacher, pairs) else None
        if not (student.interchangeable(mine[open_]) and teacher.interchangeable(other[open_])):
            return None
        fixed.append((mine[open_][0], other[open_][0]))
    return None


def _keeps_edges(student: Part, teacher: Part, pairs: Pairs) -> bool:
    """Whether the operands of every node correspond, as the proof that a pairing keeps all structure."""
    for node, other in pairs.items():
        ours = sorted((repr(mark), -1 if s is None else pairs[s]) for mark, s, _ in student.operands(node))
        theirs = sorted((repr(mark), -1 if t is None else t) for mark, t, _ in teacher.operands(other))
        if ours != theirs:
            return False
    return True


def _surroundings(student: Part, teacher: Part, known: Pairs) -> Pairs:
    """Grow a pairing: nodes that are the only ones of their surroundings on both sides, the widest first."""
    pairs = dict(known)
    progress = True
    while progress:
        progress = False
        for radius in RADII:
            mine, other = _open(student, pairs, radius, 0), _open(teacher, pairs, radius, 1)
            new = {n[0]: other[c][0] for c, n in mine.items() if len(n) == 1 and len(other.get(c, ())) == 1}
            if new:
                pairs |= new
                progress = True
                break
    return pairs


def _open(part: Part, pairs: Pairs, radius: int, side: int) -> dict[str, list[int]]:
    start: Colours = {pair[side]: f"pair {pair[0]}" for pair in pairs.items()}
    return classes(part.neighbourhoods(radius, start), lambda node: node not in start)
