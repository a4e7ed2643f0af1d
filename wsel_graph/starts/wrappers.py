"""Models inside wrappers: data parallelism, compilation, checkpointing."""

from __future__ import annotations

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

INNER = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""The names under which a compiled, a sharded and a checkpointed module hold the module itself."""


def unwrapped(module: nn.Module) -> nn.Module:
    """The module itself, without the wrappers around it.

    >>> model = nn.Linear(2, 2)
    >>> unwrapped(DataParallel(model)) is model
    True
    """
    while True:
        inner = _inner(module)
        if inner is None:
            return module
        module = inner


def _inner(module: nn.Module) -> nn.Module | None:
    if isinstance(module, (DataParallel, DistributedDataParallel)):
        return module.get_submodule("module")
    return next((module._modules[name] for name in INNER if name in module._modules), None)


def submodule(model: nn.Module, path: str) -> nn.Module | None:
    """The module at a path of the model itself, whatever is wrapped; None where there is none.

    >>> submodule(DataParallel(nn.Sequential(nn.Linear(2, 2))), "0")
    Linear(in_features=2, out_features=2, bias=True)
    """
    module = unwrapped(model)
    for part in path.split("."):
        child = module._modules.get(part)
        if child is None and part in (*INNER, "module"):
            continue  # the plan was made with a wrapped model
        if child is None:
            return None
        module = unwrapped(child)
    return module
