"""Selectors against subjects made by hand: each key by itself, all together, and neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from wsel_graph.selection import Selector, Subject
from wsel_graph.selection.rules import read_rules

NORM = Subject(student=("blocks.0.norm1.weight",), operators=frozenset({"norm", "aten::native_layer_norm"}))
QKV = Subject(
    student=("blocks.0.attn.qkv.weight", "blocks.0.attn.qkv.bias"),
    teacher=("layers.0.attention.qkv.weight",),
    operators=frozenset({"linear", "aten::addmm"}),
    roles=frozenset({"heads", "head_dim", "embed"}),
    axes=("(3 heads head_dim) embed", "(3 heads head_dim)"),
    modules=frozenset({"Linear"}),
    stage="blocks",
    inside=("blocks.0.attn.qkv",),
    fed_by=lambda: (NORM,),
)


def where(tmp_path: Path, selector: str) -> Selector:
    """The selector that a rule file holds."""
    file = tmp_path / "my.yaml"
    file.write_text(f"version: 1\ncomponents:\n  - keep: {selector}\n")
    return read_rules(file).components[0].selector


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("blocks.*", True),
        ('"*.bias"', True),
        ("blocks.0.attn.qkv.weight", True),
        ("Blocks.*", False),
        ("blocks.?.attn.*", True),
        ("blocks.[12].*", False),
        ("[head.*, blocks.*]", True),
        ("[head.*, fc.*]", False),
        ("{student: blocks.*}", True),
        ("{student: qkv}", False),
        ("{operator: linear}", True),
        ("{operator: [conv, linear]}", True),
        ("{operator: aten::addmm}", True),
        ("{operator: aten::mm}", False),
        ("{operator: conv}", False),
        ("{role: heads}", True),
        ("{role: [label, embed]}", True),
        ("{role: hidden}", False),
        ('{axes: "(3 heads head_dim) embed"}', True),
        ('{axes: " (3  heads head_dim )   embed "}', True),
        ('{axes: "(heads head_dim + heads head_dim + heads head_dim) embed"}', True),
        ('{axes: "(heads 3 head_dim) embed"}', False),
        ('{axes: ["hidden embed", (3 heads head_dim)]}', True),
        ("{axes: embed}", False),
        ("{module: Linear}", True),
        ('{module: "*ine*"}', True),
        ("{module: linear}", False),
        ("{stage: blocks}", True),
        ("{stage: layers}", False),
        ('{inside: "*.attn.*"}', True),
        ("{inside: head}", False),
        ("{fed_by: {operator: norm}}", True),
        ("{fed_by: {operator: linear}}", False),
        ("{feeds: {operator: norm}}", False),
        ("{not: {role: hidden}}", True),
        ("{not: {role: heads}}", False),
        ("{operator: linear, not: {student: head.*}}", True),
        ("{operator: linear, role: heads, stage: blocks, fed_by: {student: blocks.0.norm1.*}}", True),
        ("{operator: linear, role: heads, stage: layers}", False),
        ("{fed_by: {operator: norm, student: head.*}}", False),
        ("{fed_by: {not: {operator: norm}}}", False),
    ],
)
def test_selector(selector: str, matches: bool, tmp_path: Path) -> None:
    assert where(tmp_path, selector).matches(QKV) is matches


def test_ignore_is_about_teacher_names(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("version: 1\ncomponents: [ignore: layers.0.*, ignore: {teacher: blocks.*}]\n")
    first, second = read_rules(file).components
    assert (first.selector.matches(QKV), second.selector.matches(QKV)) == (True, False)


def test_a_subject_without_a_value_fails_every_key_for_it() -> None:
    assert Selector().matches(Subject())
    for key, value in {"student": "*", "role": "heads", "axes": "embed", "module": "*", "inside": "*"}.items():
        assert not Selector(**{key: (value,)}).matches(Subject()), key


def test_neighbours_are_asked_only_when_the_rest_holds() -> None:
    asked = []

    def neighbours() -> Sequence[Subject]:
        asked.append(True)
        return (NORM,)

    subject = Subject(student=("a",), feeds=neighbours)
    norm = Selector(operator=("norm",))
    assert not Selector(student=("b",), feeds=norm).matches(subject)
    assert asked == []
    assert Selector(student=("a",), feeds=norm).matches(subject)
    assert asked == [True]


def test_a_selector_prints_as_it_is_written(tmp_path: Path) -> None:
    text = "{operator: [conv, linear], not: {role: heads}, feeds: {operator: norm}}"
    assert str(where(tmp_path, text)) == text


def test_axes_that_cannot_be_read_are_compared_as_text() -> None:
    long = "(100 1000 heads) embed"  # too many positions to spell out
    assert Selector(axes=(f"  {long}",)).matches(Subject(axes=(long,)))
    assert not Selector(axes=("embed",)).matches(Subject(axes=(long,)))
