"""The first rounds of the hunt for damage that is not noticed (`python -m tests.stores.fuzz` goes on)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stores.fuzz import attempt, hunt

TREE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SHARD = (
    st.sampled_from(["a.safetensors", "", ".", "..", "/", "a/../b", "\0", "a" * 300, "~", "%s", "é.bin"]) | st.text()
)


def test_damaged_files() -> None:
    outcomes = hunt(range(150))
    assert {outcome for _, outcome in outcomes} >= {"refused", "read"}


@given(st.one_of(TREE, st.builds(lambda places: {"weight_map": places}, st.dictionaries(st.text(), SHARD | TREE))))
def test_any_index(tmp_path_factory: pytest.TempPathFactory, document: object) -> None:
    file = tmp_path_factory.getbasetemp() / "x.index.json"
    file.write_text(json.dumps(document))
    empty = isinstance(document, dict) and document.get("weight_map") == {}
    assert attempt(file) == ("read" if empty else "refused")
