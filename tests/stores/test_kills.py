"""A process that is killed while it writes leaves the old start or the new one."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.benchmarks.kill_while_writing import FORMS, torment


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("form", FORMS)
def test_kills(form: str, tmp_path: Path) -> None:
    seen = torment(form, 4, tmp_path, random.Random(3))
    assert seen["old"] + seen["new"] == 4
    assert not any(what.startswith("broken") for what in seen)
    assert seen["not swept"] == seen["shards that nothing names"] == 0
