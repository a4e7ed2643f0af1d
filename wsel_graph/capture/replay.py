"""Run a captured graph operator by operator on other inputs, stopping wherever the caller wants to look.

The recorded operators hold literal sizes and whatever the code decided while it ran, so a graph fits the inputs that
it was recorded on. Inputs of another shape are recorded anew, and so are all inputs of a model that looks at values;
nodes of one recording are found again in the others where the operators agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import fx, nn

from wsel_graph.capture.inputs import Inputs, normalize_inputs, tensor_labels
from wsel_graph.capture.program import Program, correspondence, written_nodes
from wsel_graph.capture.trace import Captured, capture
from wsel_graph.errors import CaptureError


def _storage(value: Any) -> int:
    return int(value.untyped_storage()._cdata) if isinstance(value, torch.Tensor) else 0


class Run:
    """One pass of a model over one batch, which goes on from wherever it stopped.

    Nodes are numbered as in the first recording, whatever recording serves this batch. Values are dropped after their
    last use, unless `held` keeps them longer; a held value is what its operator gave, even where a later one writes
    over it. The model's own tensors, and what is computed from them alone, are read at the moment an operator runs, so
    weights that changed meanwhile take effect.

    Args:
        program: What to run.
        inputs: Arguments of the forward call, on the model's device.
        held: Nodes that stay alive until the caller drops them.
        places: Where the nodes of the first recording are in `program`; None where it is that recording, or its like.
    """

    def __init__(
        self, program: Program, inputs: Inputs, held: Iterable[int] = (), places: Mapping[int, int] | None = None
    ) -> None:
        self.program = program
        self.position = 0  # in `program`
        self.values: dict[int, Any] = {}  # by number in `program`
        self.snapshots: dict[int, Any] = {}  # of held values that a later operator has written over
        self._inputs, self._places = inputs, places
        self._first_held = tuple(held)
        self._held = frozenset(self._place(number) for number in self._first_held)
        self._arguments = iter([tensor for _, tensor in tensor_labels(inputs)])

    def anew(self) -> Run:
        """The same run, not yet started."""
        return Run(self.program, self._inputs, self._first_held, self._places)

    def advance(self, stop: int | None = None) -> None:
        """Run all nodes before node `stop` (all of them when None) that have not run yet.

        Raises:
            CaptureError: If an operator fails; the text names the node and the module.
        """
        self._run(len(self.program.nodes) if stop is None else self._place(stop))

    def advance_past(self, number: int) -> None:
        """Run all nodes up to this one, included."""
        self._run(self._place(number) + 1)

    def node(self, number: int) -> fx.Node:
        """The graph node of a number, in the recording that serves this batch."""
        return self.program.nodes[self._place(number)]

    def value(self, number: int) -> torch.Tensor:
        """The result of a node that has run and is still alive; a parameter or constant as it is now."""
        return self._tensor(self._place(number))

    def drop(self, number: int) -> None:
        """Let go of a held value; one that a later operator reads stays until then."""
        place = self._place(number)
        self._held -= {place}
        self.snapshots.pop(place, None)
        if self.program.last_uses[place] < self.position:
            self.values.pop(place, None)

    def results(self) -> tuple[torch.Tensor, ...]:
        """The model's results, once all has run; they must have been held."""
        return tuple(self._tensor(number) for number in self.program.outputs)

    def _tensor(self, place: int) -> torch.Tensor:
        found = self.snapshots[place] if place in self.snapshots else self.operand(self.program.nodes[place])
        tensor: torch.Tensor = found[0] if isinstance(found, (list, tuple)) else found
        return tensor

    def _place(self, number: int) -> int:
        if self._places is None:
            return number
        if number not in self._places:
            raise CaptureError(
                f"on inputs {self._inputs.describe()} the model does not run the operator that is graph node {number} "
                "on the first inputs. Give batches that take the same way through the code (the same keyword "
                "arguments, lengths on the same side of every threshold)."
            )
        return self._places[number]

    def _run(self, stop: int) -> None:
        with torch.no_grad():
            for place in range(self.position, stop):
                self._step(place)
                self.position = place + 1

    def _step(self, place: int) -> None:
        node = self.program.nodes[place]
        if node.op == "placeholder":
            self.values[place] = next(self._arguments).detach().clone()
        elif node.op == "get_attr":
            if node.meta.get("storage") in self.program.written:
                self.values[place] = self.program.attribute(node)
        elif not self.program.is_on_demand(node):
            self._keep_held(node)
            self.values[place] = self._call(node)
        for dead in self.program.dying[place]:
            if dead not in self._held:
                self.values.pop(dead, None)

    def _keep_held(self, node: fx.Node) -> None:
        """Copy the held values that an operator is about to write over."""
        written = {_storage(self.operand(operand)) for operand in written_nodes(node)}
        if not written:
            return
        for place in self._held & self.values.keys() - self.snapshots.keys():
            value = self.values[place]
            if not written.isdisjoint(map(_storage, value if isinstance(value, (list, tuple)) else (value,))):
                self.snapshots[place] = torch.utils._pytree.tree_map_only(torch.Tensor, torch.clone, value)

    def _call(self, node: fx.Node) -> Any:
        args = fx.node.map_arg(node.args, self.operand)
        kwargs = fx.node.map_arg(node.kwargs, self.operand)
        try:
            # a view recorded without memory may not be one in memory, where an operator lays out its result otherwise
            target = torch.ops.aten.reshape.default if node.target is torch.ops.aten.view.default else node.target
            return target(*args, **kwargs)  # type: ignore[operator]
        except Exception as error:
            raise CaptureError(
                f"graph node {node.name} ({node.target}) of module {node.meta.get('module') or '(top level)'} failed "
                f"on these inputs ({type(error).__name__}: {str(error).strip()[:300]}). They must run through the "
                "model as the example inputs did."
            ) from error

    def operand(self, node: fx.Node) -> Any:
        """What an operator that is next to run is given for one of its arguments."""
        number = self.program.numbers[node]
        if number in self.values:
            return self.values[number]
        return self._call(node) if self.program.is_on_demand(node) else self.program.attribute(node)


