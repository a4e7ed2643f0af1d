"""A compensation on disk: what is fitted so far, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from wsel_graph.capture.inputs import Inputs, tensor_labels
from wsel_graph.errors import CompensationError
from wsel_graph.plan import Plan
from wsel_graph.plan.files import replacing
from wsel_graph.plan.serial import plan_document
from wsel_graph.starts.fits import Changes, Outcome
from wsel_graph.starts.settings import Settings

_HEAD = "compensation.json"


class Journal:
    """The fits of one compensation in a folder, one file each.

    Args:
        folder: Where they are; made when it is missing. None keeps nothing.
        digest: Of everything that decides the fits.
    Raises:
        CompensationError: If the folder holds the fits of another compensation.
    """

    def __init__(self, folder: str | Path | None, digest: str) -> None:
        self._folder = None if folder is None else Path(folder)
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        head = self._folder / _HEAD
        if not head.exists():
            with replacing(head) as file:
                file.write_text(json.dumps({"format": "wsel-compensation", "version": 1, "digest": digest}))
        elif json.loads(head.read_text()).get("digest") != digest:
            raise CompensationError(
                f"{self._folder} holds the fits of another compensation (another plan, model, setting or calibration "
                "batch): give another folder, or remove this one to start anew."
            )

    def read(self, number: int) -> tuple[Outcome, Changes] | None:
        """The fit of this number, when it was written."""
        file = self._file(number)
        if file is None or not file.exists():
            return None
        held = torch.load(file, weights_only=True)
        return Outcome(**held["outcome"]), held["changes"]

    def write(self, number: int, outcome: Outcome, changes: Changes) -> None:
        """Keep a fit; its file is there whole or not at all."""
        file = self._file(number)
        if file is not None:
            with replacing(file) as target:
                torch.save({"outcome": asdict(outcome), "changes": changes}, target)

    def _file(self, number: int) -> Path | None:
        return None if self._folder is None else self._folder / f"{number:05}.pt"


def digest(
    plan: Plan, settings: Settings, batches: Iterable[Inputs], models: Iterable[Mapping[str, torch.Tensor]]
) -> str:
    """A hash of the plan, the settings, every calibration input, and every tensor of both models."""
    total = hashlib.sha256(json.dumps([plan_document(plan), asdict(settings)], sort_keys=True).encode())
    tensors = [item for inputs in batches for item in tensor_labels(inputs)]
    tensors.extend(item for model in models for item in model.items())
    for name, tensor in tensors:
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        own = tensor.detach().cpu().contiguous().reshape(-1)
        total.update(own.view(torch.uint8).numpy().tobytes() if own.numel() else b"")
    return total.hexdigest()
