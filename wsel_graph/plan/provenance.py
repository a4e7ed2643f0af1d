"""Where a plan comes from: the header of its file. Nothing here depends on when or where it was made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Architecture:
    """One of the two models that a plan was made for.

    Attributes:
        model: Name of its class.
        parameters: Digest of the names and shapes of its parameters; `apply` compares it.
        graph: Digest of the names, shapes and dtypes of all its tensors, and of the operators that it runs.
    """

    model: str
    parameters: str
    graph: str


@dataclass(frozen=True, slots=True)
class RulesUsed:
    """The selection rules that a plan was made by.

    Attributes:
        source: Name of the rule file.
        digest: Of everything that the file says, and the files that it extends; places and comments do not count.
        options: What was asked for besides, such as `{"method": "random", "seed": "1"}`.
    """

    source: str
    digest: str
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made a plan, and for what.

    Attributes:
        wsel_graph: Version of this package.
    """

    wsel_graph: str
    student: Architecture
    teacher: Architecture
    rules: RulesUsed


def digest(data: Any) -> str:
    """SHA-256 of JSON data, whatever its white space and the order of its keys.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))  # ASCII: surrogates are escaped
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def digest_of_parameters(parameters: Iterable[tuple[str, Sequence[int]]]) -> str:
    """Digest of names and shapes, in whatever order they come.

    >>> digest_of_parameters([("a", (1, 2))]) == digest_of_parameters([("a", [1, 2])])
    True
    """
    return digest(sorted([name, list(shape)] for name, shape in parameters))
