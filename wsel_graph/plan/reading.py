"""JSON data as frozen dataclasses, by their type hints; `plan/codec.py` says how they are written.

Every fault is collected with its place, and `BAD` stands for what has one.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Union

from wsel_graph.errors import PlanError
from wsel_graph.plan.codec import LARGEST, small_integers
from wsel_graph.plan.runs import LONGEST, from_runs

BAD: Any = object()
"""What stands for a value that could not be read."""


def decode(hint: Any, data: Any, place: str) -> Any:
    """The value of a type that JSON data stands for.

    Args:
        hint: A type hint: a frozen dataclass, str, int, float, bool, None, range, a tuple, a Literal, or a union.
        data: What `json.loads` gave.
        place: Where it stands, for messages.
    Raises:
        PlanError: If the data does not have the form of the type; names every place, and both sides.

    >>> decode(range | tuple[int, ...], {"range": [0, 4, 2]}, "indices")
    range(0, 4, 2)
    """
    reader = Reader()
    value = reader.read(hint, data, place)
    if reader.faults:
        raise PlanError("\n".join(f"{where}: {fault}" for where, fault in reader.faults))
    return value


class Reader:
    """Reads values by their types, and keeps every fault as (place, what is wrong)."""

    def __init__(self) -> None:
        self.faults: list[tuple[str, str]] = []
        self._lists: dict[tuple[int, ...], tuple[int, ...]] = {}  # lists that repeat are held once
        self._runs: dict[str, tuple[int, ...]] = {}

    def read(self, hint: Any, data: Any, place: str) -> Any:
        """The value, or `BAD` with at least one fault more."""
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint is Any:
            return data
        if origin in (Union, types.UnionType):
            return self._union(arguments, data, place)
        if origin is typing.Literal:
            return data if data in arguments else self._fail(hint, data, place)
        if origin is tuple:
            return self._tuple(arguments, data, place)
        if origin is not None and issubclass(origin, Mapping):
            return self._mapping(arguments[1], data, place)
        if dataclasses.is_dataclass(hint):
            return self._fields(hint, data, place)
        return self._plain(hint, data, place)

    def _fail(self, hint: Any, data: Any, place: str) -> Any:
        self.faults.append((place, f"expected {_form(hint)}, found {_shown(data)}"))
        return BAD

    def _plain(self, hint: Any, data: Any, place: str) -> Any:
        if hint is range:
            return _range(data.get("range")) if _is_range(data, "range") else self._fail(range, data, place)
        if hint in (None, types.NoneType):
            return data if data is None else self._fail(hint, data, place)
        if type(data) is int and not -LARGEST < data < LARGEST:
            self.faults.append((place, "the number is too large"))
            return BAD
        if hint is float and type(data) in (int, float):
            return float(data) if math.isfinite(data) else self._fail(hint, data, place)
        return data if hint in (str, int, bool) and type(data) is hint else self._fail(hint, data, place)

    def _mapping(self, hint: Any, data: Any, place: str) -> Any:
        if not isinstance(data, dict):
            return self._fail(Mapping, data, place)
        found = {key: self.read(hint, item, f"{place}.{key}") for key, item in data.items()}
        return BAD if any(item is BAD for item in found.values()) else found

    def _tuple(self, arguments: tuple[Any, ...], data: Any, place: str) -> Any:
        if isinstance(data, dict) and data.keys() == {"runs"} and arguments[-1:] == (Ellipsis,):
            items = self._expanded(data["runs"], place)
            return items if arguments[0] is int or items is BAD else self._tuple(arguments, list(items), place)
        if not isinstance(data, list):
            return self._fail(tuple, data, place)
        if arguments == (int, ...) and small_integers(data):
            items = tuple(data)
            return self._lists.setdefault(items, items)
        if arguments[-1:] == (Ellipsis,):
            arguments = (arguments[0],) * len(data)
        elif len(data) != len(arguments):
            self.faults.append((place, f"expected {len(arguments)} elements, found {len(data)}"))
            return BAD
        pairs = enumerate(zip(arguments, data, strict=True))
        items = tuple(self.read(hint, item, f"{place}[{number}]") for number, (hint, item) in pairs)
        return BAD if any(item is BAD for item in items) else items

    def _expanded(self, runs: Any, place: str) -> Any:
        if not isinstance(runs, list) or not all(_is_range({"range": run}, "range") for run in runs):
            return self._fail(_Runs, {"runs": runs}, place)
        key = repr(runs)
        if key not in self._runs:
            items = from_runs(map(_range, runs))
            if items is None:
                self.faults.append((place, f"runs of more than {LONGEST:,} elements"))
                return BAD
            self._runs[key] = items
        return self._runs[key]

    def _union(self, arguments: tuple[Any, ...], data: Any, place: str) -> Any:
        fitting = [hint for hint in arguments if _fits(hint, data)]
        if not fitting:
            self.faults.append((place, f"expected {' or '.join(map(_form, arguments))}, found {_shown(data)}"))
            return BAD
        before, first = len(self.faults), None
        for hint in fitting:
            value = self.read(hint, data, place)
            if value is not BAD:
                del self.faults[before:]
                return value
            first = self.faults[before:] if first is None else first
            del self.faults[before:]
        self.faults.extend(first or ())
        return BAD

    def _fields(self, kind: Any, data: Any, place: str) -> Any:
        if not isinstance(data, dict):
            return self._fail(kind, data, place)
        fields = dataclasses.fields(kind)
        before = len(self.faults)
        self.check_keys(kind.__name__, fields, data, place)
        hints = _hints(kind)
        present = (field.name for field in fields if field.name in data)
        values = {name: self.read(hints[name], data[name], f"{place}.{name}") for name in present}
        return BAD if len(self.faults) > before else kind(**values)

    def check_keys(
        self, kind: str, fields: Iterable[dataclasses.Field[Any]], data: Mapping[str, Any], place: str
    ) -> None:
        """Note the keys that are no fields, and the fields that are needed and not there."""
        known = {field.name: field for field in fields}
        for key in data:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                self.faults.append((place, f"{key!r} is no field of a {kind}{hint}"))
        required = (name for name, field in known.items() if not _has_default(field))
        if missing := [name for name in required if name not in data]:
            self.faults.append((place, f"a {kind} needs {', '.join(map(repr, missing))}, which the file lacks"))


def _is_range(data: Any, key: str) -> bool:
    numbers = data.get(key) if isinstance(data, dict) and data.keys() == {key} else None
    return (
        isinstance(numbers, list)
        and len(numbers) == 3
        and all(type(number) is int and -LARGEST < number < LARGEST for number in numbers)
        and numbers[2] != 0
    )


def _range(numbers: Any) -> range:
    return range(*numbers)


class _Runs:
    """Stands for the written form of runs in messages."""


def _fits(hint: Any, data: Any) -> bool:
    """Whether data has the outer form of a type."""
    if isinstance(data, dict):
        if data.keys() == {"range"}:
            return hint is range
        if data.keys() == {"runs"}:
            return typing.get_origin(hint) is tuple
        return dataclasses.is_dataclass(hint) or _form(hint) == "an object"
    if isinstance(data, list):
        return typing.get_origin(hint) is tuple
    if data is None:
        return hint is types.NoneType
    return typing.get_origin(hint) is typing.Literal or type(data) is hint or (type(data) is int and hint is float)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _form(hint: Any) -> str:
    """What a type looks like in a file."""
    if hint is range:
        return '{"range": [start, stop, step]}'
    if hint is _Runs:
        return '{"runs": [[start, stop, step], ...]}'
    if dataclasses.is_dataclass(hint):
        return f"a {getattr(hint, '__name__', hint)} object"
    if hint is tuple or typing.get_origin(hint) is tuple:
        return "an array"
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    names = {str: "a string", int: "an integer", float: "a number", bool: "true or false", types.NoneType: "null"}
    return names.get(hint, "an object")


def _shown(data: Any) -> str:
    text = json.dumps(data)
    return text if len(text) <= 60 else f"{text[:57]}..."
