"""Copy a module's structure while deciding, tensor by tensor, what each tensor becomes.

Captures and checks never run the caller's module: forward passes cache tensors, count batches and
fire hooks. They run a structural copy, whose parameters may live on the meta device (nothing is
copied), or be float64 clones. `copy.deepcopy` keeps sharing and cycles; tensors that it would refuse
(non-leaf attributes) or copy needlessly are intercepted through the torch-function protocol.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from wsel_graph.errors import CaptureError

Convert = Callable[[torch.Tensor], torch.Tensor]


def as_like(original: torch.Tensor, converted: torch.Tensor) -> torch.Tensor:
    """Wrap `converted` as a parameter when `original` is one, with the same `requires_grad`."""
    if not isinstance(original, nn.Parameter):
        return converted
    return nn.Parameter(converted, requires_grad=original.requires_grad and converted.is_floating_point())


def geometry(tensor: torch.Tensor) -> tuple[object, ...]:
    """Which elements of which storage a tensor shows; equal for two tensors that are the same memory."""
    if tensor.layout != torch.strided:
        return (id(tensor),)
    return tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


class _Registered:
    """Converts parameters and buffers, once for each piece of memory: what shares it goes on sharing it."""

    def __init__(self, convert: Convert) -> None:
        self._convert = convert
        self._done: dict[tuple[object, ...], torch.Tensor] = {}

    def convert(self, tensor: torch.Tensor) -> torch.Tensor:
        """The converted tensor, shared with every other tensor of the same geometry."""
        key = geometry(tensor)
        if key not in self._done:
            self._done[key] = self._convert(tensor.detach())
        return as_like(tensor, self._done[key])

    def convert_attribute(self, tensor: torch.Tensor) -> torch.Tensor:
        """As `convert`, for a tensor that is no parameter or buffer; a partial view of one is refused."""
        key = geometry(tensor)
        if key not in self._done and tensor.numel() and any(key[0] == own[0] for own in self._done):
            raise CaptureError(
                f"an attribute holds a {list(tensor.shape)} view of a parameter or buffer, and a copy of the model "
                "would not share its memory. Take the view in forward."
            )
        return self._done[key] if key in self._done else self._convert(tensor.detach())


class _ConvertTensors(TorchFunctionMode):
    """While active, deep copies of tensors go through `convert`."""

    def __init__(self, convert: Convert) -> None:
        super().__init__()
        self._convert = convert

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is not torch.Tensor.__deepcopy__:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        if id(tensor) not in memo:
            memo[id(tensor)] = self._convert(tensor)
        return memo[id(tensor)]


def replicate(module: nn.Module, convert: Convert) -> nn.Module:
    """A deep copy of `module` in which every tensor is `convert(tensor.detach())`.

    Shared tensors stay shared, parameters stay parameters; gradients are dropped.

    Raises:
        CaptureError: If the module holds something that Python cannot copy.
    """
    _refuse_scripted(module)
    with torch.no_grad():
        registered = _Registered(convert)
        states = (*module.parameters(), *module.buffers())
        memo: dict[int, Any] = {id(tensor): registered.convert(tensor) for tensor in states}
        memo.update(_empty_copies(module))
        try:
            with _ConvertTensors(registered.convert_attribute):
                duplicate: nn.Module = copy.deepcopy(module, memo)
        except CaptureError:
            raise
        except Exception as error:
            raise CaptureError(
                f"{type(module).__name__} cannot be copied ({type(error).__name__}: {error}), and captures never "
                "run your own object. Remove the attribute that cannot be deep-copied, or pass a "
                "torch.fx.GraphModule or torch.export.ExportedProgram of the model."
            ) from error
    return duplicate


def _empty_copies(module: nn.Module) -> Iterator[tuple[int, Any]]:
    """Copies of the empty dicts of all modules, by id: most of what a module holds, and slow to copy one by one."""
    for part in module.modules():
        for value in vars(part).values():
            if type(value) in (dict, OrderedDict) and not value:
                yield id(value), type(value)()


def _refuse_scripted(module: nn.Module) -> None:
    """Refuse TorchScript that holds tensors; a scripted activation function runs as it is."""
    for path, inner in module.named_modules():
        if isinstance(inner, torch.jit.ScriptModule) and (inner is module or _holds_tensors(inner)):
            raise CaptureError(
                f"module {path or '(top level)'} is TorchScript, whose tensors cannot be exchanged in a copy. Pass the "
                "Python module that it was made from, or a torch.export.ExportedProgram."
            )


def _holds_tensors(scripted: torch.jit.ScriptModule) -> bool:
    """Whether it has parameters or buffers, or had some that were frozen into its code."""
    graph: Any = scripted.inlined_graph  # has to outlive its nodes
    constants = graph.findAllNodes("prim::Constant")
    frozen = any(node.output().type().kind() == "TensorType" for node in constants)
    return frozen or any(True for _ in (*scripted.parameters(), *scripted.buffers()))


def evaluation_copy(module: nn.Module, convert: Convert) -> nn.Module:
    """A copy in evaluation mode. It passes through training mode first: that is where modules drop caches."""
    return replicate(module, convert).train().eval()
