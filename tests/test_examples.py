"""Every example runs as it is printed, and does what it says."""

from __future__ import annotations

import ast
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.zoo import torchvision_stub

FOLDER = Path(__file__).parent.parent / "examples"


@pytest.fixture
def example() -> Callable[[str], dict[str, Any]]:
    """The names that an example file defines."""
    torchvision_stub.install()
    torch.manual_seed(0)
    return lambda name: runpy.run_path(str(FOLDER / name))


def prints(name: str) -> list[str]:
    """What an example's docstring says that it prints: the indented lines at its end."""
    said = ast.get_docstring(ast.parse((FOLDER / name).read_text(encoding="utf-8"))) or ""
    return [plain(line) for line in said.partition("\nPrints:\n")[2].splitlines() if line.strip()]


def plain(line: str) -> str:
    """Without runs of spaces; a rounding error of this machine is not compared."""
    return re.sub(r"\b[\d.]+e-1\d\b", "rounding", " ".join(line.split()))


ALONE = sorted(file.name for file in FOLDER.glob("*.py") if file.name != "sharded_student.py")


@pytest.mark.parametrize("name", ALONE)
def test_prints_what_it_says(
    name: str,
    example: Callable[[str], dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", [name])
    example(name)["main"]()
    said = prints(name)
    assert said
    shown = iter([plain(line) for line in capsys.readouterr().out.splitlines()])
    for line in said:
        assert line in shown, f"{line!r} does not follow"


def test_no_example_is_left_out() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    names = {file.name for file in FOLDER.glob("*.py")}
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\w+\.py)\)", index)) == names
    assert all(f"{file.name}" in here for file in (FOLDER / "rules").glob("*.yaml"))


def test_initialise_custom(example: Callable[[str], dict[str, Any]]) -> None:
    student, result = example("initialise_custom.py")["main"]([])
    assert {kept.student for kept in result.plan.kept} == {"answer.weight", "answer.bias"}
    assert result.plan.layers[0].pairs == tuple((block, block) for block in range(6))
    assert student(torch.zeros(1, 3, 96, 96)).shape == (1, 10)


def test_initialise_custom_by_rules(example: Callable[[str], dict[str, Any]]) -> None:
    rules = str(FOLDER / "rules" / "initialise_custom.yaml")
    _, result = example("initialise_custom.py")["main"](["--rules", rules])
    assert result.plan.layers[0].pairs == tuple((block, 2 * block) for block in range(6))
    heads = [choice for choice in result.plan.choices if choice.role == "heads"]
    assert {choice.method for choice in heads} == {"explicit list"}
    assert not result.plan.notes  # every rule governs something
    query = next(copy for copy in result.plan.copies if copy.student == "layers.1.talk.ask.weight")
    assert query.teacher == "blocks.2.attn.qkv.weight"
    assert list(query.indices[0]) == [*range(64), *range(5 * 64, 6 * 64)]


def test_transplant_between_libraries(example: Callable[[str], dict[str, Any]]) -> None:
    assert example("transplant_between_libraries.py")["main"]() < 1e-5


def test_look_before_you_copy(example: Callable[[str], dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    plan = example("look_before_you_copy.py")["main"]()
    said = capsys.readouterr().out
    assert "refused: words.weight:0: size 60 in the student, 100 in the teacher" in said
    assert "verified: " in said
    assert plan.layers[0].pairs == ((0, 3), (1, 4), (2, 5))
    words = next(copy for copy in plan.copies if copy.student == "words.weight")
    assert list(words.indices[0]) == list(range(40, 100))


def test_compensate(example: Callable[[str], dict[str, Any]]) -> None:
    plain, fitted = example("compensate.py")["main"]()  # takes elements by "by_activation.yaml"
    assert fitted < 0.2 * plain


def test_sharded_student() -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    script = str(FOLDER / "sharded_student.py")
    done = subprocess.run([*torchrun, script], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    assert set(prints("sharded_student.py")) <= set(shown)
    assert len(shown) == len(prints("sharded_student.py"))
