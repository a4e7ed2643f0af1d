"""How a command ends badly: a plain text on stderr, an exit code, and a traceback only where `--debug` asks for it."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import torch

from wsel_graph.errors import WselError

REFUSED, UNEXPECTED, INTERRUPTED, NO_READER = 1, 3, 130, 141
"""Exit codes: a reason in the input or the machine; a fault of this program; the two signals as shells count them."""


def guarded(command: Callable[[], int], debug: bool, refused: int = REFUSED) -> int:
    """Run a command; say in one text what went wrong, and give the exit code.

    Args:
        command: Runs, prints its answer, and gives an exit code.
        debug: Show the traceback of every failure too, with the errors that led to it.
        refused: The exit code of a refusal.
    """
    try:
        code = command()
        sys.stdout.flush()  # here and not at exit: a closed pipe shows now
        return code
    except BrokenPipeError:  # the reader has seen enough
        _discard_stdout()
        return NO_READER
    except KeyboardInterrupt as error:
        return _say("interrupted", INTERRUPTED, error, debug)
    except WselError as error:
        notes: list[str] = getattr(error, "__notes__", [])
        more = [] if debug or error.__cause__ is None else ["(--debug shows where this was raised)"]
        return _say("\n".join([f"refused: {error}", *notes, *more]), refused, error, debug)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"refused: {where}{error.strerror or error}", refused, error, debug)
    except (MemoryError, torch.OutOfMemoryError) as error:
        text = f"refused: out of memory ({_first_line(error)}): give smaller --input shapes, or use a larger machine"
        return _say(text, refused, error, debug)
    except Exception as error:
        return _say(_unexpected(error, debug), UNEXPECTED, error, debug)


def _say(text: str, code: int, error: BaseException, debug: bool) -> int:
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    print(text, file=sys.stderr)
    return code


def _unexpected(error: Exception, debug: bool) -> str:
    how = "the traceback above" if debug else "what the same command prints with --debug"
    return (
        f"failed: {type(error).__name__}: {_first_line(error)} ({_place(error)}). This is a fault of wsel-graph, not "
        f"of your command; no output was finished. Please report it with {how} and these versions: {_versions()}"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:300]


def _place(error: BaseException) -> str:
    """The innermost line of this package that was running."""
    package = Path(__file__).parent.parent
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if package in Path(frame.filename).parents]
    if not own:
        return "outside wsel_graph"
    file = Path(own[-1].filename).relative_to(package).as_posix()
    return f"at wsel_graph/{file}:{own[-1].lineno}"


def _versions() -> str:
    try:
        own = metadata.version("wsel_graph")
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        own = "a checkout"
    return f"wsel_graph {own}, torch {torch.__version__}, Python {sys.version.split()[0]}"


def _discard_stdout() -> None:
    """So that the interpreter, when it exits, does not complain about what it could not write."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # stdout is no file
        return
