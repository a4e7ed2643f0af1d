"""The same network under other names and in another nesting: what a matcher must not depend on.

`flat` hides the module tree altogether: one module holds every tensor under a meaningless name. `shuffled` keeps a
tree of modules, but every attribute has a meaningless name, is registered in another order, and many parameters and
modules are held by a box somewhere else than where they are used. Both compute exactly what the original computes.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

MOVED_PARAMETERS = 0.3
MOVED_MODULES = 0.4
BOXES = 3

_CONTAINERS = (nn.ModuleList, nn.Sequential)
_UNTOUCHED = (nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
"""Code looks their members up by name."""


@dataclass(frozen=True, slots=True)
class Scrambled:
    """A network in disguise.

    Attributes:
        model: Computes what the original computes; its tensors are copies.
        original: Each of its tensor names, and the first name of the same tensor in the original.
    """

    model: nn.Module
    original: dict[str, str]


def flat(model: nn.Module, seed: int) -> Scrambled:
    """Every parameter and buffer in one module, in random order and under meaningless names."""
    duplicate, first = _duplicate(model)
    return _finish(_Flat(duplicate, _words(seed), random.Random(seed)), first)


def shuffled(model: nn.Module, seed: int) -> Scrambled:
    """A module tree with meaningless names, another order, and parts held elsewhere than they are used."""
    duplicate, first = _duplicate(model)
    scrambler = _Scrambler(_words(seed), random.Random(seed))
    boxes = [nn.Module() for _ in range(BOXES)]
    for module in list(duplicate.modules()):
        scrambler.disguise(module, boxes)
    for box in boxes:
        if box._parameters or box._modules:
            duplicate._modules[next(scrambler.words)] = box
    return _finish(duplicate, first)


def _duplicate(model: nn.Module) -> tuple[nn.Module, dict[int, str]]:
    """A copy, and the first name of each of its tensors by identity."""
    duplicate = copy.deepcopy(model)
    return duplicate, {id(tensor): name for name, tensor in reversed(list(_tensors(duplicate)))}


def _finish(model: nn.Module, first: dict[int, str]) -> Scrambled:
    return Scrambled(model, {name: first[id(tensor)] for name, tensor in _tensors(model)})


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _words(seed: int) -> Iterator[str]:
    """Names that mean nothing and come in no order; never the same twice."""
    source = random.Random(seed)
    used: set[str] = set()
    while True:
        word = "".join(source.choices("bcdfghjklmnpqrstvwxz", k=5))
        if word not in used:
            used.add(word)
            yield word


class _Flat(nn.Module):
    """Holds the tensors of a network that is itself no part of the module tree."""

    def __init__(self, inner: nn.Module, words: Iterator[str], source: random.Random) -> None:
        super().__init__()
        self.hidden = (inner,)  # a tuple: torch does not look into it
        tensors = list(_tensors(inner))
        source.shuffle(tensors)
        kept = {id(buffer) for buffer in inner.state_dict(keep_vars=True).values()}
        for _, tensor in tensors:
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(next(words), tensor)
            else:
                self.register_buffer(next(words), tensor, persistent=id(tensor) in kept)

    def train(self, mode: bool = True) -> _Flat:
        self.hidden[0].train(mode)
        return super().train(mode)

    def forward(self, *arguments: Any, **options: Any) -> Any:
        return self.hidden[0](*arguments, **options)


class _Scrambler:
    """Renames and moves what modules hold."""

    def __init__(self, words: Iterator[str], source: random.Random) -> None:
        self.words = words
        self._source = source
        self._classes: dict[type, type] = {}

    def disguise(self, module: nn.Module, boxes: list[nn.Module]) -> None:
        """Rename all that a module holds; where its code asks by attribute, move some of it to a box."""
        if isinstance(module, _UNTOUCHED):
            return
        aliases: dict[str, str] = {}
        elsewhere: dict[str, Any] = {}
        if not isinstance(module, _CONTAINERS):
            self._move(module._parameters, MOVED_PARAMETERS, elsewhere, boxes, "_parameters")
            self._move(module._modules, MOVED_MODULES, elsewhere, boxes, "_modules")
        for held in (module._parameters, module._buffers, module._modules):
            aliases |= self._rename(held, keep_order=isinstance(module, _CONTAINERS))
        module._non_persistent_buffers_set = {aliases[name] for name in module._non_persistent_buffers_set}
        module.__dict__.update(_aliases=aliases, _elsewhere=elsewhere)
        module.__class__ = self._class(type(module))

    def _move(
        self, held: dict[str, Any], share: float, elsewhere: dict[str, Any], boxes: list[nn.Module], where: str
    ) -> None:
        for name in [name for name, value in held.items() if value is not None and self._source.random() < share]:
            elsewhere[name] = held.pop(name)
            vars(self._source.choice(boxes))[where][next(self.words)] = elsewhere[name]

    def _rename(self, held: dict[str, Any], keep_order: bool) -> dict[str, str]:
        items = list(held.items())
        if not keep_order:
            self._source.shuffle(items)
        names = {name: next(self.words) for name, _ in items}
        held.clear()
        held.update({names[name]: value for name, value in items})
        return names

    def _class(self, kind: type) -> type:
        """The same class under another name, which looks attributes up where they are now."""
        if kind not in self._classes:
            methods: dict[str, Callable[..., Any]] = {"__getattr__": _look_up(kind)}
            if issubclass(kind, nn.ModuleList):
                methods["_get_abs_string_index"] = lambda self, index: list(self._modules)[int(index)]
            self._classes[kind] = type(next(self.words).title(), (kind,), methods)
        return self._classes[kind]


def _look_up(kind: type) -> Callable[[nn.Module, str], Any]:
    def get(self: nn.Module, name: str) -> Any:
        elsewhere = vars(self).get("_elsewhere", {})
        if name in elsewhere:
            return elsewhere[name]
        return kind.__getattr__(self, vars(self).get("_aliases", {}).get(name, name))  # type: ignore[attr-defined]

    return get
