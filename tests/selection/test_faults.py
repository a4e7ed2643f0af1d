"""Every fault of a rule file: the full text of the error, from `faults.md` and for bytes that are no text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wsel_graph.errors import SelectionRuleError
from wsel_graph.selection.rules import read_rules

_CASE = re.compile(r"^### (?P<name>[^\n]+)\n\n```yaml\n(?P<text>.*?)```\n```text\n(?P<message>.*?)\n```$", re.M | re.S)
CASES = [match.groups() for match in _CASE.finditer((Path(__file__).parent / "faults.md").read_text(encoding="utf-8"))]


def refused(content: bytes) -> str:
    """The error that a file of these bytes raises."""
    Path("my.yaml").write_bytes(content)
    with pytest.raises(SelectionRuleError) as caught:
        read_rules("my.yaml")
    return str(caught.value)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_table_is_read_whole() -> None:
    headings = (Path(__file__).parent / "faults.md").read_text(encoding="utf-8").count("\n### ")
    assert len(CASES) == headings > 100
    assert len({name for name, _, _ in CASES}) == len(CASES)


@pytest.mark.parametrize(("text", "message"), [pytest.param(text, said, id=name) for name, text, said in CASES])
def test_fault(text: str, message: str) -> None:
    assert refused(text.encode()) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            b"version: 1\nlayers:\n  - stage: caf\xe9\n",
            "my.yaml:3:15: byte 0xe9 is not UTF-8\n      - stage: caf\n                  ^\n"
            "  save the file as UTF-8 (your editor's encoding menu)",
            id="latin-1",
        ),
        pytest.param(
            "version: 1\n".encode("utf-16"),
            "my.yaml:1:1: byte 0xff is not UTF-8\n      v e r s i o n :   1\n    ^\n"
            "  save the file as UTF-8 (your editor's encoding menu)",
            id="utf-16",
        ),
        pytest.param(
            b"version: 1\nunmatched: ke\0ep\n",
            "my.yaml:2:14: the character U+0000 cannot stand in a rule file\n    unmatched: ke ep\n                 ^\n"
            "  delete the character",
            id="nul",
        ),
        pytest.param(
            b"version: 1\r\nunmatched: kep\r\n",
            "my.yaml:2:12: 'kep' is not a choice for unmatched tensors; did you mean 'keep'?\n    unmatched: kep\n"
            "               ^^^\n  write one of: error, keep",
            id="windows line ends",
        ),
        pytest.param(
            b"\xef\xbb\xbfversion: 2\n",
            "my.yaml:1:10: `version` must be 1, got 2\n    version: 2\n             ^\n  write: 1",
            id="byte order mark",
        ),
        pytest.param(
            b"version: 1\n# " + "\u00e4\u4e2d".encode() * 3 + b"\nunmatched: 'k\xc3\xa4ep'\n",
            "my.yaml:3:12: 'k\u00e4ep' is not a choice for unmatched tensors; did you mean 'keep'?\n"
            "    unmatched: 'k\u00e4ep'\n               ^^^^^^\n  write one of: error, keep",
            id="columns count characters",
        ),
    ],
)
def test_bytes(content: bytes, message: str) -> None:
    assert re.sub(r"[^\S\n]+$", "", refused(content).replace("\ufffd", " "), flags=re.M) == message


def test_a_long_line_is_shown_in_part() -> None:
    said = refused(b"version: 1\ncomponents: [keep: {student: [" + b"abc, " * 100 + b"4]}]\n").split("\n")
    assert said[0] == "my.yaml:2:531: an item of `student` must be a text, got the number 4"
    assert len(said[1]) <= 104
    assert said[1][said[2].index("^")] == "4"


def test_only_the_first_faults_are_listed() -> None:
    said = refused(b"version: 1\nelements:\n" + b"  - seed: x\n" * 500)
    assert said.startswith("my.yaml: the first 20 faults\nmy.yaml:3:11: ")
    assert said.count("my.yaml:") == 21


def test_circles_of_several_files() -> None:
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        Path(f"{name}.yaml").write_text(f"version: 1\nextends: {other}.yaml\n")
    with pytest.raises(SelectionRuleError) as caught:
        read_rules("a.yaml")
    assert str(caught.value) == (
        "c.yaml:2:10: `extends` goes in a circle: a.yaml -> b.yaml -> c.yaml -> a.yaml\n    extends: a.yaml\n"
        "             ^^^^^^\n  remove one of the links"
    )


def test_a_fault_in_an_extended_file_is_placed_there() -> None:
    Path("base.yaml").write_text("version: 1\nunmatched: kep\n")
    assert refused(b"version: 1\nextends: base.yaml\n").startswith("base.yaml:2:12: 'kep' is not a choice")


def test_a_folder_is_no_rule_file() -> None:
    Path("folder.yaml").mkdir()
    with pytest.raises(SelectionRuleError, match=r"^there is no rule file folder\.yaml\n  a relative path starts at"):
        read_rules("folder.yaml")
