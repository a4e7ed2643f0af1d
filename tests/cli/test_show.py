"""What stdout and stderr hold: plain tables, one JSON document, and progress only where somebody looks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from rich.console import Console
from rich.text import Text

from wsel_graph.cli.main import main
from wsel_graph.cli.show import Answer, print_answer, some, table

from .conftest import Run

COMMANDS = (
    "inspect", "verify", "plan", "init", "apply", "rules", "rules check", "rules schema", "rules draft", "demo",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: wsel-graph {command} ")
    assert ("--json" in shown) is (command != "rules")


def test_what_models_print_stays_out_of_the_answer(models: str, run: Callable[..., Run]) -> None:
    done = run("inspect", f"{models}:chatty", "--input", "2x4", "--json")
    assert done.json["parameters"] == 58
    assert done.err == "building Sizes(width=8)\n"


def test_no_progress_where_nobody_looks(models: str, run: Callable[..., Run]) -> None:
    assert run("inspect", f"{models}:mlp", "--input", "2x4").err == ""


def test_progress_on_a_terminal(models: str, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    done = run("inspect", f"{models}:chatty", "--input", "2x4", "--json")
    assert "tracing" in done.err
    assert "building Sizes" in done.err
    assert done.json["parameters"] == 58


def test_infinities_become_null(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_answer(Answer({"a": float("inf"), "b": [float("nan"), 1]}, [], code=1), as_json=True) == 1
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1]}


def test_text_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    wide = "x" * 150
    rows = [("[bold]no markup[/bold]", "1"), ("blocks.0", wide)]
    print_answer(Answer({}, [f"[red]{wide}", table("Title", ("name", "value"), rows), Text("end")]), as_json=False)
    shown = capsys.readouterr().out
    assert f"[red]{wide}\n" in shown
    assert "[bold]no markup[/bold]" in shown
    assert shown.replace("\n", "").replace(" ", "").count("x" * 150) == 2  # folded in the table, never cut
    assert "\x1b" not in shown


@pytest.mark.parametrize(("count", "text"), [(0, ""), (3, "0, 1, 2"), (4, "0, 1, 2, ...")])
def test_some(count: int, text: str) -> None:
    assert some(map(str, range(count))) == text


@dataclass
class Outcome:
    teacher: float
    random: dict[int, float]


def test_demo_tells_its_numbers(run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    def demo(seed: int, console: Console | None) -> Outcome:
        (console or Console()).print(f"the story, seed {seed}")
        return Outcome(0.5, {0: 0.25})

    monkeypatch.setattr("wsel_graph.demo.run.pitch_demo", demo)
    told = run("demo", "--seed", "3")
    assert (told.out.strip(), told.err) == ("the story, seed 3", "")
    found = run("demo", "--json")
    assert found.json == {"teacher": 0.5, "random": {"0": 0.25}}
    assert found.err.strip() == "the story, seed 0"


def test_a_file_that_cannot_be_written(
    models: str, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "student.safetensors")

    monkeypatch.setattr("wsel_graph.stores.save.write_files", full)
    both = ("--teacher", f"{models}:mlp", "--teacher-arg", "width=16", "--student", f"{models}:mlp", "--input", "2x4")
    said = refused("init", *both, "--output", "a.safetensors")
    assert said.startswith("refused: a.safetensors: No space left on device: ")
    assert said.endswith(" are free; what was there before is untouched\n")
