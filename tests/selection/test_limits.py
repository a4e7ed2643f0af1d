"""Hostile rule files are refused in bounded time and memory, with an error that says why."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest

from wsel_graph.errors import SelectionRuleError
from wsel_graph.selection.rules import read_rules

SECONDS = 10.0  # on a loaded machine; each takes well below one second on a quiet one
MEMORY = 64 * 1024**2

HEAD = "version: 1\n"
LAUGHS = "\n".join(
    ["a0: &a0 [lol, lol, lol]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))]
)


def spent(file: Path) -> tuple[str, float, int]:
    """The error, the seconds and the peak of memory that reading a file takes."""
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(SelectionRuleError) as caught:
            read_rules(file)
        return str(caught.value), time.process_time() - start, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(HEAD + "layers: " + "[" * 100_000, "nested more than 24 deep", id="brackets"),
        pytest.param(HEAD + "layers: " + "{a: " * 50_000, "nested more than 24 deep", id="braces"),
        pytest.param(HEAD + "layers: " + "[\n" * 100_000, "nested more than 24 deep", id="brackets on lines"),
        pytest.param(HEAD + "layers:\n" + "- " * 100_000, "nested more than 24 deep", id="dashes"),
        pytest.param(HEAD + "\n".join(" " * i + "a:" for i in range(600)), "nested more than 24 deep", id="indents"),
        pytest.param(LAUGHS, "rule files have no anchors (&a0)", id="billion laughs"),
        pytest.param(HEAD + f"unmatched: {'x' * 10_000_000}\n", "larger than 256 KiB", id="10 MB scalar"),
        pytest.param(HEAD + f"unmatched: {'x' * 200_000}\n", "a text of 200000 characters", id="200 kB scalar"),
        pytest.param(HEAD + f"unmatched: '{'x' * 200_000}", "this quote is never closed", id="200 kB quote"),
        pytest.param(HEAD + f"layers: [take: [{'0,' * 100_000}]]", "more than 20000 keys and values", id="long list"),
        pytest.param(HEAD + "".join(f"k{i}: 0\n" for i in range(15_000)), "more than 20000 keys", id="many keys"),
        pytest.param(HEAD + "".join(f"k{i}: 0\n" for i in range(9_000)), "the first 20 faults", id="unknown keys"),
        pytest.param(HEAD + "extends: [" + "default, " * 9_000 + "x.yaml]", "more than 64 files", id="extends"),
        pytest.param(HEAD + "layers: [" + "[]," * 80_000, "more than 20000 keys", id="many lists"),
        pytest.param("%YAML 1." + "9" * 5_000 + "\n---\n" + HEAD, "my.yaml", id="directive"),
        pytest.param(HEAD + "#" * 260_000 + "\n" + HEAD, "already set", id="comment"),
        pytest.param(HEAD + "\n" * 250_000 + HEAD, "already set", id="empty lines"),
        pytest.param(HEAD + f'components: [keep: {{axes: "{"(" * 900}"}}]', "the most is 200", id="notation"),
        pytest.param(
            HEAD + f'components: [keep: {{axes: "{"(" * 150}"}}]', "nested more than 32 deep", id="parentheses"
        ),
        pytest.param(HEAD + 'components: [keep: {axes: "(999 999 999)"}]', "multiply to more than", id="positions"),
        pytest.param(HEAD + 'components: [keep: {axes: "999999999999"}]', "multiply to more than", id="one number"),
    ],
)
def test_bombs(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(text)
    said, seconds, memory = spent(file)
    assert message in said
    assert len(said) < 8_000
    assert seconds < SECONDS
    assert memory < MEMORY


def test_doubling_extends_are_read_once_each(tmp_path: Path) -> None:
    for name in ("a0", "b0"):
        (tmp_path / f"{name}.yaml").write_text(HEAD + "elements: [{seed: 1}]\n")
    for i in range(1, 31):
        for name in (f"a{i}", f"b{i}"):
            (tmp_path / f"{name}.yaml").write_text(HEAD + f"extends: [a{i - 1}.yaml, b{i - 1}.yaml]\n")
    assert len(read_rules(tmp_path / "a30.yaml").elements) == 2


def test_too_many_files(tmp_path: Path) -> None:
    (tmp_path / "f0.yaml").write_text(HEAD)
    for i in range(1, 80):
        (tmp_path / f"f{i}.yaml").write_text(HEAD + f"extends: f{i - 1}.yaml\n")
    with pytest.raises(SelectionRuleError, match=r"f16\.yaml:2:10: more than 64 files through `extends`"):
        read_rules(tmp_path / "f79.yaml")


def test_the_largest_sensible_file_is_read(tmp_path: Path) -> None:
    elements = ", ".join(map(str, range(0, 16_000, 2)))
    names = "".join(f"  - keep: blocks.{i}.*\n" for i in range(1_000))
    file = tmp_path / "my.yaml"
    file.write_text(f"{HEAD}components:\n{names}elements:\n  - where: {{role: embed}}\n    take: [{elements}]\n")
    rules = read_rules(file)
    assert (len(rules.components), rules.elements[0].take) == (1_000, tuple(range(0, 16_000, 2)))
