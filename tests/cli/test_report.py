"""`wsel-graph report`, and the page that `init` writes beside its plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Run, save
from tests.nets import mlp as net


@pytest.fixture
def start(run: Callable[..., Run], tmp_path: Path) -> Callable[..., Run]:
    """Initialise a small network in the temporary folder."""
    weights = save(net(32, labels=2), tmp_path / "teacher.safetensors")
    text = "from tests.nets import mlp\nsmall, large = (lambda: mlp(8, labels=2)), (lambda: mlp(32, labels=2))\n"
    (tmp_path / "nets.py").write_text(text)

    def call(*options: object) -> Run:
        return run(
            "init", "--teacher", f"{tmp_path}/nets.py:large", "--teacher-weights", weights,
            "--student", f"{tmp_path}/nets.py:small", "--input", "2x4", "--output", tmp_path / "start.safetensors",
            *options,
        )  # fmt: skip

    return call


def test_init_writes_a_page_beside_the_plan(start: Callable[..., Run], tmp_path: Path) -> None:
    done = start("--json")
    assert done.code == 0
    page = tmp_path / "start.report.html"
    assert done.json["report"] == str(page)
    assert f"<h1>{tmp_path}/nets.py:small from {tmp_path}/nets.py:large</h1>" in page.read_text()
    assert f"report:  {page}" in start().out


def test_init_leaves_the_page_out_where_asked(start: Callable[..., Run], tmp_path: Path) -> None:
    done = start("--no-report", "--json")
    assert done.code == 0
    assert done.json["report"] is None
    assert not (tmp_path / "start.report.html").exists()


def test_a_report_of_a_plan_file(start: Callable[..., Run], run: Callable[..., Run], tmp_path: Path) -> None:
    assert start().code == 0
    page = tmp_path / "page.html"
    done = run("report", tmp_path / "start.plan.json", "--output", page, "--title", "small & fast")
    assert done.code == 0
    assert done.out.strip() == f"report: {page}"
    assert "<title>small &amp; fast</title>" in page.read_text()
    again = run("report", tmp_path / "start.plan.json", "--output", page, "--json")
    assert again.json == {"output": str(page)}
    assert "<title>Sequential (" in page.read_text()


def test_reports_are_refused_before_the_work(refused: Callable[..., str], tmp_path: Path) -> None:
    plan = tmp_path / "start.plan.json"
    assert "the name must end in .html" in refused("report", plan, "--output", tmp_path / "page.txt")
    assert "there is no folder" in refused("report", plan, "--output", tmp_path / "none" / "page.html")
    assert "cannot be read" in refused("report", plan, "--output", tmp_path / "page.html")
    plan.write_text("{}")
    assert "is not a plan" in refused("report", plan, "--output", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
    page = tmp_path / "page.html"
    page.write_text("{}")
    assert "is also read from: write to another file" in refused("report", page, "--output", page)
