"""Damaged plan files: a short run of the fuzzer, and what it looks for."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from tests.plan.fuzz import check, fuzz, seeds
from wsel_graph.plan import serial


def test_damaged_files_are_read_or_refused() -> None:
    tries = itertools.count()
    count, answers, crashes = fuzz(lambda: next(tries) < 300, seed=5)
    assert count == 300
    assert answers > 100  # the damage reaches many checks
    assert not crashes


def test_what_is_damaged_is_whole_before(tmp_path: Path) -> None:
    for document in seeds():
        (tmp_path / "plan.json").write_text(json.dumps(document))
        assert check(tmp_path / "plan.json") == "read, applied"


def test_the_fuzzer_sees_a_reader_that_crashes(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(plan: object) -> list[object]:
        raise IndexError("list index out of range")

    monkeypatch.setattr(serial, "plan_faults", careless)
    tries, told = itertools.count(), list[str]()
    assert fuzz(lambda: next(tries) < 20, seed=5, tell=told.append)[2]
    assert "IndexError: list index out of range" in told[0]
