"""Real English without a download: docstrings of installed Python packages, read as text and never imported.

A passage is the first paragraph of a docstring and the one after it. Files are dealt to the exam, calibration and
training by a hash of their path, so no file serves two uses, and the split does not move when a package gains a file.
"""

from __future__ import annotations

import ast
import hashlib
import random
import re
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDERS = ("numpy", "torch/nn", "torch/optim", "torch/distributions", "torch/utils")
"""Read besides the standard library."""
SHARES = {"exam": 2, "calibration": 3, "training": 5}
"""Tenths of the files for each use."""
_SKIPPED = {"test", "tests", "site-packages", "idlelib", "lib2to3", "turtledemo", "__pycache__"}
_MARKUP = re.compile(r"---|===|>>>|::|Args:|Returns:|Parameters|\.\. ")


@dataclass(frozen=True, slots=True)
class Passage:
    """The start of a docstring, white space made single."""

    summary: str
    """20 to 160 characters."""
    paragraph: str
    """60 to 500 characters."""


def passages() -> dict[str, list[Passage]]:
    """Passages for each use, shuffled; no summary or paragraph occurs twice, in any use."""
    found: dict[str, list[Passage]] = {use: [] for use in SHARES}
    seen: set[str] = set()
    for name, path in _files():
        for passage in read_passages(path.read_text(encoding="utf-8", errors="replace")):
            texts = {_words(passage.summary), _words(passage.paragraph)}
            if not texts & seen:
                seen |= texts
                found[use_of(name)].append(passage)
    for use in found:
        random.Random(0).shuffle(found[use])
    return found


def _files() -> Iterator[tuple[str, Path]]:
    library, packages = (Path(sysconfig.get_paths()[key]) for key in ("stdlib", "purelib"))
    for folder, base in [(library, library), *((packages / name, packages) for name in FOLDERS)]:
        for path in sorted(folder.rglob("*.py")):
            name = path.relative_to(base)
            if not _SKIPPED & set(name.parts):
                yield name.as_posix(), path


def _words(text: str) -> str:
    """A text without what may differ in copies of it: case, punctuation and white space."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def use_of(name: str) -> str:
    """What a file of this path is used for.

    >>> use_of("json/decoder.py") == use_of("json/decoder.py")
    True
    """
    tenth = hashlib.sha256(name.encode()).digest()[0] * 10 // 256
    uses = [use for use, share in SHARES.items() for _ in range(share)]
    return uses[tenth]


def read_passages(source: str) -> Iterator[Passage]:
    """Passages of a Python source; none if it does not parse.

    >>> source = "def f():\\n '''Add two numbers or lists.\\n\\n {}'''".format("Lists are joined end to end. " * 3)
    >>> [(passage.summary, len(passage.paragraph)) for passage in read_passages(source)]
    [('Add two numbers or lists.', 86)]
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)) and (text := ast.get_docstring(node)):
            summary, paragraph = ([" ".join(part.split()) for part in text.split("\n\n")] + [""])[:2]
            if 20 <= len(summary) <= 160 and 60 <= len(paragraph) <= 500 and not _MARKUP.search(summary + paragraph):
                yield Passage(summary, paragraph)
