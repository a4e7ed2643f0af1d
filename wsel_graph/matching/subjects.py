"""Components as selection rules see them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from wsel_graph.matching.components import Node
from wsel_graph.matching.operators import name_of
from wsel_graph.matching.structure import Structure
from wsel_graph.selection.subject import Subject

_WORDS = {"conv_transpose": "conv"}
_OPERATORS = frozenset(
    {"linear", "conv", "depthwise_conv", "norm", "batch_norm", "embedding", "table", "scale", "shift", "recurrent"}
)


@dataclass(frozen=True)
class Subjects:
    """The subjects of one model, student or teacher.

    Args:
        structure: The model.
        side: Which names a subject holds: `student` or `teacher`.
    """

    structure: Structure
    side: str

    @cached_property
    def _aliases(self) -> dict[str, tuple[str, ...]]:
        return {state.name: state.names for state in self.structure.graph.captured.states}

    @cached_property
    def _holders(self) -> dict[str, list[int]]:
        """For every tensor, the nodes that hold it: all parts of the component that uses it first."""
        found: dict[str, list[int]] = {}
        nodes = self.structure.components.nodes
        for number, node in enumerate(nodes):
            for tensor in node.tensors:
                own = found.setdefault(tensor, [])
                if not own or nodes[own[0]].fx == node.fx:
                    own.append(number)
        return found

    @cached_property
    def _stages(self) -> dict[int, str]:
        names = self.structure.stage_names
        return {node: names[i] for i, item in enumerate(self.structure.items) if item.stage for node in item.nodes}

    def of_tensor(self, name: str) -> Subject:
        """The component that uses a tensor first, under the names of this tensor alone."""
        return self._subject(self._holders.get(name, []), self._aliases[name])

    def of_node(self, number: int) -> Subject:
        """A component, under the names of all its tensors."""
        names = [alias for tensor in self.structure.components.nodes[number].tensors for alias in self._aliases[tensor]]
        return self._subject([number], tuple(names))

    def _subject(self, numbers: Sequence[int], names: tuple[str, ...]) -> Subject:
        nodes = [self.structure.components.nodes[number] for number in numbers]
        tensors = dict.fromkeys(tensor for node in nodes for tensor in node.tensors)
        graph = self.structure.graph
        paths = tuple(dict.fromkeys(node.module for node in nodes))
        return Subject(
            student=names if self.side == "student" else (),
            teacher=names if self.side == "teacher" else (),
            operators=frozenset(word for number in numbers for word in self._operators(number)),
            roles=frozenset(role for tensor in tensors for role in graph.roles_of(tensor)),
            axes=tuple(graph.tensors[tensor].notation for tensor in tensors),
            modules=frozenset(graph.captured.modules[path] for path in paths if path in graph.captured.modules),
            stage=next((self._stages[number] for number in numbers if number in self._stages), ""),
            inside=paths,
            feeds=lambda: self._neighbours(numbers, forward=True),
            fed_by=lambda: self._neighbours(numbers, forward=False),
        )

    def _operators(self, number: int) -> list[str]:
        node = self.structure.components.nodes[number]
        label = _WORDS.get(node.label, node.label.partition(":")[0])
        words = [label if label in _OPERATORS else "other", name_of(self.structure.graph.target(node.fx))]
        if label == "table" and any(self._node(reader).label == "cat" for reader in self._readers(number)):
            words.append("token")
        return words

    def _node(self, number: int) -> Node:
        return self.structure.components.nodes[number]

    def _readers(self, number: int) -> list[int]:
        return [reader for reader, _ in self.structure.components.consumers[number]]

    def _neighbours(self, numbers: Iterable[int], *, forward: bool) -> list[Subject]:
        """The next components, with joins passed through."""
        todo = [other for number in numbers for other in self._next(number, forward)]
        seen: set[int] = set()
        found: list[int] = []
        while todo:
            number = todo.pop()
            if number in seen:
                continue
            seen.add(number)
            if self._node(number).slots:
                found.append(number)
            else:
                todo.extend(self._next(number, forward))
        return [self.of_node(number) for number in sorted(found)]

    def _next(self, number: int, forward: bool) -> list[int]:
        return self._readers(number) if forward else [edge.source for edge in self._node(number).inputs]
