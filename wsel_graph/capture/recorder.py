"""Record every ATen operator that a module runs as a `torch.fx` node.

A `TorchDispatchMode` sees every operator below autograd, a `TorchFunctionMode` keeps a few composites whole
(`whole.py`). Parameters usually live on the meta device while inputs and what is computed from inputs and
constants alone stay real: code that looks at a mask or a length then just works. Where a real
and a meta tensor meet, the real one is viewed as meta.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from wsel_graph.capture.composites import body
from wsel_graph.capture.memo import META, Memo
from wsel_graph.capture.replicate import geometry
from wsel_graph.capture.schemas import bind, written_parameters
from wsel_graph.capture.whole import lower, shortcut
from wsel_graph.errors import CaptureError

_TO = torch.ops.aten._to_copy.default
_COUNTING = frozenset(getattr(torch.ops.aten.arange, form) for form in ("default", "start", "start_step"))
_CPU = torch.device("cpu")
_SET_DATA = torch.Tensor.data.__set__  # type: ignore[attr-defined]

# What takes values out of PyTorch's sight. Recorded as an operator of our own, so that the axes read are pinned.
LEAVING = frozenset({torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.__array__, torch.Tensor.__dlpack__})


@torch.library.custom_op("wsel_graph::leaves_torch", mutates_args=())
def leaves_torch(values: torch.Tensor) -> None:
    """Marks, in a recorded graph, that Python reads the values of a tensor."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Shape and dtype of one value in the graph, and whether it lies row-major in memory."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    contiguous: bool


def info(tensor: torch.Tensor) -> TensorInfo:
    """The facts about a tensor that propagation needs."""
    contiguous = tensor.layout == torch.strided and tensor.is_contiguous()
    return TensorInfo(tuple(tensor.shape), tensor.dtype, contiguous)


