"""FCPE, a pitch network of 512 channels, for a student of 128 in PyTorch's own operators (0.8 M of 10.8 M parameters).

The network, the data and the score are those of the demo (`wsel_graph.demo`).
Measures: the share of 10 ms frames heard within 50 cents, on 71 recorded notes of a sound bank and on 100 synthetic
tones in noise. Calibration and training hear other synthetic tones and never a recorded note.
Training: cross-entropy to the true pitch; the teacher takes no part in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.starts.network import Batch, Training, stream
from wsel_graph.demo import network, notes, pitch

WIDTH = 128
CALIBRATION_BATCHES, VALIDATION_BATCHES, BATCH = 8, 8, 16
"""Batches, and clips of 35 frames in each."""


class Network:
    """See the module's docstring."""

    packages: tuple[str, ...] = ("torchfcpe", "pretty_midi")
    training: Training | None = Training(rates=(3e-4, 1e-3, 3e-3), warm_up=10, stops=(10, 20, 40, 60), tried=30)

    def __init__(self) -> None:
        self._notes = notes.recorded_notes()
        self._tones = pitch.synthetic_tones(100, stream(0, "exam"))
        self.example_inputs = pitch.log_mels(self._tones.audio[:2])

    def teacher(self) -> nn.Module:
        return self._teacher

    @cached_property
    def _teacher(self) -> nn.Module:
        return network.load_teacher()

    def student(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return network.PitchNet(WIDTH).eval()

    def calibration(self, seed: int) -> list[Any]:
        draw = stream(seed, "calibration")
        return [pitch.log_mels(pitch.synthetic_tones(BATCH, draw).audio) for _ in range(CALIBRATION_BATCHES)]

    def exam(self, model: nn.Module) -> dict[str, float]:
        return {"notes": pitch.accuracy(model, self._notes), "tones": pitch.accuracy(model, self._tones)}

    def batches(self, seed: int) -> Iterator[Batch]:
        return self._drawn(stream(seed, "training"))

    def validation(self) -> list[Batch]:
        return list(islice(self._drawn(stream(0, "validation")), VALIDATION_BATCHES))

    def _drawn(self, draw: torch.Generator) -> Iterator[Batch]:
        while True:
            clips = pitch.synthetic_tones(BATCH, draw)
            yield Batch(pitch.log_mels(clips.audio), pitch.target(clips.hz))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return functional.binary_cross_entropy_with_logits(output, batch.target)
