"""Rule files as a whole: shipped ones, own ones, and what they extend."""

from __future__ import annotations

from pathlib import Path

import pytest

import wsel_graph as ws
from tests.nets import Transformer, mlp
from wsel_graph.errors import SelectionRuleError
from wsel_graph.selection.rules import read_rules, shipped_rules


def write(folder: Path, name: str, text: str) -> Path:
    """A rule file in a folder."""
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_default_is_default_and_paper_is_flat() -> None:
    default, paper = read_rules("default"), read_rules("paper")
    assert [(rule.take, rule.unit, rule.consistent) for rule in default.elements] == [("uniform", "whole", True)]
    assert (default.components, default.unmatched) == ((), "error")
    assert [(rule.take, rule.unit, rule.consistent) for rule in paper.elements] == [("uniform", "flat", True)]
    assert [(rule.action, rule.selector.student) for rule in paper.components] == [("keep", ("*head*",))]


def test_own_file_is_used(tmp_path: Path) -> None:
    file = write(tmp_path, "mine.yaml", "version: 1\nelements: [{take: consecutive}]\ncomponents: [keep: '4.*']\n")
    plan = ws.plan(mlp(4), mlp(8), (1, 4), rules=file)
    assert {kept.student for kept in plan.kept} == {"4.weight", "4.bias"}
    assert {copy.indices[0] for copy in plan.copies} == {range(4), range(8)}


def test_arguments_win_over_the_file() -> None:
    plan = ws.plan(Transformer(8, 2, 4), Transformer(16, 4, 4), (2, 5, 7), rules="paper", unit="whole")
    assert {choice.role for choice in plan.choices} >= {"heads", "head_dim"}


def test_own_rules_come_first_then_later_files(tmp_path: Path) -> None:
    write(tmp_path, "low.yaml", "version: 1\nunmatched: keep\nelements: [{seed: 1}]\n")
    write(tmp_path, "high.yaml", "version: 1\nelements: [{seed: 2}]\n")
    mine = write(tmp_path, "mine.yaml", "version: 1\nextends: [low.yaml, high.yaml, default]\nelements: [{seed: 3}]\n")
    rules = read_rules(mine)
    assert [rule.seed for rule in rules.elements] == [3, None, 2, 1]
    assert rules.elements[1].take == "uniform"
    assert rules.unmatched == "keep"
    assert rules.source == str(mine)
    assert str(rules.elements[3].at) == f"{tmp_path / 'low.yaml'}:3:12"


def test_shipped_files_combine(tmp_path: Path) -> None:
    mine = write(tmp_path, "mine.yaml", "version: 1\nextends: [consecutive, without-norm]\n")
    rules = read_rules(mine)
    assert [rule.take for rule in rules.elements] == ["consecutive", "uniform"]
    assert [str(rule.selector) for rule in rules.components] == ["{operator: [norm, batch_norm]}", "{student: *head*}"]


def test_a_file_that_several_extend_comes_last(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "version: 1\nelements: [{seed: 0}]\n")
    for name, seed in (("left", 1), ("right", 2)):
        write(tmp_path, f"{name}.yaml", f"version: 1\nextends: base.yaml\nelements: [{{seed: {seed}}}]\n")
    mine = write(tmp_path, "mine.yaml", "version: 1\nextends: [left.yaml, right.yaml]\n")
    assert [rule.seed for rule in read_rules(mine).elements] == [2, 1, 0]


def test_extends_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path, "base.yaml", "version: 1\nelements: [{seed: 5}]\n")
    mine = write(tmp_path / "sub", "mine.yaml", "version: 1\nextends: ../base.yaml\n")
    assert [rule.seed for rule in read_rules(mine).elements] == [5]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param(
            "papper", r"no rule file named 'papper'; shipped: .*default.*paper.*; did you mean 'paper'\?", id="near"
        ),
        pytest.param("nowhere/x.yaml", r"there is no rule file nowhere/x\.yaml", id="path"),
        pytest.param("x" * 300 + ".yaml", r"there is no rule file x{300}\.yaml", id="long"),
        pytest.param("a\0b.yaml", r"there is no rule file a\0b\.yaml", id="nul"),
        pytest.param("mine", r"a file of your own is given by its path, which ends in \.yaml", id="advice"),
    ],
)
def test_files_that_do_not_exist(name: str, message: str) -> None:
    with pytest.raises(SelectionRuleError, match=message):
        read_rules(name)


def test_shipped_names() -> None:
    assert {"default", "paper"} <= set(shipped_rules())
