"""What importing the package costs, and what it finds."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import wsel_graph
from wsel_graph.selection.rules import FOLDERS

PACKAGE = Path(wsel_graph.__file__).parent
LIBRARIES = ("timm", "torchvision", "transformers", "networkx", "numpy")


def imported(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of the packages a fresh interpreter has loaded after `code`."""
    program = (
        f"import torch, sys; before = set(sys.modules); {code}; print(*(set({names!r}) & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return sorted(done.stdout.split())


@pytest.mark.parametrize(
    ("code", "names"),
    [
        pytest.param("import wsel_graph", LIBRARIES, id="the package needs no model library"),
        pytest.param("import wsel_graph.cli.main", LIBRARIES, id="nor does the command line"),
        pytest.param("import wsel_graph.apply.memory", (*LIBRARIES, "yaml", "rich"), id="apply is light"),
        pytest.param("import wsel_graph.plan", ("yaml", "rich", "networkx"), id="the plan format is light"),
    ],
)
def test_imports_are_few(code: str, names: tuple[str, ...]) -> None:
    assert imported(code, names) == []


def test_the_import_check_can_fail() -> None:
    assert imported("import yaml", ("yaml",)) == ["yaml"]


@pytest.mark.parametrize("module", ["axes", "plan"])
def test_pure_data_knows_no_torch(module: str) -> None:
    files = list((PACKAGE / module).glob("*.py"))
    assert files
    for file in files:
        nodes = list(ast.walk(ast.parse(file.read_text())))
        roots = {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        roots |= {str(node.module).split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
        assert not roots & {"torch", "networkx", "yaml"}, file


def test_rule_files_are_found() -> None:
    names = {file.name for folder in FOLDERS for file in folder.glob("*.yaml")}
    assert {"default.yaml", "paper.yaml"} <= names
    assert wsel_graph.load_rules("default").version == 1


def test_types_are_shipped() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_version_and_command() -> None:
    try:
        found = metadata.distribution("wsel_graph")
    except metadata.PackageNotFoundError:
        pytest.skip("runs from a checkout that is not installed")
    scripts = {entry.name: entry.value for entry in found.entry_points}
    assert scripts["wsel-graph"] == "wsel_graph.cli.main:main"
