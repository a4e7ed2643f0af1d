"""A task to score a pitch network on: sounds of known pitch in, cents out.

Words and units: a *clip* is a row of `CLIP_SAMPLES` audio samples at `SAMPLE_RATE`; a *frame* is one step of
`HOP` samples; pitch is counted in *cents*, hundredths of a semitone, above 10 Hz.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SAMPLE_RATE = 16_000
"""Audio samples per second."""
HOP = 160
"""Audio samples per frame: 10 ms."""
CLIP_FRAMES = 35
"""Frames in one clip."""
CLIP_SAMPLES = CLIP_FRAMES * HOP
MELS = 128
"""Mel bands per frame."""
BINS = 360
"""Pitches the network can name."""
LOWEST_HZ, HIGHEST_HZ = 32.7, 1975.5
"""Pitches of the first and the last bin; the bins between are evenly spaced in cents."""
LOWEST_TONE_HZ, HIGHEST_TONE_HZ = 60.0, 1000.0
"""Pitches asked for, in recorded notes and synthetic tones alike; higher up, the teacher itself gets lost."""


@dataclass(frozen=True, slots=True)
class Clips:
    """Sounds with one known pitch each."""

    audio: Tensor
    """(clips, CLIP_SAMPLES), each with its loudest sample at 0.5."""
    hz: Tensor
    """(clips,), pitch in Hz."""
    names: tuple[str, ...]
    """What sounds, one name per clip."""


def level(audio: Tensor) -> Tensor:
    """The same clips with their loudest sample at 0.5."""
    return 0.5 * audio / audio.abs().amax(-1, keepdim=True)


# --- audio in, pitch out ---


def log_mels(clips: Tensor) -> Tensor:
    """Log mel bands of audio: (clips, samples) within [-1, 1] -> (clips, samples / HOP frames, MELS)."""
    window = 1024
    margin = (window - HOP) // 2
    padded = functional.pad(clips[:, None], (margin, margin), mode="reflect")[:, 0]
    hann = torch.hann_window(window)
    spectrum = torch.stft(padded, window, HOP, window=hann, center=False, return_complex=True)
    magnitude = torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-9)
    bands = _mel_filters(window) @ magnitude
    return bands.clamp(min=1e-5).log().mT


def _mel_filters(window: int) -> Tensor:
    """Triangular filters of equal area, (MELS, window / 2 + 1), evenly spaced in mels up to Nyquist."""
    nyquist = SAMPLE_RATE / 2
    edges = _mel_to_hz(torch.linspace(0, _hz_to_mel(nyquist), MELS + 2, dtype=torch.float64))
    bins = torch.linspace(0, nyquist, window // 2 + 1, dtype=torch.float64)
    low, centre, high = (edges[i : i + MELS, None] for i in range(3))
    triangles = torch.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clamp(min=0)
    return (triangles * 2 / (high - low)).float()


# Slaney's mel scale: 15 mels up to 1 kHz, evenly spaced in Hz; above, 27 mels for each factor of 6.4.
_KNEE_HZ, _KNEE_MELS, _MELS_PER_E = 1000.0, 15.0, 27 / math.log(6.4)


def _hz_to_mel(hz: float) -> float:
    """Mels of a frequency of at least 1 kHz."""
    return _KNEE_MELS + math.log(hz / _KNEE_HZ) * _MELS_PER_E


def _mel_to_hz(mel: Tensor) -> Tensor:
    """Frequencies in Hz, of the same shape as `mel`."""
    below = mel * (_KNEE_HZ / _KNEE_MELS)
    above = _KNEE_HZ * torch.exp((mel - _KNEE_MELS) / _MELS_PER_E)
    return torch.where(mel < _KNEE_MELS, below, above)


def cents(hz: Tensor) -> Tensor:
    """Pitch in cents above 10 Hz."""
    return 1200 * torch.log2(hz / 10)


def bin_cents() -> Tensor:
    """Pitch of each bin, (BINS,), in cents."""
    lowest, highest = cents(torch.tensor([LOWEST_HZ, HIGHEST_HZ])).tolist()
    return torch.linspace(lowest, highest, BINS)


def decode(logits: Tensor) -> Tensor:
    """Logits (clips, frames, BINS) -> cents (clips, frames): the mean of nine bins around the loudest."""
    salience = logits.sigmoid()
    near = salience.argmax(-1, keepdim=True) + torch.arange(-4, 5)
    near = near.clamp(0, BINS - 1)
    weight = salience.gather(-1, near)
    return (bin_cents()[near] * weight).sum(-1) / weight.sum(-1)


# --- synthetic tones, and the score ---

HARMONICS = 12
HIT_CENTS = 50
"""A frame counts as heard within this distance of the true pitch: half a semitone."""
CLIP_END = 5
"""Frames at either end of a clip that are not scored: their window reaches past the clip."""


def synthetic_tones(count: int, generator: torch.Generator) -> Clips:
    """Tones of random pitch, with harmonics of random strength, in white noise 0 to 20 dB below the tone."""
    octaves = math.log2(HIGHEST_TONE_HZ / LOWEST_TONE_HZ)
    hz = LOWEST_TONE_HZ * 2 ** (octaves * torch.rand(count, generator=generator))
    tone = _tone(hz, generator)
    noise = torch.randn(tone.shape, generator=generator) * 10 ** -torch.rand(count, 1, generator=generator)
    return Clips(level(tone + noise), hz, ("tone",) * count)


def _tone(hz: Tensor, generator: torch.Generator) -> Tensor:
    """Pitches (clips,) -> tones (clips, CLIP_SAMPLES) of variance 1; harmonics above Nyquist are silent."""
    shape = (len(hz), HARMONICS)
    harmonic = torch.arange(1, HARMONICS + 1)
    decay = 0.3 + 1.7 * torch.rand(len(hz), 1, generator=generator)
    strength = harmonic**-decay * (0.3 + 0.7 * torch.rand(shape, generator=generator))
    strength = strength * (hz[:, None] * harmonic < SAMPLE_RATE / 2)
    turns = hz[:, None, None] * harmonic[:, None] * torch.arange(CLIP_SAMPLES) / SAMPLE_RATE
    waves = torch.sin(2 * math.pi * (turns + torch.rand(shape, generator=generator)[..., None]))
    tone = torch.einsum("ch,cht->ct", strength, waves)
    return tone / tone.std(-1, keepdim=True)


def target(hz: Tensor) -> Tensor:
    """What to say about clips of these pitches, (clips, CLIP_FRAMES, BINS): a bump, 25 cents of deviation."""
    distance = bin_cents() - cents(hz)[:, None]
    bump = torch.exp(-0.5 * (distance / 25) ** 2)
    return bump[:, None].expand(-1, CLIP_FRAMES, -1)


@torch.no_grad()
def accuracy(network: nn.Module, clips: Clips) -> float:
    """Raw pitch accuracy, 0 to 1: the share of frames heard within `HIT_CENTS` of the true pitch."""
    network.eval()
    heard = decode(network(log_mels(clips.audio)))
    hit = (heard - cents(clips.hz)[:, None]).abs() < HIT_CENTS
    return hit[:, CLIP_END:-CLIP_END].double().mean().item()