class Recordings:
    """The programs of one model for inputs of any shape; node numbers mean the same in all of them.

    Args:
        model: The model, as for `capture`.
        example_inputs: What the first program is recorded on.
        captured: That recording, where it is at hand.
    """

    def __init__(self, model: nn.Module | Any, example_inputs: Any, captured: Captured | None = None) -> None:
        self._model = model
        self.base = Program(captured if captured is not None else capture(model, example_inputs))
        first = _shapes(normalize_inputs(example_inputs))
        self._known: dict[object, tuple[Program, Mapping[int, int] | None]] = {first: (self.base, None)}

    def run(self, inputs: Any, held: Iterable[int] = ()) -> Run:
        """A run over one batch, not yet started.

        Args:
            inputs: As `example_inputs`.
            held: Nodes whose values stay until they are dropped; numbers as in `base`.
        Raises:
            CaptureError: If the model does not run on these inputs.
        """
        arguments = normalize_inputs(inputs)
        program, places = self.find(arguments)
        return Run(program, arguments, held, places)

    def find(self, inputs: Inputs) -> tuple[Program, Mapping[int, int] | None]:
        """The recording that serves these inputs, and where in it the nodes of `base` are (see `correspondence`)."""
        shapes = _shapes(inputs)
        found = self._known.get(shapes)
        if found is None or self.base.reads_values:
            made = Program(capture(self._model, inputs, rung=self.base.captured.rung))
            found = made, correspondence(self.base, made)
            if not self.base.reads_values:
                self._known[shapes] = found
        return found


def _shapes(inputs: Inputs) -> object:
    """Equal for inputs that one recording serves: shapes and dtypes of tensors, and everything else by value."""
    leaves = torch.utils._pytree.tree_flatten_with_path((inputs.args, inputs.kwargs))[0]
    return tuple(
        (str(path), (tuple(leaf.shape), leaf.dtype) if isinstance(leaf, torch.Tensor) else repr(leaf))
        for path, leaf in leaves
    )
