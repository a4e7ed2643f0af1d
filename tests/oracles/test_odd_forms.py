"""Oracle O2 on odd forms: exact, or refused where PyTorch hides what happens."""

from __future__ import annotations

import pytest
import torch

from tests.oracles.judge import right_or_refused
from tests.oracles.odd_forms import ODD, build

X = (torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0)),)

NOT_EXACT = dict.fromkeys(("quant c", "quant c1", "scripted", "grad"), "refused")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ODD)
def test_odd_forms_are_exact(name: str) -> None:
    assert right_or_refused(build(name), X) == NOT_EXACT.get(name, "exact")
