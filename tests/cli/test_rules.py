"""`rules`: reading a file, trying it on two models, and what comes from other parts of the package."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from .conftest import Run

BOTH = ("--teacher-arg", "width=16", "--input", "2x4")


def sides(models: str) -> tuple[str, ...]:
    return ("--teacher", f"{models}:mlp", "--student", f"{models}:mlp", *BOTH)


def test_check_reads_a_file(run: Callable[..., Run]) -> None:
    done = run("rules", "check", "paper")
    assert done.code == 0
    assert done.out.startswith("paper is valid")
    found = run("rules", "check", "paper", "--json").json
    assert (found["rules"], found["ok"]) == ("paper", True)


def test_check_refuses_what_is_wrong(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("version: 1\nelemnts: []\n")
    assert "elemnts" in refused("rules", "check", tmp_path / "mine.yaml")
    assert "there is no rule file" in refused("rules", "check", tmp_path / "none.yaml")


def test_check_with_models_makes_the_plan(models: str, run: Callable[..., Run]) -> None:
    done = run("rules", "check", "default", *sides(models))
    assert "default is valid for these models" in done.out
    assert "Initialised 58 of 58 student parameters" in done.out
    assert run("rules", "check", "default", *sides(models), "--json").json == {
        "rules": "default", "ok": True, "coverage": 1.0, "kept": 0,
    }  # fmt: skip


def test_check_with_models_that_do_not_fit(models: str, refused: Callable[..., str]) -> None:
    assert "32" in refused("rules", "check", "default", *sides(models), "--student-arg", "width=32")


def test_one_model_is_not_enough(models: str, capsys: pytest.CaptureFixture[str]) -> None:
    from wsel_graph.cli.main import main

    with pytest.raises(SystemExit) as caught:
        main(["rules", "check", "default", "--teacher", f"{models}:mlp"])
    assert caught.value.code == 2
    assert "--teacher and --student go together" in capsys.readouterr().err


def test_schema_is_always_json(run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    part = ModuleType("wsel_graph.selection.json_schema")
    part.json_schema = lambda: {"title": "Selection rules"}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wsel_graph.selection.json_schema", part)
    assert run("rules", "schema").json == {"title": "Selection rules"}


def test_draft(models: str, run: Callable[..., Run], tmp_path: Path) -> None:
    pair = (f"{models}:mlp", f"{models}:mlp", *BOTH, "--teacher-arg", "depth=2", "--student-arg", "depth=2")
    done = run("rules", "draft", *pair)  # teacher first on the command line, student first in Python
    assert done.out.startswith("# Selection rules for a student of 130 parameters and a teacher of 386.\n")
    file = tmp_path / "drafted.yaml"
    written = run("rules", "draft", *pair, "--output", file, "--json").json
    assert written == {"rules": file.read_text(), "output": str(file)}
    assert file.read_text().strip() == done.out.strip()
    assert run("rules", "check", file).out.startswith(f"{file} is valid: 1 element rule")


def test_a_draft_that_cannot_be_written_is_refused_before_the_work(
    models: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    missing = tmp_path / "none" / "drafted.yaml"
    said = refused("rules", "draft", f"{models}:none", f"{models}:none", "--output", missing)
    assert f"there is no folder {missing.parent}" in said
