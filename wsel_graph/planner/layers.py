"""Which teacher block fills which student block, read off the copies of a plan."""

from __future__ import annotations

import re
from collections.abc import Iterable

from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.plan import Copy, LayerMap

_NUMBER = re.compile(r"(?:^|(?<=\.))(\d+)(?=\.)")


def layer_maps(copies: Iterable[Copy], teacher: ModelGraph) -> tuple[LayerMap, ...]:
    """One map per numbered container whose blocks are modules with parts of their own, in order of first use."""
    maps: dict[tuple[str, str], dict[int, int]] = {}
    for copy in copies:
        ours, theirs = blocks(copy.student), blocks(copy.teacher)
        if len(ours) == len(theirs):
            for (stage, block), (other, source) in zip(ours, theirs, strict=True):
                maps.setdefault((stage, other), {}).setdefault(block, source)
    depths = _depths(teacher)
    return tuple(
        LayerMap(stage, depths[other], tuple(sorted(pairs.items())))
        for (stage, other), pairs in maps.items()
        if depths[other] > 1
    )


def blocks(name: str) -> list[tuple[str, int]]:
    """The numbered blocks that hold a tensor, outermost first. A block that is a single layer is no block.

    >>> blocks("blocks.3.attn.weight"), blocks("net.0.weight")
    ([('blocks', 3)], [])
    """
    matches = [match for match in _NUMBER.finditer(name) if "." in name[match.end() + 1 :]]
    return [(name[: match.start()].rstrip("."), int(match[1])) for match in matches]


def _depths(teacher: ModelGraph) -> dict[str, int]:
    found: dict[str, set[int]] = {}
    for name in teacher.tensors:
        for stage, block in blocks(name):
            found.setdefault(stage, set()).add(block)
    return {stage: len(numbers) for stage, numbers in found.items()}
