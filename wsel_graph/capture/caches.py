"""Run anew, while a model is recorded, what `functools.lru_cache` would answer from memory.

Such caches outlive a model: coordinates that one forward pass computed would be a constant in the next recording, and
two recordings of one architecture would differ. What the caches hold is left alone, and nothing of ours gets into them.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from types import CellType, FunctionType
from typing import Any

from torch import nn

_OTHERS = ("torch", "builtins", "abc", "typing")
"""Packages whose classes and functions are not looked into."""

Restore = Callable[[], None]


@contextlib.contextmanager
def without_caches(model: nn.Module) -> Iterator[None]:
    """Let cached functions compute: those that the classes of a model hold, and those in the files they are in.

    >>> class Ramp(nn.Module):
    ...     @functools.lru_cache
    ...     def forward(self, size): return [0] * size
    >>> model = Ramp()
    >>> model(2) is model(2)
    True
    >>> with without_caches(model):
    ...     model(2) is model(2)
    False
    """
    with contextlib.ExitStack() as restored:
        for namespace, holder in _namespaces(model):
            for name, value in list(namespace.items()):
                if (restore := _bypassed(holder, name, value)) is not None:
                    restored.callback(restore)
        yield


def _namespaces(model: nn.Module) -> Iterator[tuple[dict[str, Any], Any]]:
    """The attributes of every class in a model, and the globals of the files that define them."""
    classes = {base for kind in {type(part) for part in model.modules()} for base in kind.__mro__}
    own = [base for base in classes if base.__module__.partition(".")[0] not in _OTHERS]
    for base in own:
        yield dict(vars(base)), base
    for file in {base.__module__ for base in own} & sys.modules.keys():
        yield vars(sys.modules[file]), sys.modules[file]


def _bypassed(holder: Any, name: str, value: Any) -> Restore | None:
    """Put the plain function in the place of its cache; gives what undoes that, None where nothing is cached."""
    method = isinstance(value, (staticmethod, classmethod))
    function = value.__func__ if method else value
    if isinstance(function, functools._lru_cache_wrapper):
        plain = type(value)(function.__wrapped__) if method else function.__wrapped__
        setattr(holder, name, plain)
        return functools.partial(setattr, holder, name, value)
    if isinstance(function, FunctionType):
        return _bypassed_inside(function)
    return None


def _bypassed_inside(function: FunctionType) -> Restore | None:
    """The same for a function that a decorator made around a cache."""
    for cell in function.__closure__ or ():
        held = _contents(cell)
        if isinstance(held, functools._lru_cache_wrapper):
            cell.cell_contents = held.__wrapped__
            return functools.partial(setattr, cell, "cell_contents", held)
    return None


def _contents(cell: CellType) -> Any:
    with contextlib.suppress(ValueError):  # a name that has no value yet
        return cell.cell_contents
    return None
