"""Models inside wrappers: data parallelism, compilation, checkpointing."""

from __future__ import annotations

from torch import nn

from wsel_graph.stores.wrapped import INNER, inner_name


def unwrapped(module: nn.Module) -> nn.Module:
    """The module itself, without the wrappers around it.

    >>> from torch.nn import DataParallel
    >>> model = nn.Linear(2, 2)
    >>> unwrapped(DataParallel(model)) is model
    True
    """
    while True:
        inner = inner_name(module)
        if inner is None:
            return module
        module = module.get_submodule(inner)


def submodule(model: nn.Module, path: str) -> nn.Module | None:
    """The module at a path of the model itself, whatever is wrapped; None where there is none.

    >>> from torch.nn import DataParallel
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
