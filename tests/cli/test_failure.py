"""A failed command says one plain thing: no traceback unless `--debug`, and an exit code that tells what it was."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from .conftest import Run


@pytest.fixture
def failing(models: str, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Run `inspect` while tracing fails in a given way."""

    def call(error: BaseException, *options: str) -> Run:
        def fail(*_: Any) -> None:
            raise error

        monkeypatch.setattr("wsel_graph.cli.one.trace", fail)
        return run("inspect", f"{models}:mlp", "--input", "2x4", *options)

    return call


def test_a_fault_of_the_program_is_one_line(failing: Callable[..., Run]) -> None:
    done = failing(KeyError("blocks.0"))
    assert (done.code, done.out) == (3, "")
    first, end = done.err.split(" (at wsel_graph/cli/one.py:")
    assert first == "failed: KeyError: 'blocks.0'"
    assert "This is a fault of wsel-graph, not of your command; no output was finished." in end
    assert "Please report it with what the same command prints with --debug and these versions: wsel_graph " in end
    assert f"torch {torch.__version__}" in end
    assert done.err.count("\n") == 1


def test_debug_shows_the_traceback(failing: Callable[..., Run]) -> None:
    try:
        raise ZeroDivisionError("inner")
    except ZeroDivisionError as inner:
        error = RuntimeError("outer")
        error.__cause__ = inner
    done = failing(error, "--debug")
    assert done.code == 3
    assert done.err.index("ZeroDivisionError: inner") < done.err.index("RuntimeError: outer")
    assert "Traceback (most recent call last)" in done.err
    assert "Please report it with the traceback above" in done.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (RecursionError("maximum recursion depth exceeded"), 3, "failed: RecursionError: maximum recursion depth"),
        (MemoryError(), 1, "refused: out of memory (no message): give smaller --input shapes, or use a larger"),
        (FileNotFoundError(2, "No such file or directory", "x.pt"), 1, "refused: x.pt: No such file or directory\n"),
        (ValueError(""), 3, "failed: ValueError: no message (at wsel_graph/cli/"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_every_end_has_its_code(error: BaseException, code: int, text: str, failing: Callable[..., Run]) -> None:
    done = failing(error)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(text)
    assert "Traceback" not in done.err


def test_a_refusal_with_a_cause_says_how_to_see_it(models: str, run: Callable[..., Run]) -> None:
    command = ("inspect", f"{models}:fails", "--input", "2x4")
    done = run(*command)
    assert (
        done.err
        == f"refused: {models}:fails raised RuntimeError: no such weights\n(--debug shows where this was raised)\n"
    )
    debugged = run(*command, "--debug")
    assert debugged.code == 1
    assert 'raise RuntimeError("no such weights")' in debugged.err
    assert "The above exception was the direct cause of the following exception" in debugged.err
    assert debugged.err.endswith(f"refused: {models}:fails raised RuntimeError: no such weights\n")


def test_a_reader_that_leaves(models: str) -> None:
    """As `wsel-graph inspect ... | head -0`: no traceback and no complaint at exit."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "wsel_graph.cli", "inspect", f"{models}:mlp", "--input", "2x4"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
