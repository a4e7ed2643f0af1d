"""A default device that the user set changes nothing: what the library makes for itself lies on the CPU."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._device import _device_constructors

import wsel_graph as ws
from tests.nets import Transformer, randomize, snapshot

PACKAGE = Path(ws.__file__).parent
PROGRAMS = ("cli", "demo")  # processes of their own: nobody sets a default device in them
MAKERS = {maker.__name__ for maker in _device_constructors() if getattr(torch, maker.__name__, None) is maker}


def makers_without_device(file: Path) -> Iterator[str]:
    """Calls such as `torch.zeros(3)`, which obey the default device."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MAKERS:
            ours = isinstance(node.func.value, ast.Name) and node.func.value.id == "torch"
            if ours and not any(keyword.arg == "device" for keyword in node.keywords):
                yield f"{file.relative_to(PACKAGE)}:{node.lineno}: torch.{node.func.attr} without device="


def test_every_tensor_that_the_library_makes_names_its_device(tmp_path: Path) -> None:
    files = [file for file in PACKAGE.rglob("*.py") if file.relative_to(PACKAGE).parts[0] not in PROGRAMS]
    assert {"zeros", "tensor", "randperm", "arange"} <= MAKERS
    assert [fault for file in files for fault in makers_without_device(file)] == []


def answers(student: Any, teacher: Any, batch: torch.Tensor, folder: Path) -> list[Any]:
    """What the verbs say and write."""
    rules = folder / "mine.yaml"
    rules.write_text(
        "version: 1\nelements:\n  - {where: {role: hidden}, take: {merge: weights}}\n"
        "  - {where: {role: heads}, take: {score: regression}, rescale: norm}\n"
    )
    seen = ws.statistics(teacher, [batch], second_moments=True)
    seen.save(folder / "seen.safetensors")
    plan = ws.plan(student, teacher, (2, 5, 7), rules=rules, statistics=ws.load_statistics(folder / "seen.safetensors"))
    torch.save(teacher.state_dict(), folder / "teacher.pt")
    ws.apply(plan, student, folder / "teacher.pt")
    applied = snapshot(student)
    other = ws.plan(student, teacher, batch)
    ws.compensate(other, student, teacher, [batch])
    shown = str(ws.diagnose(student, [batch], teacher=teacher, plan=other))
    return [str(plan), applied, snapshot(student), shown, ws.verify(teacher, (2, 5, 7))]


def test_the_default_device_changes_nothing(tmp_path: Path) -> None:
    def networks() -> tuple[Any, Any, torch.Tensor]:
        teacher, student = Transformer(16, 4, 4, depth=3), Transformer(8, 2, 4)
        return randomize(student, 1), randomize(teacher, 2), torch.linspace(-1, 1, 4 * 35).reshape(4, 5, 7)

    expected, (student, teacher, batch) = answers(*networks(), tmp_path), networks()
    with torch.device("meta"):
        found = answers(student, teacher, batch, tmp_path)
    for ours, theirs in zip(expected, found, strict=True):
        if isinstance(ours, dict):
            assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        else:
            assert ours == theirs


@pytest.mark.parametrize("verb", [ws.trace, ws.verify])
def test_a_model_that_makes_tensors_of_its_own_is_traced(verb: Any) -> None:
    """Its own tensors obey the default device, which is what its author asked for: the answer is right, or refused."""
    model = randomize(Transformer(16, 4, 4, rope=True))
    expected = [(group.size, group.role, group.members) for group in ws.trace(model, (2, 5, 7)).groups]
    with torch.device("meta"):
        try:
            found = verb(model, (2, 5, 7))
        except ws.WselError:
            return
    if verb is ws.trace:
        assert [(group.size, group.role, group.members) for group in found.groups] == expected
    else:
        assert found.ok
