"""Where in a JSON text things stand: for messages, when something is wrong."""

from __future__ import annotations

import re

_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:\n]|[^\s\[\]{},:"]+')

DEPTH = 3
"""How far down places are looked for: `plan`, `plan.copies`, `plan.copies[3`."""


def lines_of(text: str) -> dict[str, int]:
    """The line, from 1, on which each value of a JSON text begins; those deeper than three levels are left out.

    >>> lines_of('{"plan": {"copies": [\\n1,\\n[2, 3]]}}')
    {'plan': 1, 'plan.copies': 1, 'plan.copies[0': 2, 'plan.copies[1': 3}
    """
    found: dict[str, int] = {}
    stack: list[tuple[bool, str]] = []  # for every open bracket: whether it is an array, and its place
    number = [0]
    line, key, before = 1, "", ""
    for token in _TOKENS.findall(text):
        if token == "\n":
            line += 1
        elif token in "]}":
            if stack:
                stack.pop()
                number.pop()
        elif token == ",":
            number[-1] += 1
        elif token == ":":
            key = before[1:-1]
            continue
        else:
            before = token
            array, place = stack[-1] if stack else (False, "")
            inside = f"{place}[{number[-1]}" if array else f"{place}.{key}" if place else key
            if stack and (array or key) and len(stack) <= DEPTH:
                found.setdefault(inside, line)
            if token in "[{":
                stack.append((token == "[", inside if stack else ""))
                number.append(0)
                key = ""
        if token == ",":
            key = ""
    return found
