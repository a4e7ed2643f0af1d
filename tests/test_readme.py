"""Every snippet of the README runs, in order, in one folder and one Python session, and shows what the README says.

A comment before a fenced block says what it is: `file: NAME` is written to the folder, `run` (with an exit code when it
is not 0) is a command, `output` is part of what the snippet before it printed, `in NAME` is part of a file, and `fault:
RIGHT WRONG` is what checking the last YAML file says when the first `RIGHT` of it reads `WRONG`.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wsel_graph.cli.main import main
from wsel_graph.cli.models import HUBS
from wsel_graph.ops.registry import RULES

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<language>\w+)\n(?P<body>.*?)```", flags=re.DOTALL)


class Reader:
    """Goes through the blocks as a reader would."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.session: dict[str, Any] = {}
        self.said, self.file, self.done = "", "", dict[str, int]()

    def follow(self, mark: str, language: str, body: str) -> None:
        """Do what a block says."""
        kind, _, rest = mark.partition(" ")
        kind = kind.rstrip(":") or language
        self.done[kind] = self.done.get(kind, 0) + 1
        if kind == "file":
            Path(rest).write_text(body, encoding="utf-8")
            self.file = rest
        elif kind == "run":
            self.said = self._run(body, int(rest or 0))
        elif kind == "output":
            self._shows(self.said, body)
        elif kind == "in":
            self._shows(Path(rest).read_text(encoding="utf-8"), body)
        elif kind == "fault":
            self._fault(*rest.split(), body)
        elif kind == "python":
            exec(compile(body, str(README), "exec"), self.session)
            self.said = self.capsys.readouterr().out

    def _run(self, command: str, code: int) -> str:
        program, *arguments = shlex.split(command.replace("\\\n", " "))
        assert program == "wsel-graph"
        assert main(arguments) == code, command
        shown = self.capsys.readouterr()
        return shown.out + shown.err

    def _shows(self, text: str, expected: str) -> None:
        """All lines are there, in this order; dashes, spaces and lines in between are free."""
        lines = iter([" ".join(line.split()) for line in text.splitlines()])
        for line in expected.splitlines():
            assert " ".join(line.split()) in lines, f"{line!r} does not follow in:\n{text}"

    def _fault(self, right: str, wrong: str, expected: str) -> None:
        file = Path(self.file)
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(right, wrong, 1), encoding="utf-8")
        assert self._run(f"wsel-graph rules check {file}", 1) == f"refused: {expected}"
        file.write_text(text, encoding="utf-8")


def blocks() -> Iterator[tuple[str, str, str]]:
    for found in BLOCK.finditer(README.read_text(encoding="utf-8")):
        yield found["mark"] or "", found["language"], found["body"]


def test_snippets_run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    reader = Reader(capsys)
    for mark, language, body in blocks():
        reader.follow(mark, language, body)
    sys.modules.pop("my_nets", None)
    HUBS.pop("nets")  # type: ignore[attr-defined]
    RULES.pop("mylib::halve")
    assert reader.done["python"] >= 4
    assert {kind: reader.done[kind] for kind in ("file", "run", "output", "in", "fault")} == {
        "file": 3, "run": 3, "output": 5, "in": 1, "fault": 1,
    }  # fmt: skip
    assert reader.session["result"].coverage == 1.0
    fused = reader.session["graph"].tensors["encoder.layers.0.self_attn.in_proj_weight"]
    assert fused.notation == "(3 heads head_dim) embed"


def test_what_is_not_shown_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    reader = Reader(capsys)
    reader.follow("", "python", "print('one  two')\nprint('three')\n")
    reader.follow("output", "text", "one two\nthree\n")
    for wrong in ("three\none two\n", "one\n", "two three\n"):
        with pytest.raises(AssertionError, match="does not follow"):
            reader.follow("output", "text", wrong)


def test_commands_are_marked_for_ci() -> None:
    text = README.read_text()
    assert re.search(r"<!-- test-command -->\n```sh\n.*tests\.run_all\n```", text, flags=re.DOTALL)


def test_commands_that_do_not_run_here_are_spelled_right() -> None:
    """The other `wsel-graph` lines parse: weights and libraries that they name are not here."""
    from wsel_graph.cli.main import _parser

    lines = [
        line
        for mark, language, body in blocks()
        if language == "sh" and not mark
        for line in body.replace("\\\n", " ").splitlines()
    ]
    assert lines
    for line in lines:
        program, *arguments = shlex.split(line, comments=True)
        assert program == "wsel-graph"
        assert _parser().parse_args(arguments).run
