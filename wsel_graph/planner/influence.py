"""How much the blocks of a stage change their stream, streamed over batches.

Reference: Men et al., "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect", arXiv:2403.03853
(block influence).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from wsel_graph.matching.borders import Border, block_lengths


@dataclass(slots=True)
class Influence:
    """Running mean, over all positions, of one minus the cosine between the streams before and after one block."""

    total: float = 0.0
    count: int = 0
    unlike: bool = False  # whether the two streams ever had different shapes

    def add(self, before: torch.Tensor, after: torch.Tensor) -> None:
        """Count two streams, `[positions, features]`."""
        if before.shape != after.shape:
            self.unlike = True
            return
        (one, gone), (other, gone_after) = map(_directions, (before, after))
        # Half the squared distance of unit vectors is one minus their cosine, without cancellation. A stream that is
        # zero has no direction: zero on one side counts as a right angle, on both sides as no change.
        change = (one - other).square().sum(1) / 2
        change = torch.where(gone != gone_after, 1.0, change)
        self.total += float(change.sum())
        self.count += len(change)

    @property
    def value(self) -> float:
        """One minus the mean cosine; infinite where that cannot be measured."""
        return math.inf if self.unlike or not self.count else self.total / self.count


def _directions(stream: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors, float64 `[positions, features]`, and which of them are zero because the stream is."""
    wide = stream.to(torch.float64)
    length = wide.norm(dim=1)
    gone = length == 0
    return wide / torch.where(gone, 1.0, length)[:, None], gone


@dataclass(slots=True)
class StageInfluence:
    """The influence of all blocks of one stage, for every number of segments that may make a block."""

    borders: tuple[Border | None, ...]
    blocks: dict[int, list[Influence]] = field(init=False)
    _held: dict[int, torch.Tensor] = field(init=False, default_factory=dict)  # streams that blocks start from

    def __post_init__(self) -> None:
        count = len(self.borders) - 1
        self.blocks = {length: [Influence() for _ in range(count // length)] for length in block_lengths(count)}

    def begin(self) -> None:
        """A new batch begins."""
        self._held = {}

    def see(self, place: int, border: Border, value: torch.Tensor) -> None:
        """Take the stream at one border; the borders of a batch come in order."""
        stream = border.rows(value.detach())
        for length, blocks in self.blocks.items():
            start = place - length
            known = self.borders[start] if start >= 0 and start % length == 0 else None
            if known is not None and start in self._held and known.comparable(border):
                blocks[start // length].add(self._held[start], stream)
        self._held = {start: held for start, held in self._held.items() if self._needed(start, place)}
        if self._needed(place, place):
            self._held[place] = stream.clone()  # blocks may add to their stream in place

    def _needed(self, start: int, place: int) -> bool:
        return any(start % length == 0 and start + length > place for length in self.blocks)
