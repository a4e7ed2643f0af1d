"""What operators give on the meta device, remembered for the length of one capture.

Most meta kernels are slow Python code, and models repeat their blocks: the same operator on the same shapes gives
the same shapes again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

META = torch.device("meta")

_PLAIN = frozenset({torch.Tensor, torch.nn.Parameter})


class _NotPlain(Exception):
    """A tensor with more to it than size, stride and type."""


class Memo:
    """Remembers the results of operators that make new tensors, and makes their like again."""

    def __init__(self) -> None:
        self._known: dict[Any, Callable[[], Any] | None] = {}

    def run(self, op: Any, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of `run(*args, **kwargs)`, whose tensors are all on the meta device.

        Args:
            op: The operator that `run` stands for: itself, or a function that PyTorch would take apart.
            run: What gives the result.
            args: Positional arguments.
            kwargs: Keyword arguments.
        """
        if not makes_new_tensors(op):
            return run(*args, **kwargs)
        try:
            key = run, torch.get_default_dtype(), _key(args), _key(kwargs.items())
        except _NotPlain:
            return run(*args, **kwargs)
        repeat = self._known.get(key)
        if repeat is not None:
            return repeat()
        result = run(*args, **kwargs)
        if key not in self._known:
            self._known[key] = _repeater(result, {*_storages(args), *_storages(kwargs.values())})
        return result


@functools.lru_cache(maxsize=4096)
def makes_new_tensors(op: Any) -> bool:
    """Whether, by its schema, an ATen operator neither writes to an argument nor returns a view of one."""
    schema = op._schema
    return op.namespace == "aten" and all(part.alias_info is None for part in (*schema.arguments, *schema.returns))


def _key(values: Iterable[Any]) -> tuple[Any, ...]:
    """Equal for argument lists that give equal results; 1, 1.0 and True are different."""
    key: list[Any] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            key.append(_facts(value))
        elif isinstance(value, (list, tuple)):
            key.append(_key(value))
        else:
            key.append((type(value), value))
    return tuple(key)


def _facts(tensor: torch.Tensor) -> tuple[torch.Size, tuple[int, ...], torch.dtype]:
    plain = type(tensor) in _PLAIN and tensor.layout == torch.strided and not tensor.is_quantized
    if not plain or tensor.is_conj() or tensor.is_neg() or not tensor.dim():  # a number does not decide the result type
        raise _NotPlain
    return tensor.shape, tensor.stride(), tensor.dtype


def _repeater(result: Any, taken: set[int]) -> Callable[[], Any] | None:
    """What makes tensors like those of `result`; None when that would not do."""
    several = isinstance(result, (list, tuple))
    if not taken.isdisjoint(_storages(result if several else (result,))):
        return None  # a view after all
    try:
        makers = [_maker(item) for item in (result if several else (result,))]
    except _NotPlain:
        return None
    return (lambda: tuple(make() for make in makers)) if several else makers[0]


def _maker(item: Any) -> Callable[[], Any]:
    if item is None:
        return lambda: None
    if not isinstance(item, torch.Tensor):
        raise _NotPlain
    shape, stride, dtype = _facts(item)
    return functools.partial(torch.empty_strided, shape, stride, dtype=dtype, device=META)


def _storages(values: Iterable[Any]) -> Iterator[int]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value.untyped_storage()._cdata
        elif isinstance(value, (list, tuple)):
            yield from _storages(value)
