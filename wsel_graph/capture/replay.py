"""Run a captured graph operator by operator on other inputs, stopping wherever the caller wants to look.

The recorded operators hold literal sizes and whatever the code decided while it ran, so a graph fits the inputs that
it was recorded on. Inputs of another shape are recorded anew, and so are all inputs of a model that looks at values;
their graphs must run the same operators, so that a node of one graph stands for the same node of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import fx, nn

from wsel_graph.capture.inputs import Inputs, normalize_inputs, tensor_labels
from wsel_graph.capture.trace import Captured, capture
from wsel_graph.errors import CaptureError

_READS_VALUES = frozenset(
    {
        "aten::_local_scalar_dense", "aten::item", "aten::is_nonzero", "aten::nonzero", "aten::masked_select",
        "aten::equal", "aten::unique_dim", "aten::_unique2", "aten::unique_consecutive", "wsel_graph::leaves_torch",
    }
)  # fmt: skip
"""Operators after which the code that was recorded depends on values, or shapes do."""


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
    def written(self) -> frozenset[object]:
        """Storages of parameters, buffers and constants that some operator writes to."""
        own = {node.meta.get("storage") for node in self.nodes if node.op == "get_attr"}
        written = {
            operand.meta.get("storage")
            for node in self.nodes
            if node.op == "call_function"
            for operand in _written_nodes(node)
        }
        return frozenset(own & written)

    def attribute(self, node: fx.Node) -> torch.Tensor:
        """The tensor of a `get_attr` node; a copy where the graph writes to it, so that the model stays as it is."""
        tensor = self._tensors[str(node.target)].detach()
        return tensor.clone() if node.meta.get("storage") in self.written else tensor

    @cached_property
    def signature(self) -> tuple[tuple[str, str], ...]:
        """What two recordings of one model must share: the operators in order."""
        return tuple((node.op, str(node.target) if node.op == "call_function" else "") for node in self.nodes)


def _written_nodes(node: fx.Node) -> Iterable[fx.Node]:
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return ()
    bound = [*zip((a.name for a in schema.arguments), node.args, strict=False), *node.kwargs.items()]
    names = {a.name for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write}
    return [value for name, value in bound if name in names and isinstance(value, fx.Node)]


class Run:
    """One pass of a program over one batch, which goes on from wherever it stopped.

    Values are dropped after their last use, unless `held` keeps them longer. The model's own tensors are read at the
    moment an operator runs, so weights that changed meanwhile take effect.

    Args:
        program: What to run.
        inputs: Arguments of the forward call, on the model's device.
        held: Numbers of nodes that stay alive until the caller drops them.
    """

    def __init__(self, program: Program, inputs: Inputs, held: Iterable[int] = ()) -> None:
        self.program = program
        self.position = 0
        self.values: dict[int, Any] = {}
        self._held = frozenset(held)
        self._arguments = iter([tensor.detach().clone() for _, tensor in tensor_labels(inputs)])

    def advance(self, stop: int | None = None) -> None:
        """Run all nodes before number `stop` (all of them when None) that have not run yet.

        Raises:
            CaptureError: If an operator fails; the text names the node and the module.
        """
        with torch.no_grad():
            for number in range(self.position, len(self.program.nodes) if stop is None else stop):
                self._step(number)
                self.position = number + 1

    def value(self, number: int) -> torch.Tensor:
        """The result of a node that has run and is still alive; a parameter or constant as it is now."""
        node = self.program.nodes[number]
        found = self.program.attribute(node) if node.op == "get_attr" else self.values[number]
        return found[0] if isinstance(found, (list, tuple)) else found

    def drop(self, number: int) -> None:
        """Let go of a held value; one that a later operator reads stays until then."""
        self._held -= {number}
        if self.program.last_uses[number] < self.position:
            self.values.pop(number, None)

    def results(self) -> tuple[torch.Tensor, ...]:
        """The model's results, once all has run; they must have been held."""
        return tuple(self.value(number) for number in self.program.outputs)

    def _step(self, number: int) -> None:
        node = self.program.nodes[number]
        if node.op == "placeholder":
            self.values[number] = next(self._arguments)
        elif node.op == "get_attr":
            if node.meta.get("storage") in self.program.written:
                self.values[number] = self.program.attribute(node)
        else:
            self.values[number] = self._call(node)
        for dead in self.program.dying[number]:
            if dead not in self._held:
                self.values.pop(dead, None)

    def _call(self, node: fx.Node) -> Any:
        args = fx.node.map_arg(node.args, self._operand)
        kwargs = fx.node.map_arg(node.kwargs, self._operand)
        try:
            return node.target(*args, **kwargs)  # type: ignore[operator]
        except Exception as error:
            raise CaptureError(
                f"graph node {node.name} ({node.target}) of module {node.meta.get('module') or '(top level)'} failed "
                f"on these inputs ({type(error).__name__}: {str(error).strip()[:300]}). They must run through the "
                "model as the example inputs did."
            ) from error

    def _operand(self, node: fx.Node) -> Any:
        number = self.program.numbers[node]
        return self.values[number] if number in self.values else self.program.attribute(node)


class Recordings:
    """The programs of one model for inputs of any shape; node numbers mean the same in all of them.

    Args:
        model: The model, as for `capture`.
        example_inputs: What the first program is recorded on.
    """

    def __init__(self, model: nn.Module | Any, example_inputs: Any, captured: Captured | None = None) -> None:
        self._model = model
        self.base = Program(captured if captured is not None else capture(model, example_inputs))
        self._known: dict[object, Program] = {_shapes(normalize_inputs(example_inputs)): self.base}

    def program(self, inputs: Inputs) -> Program:
        """The program for inputs of these shapes.

        Raises:
            CaptureError: If the model runs other operators on them than on the example inputs.
        """
        shapes = _shapes(inputs)
        found = self._known.get(shapes)
        if found is not None and not self.base.reads_values:
            return found
        made = Program(capture(self._model, inputs))
        if made.signature != self.base.signature:
            raise CaptureError(_other_operators(self.base, made, inputs))
        if not self.base.reads_values:
            self._known[shapes] = made
        return made

    def run(self, inputs: Any, held: Iterable[int] = ()) -> Run:
        """A run over one batch, not yet started."""
        arguments = normalize_inputs(inputs)
        return Run(self.program(arguments), arguments, held)


def _shapes(inputs: Inputs) -> object:
    """Equal for inputs that one recording serves: shapes and dtypes of tensors, and everything else by value."""
    leaves = torch.utils._pytree.tree_flatten_with_path((inputs.args, inputs.kwargs))[0]
    return tuple(
        (str(path), (tuple(leaf.shape), leaf.dtype) if isinstance(leaf, torch.Tensor) else repr(leaf))
        for path, leaf in leaves
    )


def _other_operators(base: Program, made: Program, inputs: Inputs) -> str:
    pairs = zip(base.signature, made.signature, strict=False)
    place = next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(base.nodes), len(made.nodes)))
    words = [
        f"{program.nodes[place].target} in module {program.nodes[place].meta.get('module') or '(top level)'}"
        if place < len(program.nodes)
        else "nothing"
        for program in (base, made)
    ]
    return (
        f"on inputs {inputs.describe()} the model runs other operators than on the first ones: at graph node {place}, "
        f"{words[1]} instead of {words[0]}. Give batches that take the same way through the code (the same keyword "
        "arguments, masks of one kind, lengths on the same side of every threshold)."
    )
