"""Copy a module's structure while deciding, tensor by tensor, what each tensor becomes.

Captures and checks never run the caller's module: forward passes cache tensors, count batches and
fire hooks. They run a structural copy, whose parameters may live on the meta device (nothing is
copied), or be float64 clones. `copy.deepcopy` keeps sharing and cycles; tensors that it would refuse
(non-leaf attributes) or copy needlessly are intercepted through the torch-function protocol.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
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
            memo[id(tensor)] = self._convert(tensor.detach())
        return memo[id(tensor)]


def replicate(module: nn.Module, convert: Convert) -> nn.Module:
    """A deep copy of `module` in which every tensor is `convert(tensor.detach())`.

    Shared tensors stay shared, parameters stay parameters; gradients are dropped.

    Raises:
        CaptureError: If the module holds something that Python cannot copy.
    """
    _refuse_scripted(module)
    with torch.no_grad():
        memo: dict[int, Any] = {}
        for tensor in (*module.parameters(), *module.buffers()):
            memo[id(tensor)] = as_like(tensor, convert(tensor.detach()))
        try:
            with _ConvertTensors(convert):
                duplicate: nn.Module = copy.deepcopy(module, memo)
        except Exception as error:
            raise CaptureError(
                f"{type(module).__name__} cannot be copied ({type(error).__name__}: {error}), and captures never "
                "run your own object. Remove the attribute that cannot be deep-copied, or pass a "
                "torch.fx.GraphModule or torch.export.ExportedProgram of the model."
            ) from error
    return duplicate


def _refuse_scripted(module: nn.Module) -> None:
    for path, inner in module.named_modules():
        if isinstance(inner, torch.jit.ScriptModule):
            raise CaptureError(
                f"module {path or '(top level)'} is TorchScript, whose tensors cannot be exchanged in a copy. Pass the "
                "Python module that it was made from, or a torch.export.ExportedProgram."
            )


def evaluation_copy(module: nn.Module, convert: Convert) -> nn.Module:
    """A copy in evaluation mode. It passes through training mode first: that is where modules drop caches."""
    return replicate(module, convert).train().eval()
