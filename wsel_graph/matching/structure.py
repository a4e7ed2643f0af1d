"""A model as matching sees it: components, segments, stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from wsel_graph.capture.results import numbered_alike
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.matching.components import ComponentGraph, Node, Order, Slot, is_weight
from wsel_graph.matching.flow import component_graph
from wsel_graph.matching.segments import Item, Segment, fold, segments, with_last_norms


@dataclass(frozen=True)
class Structure:
    """Everything that matching knows about one model."""

    graph: ModelGraph
    components: ComponentGraph
    items: tuple[Item, ...]

    @cached_property
    def stage_names(self) -> dict[int, str]:
        """A readable name for every stage, by item number: what the paths of its modules have in common."""
        names: dict[int, str] = {}
        for number, item in enumerate(self.items):
            if item.stage:
                names[number] = self._unused_name(self._common_path(item), names)
        return names

    def _common_path(self, item: Item) -> str:
        paths = [path for segment in item.segments for path in self._paths(segment)]
        name = common_path(paths)
        head, _, last = name.rpartition(".")
        depth = name.count(".") + 1
        numbered = any(path[depth].isdigit() for path in paths if len(path) > depth)
        return head if last.isdigit() and not numbered else name  # the number of a stage's only block

    def _paths(self, segment: Segment) -> list[list[str]]:
        nodes = [self.components.nodes[n] for n in segment.nodes]
        return [node.tensors[0].split(".")[:-1] for node in nodes if node.tensors and node.inputs]

    def _unused_name(self, name: str, taken: dict[int, str]) -> str:
        name = name or "stage"
        if name not in taken.values():
            return name
        return next(found for i in range(2, len(taken) + 3) if (found := f"{name}#{i}") not in taken.values())


def common_path(paths: Sequence[Sequence[str]]) -> str:
    """The leading parts that all dotted paths share, a block's number left out.

    >>> common_path([["enc", "0", "fc"], ["enc", "1", "fc"]]), common_path([["enc", "0", "fc"], ["enc", "0", "ln"]])
    ('enc', 'enc.0')
    """
    shared: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)


def structures(student: ModelGraph, teacher: ModelGraph) -> tuple[Structure, Structure]:
    """Both models, what corresponds among their results numbered alike, and stages ended alike."""
    ours, theirs = structure(student), structure(teacher, numbered_alike(student.captured, teacher.captured))
    return replace(ours, items=tuple(with_last_norms(ours.items, theirs.items))), theirs


def structure(graph: ModelGraph, numbers: Sequence[int] | None = None) -> Structure:
    """Components, segments and stages of a traced model, its results numbered as they come unless it is said."""
    components = _labelled(graph, component_graph(graph.captured, numbers))
    streams = [graph.stream(node.fx) for node in components.nodes]
    places = [graph.positions(node.fx) if stream else 0 for node, stream in zip(components.nodes, streams, strict=True)]
    # Blocks that work on the model's input itself have no axis that may be selected from: all axes tell their stream.
    streams = [stream or graph.all_atoms(n.fx) for n, stream in zip(components.nodes, streams, strict=True)]
    return Structure(graph, components, tuple(fold(segments(components, streams, places))))


def _labelled(graph: ModelGraph, components: ComponentGraph) -> ComponentGraph:
    """Linears that mix positions are another kind of component than those that mix features."""
    return replace(components, nodes=tuple(_labelled_node(graph, node) for node in components.nodes))


def _kernel_order(graph: ModelGraph, node: Node, slot: Slot) -> tuple[Order, ...]:
    """Along which dims of the inputs a kernel lies, in order: rows and columns, or columns and rows."""
    axes = graph.node_axes(node.fx)
    dims = [graph.origins.dim(axis) for axis in axes[2:]] if len(axes) == len(slot.shape) else []
    return (tuple(("along an input's dim", f"{dim}") for dim in dims),) if dims and None not in dims else ()


def _labelled_node(graph: ModelGraph, node: Node) -> Node:
    slot = next((slot for name, slot in node.slots if is_weight(name)), None)
    if slot is not None and len(slot.shape) > 3 and max(slot.shape[2:]) > 1:
        node = replace(node, orders=(*node.orders, *_kernel_order(graph, node, slot)))
    if node.label != "linear" or slot is None or slot.dims is None or len(slot.dims) < 2:
        return node
    into = slot.groups[0] if slot.groups is not None else 1
    reasons = graph.pins_of(slot.tensor, slot.dims[into]) if into < len(slot.dims) else None
    return replace(node, label="linear:position") if reasons and reasons <= {"position", "kernel"} else node
