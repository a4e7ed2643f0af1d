"""Lines of YAML and of comments, for rule files that are written for people."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from wsel_graph.plan import Choice
from wsel_graph.report.settle import Decisions, GroupRule

LISTED = 4
"""How many names a comment lists."""

WIDTH = 118
"""Columns of a comment."""


# -- rules


def keep_rule(globs: Sequence[str]) -> Iterator[str]:
    """A component rule for tensors that keep their own values."""
    if len(globs) == 1:
        yield f"  - keep: {quoted(globs[0])}"
    else:
        yield "  - keep:"
        yield from (f"      - {quoted(glob)}" for glob in globs)


def group_lines(choices: Iterable[Choice]) -> Iterator[str]:
    """A table of the kinds of coupled groups, as comments."""
    alike: dict[tuple[str, str, str, str], list[Choice]] = {}
    for choice in choices:
        key = (choice.role, f"{choice.teacher_size} -> {choice.student_size}", choice.method, choice.status)
        alike.setdefault(key, []).append(choice)
    rows = [("groups", "role", "teacher -> student", "elements", "status", "such as")]
    rows.extend((str(len(found)), *key, found[0].members[0]) for key, found in alike.items())
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows if alike else ():
        yield ("#   " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()


def group_rule(rule: GroupRule) -> Iterator[str]:
    """An element rule for groups that do not fit as they are, to be checked."""
    ours, theirs = rule.sizes
    yield f"  # CHECK {rule.role}: {theirs} in the teacher, {ours} in the student"
    if rule.role == "vocabulary":
        yield '  # or, with a file {"student token id": teacher token id}:  take: {tokens: map.json}'
    elif rule.key == "resize":
        yield "  # or, to select from it all the same:  take: uniform"
    else:
        yield "  # or grow: tile, which repeats the teacher's elements"
    if len(rule.tensors) < 3:
        yield f"  - where: {{role: {roles_of(rule.role)}, student: {several(map(literal, rule.tensors))}}}"
    else:
        yield from ("  - where:", f"      role: {roles_of(rule.role)}", "      student:")
        yield from (f"        - {quoted(literal(name))}" for name in rule.tensors)
    yield f"    {rule.key}: keep"


def pinned_stubs(choices: Iterable[Choice], decisions: Decisions) -> Iterator[str]:
    """For pinned axes of different size that the engine adapts by itself: what else may be asked for."""
    decided = {rule.role for rule in decisions.groups}
    seen: set[str] = set()
    for choice in choices:
        sizes = choice.teacher_size, choice.student_size
        if not choice.status.startswith("pinned") or sizes[0] == sizes[1] or choice.role in decided | seen:
            continue
        seen.add(choice.role)
        yield f"  # - where: {{role: {choice.role}}}   # {sizes[0]} -> {sizes[1]}: {choice.method} now"
        yield "  #   resize: keep" + ("" if choice.method == "kept" else "   # or error")


# -- words


def folded(keep: Collection[str], names: Mapping[str, str]) -> list[str]:
    """Globs that match these tensors and no other.

    Args:
        keep: First names of the tensors.
        names: Every name of every tensor, with its first name.

    >>> names = {name: name for name in ("a.w", "a.b", "c.w", "c.b")}
    >>> folded(["a.w", "a.b", "c.w"], names)
    ['a.*', 'c.w']
    """
    found: dict[str, None] = {}
    for name in keep:
        glob = next((prefix for prefix in _prefixes(name) if _holds_only(prefix, keep, names)), None)
        found[literal(name) if glob is None else f"{literal(glob)}.*"] = None
    return list(found)


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[:count]) for count in range(1, len(parts)))


def _holds_only(prefix: str, keep: Collection[str], names: Mapping[str, str]) -> bool:
    return all(first in keep for name, first in names.items() if name.startswith(f"{prefix}."))


def count(items: Sequence[object], word: str) -> str:
    """How many, with the word's plural where it is due.

    >>> count([1, 2], "tensor")
    '2 tensors'
    """
    return f"{len(items)} {word}{'s' * (len(items) > 1)}"


def some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    listed = list(names)
    return ", ".join(listed[:LISTED]) + (f", and {len(listed) - LISTED} more" if len(listed) > LISTED else "")


def literal(name: str) -> str:
    """A glob that matches this name alone.

    >>> literal("heads[0].weight")
    'heads[[]0].weight'
    """
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def quoted(text: str) -> str:
    """A text in double quotes, as YAML reads it."""
    return json.dumps(text, ensure_ascii=False)


def several(texts: Iterable[str]) -> str:
    """One quoted text, or a list of them."""
    listed = list(map(quoted, texts))
    return listed[0] if len(listed) == 1 else f"[{', '.join(listed)}]"


def roles_of(role: str) -> str:
    """A role, or the factors of a merged one."""
    roles = role.strip("()").split()
    return roles[0] if len(roles) == 1 else f"[{', '.join(roles)}]"


def wrapped(text: str, prefix: str) -> Iterator[str]:
    """A text as comment lines that begin with `prefix`."""
    line = ""
    for word in text.split():
        if line and len(prefix) + len(line) + len(word) >= WIDTH:
            yield prefix + line
            line = ""
        line = f"{line} {word}" if line else word
    yield prefix + line
