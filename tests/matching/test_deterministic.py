"""One pair, one plan: whatever Python's hash seed is, and however often it is asked for."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import hashlib, torch
import wsel_graph as ws
from tests.nets import ConvNet, Language, Transformer
from wsel_graph.plan.serial import plan_document
pairs = [
    (Transformer(8, 2, 4, depth=2), Transformer(16, 4, 4, depth=5), (2, 5, 7)),
    (ConvNet(6), ConvNet(16), (2, 3, 9, 9)),
    (Language(8, tied=True), Language(16, tied=False), {"ids": torch.arange(10).reshape(2, 5)}),
]
for student, teacher, inputs in pairs:
    for _ in range(2):
        print(hashlib.sha256(repr(plan_document(ws.plan(student, teacher, inputs))).encode()).hexdigest())
"""


def digests(seed: int) -> list[str]:
    """Hashes of the plans that a fresh process makes."""
    environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=True)
    return run.stdout.split()


def test_the_plan_does_not_depend_on_hash_order() -> None:
    first, second = digests(1), digests(2)
    assert first == second
    assert len(first) == 6
    assert all(first[i] == first[i + 1] for i in range(0, 6, 2))
