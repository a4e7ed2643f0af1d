"""Token maps: JSON files that say which teacher token every student token takes its row from.

Two forms: an object `{"0": 0, "1": 17}` from student token id to teacher token id, or two lists of equal length,
`[[0, 1], [0, 17]]`, student ids first.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from wsel_graph.selection.model import TokenMap

MAX_BYTES = 64 * 1024 * 1024
"""Largest token map that is read; 250,000 tokens take about 4 MiB."""


class TokenMapFault(Exception):
    """What is wrong with a token map; the rule file's place is added by who reads the rule."""


def read_token_map(path: Path) -> TokenMap:
    """Read one token map.

    Raises:
        TokenMapFault: If the file is missing, too large, not JSON, or not a token map.
    """
    content = _load(_bytes(path))
    if isinstance(content, list) and len(content) == 2 and all(isinstance(side, list) for side in content):
        ours, theirs = content
        if len(ours) != len(theirs):
            raise TokenMapFault(f"two lists of different length: {len(ours)} student ids, {len(theirs)} teacher ids")
        pairs = list(zip(ours, theirs, strict=True))
    elif isinstance(content, _Pairs):
        pairs = [(_key(key), value) for key, value in content.items]
    else:
        raise TokenMapFault('neither an object such as {"0": 0, "1": 17} nor two lists such as [[0, 1], [0, 17]]')
    _check(pairs)
    return TokenMap(str(path), tuple(pairs))


def _bytes(path: Path) -> bytes:
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would wait for ever
        raise TokenMapFault("it is no file")
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise TokenMapFault(f"it cannot be read: {reason or error}") from None
    if len(content) > MAX_BYTES:
        raise TokenMapFault(f"it is larger than {MAX_BYTES // 1024**2} MiB")
    return content


class _Pairs:
    """A JSON object as pairs, so that repeated keys are seen."""

    def __init__(self, items: list[tuple[str, Any]]) -> None:
        self.items = items


def _load(content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        raise TokenMapFault(f"it is not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except UnicodeDecodeError:
        raise TokenMapFault("it is not JSON: not UTF-8") from None
    except (ValueError, RecursionError):
        raise TokenMapFault("it is not a token map: a number too long, or nested too deep") from None


def _key(key: str) -> Any:
    return int(key) if key.isascii() and key.isdigit() and len(key) < 19 else key


def _check(pairs: list[tuple[Any, Any]]) -> None:
    if not pairs:
        raise TokenMapFault("it maps no token")
    seen = set()
    for ours, theirs in pairs:
        for side, value in (("student", ours), ("teacher", theirs)):
            if type(value) is not int or value < 0:
                raise TokenMapFault(f"a {side} token id must be a whole number from 0, got {_short(value)}")
        if ours in seen:
            raise TokenMapFault(f"the student token id {ours} occurs twice")
        seen.add(ours)


def _short(value: object) -> str:
    text = "an object" if isinstance(value, _Pairs) else "a list" if isinstance(value, list) else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
