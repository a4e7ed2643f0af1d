"""Frozen dataclasses as JSON data and back, by their type hints.

A field that is added to a class of `plan/model.py` needs no code here. Writing goes by value, reading by type:

- a dataclass is an object; fields that hold their default are left out,
- a tuple is an array,
- a `range` is `{"range": [start, stop, step]}`, which no dataclass here can be mistaken for.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, Union

from wsel_graph.errors import PlanError

# -- writing, by value


def encode(value: Any, place: str) -> Any:
    """One value as JSON data; `place` is for messages.

    >>> encode((range(0, 4, 2), (0, 3)), "indices")
    [{'range': [0, 4, 2]}, [0, 3]]
    """
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if value - value != 0:
            raise PlanError(f"{place} is {value}, which a plan file cannot hold")
        return float(value)
    if isinstance(value, range):
        return {"range": [value.start, value.stop, value.step]}
    if isinstance(value, (tuple, list)):
        return [encode(item, f"{place}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {str(key): encode(item, f"{place}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _encode_fields(value, place)
    raise PlanError(f"{place} is a {type(value).__name__}, which a plan file cannot hold")


def _encode_fields(value: Any, place: str) -> dict[str, Any]:
    return {
        field.name: encode(item, f"{place}.{field.name}")
        for field in dataclasses.fields(value)
        if not _is_default(field, item := getattr(value, field.name))
    }


def _is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    return field.default is not dataclasses.MISSING and bool(value == field.default)


# -- reading, by type


def decode(hint: Any, data: Any, place: str) -> Any:
    """The value of a type that JSON data stands for.

    Args:
        hint: A type hint: a frozen dataclass, str, int, float, bool, None, range, a tuple, a Literal, or a union.
        data: What `json.loads` gave.
        place: Where it stands, for messages.
    Raises:
        PlanError: If the data does not have the form of the type; names the place and both sides.

    >>> decode(range | tuple[int, ...], {"range": [0, 4, 2]}, "indices")
    range(0, 4, 2)
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return data
    if origin in (Union, types.UnionType):
        return _decode_union(arguments, data, place)
    if origin is typing.Literal:
        return data if data in arguments else _fail(hint, data, place)
    if origin is tuple:
        return _decode_tuple(arguments, data, place)
    if origin is not None and issubclass(origin, Mapping):
        items = data.items() if isinstance(data, dict) else _fail(hint, data, place)
        return {key: decode(arguments[1], item, f"{place}.{key}") for key, item in items}
    if dataclasses.is_dataclass(hint):
        return _decode_fields(hint, data, place)
    return _decode_plain(hint, data, place)


def _decode_plain(hint: Any, data: Any, place: str) -> Any:
    if hint is range:
        return _decode_range(data, place)
    if hint in (None, types.NoneType):
        return data if data is None else _fail(hint, data, place)
    if hint is float and type(data) is int:
        return float(data)
    return data if hint in (str, int, float, bool) and type(data) is hint else _fail(hint, data, place)


def _decode_range(data: Any, place: str) -> range:
    numbers = data.get("range") if isinstance(data, dict) and data.keys() == {"range"} else None
    if not isinstance(numbers, list) or len(numbers) != 3 or any(type(n) is not int for n in numbers) or not numbers[2]:
        _fail(range, data, place)
    return range(*numbers) if numbers else range(0)


def _decode_tuple(arguments: tuple[Any, ...], data: Any, place: str) -> tuple[Any, ...]:
    if not isinstance(data, list):
        _fail(tuple, data, place)
    if arguments[-1:] == (Ellipsis,):
        arguments = (arguments[0],) * len(data)
    elif len(data) != len(arguments):
        raise PlanError(f"{place}: expected {len(arguments)} elements, found {len(data)}")
    pairs = zip(arguments, data, strict=True)
    return tuple(decode(hint, item, f"{place}[{number}]") for number, (hint, item) in enumerate(pairs))


def _decode_union(arguments: tuple[Any, ...], data: Any, place: str) -> Any:
    fitting = [hint for hint in arguments if _fits(hint, data)]
    if not fitting:
        raise PlanError(f"{place}: expected {' or '.join(map(_form, arguments))}, found {_shown(data)}")
    faults = []
    for hint in fitting:
        try:
            return decode(hint, data, place)
        except PlanError as error:
            faults.append(error)
    raise faults[0]


def _fits(hint: Any, data: Any) -> bool:
    """Whether data has the outer form of a type."""
    if isinstance(data, dict):
        if data.keys() == {"range"}:
            return hint is range
        return dataclasses.is_dataclass(hint) or _form(hint) == "an object"
    if isinstance(data, list):
        return typing.get_origin(hint) is tuple
    if data is None:
        return hint is types.NoneType
    return typing.get_origin(hint) is typing.Literal or type(data) is hint or (type(data) is int and hint is float)


def _decode_fields(kind: Any, data: Any, place: str) -> Any:
    if not isinstance(data, dict):
        _fail(kind, data, place)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in data:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise PlanError(f"{place}: {key!r} is no field of a {kind.__name__}{hint}")
    required = (name for name, field in fields.items() if not _has_default(field))
    if missing := [name for name in required if name not in data]:
        raise PlanError(f"{place}: a {kind.__name__} needs {', '.join(map(repr, missing))}, which the file lacks")
    hints = _hints(kind)
    return kind(**{name: decode(hints[name], data[name], f"{place}.{name}") for name in fields if name in data})


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _fail(hint: Any, data: Any, place: str) -> typing.NoReturn:
    raise PlanError(f"{place}: expected {_form(hint)}, found {_shown(data)}")


def _form(hint: Any) -> str:
    """What a type looks like in a file."""
    if dataclasses.is_dataclass(hint):
        return f"a {getattr(hint, '__name__', hint)} object"
    if hint is range:
        return '{"range": [start, stop, step]}'
    if hint is tuple or typing.get_origin(hint) is tuple:
        return "an array"
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    names = {str: "a string", int: "an integer", float: "a number", bool: "true or false", types.NoneType: "null"}
    return names.get(hint, "an object")


def _shown(data: Any) -> str:
    text = json.dumps(data)
    return text if len(text) <= 60 else f"{text[:57]}..."
