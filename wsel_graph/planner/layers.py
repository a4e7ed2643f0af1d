"""Which teacher block fills which student block, read off the copies of a plan."""

from __future__ import annotations

import re
from collections.abc import Iterable

from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.plan import Copy, LayerMap

_NUMBER = re.compile(r"(?:^|(?<=\.))(\d+)(?=\.)")


def layer_maps(copies: Iterable[Copy], teacher: ModelGraph) -> tuple[LayerMap, ...]:
    """One map per numbered container whose blocks are modules with parts of their own, in order of first use."""
    maps: dict[str, dict[int, int]] = {}
    for copy in copies:
        theirs = {stage: block for stage, block in _blocks(copy.teacher)}
        for stage, block in _blocks(copy.student):
            if stage in theirs:
                maps.setdefault(stage, {}).setdefault(block, theirs[stage])
    depths = _depths(teacher)
    return tuple(
        LayerMap(stage, depths.get(stage, len(pairs)), tuple(sorted(pairs.items())))
        for stage, pairs in maps.items()
        if len(pairs) > 1 or depths.get(stage, 0) > 1
    )


def _blocks(name: str) -> Iterable[tuple[str, int]]:
    """`blocks.3.attn.weight` -> ("blocks", 3). A block that is a single layer is no block."""
    for match in _NUMBER.finditer(name):
        if "." in name[match.end() + 1 :]:
            yield name[: match.start()].rstrip("."), int(match[1])


def _depths(teacher: ModelGraph) -> dict[str, int]:
    blocks: dict[str, set[int]] = {}
    for name in teacher.tensors:
        for stage, block in _blocks(name):
            blocks.setdefault(stage, set()).add(block)
    return {stage: len(found) for stage, found in blocks.items()}
