"""Import what a command line names, and say plainly what is wrong with it."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from wsel_graph.errors import ExampleInputsError

LIBRARIES = ("timm", "torchvision", "transformers")
"""Packages whose models go by name; none is a dependency of this one."""


def import_named(source: str) -> ModuleType:
    """The module of a dotted name, or of a file when the name ends in `.py`.

    Raises:
        ExampleInputsError: If it does not exist, or raises while it is imported.
    """
    if source.endswith(".py"):
        return _import_file(str(Path(source).resolve()), source)
    try:
        with _on_path(str(Path.cwd()), last=True):
            return importlib.import_module(source)
    except ModuleNotFoundError as error:
        hint = f"; install {error.name}" if error.name in LIBRARIES else ""
        raise ExampleInputsError(f"{source} cannot be imported: {error}{hint}") from None
    except Exception as error:  # a compiled extension that does not fit raises whatever it likes
        hint = "; perhaps its version does not fit torch's" if source.split(".")[0] in LIBRARIES else ""
        raise ExampleInputsError(f"{source} cannot be imported: {type(error).__name__}: {error}{hint}") from error


@functools.cache
def _import_file(path: str, shown: str) -> ModuleType:
    """Once per file: teacher and student may come from the same one, and share its classes."""
    if not Path(path).is_file():
        raise ExampleInputsError(f"there is no file {shown}; a relative path starts at {Path.cwd()}")
    name = f"wsel_graph_file_{Path(path).stem}_{abs(hash(path))}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise ExampleInputsError(f"{shown} cannot be imported as Python: name a .py file")
    module = sys.modules[name] = importlib.util.module_from_spec(found)  # dataclasses look their module up there
    try:
        with _on_path(str(Path(path).parent)):
            found.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ExampleInputsError(f"{shown} raised {type(error).__name__}: {error}") from error
    return module


@contextmanager
def _on_path(folder: str, last: bool = False) -> Iterator[None]:
    """As `python FILE` has it: code may import its neighbours."""
    sys.path.insert(len(sys.path) if last else 0, folder)
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(folder)


def callable_in(source: str, name: str) -> Callable[..., Any]:
    """A callable of a module; a dotted name reaches into a class.

    Raises:
        ExampleInputsError: If there is none of that name; the text lists near names.
    """
    found: Any = import_named(source)
    try:
        for part in name.split("."):
            found = getattr(found, part)
    except AttributeError:
        found = None
    if not callable(found):
        names = [key for key, value in vars(import_named(source)).items() if callable(value)]
        raise ExampleInputsError(f"{source} has no callable named {name!r}{near(name, names)}")
    return found  # type: ignore[no-any-return]


def near(name: str, names: Iterable[str]) -> str:
    """A question for the end of an error text, when some name is close.

    >>> near("resnet51", ["resnet50", "vgg11"])
    '; did you mean resnet50?'
    >>> near("resnet51", [])
    ''
    """
    close = difflib.get_close_matches(name, list(names), n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""
