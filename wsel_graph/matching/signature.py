"""Signatures: hashes of a node's surroundings that carry neither names nor sizes.

Two kinds. `upstream` and `downstream` hash everything that flows into, or out of, a node inside a set of nodes (one
pass each, because the graph has no cycles): equal pairs of both mean equal structure. `neighbourhoods` are
Weisfeiler-Lehman colours of a bounded radius, for sets of nodes that differ in parts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from functools import cached_property

from wsel_graph.matching.components import ACROSS, ROOTS, TURNED, UNORDERED, ComponentGraph, Edge, Node, Slot

Colours = dict[int, str]


def digest(*parts: object) -> str:
    """A short stable hash."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()


class Detail(IntEnum):
    """How much of what is dissolved into edges and settings a comparison looks at."""

    NONE = 0  # where order matters, the place of an operand; else whether a non-linearity is before it
    WORDS = 1  # what two implementations of one function share: activation functions, signs, strides
    RESULTS = 2  # also which of the model's results a node is
    TRAILS = 3  # also everything that is dissolved, sizes and constants included: what one code makes twice
    ALL = 4  # also the shapes of parameters, for comparisons within one model


def edge_mark(node: Node, place: int, edge: Edge, detail: Detail) -> object:
    """What distinguishes an operand."""
    ordered = node.label not in UNORDERED and (not node.slots or node.label.startswith("recurrent"))
    if detail is Detail.NONE:
        turned = [tag for tag in (TURNED, ACROSS) if tag in edge.tags] if node.label == "contract" else []
        return "act" in edge.tags if node.label in UNORDERED else (place if ordered else 0, turned)
    trail = edge.trail if detail >= Detail.TRAILS else ""
    return place if ordered else 0, tuple(sorted(edge.tags)), edge.part, trail


class Part:
    """A set of nodes of a component graph, seen on its own; what flows in from outside is anonymous.

    Args:
        members: Node numbers in order of execution.
        coarse: Leave out norms and other components that only rescale: what they read stands in their place.
        detail: What is compared besides.
    """

    def __init__(
        self, graph: ComponentGraph, members: Iterable[int], *, coarse: bool = False, detail: Detail = Detail.NONE
    ) -> None:
        self.graph = graph
        self._detail = detail
        own = sorted(members)
        self._inside = set(own)
        self._coarse = coarse
        self.members = [n for n in own if not (coarse and graph.nodes[n].light)]

    def source_of(self, edge: Edge) -> int | None:
        """The member that an edge comes from; None for one outside, which is no table."""
        number = edge.source
        while self._coarse and number in self._inside and self.graph.nodes[number].light:
            number = self.graph.nodes[number].inputs[0].source
        return number if number in self._inside else None

    def operands(self, number: int) -> list[tuple[object, int | None, Edge]]:
        """The mark, the source and the edge of every operand."""
        node = self.graph.nodes[number]
        return [
            (edge_mark(node, place, edge, self._detail), self.source_of(edge), edge)
            for place, edge in enumerate(node.inputs)
        ]

    def outside(self, edge: Edge) -> str:
        """What an operand from outside is called."""
        label = self.graph.nodes[edge.source].label
        if self._detail is Detail.ALL:
            return f"outside {edge.source}"
        return label if label in ROOTS else "outside"

    def upstream(self, start: Mapping[int, str] | None = None) -> Colours:
        """A hash of all that flows into each member; `start` may colour members beforehand."""
        found: Colours = {}
        for number in self.members:
            operands = sorted(
                (repr(mark), found[source] if source is not None else self.outside(edge))
                for mark, source, edge in self.operands(number)
            )
            found[number] = digest(self.label(number), operands, (start or {}).get(number, ""))
        return found

    def downstream(self, start: Mapping[int, str] | None = None) -> Colours:
        """A hash of all that each member flows into."""
        readers = self._readers
        found: Colours = {}
        for number in reversed(self.members):
            uses = sorted((repr(mark), found[reader]) for mark, reader in readers[number])
            found[number] = digest(self.label(number), uses, (start or {}).get(number, ""))
        return found

    @cached_property
    def _readers(self) -> dict[int, list[tuple[object, int]]]:
        """For every member, the members that read it and as which operand."""
        found: dict[int, list[tuple[object, int]]] = {number: [] for number in self.members}
        for number in self.members:
            for mark, source, _ in self.operands(number):
                if source is not None:
                    found[source].append((mark, number))
        return found

    def both(self, start: Mapping[int, str] | None = None) -> Colours:
        """Upstream and downstream together, refined by what is beside a node until no more nodes are told apart."""
        up, down = self.upstream(start), self.downstream(start)
        colours = self._shared({number: digest(up[number], down[number]) for number in self.members})
        count = 0
        while count < (now := len(set(colours.values()))) < len(self.members):
            count, colours = now, self._refined(colours)
        return colours

    def _refined(self, colours: Colours) -> Colours:
        """Every colour with those of the operands and of the readers."""
        readers = self._readers
        return {
            n: digest(
                colours[n],
                sorted((repr(m), colours[s] if s is not None else self.outside(e)) for m, s, e in self.operands(n)),
                sorted((repr(m), colours[r]) for m, r in readers[n]),
            )
            for n in self.members
        }

    def _shared(self, colours: Colours) -> Colours:
        """Nodes that hold one parameter take part in each other's colours: both sides use it that often, and so."""
        holders: dict[Slot, list[int]] = {}
        for number in self.members:
            for _, slot in self.graph.nodes[number].slots:
                holders.setdefault(slot, []).append(number)
        found = dict(colours)
        for numbers in holders.values():
            if len(numbers) > 1:
                common = digest(sorted(colours[number] for number in numbers))
                found |= {number: digest(found[number], common) for number in numbers}
        return found

    def label(self, number: int) -> object:
        """The label of a node, with as many details as are compared."""
        node = self.graph.nodes[number]
        if self._detail is Detail.NONE:
            return node.label
        if self._detail is Detail.WORDS:
            return node.label, node.settings
        results = [(e.argument, sorted(e.tags)) for e in self.graph.results_of(number)]
        if self._detail is Detail.RESULTS:
            return node.label, node.settings, results
        shapes = [(name, slot.shape) for name, slot in node.slots] if self._detail is Detail.ALL else []
        return node.label, node.settings, results, node.trail, shapes

    def interchangeable(self, nodes: Sequence[int]) -> bool:
        """Whether nodes of one colour keep one colour when everything about them is compared."""
        return len({self._details[node] for node in nodes}) == 1

    @cached_property
    def _details(self) -> Colours:
        return Part(self.graph, self._inside, coarse=self._coarse, detail=Detail.ALL).both()

    def neighbourhoods(self, radius: int, start: Mapping[int, str]) -> Colours:
        """Weisfeiler-Lehman colours after `radius` rounds; `start` replaces the labels of the nodes it holds."""
        colours = {n: start.get(n, self.graph.nodes[n].label) for n in self.members}
        for _ in range(radius):
            colours = self._refined(colours) | {n: start[n] for n in self.members if n in start}
        return colours

    def kind(self) -> str:
        """One hash for the whole part."""
        return digest(sorted(self.both().values()))


def classes(colours: Mapping[int, str], of: Callable[[int], bool] = lambda _: True) -> dict[str, list[int]]:
    """Nodes by colour, in order of execution."""
    found: dict[str, list[int]] = {}
    for number in sorted(colours):
        if of(number):
            found.setdefault(colours[number], []).append(number)
    return found
