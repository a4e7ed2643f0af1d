"""O2 on one third-party model of every family: right, or refused with a reason. Never wrong."""

from __future__ import annotations

import pytest

from .catalog import Entry, entries, sample
from .oracle import check


@pytest.mark.parametrize("entry", sample(), ids=lambda entry: entry.id)
def test_groups_are_exact(entry: Entry) -> None:
    row = check(entry)
    assert row.status in ("exact", "refused"), row
    assert row.permuted > 0 or row.status == "refused", "nothing was permuted: the check could not fail"


def test_every_model_has_a_name_of_its_own() -> None:
    names = [entry.id for entry in entries()]
    assert len(names) == len(set(names))
