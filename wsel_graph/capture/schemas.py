"""Facts that an operator's schema states about its arguments."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any


@functools.lru_cache(maxsize=4096)
def _parameters(op: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((argument.name, argument.default_value) for argument in op._schema.arguments)


def bind(op: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by the names of the operator's schema, defaults filled in."""
    bound = {}
    for i, (name, default) in enumerate(_parameters(op)):
        bound[name] = args[i] if i < len(args) else kwargs.get(name, default)
    return bound


@functools.lru_cache(maxsize=4096)
def written_parameters(op: Any) -> tuple[str, ...]:
    """Names of the arguments that the operator writes to: in place, or as `out=`."""
    return tuple(a.name for a in op._schema.arguments if a.alias_info is not None and a.alias_info.is_write)
