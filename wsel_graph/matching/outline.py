"""A matched model in outline, for reports: its parts, blocks and stages as matching saw them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from wsel_graph.matching.components import ROOTS
from wsel_graph.matching.cuts import INPUT
from wsel_graph.matching.layering import layering
from wsel_graph.matching.segments import Item
from wsel_graph.matching.structure import Structure, common_path
from wsel_graph.plan.outline import Block, Held, Kind, Outline, Part, Section

Nodes = tuple[int, ...]


def outline(structure: Structure, blocks: Mapping[int, Sequence[Nodes]]) -> Outline:
    """The outline of one model.

    Args:
        blocks: For the first node of a stage, the nodes of each of its blocks; other stages are cut by themselves.
    """
    return _Outliner(structure).outline(blocks)


@dataclass
class _Outliner:
    structure: Structure
    kinds: dict[Kind, int] = field(default_factory=dict)

    def outline(self, blocks: Mapping[int, Sequence[Nodes]]) -> Outline:
        structure = self.structure
        cut = [part for number, item in enumerate(structure.items) for part in self._cut(number, item, blocks)]
        homes = {node: number for number, (_, own) in enumerate(cut) for nodes in own for node in nodes}
        sections = [
            Section(stage, tuple(self._block(tuple(sorted(nodes))) for nodes in own), self._reads(number, own, homes))
            for number, (stage, own) in enumerate(cut)
        ]
        unused = tuple(self._held(name, "") for name in structure.components.unused)
        model = structure.graph.captured.modules.get("", "")
        return Outline(model, tuple(self.kinds), tuple(sections), unused)

    def _cut(
        self, number: int, item: Item, blocks: Mapping[int, Sequence[Nodes]]
    ) -> Iterator[tuple[str, Sequence[Nodes]]]:
        """The blocks of a stage, and on their own what stands before the first and after the last."""
        if not (stage := self.structure.stage_names.get(number, "")):
            yield "", [item.nodes]
            return
        own = next((blocks[node] for node in item.nodes if node in blocks), None)
        if own is None:
            cut = layering(item, item).layers(item)
            own = [tuple(node for segment in layer for node in segment.nodes) for layer in cut]
        inside = {node for nodes in own for node in nodes}
        yield from (("", [segment.nodes]) for segment in item.segments if max(segment.nodes) < min(inside))
        yield stage, own
        yield from (("", [segment.nodes]) for segment in item.segments if min(segment.nodes) > max(inside))

    def _reads(self, number: int, own: Sequence[Nodes], homes: Mapping[int, int]) -> tuple[int, ...]:
        """The sections that a section reads."""
        found = (source for nodes in own for node in nodes for source in self._sources(node))
        return tuple(sorted({INPUT if source == INPUT else homes[source] for source in found} - {number}))

    def _sources(self, number: int) -> list[int]:
        """The nodes that a node reads, or the model's input."""
        node = self.structure.components.nodes[number]
        return [edge.source for edge in node.inputs] or ([] if node.label in ROOTS else [INPUT])

    def _block(self, nodes: Nodes) -> Block:
        path = self._path(nodes)
        kind = self._kind(nodes, path)
        return Block(self.kinds.setdefault(kind, len(self.kinds)), path)

    def _path(self, nodes: Nodes) -> str:
        """What the names of all tensors have in common, but for those that are tables of several blocks."""
        graph = self.structure.components
        names = [name for number in nodes if graph.nodes[number].inputs for name in graph.nodes[number].tensors]
        names = names or [name for number in nodes for name in graph.nodes[number].tensors]
        if not names:
            return common_path([graph.nodes[number].module.split(".") for number in nodes])
        return common_path([name.split(".")[:-1] for name in names])

    def _kind(self, nodes: Nodes, path: str) -> Kind:
        graph, own = self.structure.components, set(nodes)
        merged = self._merged(nodes)
        place = {number: i for i, numbers in enumerate(merged) for number in numbers}
        outside: dict[int, int] = {}
        parts = []
        for numbers in merged:
            sources = [source for number in numbers for source in self._sources(number)]
            reads = (
                place[source] if source in own else outside.setdefault(source, -1 - len(outside))
                for source in sources
                if source not in numbers
            )
            parts.append(self._part(numbers, path, tuple(dict.fromkeys(reads))))
        later = {
            place[number]
            for number in nodes
            if graph.results_of(number) or any(reader not in own for reader, _ in graph.consumers[number])
        }
        return Kind(tuple(parts), tuple(sorted(later)))

    def _merged(self, nodes: Nodes) -> list[Nodes]:
        """Nodes of one operator stand together: what a fused linear is cut into."""
        graph = self.structure.components
        by_operator: dict[object, list[int]] = {}
        for number in nodes:
            node = graph.nodes[number]
            cut = node.slots and node.part[1] > 1
            by_operator.setdefault((node.fx, node.tensors) if cut else number, []).append(number)
        return [tuple(numbers) for numbers in by_operator.values()]

    def _part(self, numbers: Nodes, path: str, reads: tuple[int, ...]) -> Part:
        node = self.structure.components.nodes[numbers[0]]
        held = tuple(self._held(name, path) for name in dict.fromkeys(node.tensors))
        return Part(node.label.partition(":")[0], _relative(node.module, path), held, reads)

    def _held(self, name: str, path: str) -> Held:
        tensor = self.structure.graph.tensors[name]
        return Held(_relative(name, path), tensor.shape, tensor.notation)


def _relative(name: str, path: str) -> str:
    """A name without the block's path; a dot where it is that path."""
    if path and name == path:
        return "."
    return name[len(path) :] if path and name.startswith(f"{path}.") else name
