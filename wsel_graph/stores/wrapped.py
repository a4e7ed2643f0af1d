"""Names of tensors in modules that PyTorch wrapped: data parallelism, compilation, checkpointing, sharding.

`fully_shard` and `parallelize_module` leave names as they are. These put a level of their own between:

| wrapper | level |
|---|---|
| `torch.compile(model)` | `_orig_mod` |
| `checkpoint_wrapper(model)` | `_checkpoint_wrapped_module` |
| `DataParallel(model)`, `DistributedDataParallel(model)` | `module` |

`FullyShardedDataParallel` (FSDP1) lays the tensors of many modules into one flat parameter, and is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from wsel_graph.stores.memory import named_tensors

INNER = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""The names under which a compiled, a sharded and a checkpointed module hold the module itself."""


def inner_name(module: nn.Module) -> str | None:
    """The name under which a wrapper holds the module itself; None for a module that is no wrapper.

    >>> inner_name(DataParallel(nn.Linear(2, 2)))
    'module'
    """
    if isinstance(module, (DataParallel, DistributedDataParallel)):
        return "module"
    return next((name for name in INNER if name in module._modules), None)


def plain_tensors(source: nn.Module | Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name, without the levels that wrappers put between; a state dict as it is.

    >>> sorted(plain_tensors(nn.Sequential(DataParallel(nn.Linear(2, 2)))))
    ['0.bias', '0.weight']
    """
    return dict(_walk(source, "")) if isinstance(source, nn.Module) else dict(source)


def known_tensors(source: nn.Module | Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors under their plain names, and under those that wrappers gave them: plans may have been made with either.

    >>> sorted(known_tensors(DataParallel(nn.Linear(2, 2, bias=False))))
    ['module.weight', 'weight']
    """
    return plain_tensors(source) | named_tensors(source)


def without_wrappers(holder: nn.Module | Mapping[str, torch.Tensor]) -> nn.Module | Mapping[str, torch.Tensor]:
    """What was given, or the tensors of a module under all of their names where it has wrappers in it."""
    wrapped = isinstance(holder, nn.Module) and any(inner_name(part) is not None for part in holder.modules())
    return known_tensors(holder) if wrapped else holder


def _walk(module: nn.Module, prefix: str) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        if tensor is not None:
            yield prefix + name, tensor
    inner = inner_name(module)
    for name, child in module._modules.items():
        if child is not None:
            yield from _walk(child, prefix if name == inner else f"{prefix}{name}.")
