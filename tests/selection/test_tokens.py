"""Token maps: both forms, and every fault with its full text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsel_graph.errors import SelectionRuleError
from wsel_graph.selection import TokenMap
from wsel_graph.selection import tokens as tokens_module
from wsel_graph.selection.rules import read_rules

RULES = "version: 1\nelements:\n  - where: {role: vocabulary}\n    take: {tokens: map.json}\n"
AFTER = """
        take: {tokens: map.json}
                       ^^^^^^^^
  the path starts at the folder of this file; the file holds {"0": 0, "1": 17} or [[0, 1], [0, 17]]"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text(RULES)


@pytest.mark.parametrize("text", ['{"0": 5, "2": 5}', "[[0, 2], [5, 5]]", '\ufeff{"0": 5, "2": 5}'])
def test_both_forms(text: str) -> None:
    Path("map.json").write_text(text, encoding="utf-8")
    assert read_rules("my.yaml").elements[0].take == TokenMap("map.json", ((0, 5), (2, 5)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is not JSON: line 1, column 1: Expecting value"),
        ('{"0": 1,\n}', "it is not JSON: line 2, column 1: Expecting property name enclosed in double quotes"),
        ("3", 'neither an object such as {"0": 0, "1": 17} nor two lists such as [[0, 1], [0, 17]]'),
        ("[1, 2]", 'neither an object such as {"0": 0, "1": 17} nor two lists such as [[0, 1], [0, 17]]'),
        ("[[1, 2], [1]]", "two lists of different length: 2 student ids, 1 teacher ids"),
        ("{}", "it maps no token"),
        ('{"a": 1}', "a student token id must be a whole number from 0, got 'a'"),
        ('{"-1": 1}', "a student token id must be a whole number from 0, got '-1'"),
        ('{"1": -1}', "a teacher token id must be a whole number from 0, got -1"),
        ('{"1": true}', "a teacher token id must be a whole number from 0, got True"),
        ('{"1": 1.0}', "a teacher token id must be a whole number from 0, got 1.0"),
        ('{"1": {}}', "a teacher token id must be a whole number from 0, got an object"),
        ("[[1], [NaN]]", "a teacher token id must be a whole number from 0, got nan"),
        ('{"1": 1, "1": 2}', "the student token id 1 occurs twice"),
        ('{"1": 1, "01": 2}', "the student token id 1 occurs twice"),
        ("[[1, 1], [2, 3]]", "the student token id 1 occurs twice"),
        ("[" * 100_000, "it is not a token map: a number too long, or nested too deep"),
        ('{"1": ' + "9" * 5_000 + "}", "it is not a token map: a number too long, or nested too deep"),
    ],
)
def test_faults(text: str, message: str) -> None:
    Path("map.json").write_text(text)
    with pytest.raises(SelectionRuleError) as caught:
        read_rules("my.yaml")
    assert str(caught.value) == f"my.yaml:4:20: the token map map.json: {message}{AFTER}"


def test_a_file_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "MAX_BYTES", 1024**2)
    Path("map.json").write_text(" " * (1024**2 + 1))
    with pytest.raises(SelectionRuleError, match=r"the token map map\.json: it is larger than 1 MiB"):
        read_rules("my.yaml")


def test_what_is_no_file() -> None:
    os.mkfifo("map.json")
    with pytest.raises(SelectionRuleError, match=r"the token map map\.json: it is no file"):
        read_rules("my.yaml")


def test_not_utf8() -> None:
    Path("map.json").write_bytes(b'{"\xe9": 1}')
    with pytest.raises(SelectionRuleError, match=r"it is not JSON: not UTF-8"):
        read_rules("my.yaml")


def test_the_path_starts_at_the_rule_file() -> None:
    Path("sub").mkdir()
    Path("sub/my.yaml").write_text(RULES)
    Path("sub/map.json").write_text("[[3], [4]]")
    take = read_rules("sub/my.yaml").elements[0].take
    assert isinstance(take, TokenMap)
    assert take.pairs == ((3, 4),)
