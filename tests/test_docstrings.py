"""Every public name explains itself: what it is, shapes where tensors are involved, errors, where a method is from."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

import wsel_graph as ws
from wsel_graph.errors import WselError

PUBLIC = {name: getattr(ws, name) for name in ws._HOME}

SHAPE = re.compile(r"\[[\w\s,./]+\]|\(\w+(, \w+)+\)|\bshape|\bscalar|\bscalars|`\.\.\.|one number")
"""How a docstring tells a shape: `[rows, channels]`, `(batch, classes)`, or in words."""

SOURCES = {
    "initialize": "2311.18823",
    "compensate": "1707.06168",
    "LogitDistillation": "1503.02531",
}
"""Methods that come from a paper: the number that the docstring of the name, or of its module, must give."""


def _methods(kind: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Public functions that a class of this package defines itself; what `nn.Module` gives is documented there."""
    for name, value in vars(kind).items():
        made = value.fget if isinstance(value, property) else getattr(value, "func", value)
        if not name.startswith("_") and inspect.isfunction(made) and made.__module__.startswith("wsel_graph"):
            yield name, made


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: value for name, value in PUBLIC.items() if inspect.isfunction(value)},
    **{
        f"{name}.{method}": made
        for name, value in PUBLIC.items()
        if inspect.isclass(value)
        for method, made in _methods(value)
        if not (method == "forward" and made.__doc__ is None)
    },
}
CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}


def documented(name: str) -> str:
    """The docstring of a function; of a method, with that of its class."""
    owner = PUBLIC[name.partition(".")[0]]
    return "\n".join(filter(None, (inspect.getdoc(FUNCTIONS[name]), inspect.getdoc(owner))))


def raises(function: Callable[..., Any]) -> bool:
    """Whether it raises an error of ours, or calls something of this package whose docstring says that it does."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    names = vars(sys.modules[function.__module__])
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            kind = names.get(node.exc.func.id)
            if isinstance(kind, type) and issubclass(kind, WselError):
                return True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = names.get(node.func.id)
            if inspect.isfunction(called) and "Raises:" in (inspect.getdoc(called) or ""):
                return True
    return False


def takes_or_gives_tensors(function: Callable[..., Any]) -> bool:
    return any(re.search(r"\b(Long)?Tensor\b", str(annotation)) for annotation in function.__annotations__.values())


def test_there_is_something_to_check() -> None:
    assert len(PUBLIC) > 25
    assert len(FUNCTIONS) > 35
    assert sum(map(raises, FUNCTIONS.values())) > 10


@pytest.mark.parametrize("name", [*FUNCTIONS, *CLASSES])
def test_it_says_what_it_is(name: str) -> None:
    text = inspect.getdoc(FUNCTIONS.get(name) or CLASSES[name])
    assert text, name
    assert text[0].isupper() or text.startswith("`")
    assert text.split("\n\n")[0].rstrip().endswith((".", ":", "`")), text


@pytest.mark.parametrize("name", [name for name, function in FUNCTIONS.items() if raises(function)])
def test_it_says_what_it_raises(name: str) -> None:
    text = inspect.getdoc(FUNCTIONS[name]) or ""
    assert re.search(r"^Raises:\n +\w+: ", text, flags=re.MULTILINE), name


@pytest.mark.parametrize("name", [name for name, made in FUNCTIONS.items() if takes_or_gives_tensors(made)])
def test_it_gives_shapes(name: str) -> None:
    assert SHAPE.search(documented(name)), name


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if "." not in name])
def test_it_explains_its_arguments(name: str) -> None:
    """All of a public function's arguments, or none where it takes one that its name explains."""
    text = inspect.getdoc(FUNCTIONS[name]) or ""
    taken = list(inspect.signature(FUNCTIONS[name]).parameters)
    missing = [word for word in taken if not re.search(rf"^ +{word}: ", text, flags=re.MULTILINE)]
    assert not missing or len(taken) == 1, missing


@pytest.mark.parametrize("name", [name for name, kind in CLASSES.items() if is_dataclass(kind)])
def test_it_explains_its_fields(name: str) -> None:
    text = inspect.getsource(CLASSES[name])
    for field in fields(CLASSES[name]):
        lines = [line for line in text.splitlines() if re.search(rf"\b{field.name}\b", line)]
        assert any("#" in line or re.match(rf" +{field.name}: [A-Z]", line) for line in lines) or len(lines) > 1, (
            field.name
        )


@pytest.mark.parametrize("name", SOURCES)
def test_it_names_its_source(name: str) -> None:
    module = sys.modules[PUBLIC[name].__module__]
    assert SOURCES[name] in (inspect.getdoc(PUBLIC[name]) or "") + (module.__doc__ or ""), name
