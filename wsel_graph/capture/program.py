"""A captured graph as a program: its nodes in order, when their values die, and what they write to."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import fx

from wsel_graph.capture.recorder import TensorInfo
from wsel_graph.capture.schemas import bind, written_parameters
from wsel_graph.capture.trace import Captured

_READS_VALUES = frozenset(
    {
        "aten::_local_scalar_dense", "aten::item", "aten::is_nonzero", "aten::nonzero", "aten::masked_select",
        "aten::equal", "aten::unique_dim", "aten::_unique2", "aten::unique_consecutive", "wsel_graph::leaves_torch",
    }
)  # fmt: skip
"""Operators after which the code that was recorded depends on values, or shapes do."""

_UPDATES = ("training", "train", "use_input_stats")
"""Arguments of norms that, where they are true, say that running statistics are written."""


@dataclass(frozen=True)
class Program:
    """A captured graph, ready to run.

    Attributes:
        captured: The recorded forward pass; its states are the model's own tensors, read when an operator runs.
    """

    captured: Captured
    _tensors: dict[str, torch.Tensor] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._tensors.update({state.name: state.tensor for state in self.captured.states})
        self._tensors.update(self.captured.constants)

    @cached_property
    def nodes(self) -> tuple[fx.Node, ...]:
        """All nodes but the output, in order of execution."""
        return tuple(node for node in self.captured.graph.nodes if node.op != "output")

    @cached_property
    def numbers(self) -> Mapping[fx.Node, int]:
        """The place of every node in `nodes`."""
        return {node: number for number, node in enumerate(self.nodes)}

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        """The numbers of the model's results."""
        return tuple(self.numbers[node] for node in self.captured.outputs)

    @cached_property
    def last_uses(self) -> tuple[int, ...]:
        """For every node, the number of the last one that reads it; its own where none does."""
        last = list(range(len(self.nodes)))
        for number, node in enumerate(self.nodes):
            for operand in node.all_input_nodes:
                last[self.numbers[operand]] = number
        return tuple(last)

    @cached_property
    def dying(self) -> tuple[tuple[int, ...], ...]:
        """For every node, the nodes that nothing reads after it."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for number, last in enumerate(self.last_uses):
            found[last].append(number)
        return tuple(map(tuple, found))

    @cached_property
    def reads_values(self) -> bool:
        """Whether the code that was recorded may have depended on the values of its inputs."""
        names = (getattr(getattr(node.target, "_schema", None), "name", "") for node in self.nodes)
        return self.captured.rung == "real" or any(name in _READS_VALUES for name in names)

    @cached_property
    def _fixed(self) -> frozenset[fx.Node]:
        found: set[fx.Node] = set()
        for node in self.nodes:
            if node.op == "get_attr" or (node.op == "call_function" and found.issuperset(node.all_input_nodes)):
                found.add(node)
        return frozenset(found)

    def is_fixed(self, node: fx.Node) -> bool:
        """Whether a value depends on no input: a parameter, a constant, or what is computed from these."""
        return node in self._fixed

    @cached_property
    def _on_demand(self) -> frozenset[fx.Node]:
        blocked: set[fx.Node] = set()
        for node in self.nodes:
            for operand in written_nodes(node) if node.op == "call_function" else ():
                _block(operand, blocked)
        found: set[fx.Node] = set()
        for node in self.nodes:
            made = node.op == "call_function" and bool(node.all_input_nodes) and node not in blocked
            sources = all((operand.op == "get_attr" or operand in found) for operand in node.all_input_nodes)
            if made and sources and blocked.isdisjoint(node.all_input_nodes) and _repeatable(node):
                found.add(node)
        return frozenset(found)

    def is_on_demand(self, node: fx.Node) -> bool:
        """Whether a node is computed from parameters alone and anew by every reader, so that it is never stale."""
        return node in self._on_demand

    @cached_property
    def _drawn(self) -> frozenset[fx.Node]:
        found: set[fx.Node] = set()
        for node in self.nodes:
            if _draws(node) or not found.isdisjoint(node.all_input_nodes):
                found.add(node)
        return frozenset(found)

    def is_drawn(self, number: int) -> bool:
        """Whether a node's result depends on random numbers, so that no two runs agree on it."""
        return self.nodes[number] in self._drawn

    @cached_property
    def written(self) -> frozenset[object]:
        """Storages of parameters, buffers and constants that some operator writes to."""
        own = {node.meta.get("storage") for node in self.nodes if node.op == "get_attr"}
        written = {
            operand.meta.get("storage")
            for node in self.nodes
            if node.op == "call_function"
            for operand in written_nodes(node)
        }
        return frozenset(own & written)

    def is_written_over(self, number: int) -> bool:
        """Whether a later operator may write to the memory of a node's result."""
        storage = self.nodes[number].meta.get("storage")
        written = (
            one for node in self.nodes[number + 1 :] if node.op == "call_function" for one in written_nodes(node)
        )
        return any(one.meta.get("storage") == storage for one in written)

    def attribute(self, node: fx.Node) -> torch.Tensor:
        """The tensor of a `get_attr` node; a copy where the graph writes to it, so that the model stays as it is."""
        tensor = self._tensors[str(node.target)].detach()
        return tensor.clone() if node.meta.get("storage") in self.written else tensor

    @cached_property
    def signature(self) -> tuple[str, ...]:
        """What tells every node from its neighbours in another recording of the same model."""
        return tuple(_describe(node) for node in self.nodes)


