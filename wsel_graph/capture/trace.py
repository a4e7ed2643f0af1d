"""Capture: run a model once and get a `torch.fx` graph of ATen operators.

The ladder has two rungs. First the parameters are meta tensors: nothing is computed with weights, nothing
is copied, and a forward pass takes milliseconds. When the code asks for a value that depends on weights
(`.item()`, `nonzero`, non-maximum suppression), a full copy of the model runs on its own device. When that
fails too, the model itself refuses the inputs, and the error says which module and operator did.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from wsel_graph.capture.caches import without_caches
from wsel_graph.capture.fake import refuse_fake
from wsel_graph.capture.inputs import Inputs, normalize_inputs, tensor_labels
from wsel_graph.capture.masks import masks
from wsel_graph.capture.memo import META
from wsel_graph.capture.recorder import Recorder
from wsel_graph.capture.replicate import Convert, evaluation_copy, geometry
from wsel_graph.capture.results import result_keys
from wsel_graph.capture.returns import Returned, Returns
from wsel_graph.capture.sharding import refuse_sharded
from wsel_graph.errors import CaptureError, ExampleInputsError

# Attribute tensors up to this many elements keep their values during a meta capture (index tables, masks).
KEPT_CONSTANT_ELEMENTS = 1 << 22


@dataclass(frozen=True, slots=True)
class State:
    """One parameter or buffer of the captured model."""

    name: str
    names: tuple[str, ...]  # every name under which the module tree holds it, `name` first
    kind: str  # "parameter" or "buffer"
    persistent: bool  # in the state dict
    tensor: torch.Tensor  # the caller's own tensor, never copied
    mask: bool = False  # a buffer that is only asked for truth values


@dataclass(frozen=True)
class Captured:
    """One recorded forward pass."""

    graph: fx.Graph
    states: tuple[State, ...]
    constants: Mapping[str, torch.Tensor]
    outputs: tuple[fx.Node, ...]
    modules: Mapping[str, str]  # module path -> class name
    rung: str  # "meta" or "real"
    returned: tuple[Returned, ...] = ()  # what modules returned, in order
    keys: tuple[str, ...] = ()  # of the outputs, where the model returns a mapping

    @cached_property
    def returned_by(self) -> Mapping[str, list[Returned]]:
        """For a graph node, the modules that return its value, in the order in which they do."""
        found: dict[str, list[Returned]] = {}
        for entry in self.returned:
            found.setdefault(entry.node, []).append(entry)
        return found

    @cached_property
    def order(self) -> Mapping[fx.Node, int]:
        """The place of every node in the graph."""
        return {node: number for number, node in enumerate(self.graph.nodes)}

    @cached_property
    def module(self) -> fx.GraphModule:
        """The graph with the caller's own tensors as attributes, ready to run."""
        root: dict[str, Any] = {state.name: state.tensor for state in self.states} | dict(self.constants)
        used = {str(node.target) for node in self.graph.nodes if node.op == "get_attr"}
        return fx.GraphModule({name: value for name, value in root.items() if name in used}, self.graph)


def capture(model: nn.Module | Any, example_inputs: Any, rung: str = "meta") -> Captured:
    """Record one forward pass of `model` in evaluation mode. The model itself is never run or changed.

    Args:
        model: Any `nn.Module` (a `torch.fx.GraphModule` too) or a `torch.export.ExportedProgram`.
        example_inputs: See `normalize_inputs`; may be None for an exported program that carries its own.
        rung: `real` skips the attempt on the meta device, where it is known to fail.
    Raises:
        ExampleInputsError: If there are no usable inputs.
        CaptureError: If the model raises, returns no tensor, or cannot be copied.
    """
    model, example_inputs = _as_module(model, example_inputs)
    refuse_sharded(model)
    refuse_fake(**{"the model": model, "the example inputs": example_inputs})
    states = collect_states(model)
    if not states:
        raise CaptureError(
            f"{type(model).__name__} has no parameters and no buffers: there is nothing to trace. Pass the model "
            "that holds the weights."
        )
    inputs = normalize_inputs(example_inputs, _float_dtype(states))
    if any(state.tensor.device == META for state in states):
        return _attempt("meta", model, states, inputs)
    if rung == "real":
        return _attempt("real", model, states, inputs)
    try:
        return _attempt("meta", model, states, inputs)
    except CaptureError as meta_error:
        try:
            return _attempt("real", model, states, inputs)
        except CaptureError as error:
            error.add_note(f"The attempt on the meta device had failed with: {meta_error}")
            raise


