"""Frozen dataclasses as JSON data. `plan/reading.py` is the way back, by their type hints.

A field that is added to a class of `plan/model.py` needs no code here or there:

- a dataclass is an object; fields that hold their default are left out,
- a tuple is an array,
- a `range` is `{"range": [start, stop, step]}`, which no dataclass here can be mistaken for,
- a long tuple of integers that is regular piece by piece is `{"runs": [[start, stop, step], ...]}`: its ranges.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from wsel_graph.errors import PlanError
from wsel_graph.plan.runs import as_runs

LARGEST = 1 << 61
"""Integers of a plan are smaller: they are sizes, and places in memory."""


def encode(value: Any, place: str) -> Any:
    """One value as JSON data; `place` is for messages.

    >>> encode((range(0, 4, 2), (0, 3)), "indices")
    [{'range': [0, 4, 2]}, [0, 3]]
    """
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        if not -LARGEST < value < LARGEST:
            raise PlanError(f"{place} is {value}, which is too large for a plan file")
        return int(value)
    if isinstance(value, float):
        if value - value != 0:
            raise PlanError(f"{place} is {value}, which a plan file cannot hold")
        return float(value)
    if isinstance(value, range):
        return {"range": [encode(number, place) for number in (value.start, value.stop, value.step)]}
    if isinstance(value, tuple) and (runs := as_runs(value)) is not None:
        return {"runs": [[run.start, run.stop, run.step] for run in runs]}
    if isinstance(value, tuple) and small_integers(value):
        return list(value)
    if isinstance(value, (tuple, list)):
        return [encode(item, f"{place}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {str(key): encode(item, f"{place}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _encode_fields(value, place)
    raise PlanError(f"{place} is a {type(value).__name__}, which a plan file cannot hold")


def small_integers(items: Sequence[Any]) -> bool:
    """Whether these are integers that a plan may hold; long index lists are looked at as a whole."""
    return set(map(type, items)) == {int} and min(items) > -LARGEST and max(items) < LARGEST


def _encode_fields(value: Any, place: str) -> dict[str, Any]:
    return {
        field.name: encode(item, f"{place}.{field.name}")
        for field in dataclasses.fields(value)
        if not _is_default(field, item := getattr(value, field.name))
    }


def _is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    return field.default is not dataclasses.MISSING and bool(value == field.default)
