"""`rules/README.md` documents every key, its examples are read, and the errors it quotes are those of `faults.md`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wsel_graph.selection.kinds import Either, Record
from wsel_graph.selection.language import FILE, RECORDS, TAKE
from wsel_graph.selection.rules import read_rules, shipped_rules

TEXT = (shipped_rules()["default"].parent / "README.md").read_text(encoding="utf-8")
FAULTS = (Path(__file__).parent / "faults.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)```$", TEXT, re.M | re.S)


def documented(section: str) -> list[str]:
    """The keys of the table below a heading."""
    part = TEXT.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| `(\w+)` \|", part, re.M)


def test_every_key_is_documented_once() -> None:
    options = TAKE.options if isinstance(TAKE, Either) else ()
    (inside_take,) = [list(option.keys) for option in options if isinstance(option, Record)]
    selector = {key for name in RECORDS if name.endswith("_selector") for key in RECORDS[name].keys}
    assert documented("The file") == list(FILE.keys)
    assert documented("`layers`") == list(RECORDS["layer_rule"].keys)
    assert documented("`components`") == list(RECORDS["component_rule"].keys)
    assert sorted(documented("`elements`")) == sorted([*RECORDS["element_rule"].keys, *inside_take])
    assert documented("`values`") == list(RECORDS["value_rule"].keys)
    assert sorted(documented("Selectors")) == sorted(selector)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_are_read(number: int, tmp_path: Path) -> None:
    text = EXAMPLES[number]
    file = tmp_path / "my.yaml"
    file.write_text(text if text.startswith("version:") else f"version: 1\n{text}")
    rules = read_rules(file)
    assert rules.layers or rules.components or rules.elements or rules.values


def test_the_examples_show_every_section() -> None:
    assert len(EXAMPLES) == 6
    assert {line.split(":")[0] for text in EXAMPLES for line in text.splitlines() if line[:1].isalpha()} == set(
        FILE.keys
    )


def test_examples_of_selectors_are_read(tmp_path: Path) -> None:
    part = TEXT.split("\n## Selectors\n", 1)[1]
    examples = re.findall(r"\| `((\w+): [^`]+)` \|", part)
    assert sorted(key for _, key in examples) == sorted(documented("Selectors"))
    for example, key in examples:
        action = "ignore" if key == "teacher" else "keep"
        (tmp_path / "my.yaml").write_text(f"version: 1\ncomponents:\n  - {action}: {{{example}}}\n")
        assert read_rules(tmp_path / "my.yaml").components[0].action == action


def test_quoted_errors_are_real() -> None:
    quoted = []
    for part in TEXT.split("\n| key |")[1:]:
        head, *rows = part.split("\n\n")[0].splitlines()
        column = [cell.strip() for cell in f"key |{head}".split("|")].index("refused")
        cells = [line.strip("| ").split(" | ") for line in rows[1:]]
        quoted += [
            text for row in cells if len(row) > column for text in re.findall(r"`` (.+?) ``|`([^`]+)`", row[column])
        ]
    texts = [first or second for first, second in quoted]
    assert len(texts) > 30
    assert [text for text in texts if text not in FAULTS] == []


def test_the_shown_fault_is_real() -> None:
    (shown,) = re.findall(r"^```text\n(.*?)^```$", TEXT, re.M | re.S)
    assert f"```text\n{shown}```" in FAULTS


def test_shipped_files_are_listed() -> None:
    part = TEXT.split("\n## Shipped files\n", 1)[1].split("\n## ", 1)[0]
    assert sorted(re.findall(r"`([a-z-]+)`", part)) == sorted(shipped_rules())
