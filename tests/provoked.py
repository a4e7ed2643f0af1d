"""Which messages of the package this test session has provoked.

A *site* is a `raise` statement of `wsel_graph` that makes an error of the `WselError` family. From `install()` on,
every error that is made notes the lines of the package that were running, so a site is known to be reached however its
text is put together. `python -m tests.provoked` prints every site with its text, to be read as a user would.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import wsel_graph
from wsel_graph.errors import WselError

PACKAGE = Path(wsel_graph.__file__).parent
DEPTH = 25
"""Frames to look at: helpers that make an error are called from the `raise` statement."""

_running: set[tuple[str, int]] = set()


@dataclass(frozen=True, order=True)
class Site:
    """A `raise` statement: its file below the package, its lines (1-based, inclusive), function, and source text."""

    file: str
    first: int
    last: int
    function: str
    text: str

    @property
    def key(self) -> str:
        """What stays the same when other lines are edited."""
        return f"{self.file}:{self.function}: {self.text}"


LAST = "test_every_message_was_provoked"


def whole_suite(config: pytest.Config) -> bool:
    """Whether the run leaves no test out, so that a message which was not provoked has no test."""
    asked = config.args_source == pytest.Config.ArgsSource.TESTPATHS
    return asked and not (
        config.option.keyword or config.option.markexpr or config.option.deselect or getattr(config.option, "lf", False)
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the test that asks which messages were provoked run last."""
    items.sort(key=lambda item: item.name == LAST)


def install() -> None:
    """Let every `WselError` note where it was made."""
    package = str(PACKAGE)

    def noted(self: WselError, *arguments: object) -> None:
        super(WselError, self).__init__(*arguments)
        frame = sys._getframe(1)
        for _step in range(DEPTH):
            if frame.f_code.co_filename.startswith(package):
                _running.add((frame.f_code.co_filename, frame.f_lineno))
            if frame.f_back is None:
                return
            frame = frame.f_back

    WselError.__init__ = noted  # type: ignore[method-assign]


def missed() -> list[Site]:
    """The sites that were not reached so far."""
    lines: dict[str, set[int]] = {}
    for file, line in _running:
        lines.setdefault(Path(file).relative_to(PACKAGE).as_posix(), set()).add(line)
    return [s for s in sites() if not lines.get(s.file, set()) & set(range(s.first, s.last + 1))]


@cache
def sites() -> tuple[Site, ...]:
    """Every site of the package, in order of files and lines."""
    return tuple(sorted(site for file in PACKAGE.rglob("*.py") for site in _sites(file)))


def _sites(file: Path) -> Iterator[Site]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    name = file.relative_to(PACKAGE).as_posix()
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and _ours(name, node.exc.func)):
            continue
        around = [f for f in functions if f.lineno <= node.lineno <= (f.end_lineno or 0)]
        inner = max(around, key=lambda f: f.lineno).name if around else "(module)"
        yield Site(name, node.lineno, node.end_lineno or node.lineno, inner, ast.unparse(node.exc))


def _ours(file: str, made_by: ast.expr) -> bool:
    """Whether the call makes an error of the family: a class of it, or a function that is annotated to return one."""
    if isinstance(made_by, ast.Call):  # type(error)(...)
        return True
    called = made_by.attr if isinstance(made_by, ast.Attribute) else getattr(made_by, "id", "")
    module = importlib.import_module("wsel_graph." + file.removesuffix(".py").replace("/", "."))
    found = getattr(module, called, getattr(builtins, called, None)) if isinstance(made_by, ast.Name) else None
    if isinstance(found, type):
        return issubclass(found, WselError)
    return called in _makers() or (found is None and isinstance(made_by, ast.Name))  # a variable that holds a class


@cache
def _makers() -> frozenset[str]:
    """Functions of the package that are annotated to return an error of the family."""
    family = {kind.__name__ for kind in _subclasses(WselError)}
    found = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.returns is not None and ast.unparse(node.returns) in family:
                found.add(node.name)
    return frozenset(found)


def _subclasses(kind: type) -> Iterator[type]:
    yield kind
    for below in kind.__subclasses__():
        yield from _subclasses(below)


if __name__ == "__main__":
    for each in sites():
        print(f"{each.file}:{each.first} ({each.function})\n    {each.text}\n")
