"""Public names are imported when they are used, and are the same whatever was imported before."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import wsel_graph as ws


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_importing_brings_in_nothing() -> None:
    assert run("import sys, wsel_graph; print({'torch', 'networkx', 'rich', 'yaml'} & set(sys.modules))") == "set()"


@pytest.mark.parametrize("first", ["wsel_graph.plan", "wsel_graph.apply.memory", "wsel_graph.report.text"])
def test_packages_inside_do_not_hide_verbs(first: str) -> None:
    code = (
        f"import {first}; import wsel_graph as ws; print(ws.plan.__module__, ws.apply.__module__, callable(ws.trace))"
    )
    assert run(code) == "wsel_graph.api wsel_graph.api True"


def test_names_are_those_that_type_checkers_see() -> None:
    tree = ast.parse(Path(ws.__file__).read_text())
    seen = {
        alias.asname: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("wsel_graph.")
        for alias in node.names
    }
    assert seen == ws._HOME
    assert all(hasattr(ws, name) for name in seen)
    assert set(seen) <= set(dir(ws))
    with pytest.raises(AttributeError, match="module 'wsel_graph' has no attribute 'nothing'"):
        _ = ws.nothing