class Recorder:
    """Builds one `torch.fx.Graph` while a module runs under `recording()`.

    Args:
        device: The caller's device, recorded where the copy that runs says meta.
        originals: Names of the caller's own tensors by storage; none of them may take part, since a copy runs.
    """

    def __init__(self, device: torch.device, originals: Mapping[object, str]) -> None:
        self._originals = originals
        self.graph = fx.Graph()
        self.constants: dict[str, torch.Tensor] = {}
        self.module_stack: list[str] = []
        self.last_op: str = ""
        self._device = device
        self._known: dict[int, tuple[weakref.ref[torch.Tensor], fx.Node]] = {}
        self._by_memory: dict[tuple[object, ...], tuple[weakref.ref[torch.Tensor], fx.Node]] = {}
        self._state_storages: set[object] = set()
        self._pending: dict[int, tuple[weakref.ref[torch.Tensor], fx.Node, int]] = {}
        self._paused = False
        self._memo = Memo()

    # -- what is known about a tensor

    def know(self, tensor: torch.Tensor, node: fx.Node) -> None:
        """Remember that `node` produced `tensor`."""
        node.meta["value"] = info(tensor)
        memory = geometry(tensor)
        node.meta["storage"] = memory[0]
        self._known[id(tensor)] = self._by_memory[memory] = (weakref.ref(tensor), node)
        if "state" in node.meta:
            self._state_storages.add(memory[0])

    def node_of(self, tensor: torch.Tensor) -> fx.Node:
        """The node that produced a tensor; a tensor from nowhere becomes a constant."""
        if (entry := self._known.get(id(tensor))) is not None and entry[0]() is tensor:
            return entry[1]
        if (part := self._pending.get(id(tensor))) is not None and part[0]() is tensor:
            _, source, index = part
            node = self.graph.call_function(operator.getitem, (source, index))
            node.meta["module"] = source.meta["module"]
        else:
            node = self._same_memory(tensor) or self._constant(tensor)
        self.know(tensor, node)
        return node

    def origin(self, tensor: torch.Tensor) -> tuple[fx.Node, int | None] | None:
        """As `node_of`, without a new node: the part of a result that has no node yet is told by its number."""
        if (entry := self._known.get(id(tensor))) is not None and entry[0]() is tensor:
            return entry[1], None
        if (part := self._pending.get(id(tensor))) is not None and part[0]() is tensor:
            return part[1], part[2]
        return None

    def _same_memory(self, tensor: torch.Tensor) -> fx.Node | None:
        """The node of a tensor that came back as a new Python object (autograd's saved tensors, `.data`)."""
        memory = geometry(tensor)
        if (entry := self._by_memory.get(memory)) is not None and entry[0]() is not None:
            return entry[1]
        if memory[0] in self._state_storages:
            raise CaptureError(
                f"{self.last_op} reads part of a parameter through a view made out of PyTorch's sight (`.data` of a "
                "view, or a C extension). Take the view in forward, with torch functions."
            )
        return None

    def _constant(self, tensor: torch.Tensor) -> fx.Node:
        if tensor.device == META and not tensor.numel():  # a cache, say, that is to be filled: nothing is lost
            tensor = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
        if tensor.device == META and tensor.dim() > 0:
            raise CaptureError(
                f"a {list(tensor.shape)} tensor of unknown origin reached {self.last_op}: something made it "
                "outside PyTorch's dispatcher. Make it in forward with torch functions, or pass a "
                "torch.export.ExportedProgram of the model."
            )
        if (name := self._originals.get(geometry(tensor)[0])) is not None:
            raise CaptureError(
                f"{self.last_op} uses {name} of the model itself, not of the copy that runs: forward reaches it "
                "through a closure or a global. Reach it through self."
            )
        name = f"_constant{len(self.constants)}"
        self.constants[name] = tensor
        node = self.graph.get_attr(name)
        node.meta["module"] = self.module
        return node

    @property
    def module(self) -> str:
        """Path of the module that is running."""
        return self.module_stack[-1] if self.module_stack else ""

    # -- running and recording

    def execute(self, op: Any, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operator, on the meta device as soon as one of its tensors is there. `run` is what calls it."""
        if op is _TO and not args[0].is_meta and kwargs.get("device") == META:
            return run(*args, **{**kwargs, "device": args[0].device})  # a mask brought to where the weights are
        if op in _COUNTING and kwargs.get("device") == META:
            return run(*args, **{**kwargs, "device": _CPU})  # positions made where the weights are
        where = placement(args, kwargs)
        if where == "real":
            return run(*args, **kwargs)
        if where == "meta":
            return self._memo.run(op, run, args, kwargs)
        leaves, spec = pytree.tree_flatten((args, kwargs))
        if any(not tensor.is_meta for tensor in written_arguments(op, args, kwargs)):
            raise CaptureError(f"{op} writes a value that is not known on the meta device into a real tensor")
        args, kwargs = pytree.tree_unflatten([_to_meta(leaf) for leaf in leaves], spec)
        return self._memo.run(op, run, args, kwargs)

    def record(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Append the node for one operator call and remember its results."""
        node_args = tuple(map(self._argument, args))
        node_kwargs = {name: self._argument(value) for name, value in kwargs.items()}
        node = self.graph.call_function(op, node_args, node_kwargs)
        node.meta["module"] = self.module
        if isinstance(result, torch.Tensor):
            self.know(result, node)
            return
        results = list(result) if isinstance(result, (list, tuple)) else []
        node.meta["value"] = tuple(info(r) if isinstance(r, torch.Tensor) else None for r in results)
        for index, tensor in enumerate(results):
            if isinstance(tensor, torch.Tensor):
                self._known.pop(id(tensor), None)
                self._pending[id(tensor)] = (weakref.ref(tensor), node, index)

    def _argument(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self.node_of(value)
        if isinstance(value, (list, tuple)):
            return [self._argument(item) for item in value]
        if isinstance(value, torch.device) and value == META:
            return self._device
        return None if isinstance(value, torch.Generator) else value

    def dispatch(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the dispatch mode does with one operator call."""
        if self._paused:
            return self.execute(op, op, args, kwargs)
        self.last_op = str(op)
        if op is _TO and not isinstance(args[0], torch.Tensor):
            return op(*args, **kwargs)  # a number that vmap hands over: a constant
        result = self.execute(op, op, args, kwargs)
        self.record(op, args, kwargs, result)
        return result

    def call_whole(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a composite function with recording paused, and record it as one operator."""
        if func == _SET_DATA and not self._paused:
            node = self.node_of(args[1])
            func(*args, **kwargs)
            return self.know(args[0], node)
        if func in LEAVING and not self._paused and args[0].device != META:
            leaves_torch(args[0])
        transformed = any(map(torch._C._functorch.is_functorch_wrapped_tensor, _tensors(args)))  # vmap and its kin
        lowered = None if self._paused or transformed else lower(func, args, kwargs)
        if lowered is None:
            return func(*args, **kwargs)
        self.last_op = str(lowered[0])
        self._paused = True
        try:
            result = shortcut(lowered)
            if result is None:
                result = self.execute(lowered[0], func, args, kwargs)
        finally:
            self._paused = False
        self.record(*lowered, result)
        return result

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record everything that runs inside the block."""
        with _Functions(self), _Operators(self):
            yield


class _Operators(TorchDispatchMode):
    supports_higher_order_operators = True

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (run := body(func)) is not None:
            with self:
                return run(*args, **(kwargs or {}))
        return self._recorder.dispatch(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._recorder.call_whole(func, args, kwargs or {})


def written_arguments(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """The tensors that an operator writes to: in place, or as `out=`."""
    bound = bind(op, args, kwargs)
    written = (bound[name] for name in written_parameters(op))
    return [tensor for tensor in written if isinstance(tensor, torch.Tensor)]


def _to_meta(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value if value.device == META else value.to(META)
    return META if isinstance(value, torch.device) else value


def _tensors(args: tuple[Any, ...]) -> Iterator[torch.Tensor]:
    return (arg for arg in args if isinstance(arg, torch.Tensor))


def placement(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Where the arguments of a call are: `real` (no meta tensor), `meta` (nothing else), or `mixed`."""
    meta = other = False
    for value in (*args, *kwargs.values()):
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(item, torch.Tensor):
                on_meta = item.is_meta
                meta, other = meta or on_meta, other or not on_meta
            elif isinstance(item, (torch.device, list, tuple, dict)):
                other = True  # decided with care, by looking at every leaf
    if not meta:
        return "real" if not other else _placement_of_leaves(args, kwargs)
    return "mixed" if other else "meta"


def _placement_of_leaves(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    leaves = pytree.tree_leaves((args, kwargs))
    return "mixed" if any(isinstance(leaf, torch.Tensor) and leaf.is_meta for leaf in leaves) else "real"
