"""Read rule files: find them, check them, and lay their rules in order of priority.

A file's own rules come before those of the files it extends; in a list, a later file comes before an earlier one.
As the first match wins, own rules win. A file that several extend comes once, after all of them, as in Python's
method resolution order: `extends: [consecutive, without-norm]`, both of which extend `paper`, is still consecutive.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping as Values
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsel_graph.errors import SelectionRuleError
from wsel_graph.selection.check import BAD, MAX_FAULTS, Checker, TooManyFaults
from wsel_graph.selection.kinds import Written
from wsel_graph.selection.language import FILE, RECORDS
from wsel_graph.selection.model import ElementRule
from wsel_graph.selection.model import RuleFile as RuleFile
from wsel_graph.selection.reach import unreachable_rules
from wsel_graph.selection.source import FOLDERS as FOLDERS
from wsel_graph.selection.source import Source, Span, read_source
from wsel_graph.selection.tokens import TokenMapFault, read_token_map
from wsel_graph.selection.tree import List, Mapping, parse

MAX_FILES = 64
"""Most files that one file may extend, directly and through others."""


@dataclass(frozen=True, slots=True)
class _Read:
    """One checked file."""

    path: Path
    source: Source
    values: Values[str, Any]


def shipped_rules() -> dict[str, Path]:
    """The rule files that come with the package, by name."""
    return {file.stem: file for folder in reversed(FOLDERS) for file in sorted(folder.glob("*.yaml"))}


def read_rules(source: str | Path) -> RuleFile:
    """Read a shipped rule file by name (`"default"`), or any file by path, with all that it extends.

    Raises:
        SelectionRuleError: If a file is missing, is not YAML, or says something the language does not have. The text
            holds every fault of the file with its place, the line, and what to write.

    >>> rules = read_rules("default")
    >>> rules.unmatched, rules.elements[0].take
    ('error', 'uniform')
    """
    files = _in_priority(_read(_find(source)))
    return RuleFile(
        layers=_joined(files, "layers"),
        components=_joined(files, "components"),
        elements=_joined(files, "elements"),
        unmatched=next((file.values["unmatched"] for file in files if "unmatched" in file.values), "error"),
        source=files[0].source.file,
        values=_joined(files, "values"),
    )


def _joined(files: list[_Read], section: str) -> tuple[Any, ...]:
    return tuple(rule for file in files for rule in file.values.get(section, ()))


def _in_priority(root: _Read) -> list[_Read]:
    """The file and all it extends, the highest priority first."""
    order: dict[Path, _Read] = {}
    _visit(root, (), order, {})
    return list(reversed(order.values()))


def _visit(file: _Read, above: tuple[Path, ...], order: dict[Path, _Read], reach: dict[Path, frozenset[Path]]) -> None:
    """Depth first, lowest priority first; a file enters `order` after all that it extends.

    Args:
        above: The chain of files that led here.
        reach: To every file in `order`, it and all that it extends.
    """
    here = _real(file.path)
    reached: frozenset[Path] = frozenset()
    items = file.values.get("extends", ())
    if len(items) > MAX_FILES:  # before any is looked for
        raise _too_many(file, items[MAX_FILES])
    for item in items:
        path = _extended(file, item)
        real = _real(path)
        if real in (*above, here):
            chain = " -> ".join(p.name for p in (*above, here, path))
            raise _refuse(file.source, item.span, f"`extends` goes in a circle: {chain}", "remove one of the links")
        if real in reached:
            message = f"{item.text} already comes in through an entry before it, so it cannot come first"
            raise _refuse(file.source, item.span, message, "put it before that entry, or leave it out")
        if real not in order:
            if len(order) + len(above) + 1 >= MAX_FILES:
                raise _too_many(file, item)
            _visit(_read(path), (*above, here), order, reach)
        reached |= reach[real]
    order[here], reach[here] = file, reached | {here}


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _too_many(file: _Read, item: Written) -> SelectionRuleError:
    return _refuse(file.source, item.span, f"more than {MAX_FILES} files through `extends`", "merge some of them")


def _extended(file: _Read, item: Written) -> Path:
    try:
        return _find(item.text, file.path.parent)
    except SelectionRuleError as error:
        raise _refuse(file.source, item.span, *str(error).split("\n  ")) from None


def _refuse(source: Source, span: Span, message: str, *advice: str) -> SelectionRuleError:
    return SelectionRuleError(source.fault(span, message, *advice))


def _read(path: Path) -> _Read:
    source = read_source(path)
    node = parse(source)
    if node is None:
        raise SelectionRuleError(f"{path}: the file is empty\n  write at least: version: 1")
    if not isinstance(node, Mapping):
        what = "a list" if isinstance(node, List) else "a text"
        raise _refuse(
            source, node.span, f"a rule file holds keys and values, this one holds {what}", "begin with: version: 1"
        )
    checker = Checker(source, RECORDS)
    try:
        values = checker.read(FILE, node, "a rule file")
    except TooManyFaults:
        values = BAD
    if faults := checker.faults if values is BAD else unreachable_rules(source, values):
        raise SelectionRuleError(_all_faults(path, faults))
    rules = tuple(_with_tokens(rule, path, source) for rule in values.get("elements", ()))
    return _Read(path, source, {**values, "elements": rules})


def _all_faults(path: Path, faults: list[str]) -> str:
    if len(faults) == 1:
        return faults[0]
    count = f"{len(faults)} faults" if len(faults) < MAX_FAULTS else f"the first {MAX_FAULTS} faults"
    return "\n".join([f"{path}: {count}", *faults[:MAX_FAULTS]])


def _with_tokens(rule: ElementRule, path: Path, source: Source) -> ElementRule:
    """The rule with its token map read."""
    written: object = rule.take
    if not isinstance(written, Written):
        return rule
    file = path.parent / written.text
    try:
        return replace(rule, take=read_token_map(file))
    except TokenMapFault as fault:
        advice = 'the path starts at the folder of this file; the file holds {"0": 0, "1": 17} or [[0, 1], [0, 17]]'
        raise _refuse(source, written.span, f"the token map {file}: {fault}", advice) from None


def _find(source: str | Path, folder: Path | None = None) -> Path:
    """The file of a name or path; a relative path starts at `folder`."""
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        path = path if folder is None else folder / path
        if os.path.isfile(path):  # Path.is_file raises on names that are too long
            return path
        start = "the current folder" if folder is None else "the folder of this file"
        raise SelectionRuleError(f"there is no rule file {path}\n  a relative path starts at {start}")
    shipped = shipped_rules()
    if str(source) in shipped:
        return shipped[str(source)]
    near = difflib.get_close_matches(str(source), shipped, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise SelectionRuleError(
        f"no rule file named {str(source)!r}; shipped: {', '.join(sorted(shipped))}{hint}\n"
        "  a file of your own is given by its path, which ends in .yaml"
    )
