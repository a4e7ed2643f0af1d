"""What `print` shows."""

from __future__ import annotations

import wsel_graph as ws
from tests.nets import Transformer, mlp
from wsel_graph.report.text import groups_table, plan_tables, render


def cells(text: str, title: str) -> list[list[str]]:
    """The rows of one table, split at runs of two spaces, header first."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(title)) + 1
    rows = []
    for line in lines[start:]:
        parts = [part for part in line.strip().split("  ") if part.strip()]
        if len(parts) < 2:
            break
        rows.append([part.strip() for part in parts])
    return rows


def test_result_shows_everything() -> None:
    student, teacher = Transformer(8, 2, 4, depth=2, labels=3), Transformer(16, 4, 4, depth=4, labels=9)
    result = ws.initialize(student, teacher, (2, 5, 7))
    text = str(result)
    assert f"Initialised {result.initialized:,} of {result.total:,} student parameters" in text
    assert f"({100 * result.initialized / result.total:.2f} %)" in text
    assert cells(text, "Layers") == [["stage", "blocks", "map"], ["blocks", "2 of 4", "0<-0, 1<-1"]]
    groups = cells(text, "Coupled groups")
    assert ["1", "embed", "16 -> 8", "uniform", "free", "stem.weight:0"] in groups
    assert ["2", "heads", "4 -> 2", "uniform", "free", "blocks.0.attn.q.weight:0"] in groups
    assert ["1", "label", "9 -> 3", "kept", "pinned: label", "head.weight:0"] in groups
    kept = cells(text, "Kept from the student's own initialisation")
    assert kept[1] == ["2", "27", "label axis of size 3, the teacher's has 9", "head.weight, head.bias"]


def test_counts_are_right() -> None:
    student = mlp(4, labels=3)
    result = ws.initialize(student, mlp(8, labels=9), (1, 4))
    assert result.total == sum(p.numel() for p in student.parameters()) == 4 * 4 + 4 + 4 * 8 + 8 + 8 * 3 + 3
    assert result.total - result.initialized == 8 * 3 + 3
    assert result.coverage == result.initialized / result.total


def test_empty_tables_are_left_out() -> None:
    text = render(*plan_tables(ws.plan(mlp(4), mlp(8), (1, 4))))
    assert text.startswith("Coupled groups")
    assert "Layers" not in text
    assert "Kept" not in text


def test_groups_of_one_model() -> None:
    rows = cells(render(groups_table(ws.trace(mlp(8), (1, 4)).groups)), "Coupled groups")
    assert rows == [
        ["size", "role", "status", "members"],
        ["8", "hidden", "free", "0.weight:0, 0.bias:0, 2.weight:1"],
        ["4", "input", "pinned: input", "0.weight:1"],
        ["16", "hidden", "free", "2.weight:0, 2.bias:0, 4.weight:1"],
        ["3", "label", "pinned: label", "4.weight:0, 4.bias:0"],
    ]


def test_text_is_plain_and_narrow() -> None:
    text = str(ws.initialize(Transformer(8, 2, 4), Transformer(16, 4, 4), (2, 5, 7)))
    assert text.isascii()
    assert all(len(line) <= 110 for line in text.splitlines())
