"""What an oracle asks of a model: right or refused, never silently wrong."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

import wsel_graph as ws

Verdict = Literal["exact", "refused", "inconclusive"]

_CANNOT_TELL = ("inconclusive", "the outputs are not finite")


def right_or_refused(model: nn.Module, inputs: Any) -> Verdict:
    """Oracle O2 on one model.

    Raises:
        AssertionError: If the certificate says that the coupled groups are wrong.
    """
    try:
        proof = ws.verify(model, inputs)
    except ws.WselError:
        return "refused"
    if proof.note.startswith(_CANNOT_TELL):
        return "inconclusive"
    assert proof.ok, str(proof)
    return "exact"