def _as_module(model: Any, example_inputs: Any) -> tuple[nn.Module, Any]:
    if isinstance(model, nn.Module):
        return model, example_inputs
    if isinstance(model, torch.export.ExportedProgram):
        if example_inputs is None and model.example_inputs is not None:
            example_inputs = Inputs(*model.example_inputs)
        return model.module(), example_inputs
    raise CaptureError(
        f"expected an nn.Module, a torch.fx.GraphModule or a torch.export.ExportedProgram, got {type(model).__name__}."
    )


def collect_states(model: nn.Module) -> tuple[State, ...]:
    """Every parameter and buffer once, parameters first, with all names of those that share memory."""
    names: dict[object, list[str]] = {}
    found: list[tuple[str, str, torch.Tensor]] = []
    persistent: set[str] = set()
    for name, kind, tensor, in_state_dict in _named_states(model):
        _refuse_uninitialized(name, tensor)
        key = geometry(tensor)
        if key not in names:
            found.append((name, kind, tensor))
        names.setdefault(key, []).append(name)
        if in_state_dict:
            persistent.add(name)
    found.sort(key=lambda item: item[1] != "parameter")  # stable
    return tuple(
        State(name, tuple(own := names[geometry(tensor)]), kind, not persistent.isdisjoint(own), tensor)
        for name, kind, tensor in found
    )


def _named_states(model: nn.Module) -> Iterator[tuple[str, str, torch.Tensor, bool]]:
    """Name, kind, tensor, and whether it is in the state dict; read off the modules, because hooks may rename there."""
    for path, module in model.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        for name, parameter in module._parameters.items():
            if parameter is not None:
                yield prefix + name, "parameter", parameter, True
        for name, buffer in module._buffers.items():
            if buffer is not None:
                yield prefix + name, "buffer", buffer, name not in module._non_persistent_buffers_set


def _refuse_uninitialized(name: str, tensor: torch.Tensor) -> None:
    if isinstance(tensor, (nn.parameter.UninitializedParameter, nn.parameter.UninitializedBuffer)):
        raise CaptureError(f"{name} is uninitialized (a lazy module): run the model once, then try again.")


def _float_dtype(states: tuple[State, ...]) -> torch.dtype:
    dtypes = (state.tensor.dtype for state in states if state.tensor.is_floating_point())
    return next(dtypes, torch.float32)


def _meta_converter(states: tuple[State, ...]) -> Convert:
    own = {id(state.tensor) for state in states if state.tensor.is_floating_point()}
    storages = {state.tensor.data_ptr() for state in states if id(state.tensor) in own}

    def convert(tensor: torch.Tensor) -> torch.Tensor:
        weight_like = tensor.data_ptr() in storages or tensor.numel() > KEPT_CONSTANT_ELEMENTS
        if tensor.device == META or (weight_like and tensor.numel()):
            return tensor.to(META)
        return tensor.clone()

    return convert


