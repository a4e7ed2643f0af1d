"""Selection-rule files: shipped ones, own ones, and faults."""

from __future__ import annotations

from pathlib import Path

import pytest

import wsel_graph as ws
from tests.nets import Transformer, mlp
from wsel_graph.errors import SelectionRuleError
from wsel_graph.selection.rules import FOLDERS


def shipped() -> list[str]:
    """Names of all rule files in the checkout or package."""
    return sorted(file.stem for folder in FOLDERS for file in folder.glob("*.yaml"))


def test_shipped_files_are_valid() -> None:
    assert {"default", "paper"} <= set(shipped())
    assert all(ws.load_rules(name).version == 1 for name in shipped())


def test_default_is_default_and_paper_is_flat() -> None:
    assert ws.load_rules("default").elements.model_dump() == {"method": "uniform", "unit": "whole", "consistent": True}
    paper = ws.load_rules("paper")
    assert (paper.elements.unit, paper.components.keep) == ("flat", ("*head*",))


def test_own_file_is_used(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("version: 1\nelements: {method: consecutive}\ncomponents: {keep: ['4.*']}\n")
    plan = ws.plan(mlp(4), mlp(8), (1, 4), rules=file)
    assert {kept.student for kept in plan.kept} == {"4.weight", "4.bias"}
    assert {copy.indices[0] for copy in plan.copies} == {range(4), range(8)}


def test_arguments_win_over_the_file() -> None:
    plan = ws.plan(Transformer(8, 2, 4), Transformer(16, 4, 4), (2, 5, 7), rules="paper", unit="whole")
    assert {choice.role for choice in plan.choices} >= {"heads", "head_dim"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("version: 2", r"mine\.yaml: version: input should be 1", id="version"),
        pytest.param("elements: {}", r"version: field required", id="no version"),
        pytest.param("version: 1\nelement: {}", r"element: extra inputs are not permitted", id="unknown key"),
        pytest.param(
            "version: 1\nelements: {method: unifrom}", r"elements\.method: .*'uniform', 'consecutive'", id="method"
        ),
        pytest.param(
            "version: 1\nelements: {unit: half, consistent: 3}", r"elements\.unit: .*; elements\.consistent: ", id="two"
        ),
        pytest.param("version: 1\nelements: [", r"mine\.yaml: not valid YAML: (?s:.*)line 2", id="syntax"),
        pytest.param("", r"the file: ", id="empty"),
    ],
)
def test_faults_in_files(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(SelectionRuleError, match=message):
        ws.load_rules(file)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param(
            "papper", r"no rule file named 'papper'; shipped: default, paper.*; did you mean 'paper'\?", id="near"
        ),
        pytest.param("nowhere/x.yaml", r"there is no rule file nowhere/x\.yaml", id="path"),
    ],
)
def test_files_that_do_not_exist(name: str, message: str) -> None:
    with pytest.raises(SelectionRuleError, match=message):
        ws.load_rules(name)
