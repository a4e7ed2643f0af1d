"""Cut a component graph into pieces: residual blocks, and single components.

A piece lies between two places where only one activation is alive. Where a long-lived activation hides such places
(what a decoder reads from its encoder, the skip of a U-Net), the piece is cut again with that activation set aside.
What was set aside may itself be the stream of the first residual block: fragments of one block are joined again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from wsel_graph.matching.components import ComponentGraph

INPUT = -1
"""The model's input, which is alive as long as components read it directly."""

Piece = list[int]
"""Node numbers in order of execution."""


def cut(graph: ComponentGraph, nodes: Sequence[int]) -> list[Piece]:
    """Pieces of a run of nodes, in order of execution."""
    cutter = _Cutter(graph)
    return cutter.joined(cutter.cut(nodes, frozenset({INPUT}), frozenset()))


@dataclass(slots=True)
class _Cutter:
    graph: ComponentGraph
    last: dict[int, int] = field(init=False)  # the last reader of every node; what is only returned is not alive

    def __post_init__(self) -> None:
        uses = enumerate(self.graph.consumers)
        self.last = {number: max((reader for reader, _ in readers), default=-1) for number, readers in uses}
        roots = [n for n, node in enumerate(self.graph.nodes) if not node.inputs and n not in self.graph.roots]
        self.last[INPUT] = max(roots, default=-1)

    def cut(self, nodes: Sequence[int], alive: frozenset[int], aside: frozenset[int]) -> list[Piece]:
        """Pieces of a run of nodes, cut where at most one activation is alive besides those set aside."""
        pieces: list[tuple[Piece, frozenset[int]]] = [([], alive)]
        now = set(alive)
        for number in nodes:
            pieces[-1][0].append(number)
            now = {n for n in now if self.last[n] > number}
            if self.last[number] > number and number not in aside:
                now.add(number)
            if len(now) <= 1 and now != pieces[-1][1]:  # a branch that ends here stays with what comes next
                pieces.append(([], frozenset(now)))
        result: list[Piece] = []
        for piece, before in pieces:
            result.extend(self._again(piece, before, aside) if piece else [])
        return result

    def _again(self, piece: Piece, before: frozenset[int], aside: frozenset[int]) -> list[Piece]:
        """Cut a piece again without what flows into it, when that shows several residual blocks.

        One is enough where the stream begins inside: a decoder's only block, which reads what the encoder passes on.
        """
        if len(piece) < 4 or not before:
            return [piece]
        inner = self.cut(piece, frozenset(), aside | before)
        return inner if sum(map(self._is_residual, inner)) > (not self._begins_inside(piece)) else [piece]

    def _begins_inside(self, piece: Piece) -> bool:
        """Whether sums and norms alone lead from the model's input to the end of a piece, and none from before it."""
        own, nodes = set(piece), self.graph.nodes
        open_ends, begins = {max(piece)}, False
        while open_ends:
            node = nodes[number := open_ends.pop()]
            begins |= not node.inputs and number not in self.graph.roots
            if node.light or not (node.slots or node.label == "contract"):
                sources = {edge.source for edge in node.inputs}
                if not sources <= own | self.graph.roots:
                    return False
                open_ends |= sources
        return begins

    def _is_residual(self, piece: Piece) -> bool:
        """Whether something that flows in is read by several nodes, and a sum brings them together.

        The steps of a scan, which hold no parameters, are no blocks.
        """
        own = set(piece)
        nodes = [self.graph.nodes[number] for number in piece]
        summed = len(piece) > 1 and any(node.label == "add" for node in nodes) and any(node.slots for node in nodes)
        read = Counter(edge.source for node in nodes for edge in node.inputs if edge.source not in own)
        return summed and any(count > 1 for count in read.values())

    def joined(self, pieces: list[Piece]) -> list[Piece]:
        """The pieces, with those put together that lie between a stream's first reader and the sum that ends its block.

        Pieces that hold a residual block are left alone: a longer way round them is a skip.
        """
        found = [list(piece) for piece in pieces]
        home = {number: place for place, piece in enumerate(found) for number in piece}
        for number in range(len(self.graph.nodes)):
            ends = self._block_of(number) if number not in self.graph.roots else None
            if ends is None or not ends <= home.keys() or home[min(ends)] == home[max(ends)]:
                continue
            first, last = home[min(ends)], home[max(ends)]
            if any(self._is_residual(found[place]) for place in range(first, last + 1)):
                continue
            for place in range(first + 1, last + 1):
                found[first].extend(found[place])
                home.update(dict.fromkeys(found[place], first))
                found[place] = []
        return [piece for piece in found if piece]

    def _block_of(self, stream: int) -> set[int] | None:
        """The first reader of a stream, and the first sum that brings what it made together with the stream."""
        readers = sorted({reader for reader, _ in self.graph.consumers[stream]})
        reached = set(readers[:1])
        sums = [reader for reader in readers[1:] if self.graph.nodes[reader].label == "add"]
        if not sums:
            return None
        for number in range(readers[0] + 1, sums[0] + 1):
            if any(edge.source in reached for edge in self.graph.nodes[number].inputs):
                reached.add(number)
        return {readers[0], sums[0]} if sums[0] in reached else None