def _attempt(rung: str, model: nn.Module, states: tuple[State, ...], inputs: Inputs) -> Captured:
    convert: Convert = _meta_converter(states) if rung == "meta" else torch.clone
    duplicate = evaluation_copy(model, convert)
    originals = {geometry(state.tensor)[0]: state.name for state in states}
    recorder = Recorder(states[0].tensor.device, originals)
    inputs = inputs.map(lambda tensor: tensor.detach().clone())
    _introduce(recorder, duplicate, states, inputs)
    with without_caches(model):
        output, returns = _run(recorder, duplicate, inputs)
    leaves = [leaf for leaf in pytree.tree_leaves(open_output(output)) if isinstance(leaf, torch.Tensor)]
    if not leaves:
        raise CaptureError(
            f"{type(model).__name__} returned no tensor (got {type(output).__name__}): wrap it in a module whose "
            "forward returns tensors, or a tuple or dict of them."
        )
    outputs = tuple(recorder.node_of(leaf) for leaf in leaves)
    recorder.graph.output(outputs)
    modules = {path: type(module).__name__ for path, module in model.named_modules(remove_duplicate=False)}
    asked = masks(recorder.graph, (state.name for state in states if state.kind == "buffer"))
    states = tuple(replace(state, mask=state.name in asked) for state in states)
    keys = result_keys(open_output(output))
    return Captured(recorder.graph, states, recorder.constants, outputs, modules, rung, returns.all(), keys)


def open_output(output: Any) -> Any:
    """Make the tensors of a plain object (dataclass, namespace) visible to pytree."""
    if pytree.tree_leaves(output) == [output] and not isinstance(output, torch.Tensor) and hasattr(output, "__dict__"):
        return dict(vars(output))
    return output


def _introduce(recorder: Recorder, duplicate: nn.Module, states: tuple[State, ...], inputs: Inputs) -> None:
    """Create the graph's placeholders and one get_attr node per parameter and buffer."""
    for label, tensor in tensor_labels(inputs):
        node = recorder.graph.placeholder(label.replace(" ", "_").replace(".", "_"))
        node.meta["label"] = label
        recorder.know(tensor, node)
    tensors = {name: tensor for name, _, tensor, _ in _named_states(duplicate)}
    for state in states:
        node = recorder.graph.get_attr(state.name)
        node.meta["state"] = state.name
        for name in state.names:
            recorder.know(tensors[name], node)


def _run(recorder: Recorder, duplicate: nn.Module, inputs: Inputs) -> tuple[Any, Returns]:
    returns = Returns()
    track_modules(recorder, duplicate, returns)
    try:
        with torch.no_grad(), untouched_globals(), recorder.recording():
            return duplicate(*inputs.args, **inputs.kwargs), returns
    except Exception as error:
        path = recorder.module or "(top level)"
        owner = dict(duplicate.named_modules()).get(recorder.module)
        message = (
            f"the model raised {type(error).__name__} in module {path} ({type(owner).__name__}), "
            f"after operator {recorder.last_op or 'none'}, with {inputs.describe()}: {str(error).strip()[:500]}\n"
            "Check the example inputs (number, shapes, dtypes, value ranges), and that the model runs on them in "
            "eval mode; keyword arguments go in a dict."
        )
        kind = CaptureError if recorder.last_op else ExampleInputsError
        raise kind(message) from error


def track_modules(recorder: Recorder, duplicate: nn.Module, returns: Returns) -> None:
    """Keep `recorder.module_stack` at the path of the running module, and note what every module returns."""

    def enter(path: str) -> Callable[..., None]:
        return lambda *_: recorder.module_stack.append(path)

    def leave(path: str) -> Callable[..., None]:
        def note(module: nn.Module, args: Any, output: Any) -> None:
            recorder.module_stack.pop()
            returns.note(path, output, recorder.origin)

        return note

    for path, module in duplicate.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue  # takes no hooks
        module.register_forward_pre_hook(enter(path), prepend=True)
        module.register_forward_hook(leave(path))


@contextmanager
def untouched_globals() -> Iterator[None]:
    """Restore random states and backend switches; the fused encoder path, which hides operators, is off."""
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng())
        stack.callback(random.setstate, random.getstate())
        if (numpy := sys.modules.get("numpy")) is not None:
            stack.callback(numpy.random.set_state, numpy.random.get_state())
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield
