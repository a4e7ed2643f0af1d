"""Run oracle O2 on one zoo entry and say what came out, in one row."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import wsel_graph as ws

from .catalog import Entry


@dataclass(frozen=True, slots=True)
class Row:
    """The result for one model.

    `status` is `exact` (outputs unchanged in float64), `refused` (an error says why) or `WRONG`.
    """

    id: str
    family: str
    status: str
    seconds: float  # trace and groups
    rung: str
    parameters: int
    groups: int
    permuted: int
    covered: float  # share of parameters in tensors with a free or anchored axis
    max_error: float
    unknown: tuple[str, ...]
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def check(entry: Entry) -> Row:
    """Build, trace and verify one model."""
    model, inputs = entry.build()
    parameters = sum(p.numel() for p in model.parameters())
    start = time.perf_counter()
    try:
        graph = ws.trace(model, inputs)
    except ws.WselError as error:
        return Row(entry.id, entry.family, "refused", 0, "", parameters, 0, 0, 0, 0, (), str(error).splitlines()[0])
    seconds = time.perf_counter() - start
    proof = ws.verify(model, inputs, graph=graph)
    return Row(
        entry.id, entry.family, "exact" if proof.ok else "WRONG", round(seconds, 3), graph.captured.rung, parameters,
        proof.groups, proof.permuted, proof.free_fraction, proof.max_error, proof.unknown_ops, proof.note,
    )  # fmt: skip
