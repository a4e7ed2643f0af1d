"""Progress: nothing for what is quick, a bar and a line in the log for what takes longer than a second."""

from __future__ import annotations

import logging

import pytest

from wsel_graph import progress
from wsel_graph.progress import tracked


def test_what_is_quick_shows_nothing(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "wsel_graph"):
        assert list(tracked(range(3), "Counting", True)) == [0, 1, 2]
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_what_takes_long_shows_a_bar(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    with caplog.at_level(logging.INFO, "wsel_graph"):
        assert list(tracked(range(3), "Counting", True)) == [0, 1, 2]
    out, err = capfd.readouterr()
    assert out == ""
    assert "Counting" in err
    assert "100%" in err
    assert caplog.messages[0].startswith("Counting: 3 steps in ")


@pytest.mark.parametrize("wanted", [None, False])
def test_no_bar_where_nobody_looks(
    wanted: bool | None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    assert list(tracked(range(3), "Counting", wanted)) == [0, 1, 2]
    assert capfd.readouterr().err == ""


def test_a_bar_ends_with_an_error(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    steps = tracked(range(3), "Counting", True)
    assert next(iter(steps)) == 0
    steps.close()  # type: ignore[attr-defined]
    assert list(tracked(range(2), "Again", True)) == [0, 1]  # no second bar beside one that was left on
