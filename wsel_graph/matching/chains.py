"""Why places of a student are coupled, in words: for some blocks of every kind, since the others are alike."""

from __future__ import annotations

from collections.abc import Iterator

from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.coupling.groups import Member
from wsel_graph.plan.outline import Chain, Outline, full_name

MOST = 600
"""Chains of one plan."""

ALIKE = 2
"""Blocks of one kind and stage for which chains are written down."""


def coupling_chains(graph: ModelGraph, outline: Outline) -> Iterator[Chain]:
    """For places of a model, the place before each in its coupled group, and what ties the two.

    A place comes several times where several coupled groups make up its dim.
    """
    shown = frozenset(_some_tensors(outline))
    made = 0
    for group in graph.groups:
        for first, last in zip(group.members, group.members[1:], strict=False):
            if last[0] not in shown:
                continue
            if made == MOST:
                return
            made += 1
            links = graph.explainer.explain(group, first, last).chain
            yield Chain(group.role, _place(first), _place(last), tuple(map(str, links)))


def _some_tensors(outline: Outline) -> Iterator[str]:
    for section in outline.sections:
        seen: dict[int, int] = {}
        for block in section.blocks:
            seen[block.kind] = seen.get(block.kind, 0) + 1
            if seen[block.kind] <= ALIKE:
                parts = outline.kinds[block.kind].parts
                yield from (full_name(block.path, held.name) for part in parts for held in part.tensors)


def _place(member: Member) -> str:
    return f"{member[0]}:{member[1]}"
