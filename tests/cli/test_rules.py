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


RULES = """
version: 1
unmatched: error
layers:
  - stage: "decoder.*"
    take: last
  - take: last
components:
  - keep: {student: "stem.*"}
  - keep: "head.nothing"
  - ignore: {teacher: "blocks.0.norm1.*"}
  - require: {operator: linear}
elements:
  - where: {role: heads}
    take: consecutive
  - take: uniform
"""

MODELS = """
from torch import nn

from tests.nets import Transformer


def make(dim=16, heads=2, depth=2, extra=False):
    model = Transformer(dim, heads, 8, depth=depth)
    return nn.Sequential(model, nn.LayerNorm(3)) if extra else model
"""


def transformers(folder: Path) -> tuple[str, ...]:
    """The arguments for a teacher of four blocks and a student of two."""
    (folder / "nets.py").write_text(MODELS)
    name = f"{folder / 'nets.py'}:make"
    sizes = "--teacher-arg", "dim=32", "--teacher-arg", "heads=4", "--teacher-arg", "depth=4"
    return "--teacher", name, "--student", name, "--input", "2x5x7", *sizes


def test_check_shows_what_every_rule_governs(run: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(RULES)
    found = run("rules", "check", tmp_path / "mine.yaml", *transformers(tmp_path), "--json").json
    assert (found["ok"], found["refused"], found["unexplained"]) == (True, None, {})
    governs = {rule["says"]: rule["names"] for rule in found["governs"]}
    linears = [name for name in governs["require {operator: linear}"] if name.endswith("weight")]
    assert governs == {
        "stage decoder.*: take last": [],
        "stage *: take last": ["blocks"],
        "keep {student: stem.*}": ["stem.weight", "stem.bias"],
        "keep {student: head.nothing}": [],
        "ignore {teacher: blocks.0.norm1.*}": ["blocks.0.norm1.weight"],
        "require {operator: linear}": governs["require {operator: linear}"],
        "where {role: heads}: take consecutive": ["blocks.0.attn.q.weight:0", "blocks.1.attn.q.weight:0"],
        "every group: take uniform": governs["every group: take uniform"],
    }
    assert len(linears) == 2 * 6 + 1  # the stem is governed by the rule above
    assert found["governs"][-2]["kinds"] == {"heads": 2}
    assert found["governs"][-1]["kinds"] == {"embed": 1, "hidden": 2, "head_dim": 4}  # no pinned ones: nothing to take


def test_check_in_words(run: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(RULES)
    done = run("rules", "check", tmp_path / "mine.yaml", *transformers(tmp_path))
    assert done.code == 0
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert any(line.startswith("mine.yaml:14:5 where {role: heads}: take 2 groups (2 heads) bl") for line in lines)
    assert "mine.yaml:10:5 keep {student: head.nothing} nothing" in lines
    assert "These rules govern nothing in these models: mine.yaml:5:5, mine.yaml:10:5" in done.out
    assert "Would initialise" in done.out


def test_check_does_not_blame_a_file_for_what_it_extends(models: str, run: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("version: 1\nextends: default\nelements:\n  - take: consecutive\n")
    done = run("rules", "check", tmp_path / "mine.yaml", *sides(models))
    assert " ".join(done.out.split()).count("default.yaml:4:5 stage *: take first nothing") == 1  # there is no stage
    assert "govern nothing" not in done.out
    assert (
        "These rules govern nothing in these models: default.yaml:4:5"
        in run("rules", "check", "default", *sides(models)).out
    )


def test_check_without_a_plan_still_shows_what_rules_govern(run: Callable[..., Run], tmp_path: Path) -> None:
    arguments = (*transformers(tmp_path), "--student-arg", "extra=true")
    keeps = RULES.replace('"stem.*"}', '"0.head.*"}').replace("linear}", "norm}").replace("error", "keep")
    (tmp_path / "mine.yaml").write_text(keeps)
    done = run("rules", "check", tmp_path / "mine.yaml", *arguments, "--json")
    assert done.code == 1
    assert done.json["refused"] in done.err
    assert "the rule requires 1.weight to be initialised, and it is not: unmatched: the teacher has no" in done.err
    assert done.json["governs"][2]["names"] == ["0.head.weight", "0.head.bias"]
    (tmp_path / "mine.yaml").write_text("version: 1\nlayers:\n  - take: last\n")
    done = run("rules", "check", tmp_path / "mine.yaml", *arguments, "--json")
    assert done.code == 1
    assert set(done.json["unexplained"]) == {"1.weight", "1.bias"}
    assert done.json["governs"][0]["names"] == ["0.blocks"]


def test_check_with_models_makes_the_plan(models: str, run: Callable[..., Run]) -> None:
    done = run("rules", "check", "default", *sides(models))
    assert "default is valid for these models" in done.out
    assert "Would initialise 58 of 58 student parameters" in done.out
    found = run("rules", "check", "default", *sides(models), "--json").json
    assert {key: found[key] for key in ("rules", "ok", "coverage", "kept")} == {
        "rules": "default", "ok": True, "coverage": 1.0, "kept": 0,
    }  # fmt: skip


def test_check_with_models_that_do_not_fit(models: str, run: Callable[..., Run]) -> None:
    done = run("rules", "check", "default", *sides(models), "--student-arg", "width=32")
    assert (done.code, done.out.count("every group: take")) == (1, 1)
    assert "refused: the student is larger than the teacher on the coupled axis hidden: 32 > 16" in done.err


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
