"""Whatever a file holds, it is read or refused with a `SelectionRuleError`; nothing else ever gets out."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from wsel_graph.errors import SelectionRuleError
from wsel_graph.selection.model import captures
from wsel_graph.selection.rules import read_rules

KEYS = [
    "version", "extends", "unmatched", "layers", "components", "elements", "values", "stage", "take", "from", "keep",
    "pair", "require", "ignore", "student", "teacher", "operator", "role", "axes", "module", "inside", "feeds",
    "fed_by", "not", "where", "seed", "unit", "consistent", "resize", "rescale", "grow", "tokens", "score",
    "compensate", "recalibrate", "<<",
]  # fmt: skip
WORDS = [
    "first", "uniform", "random", "error", "default", "paper", "l1", "true", "no", "~", "1", "-1", "1.5", "0x1f", "'*'",
    "head.*", '"(3 heads head_dim) embed"', "((", "&a", "*a", "!!str", "!x", "|", ">", "'", '"', "\\", "my.yaml", "@",
    "heads", "linear", "aten::mm", "a.json", "#", "%YAML 9", "\x85", "\u2028", "\ufeff", "\ud7ff", '"\\UFFFFFFFF"',
]  # fmt: skip
SIGNS = [
    "\n",
    "\n  ",
    "\n    ",
    "\n  - ",
    "\n- ",
    ": ",
    "- ",
    ", ",
    "[",
    "]",
    "{",
    "}",
    "? ",
    "---\n",
    "...\n",
    "\t",
    " ",
]

garbage = st.lists(st.sampled_from([*KEYS, *WORDS, *SIGNS, *SIGNS]), max_size=40).map("".join)
leaves = st.sampled_from([*KEYS, *WORDS])
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(st.tuples(st.sampled_from(KEYS), inner), max_size=3).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
        ),
    ),
    max_leaves=12,
)
sections = st.lists(st.tuples(st.sampled_from(KEYS[:7]), trees), max_size=4).map(
    lambda pairs: "version: 1\n" + "".join(f"{key}: {value}\n" for key, value in pairs)
)


def refusal(file: Path) -> str | None:
    """The error of a file, None when it is read."""
    try:
        read_rules(file)
    except SelectionRuleError as error:
        return str(error)
    return None


def loads_or_is_refused(content: bytes) -> None:
    """Fails on any exception but `SelectionRuleError`, and on an error without a place."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "my.yaml"
        file.write_bytes(content)
        said = refusal(file)
        assert said is None or said.startswith(str(file))
        assert said is None or re.search(r"\n +\^", said) or "the file is empty" in said


@given(garbage)
@example("version: 1\nextends: my.yaml")
@example('version: 1\nextends: "\\ud800.yaml"')
@example("version: 1\nelements: [take: {tokens: my.yaml}]")
@example('"\\UFFFFFFFF"')
@example("%YAML 1.1\n---\n")
@example("%TAG ! !!\n---\n!a b")
def test_signs_and_words(text: str) -> None:
    loads_or_is_refused(text.encode("utf-8", "surrogatepass"))


@given(sections)
def test_sections_of_any_shape(text: str) -> None:
    loads_or_is_refused(text.encode())


@given(st.binary(max_size=60))
def test_any_bytes(content: bytes) -> None:
    loads_or_is_refused(content)


@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    loads_or_is_refused(text.encode("utf-8", "surrogatepass"))


@given(st.text("ab*.", max_size=8), st.text("ab.", max_size=12))
@example("*", "")
@example("*a*a", "aa")
@example("a*bb*", "abbb")
def test_captures_agree_with_lazy_regular_expressions(pattern: str, name: str) -> None:
    found = re.fullmatch("(.*?)".join(map(re.escape, pattern.split("*"))), name)
    assert captures(pattern, name) == (found.groups() if found else None)