def _describe(node: fx.Node) -> str:
    if node.op == "get_attr":
        return f"attribute {node.meta.get('state', '')}"
    states = [operand.meta.get("state", "") for operand in node.all_input_nodes]
    value = node.meta.get("value")
    rank = len(value.shape) if isinstance(value, TensorInfo) else ""
    return f"{node.op} {node.target if node.op == 'call_function' else ''} {node.meta.get('module')} {states} {rank}"


def correspondence(base: Program, made: Program) -> Mapping[int, int] | None:
    """For nodes of one recording, their counterparts in another of the same model; None where all agree.

    Code may run other operators for other inputs (a mask that is left out where nothing is masked). Nodes correspond
    where the two sequences of operators agree, with modules, parameters and ranks.
    """
    if base.signature == made.signature:
        return None
    matcher = difflib.SequenceMatcher(None, base.signature, made.signature, autojunk=False)
    return {one + i: other + i for one, other, size in matcher.get_matching_blocks() for i in range(size)}


def _block(node: fx.Node, blocked: set[fx.Node]) -> None:
    """Add a node and everything that it is made of."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one not in blocked:
            blocked.add(one)
            waiting.extend(one.all_input_nodes)


def _repeatable(node: fx.Node) -> bool:
    """Whether running an operator again gives the same and changes nothing."""
    schema = getattr(node.target, "_schema", None)
    tags = getattr(node.target, "tags", ())
    return schema is not None and not list(written_nodes(node)) and torch.Tag.nondeterministic_seeded not in tags


def _draws(node: fx.Node) -> bool:
    """Whether an operator draws random numbers; dropout that is switched off does not."""
    if torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
        return False
    bound = bind(node.target, node.args, node.kwargs)
    off = bound.get("train") is False or bound.get("training") is False
    return not off and not any(bound.get(word) == 0 for word in ("p", "dropout_p", "dropout"))


def written_nodes(node: fx.Node) -> Iterable[fx.Node]:
    """The operands whose memory an operator writes to."""
    if getattr(node.target, "_schema", None) is None:
        return ()
    bound = bind(node.target, node.args, node.kwargs)
    names = set(written_parameters(node.target))
    if any(bound.get(word) is True for word in _UPDATES):
        names |= {"running_mean", "running_var"}  # which no schema says
    return [value for name, value in bound.items() if name in names and isinstance(value, fx.Node)]
