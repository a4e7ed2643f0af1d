"""Merged blocks: which teacher blocks a student block is the average of, and node by node what is averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wsel_graph.errors import MatchError
from wsel_graph.matching.isomorphism import pair_nodes
from wsel_graph.matching.layering import of_one_kind
from wsel_graph.matching.layers import layer_runs
from wsel_graph.matching.segments import Layer, kinds_of
from wsel_graph.matching.structure import Structure


def partner_runs(small: Sequence[Layer], large: Sequence[Layer], stage: str) -> dict[int, Sequence[int]]:
    """For every student layer, the teacher layers that it averages: a run among those of its own kind.

    Raises:
        MatchError: If a run would bring together layers of different structure.
    """
    found: dict[int, Sequence[int]] = {}
    for mine, other in of_one_kind(small, large):
        runs = layer_runs(len(other), len(mine)) if other else []
        found |= {number: [other[place] for place in run] for number, run in zip(mine, runs, strict=False)}
    if not found:  # no student layer is of a kind that the teacher has: all of them in order
        found = dict(enumerate(layer_runs(len(large), len(small))))
    for run in found.values():
        odd = next((theirs for theirs in run if kinds_of(large[theirs]) != kinds_of(large[run[0]])), None)
        if odd is not None:
            raise _different(stage, run[0], odd)
    return found


def further_nodes(
    teacher: Structure,
    blocks: tuple[Layer, Layer],
    pairs: tuple[Mapping[int, int], Mapping[int, int]],
    numbers: tuple[int, int],
    stage: str,
) -> dict[int, int]:
    """For every student node that a first teacher block fills, the node of another block that is averaged with it.

    Args:
        blocks: The two blocks of the teacher.
        pairs: The student's nodes with those of either block.
        numbers: The zero-based numbers of the blocks, for messages.
    Raises:
        MatchError: If the two blocks do not correspond node by node, or the student's nodes disagree about how.
    """
    one, other = ([node for segment in block for node in segment.nodes] for block in blocks)
    between = pair_nodes(teacher.components, one, teacher.components, other)
    held = [node for node in one if teacher.components.nodes[node].slots]
    first, second = pairs
    agree = first.keys() == second.keys() and all(between.get(node) == second[ours] for ours, node in first.items())
    if not agree or any(node not in between for node in held):
        raise _different(stage, *numbers)
    return dict(second)


def _different(stage: str, one: int, other: int) -> MatchError:
    return MatchError(
        f"layers: take: merge would average the teacher's blocks {one} and {other} of stage {stage!r}, and they do not "
        "correspond node by node: only blocks of one structure can be averaged. Take blocks one by one instead, such "
        f'as:\n  - stage: "{stage}"\n    take: uniform'
    )
