"""What every module returned: which graph node it is, and where in the module's result it stands.

A forward hook sees the result of a module and nothing of the graph, the graph has no modules: this ties them together,
so that whoever wants the value of a node from a running model knows which module to ask.
"""

from __future__ import annotations

import dataclasses
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import fx

Origin: TypeAlias = tuple[fx.Node, int | None]
"""A node, and which part of its result, or None for all of it."""

Place: TypeAlias = tuple[int | str, ...]
"""Where in a module's result a tensor stands: positions of tuples, keys of dicts, names of fields."""


@dataclass(frozen=True, slots=True)
class Returned:
    """One tensor in the result of one call of a module."""

    node: str  # of the graph
    module: str  # path
    place: Place
    call: int  # which call of the module, zero-based
    calls: int  # how often the module is called in one forward pass


class Returns:
    """Collects what modules return while a model runs."""

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()
        self._found: list[tuple[Origin, str, Place, int]] = []

    def note(self, module: str, output: Any, origin: Callable[[torch.Tensor], Origin | None]) -> None:
        """Remember one result.

        Args:
            module: Path of the module.
            output: What its forward returned.
            origin: Where a tensor comes from; None where that is not known.
        """
        call = self._calls[module]
        self._calls[module] += 1
        for place, tensor in tensors_in(output):
            if (found := origin(tensor)) is not None:
                self._found.append((found, module, place, call))

    def all(self) -> tuple[Returned, ...]:
        """Every tensor that a module returned and that has a node, in the order in which modules returned."""
        return tuple(
            Returned(name, module, place, call, self._calls[module])
            for (node, part), module, place, call in self._found
            if (name := _name(node, part)) is not None
        )


def _name(node: fx.Node, part: int | None) -> str | None:
    if part is None:
        return node.name
    taken = (user for user in node.users if user.target is operator.getitem and user.args[1] == part)
    return next((user.name for user in taken), None)


def tensors_in(output: Any, place: Place = ()) -> Iterator[tuple[Place, torch.Tensor]]:
    """The tensors in a module's result: itself, or in tuples, dicts and dataclasses; other objects stay closed.

    >>> [place for place, _ in tensors_in({"a": torch.ones(1), "b": (None, torch.ones(1))})]
    [('a',), ('b', 1)]
    """
    if isinstance(output, torch.Tensor):
        yield place, output
    elif isinstance(output, Mapping):
        for key, item in output.items():
            if isinstance(key, str):
                yield from tensors_in(item, (*place, key))
    elif isinstance(output, (tuple, list)):
        for number, item in enumerate(output):
            yield from tensors_in(item, (*place, number))
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        for field in dataclasses.fields(output):
            yield from tensors_in(getattr(output, field.name, None), (*place, field.name))


def at_place(output: Any, place: Place) -> Any:
    """What stands at a place of a module's result.

    >>> at_place({"a": (0, 5)}, ("a", 1))
    5
    """
    for step in place:
        by_key = isinstance(step, int) or isinstance(output, Mapping)
        output = output[step] if by_key else getattr(output, str(step))
    return output
