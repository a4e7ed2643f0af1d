"""A sample of the pair zoo: the small network of a family is initialised from the large one, with no hint."""

from __future__ import annotations

import pytest

from .catalog import Pair, pairs, sample
from .check import check


def test_pairs_are_unique() -> None:
    ids = [pair.id for pair in pairs()]
    assert len(ids) == len(set(ids)) >= 60


@pytest.mark.parametrize("pair", sample(), ids=lambda pair: pair.id)
def test_pair_is_planned(pair: Pair) -> None:
    row = check(pair)
    assert row.status == "planned", row.note
    assert row.finite is not False
    if not pair.across:
        assert row.unexplained == 0, row.kept
        assert row.covered > 0.5, row.kept
