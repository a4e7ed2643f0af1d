"""Settings shared by all tests.

`HYPOTHESIS_PROFILE` chooses how hard property tests try: `ci` (default: the same examples every time), `dev`
(new examples every time) or `long` (a hunt, minutes to hours).
"""

from __future__ import annotations

import os

import torch
from hypothesis import HealthCheck, settings

from tests import provoked
from tests.provoked import pytest_collection_modifyitems as pytest_collection_modifyitems

provoked.install()
torch.set_num_threads(1)

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

settings.register_profile(
    "ci", max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=_SLOW
)
settings.register_profile("dev", max_examples=200, deadline=None, suppress_health_check=_SLOW, print_blob=True)
settings.register_profile("long", settings.get_profile("dev"), max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
