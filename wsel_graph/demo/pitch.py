"""A pretrained pitch network, read from an installed package, and a task to score it on.

The network is FCPE ("fast context-based pitch estimation"): it hears 128 mel bands every 10 ms and says
which of 360 pitches sounds. Its weights ship in the wheel of `torchfcpe`. The recorded notes it is scored on
ship in the wheel of `pretty_midi`: a General MIDI sound bank, in which each sample carries its pitch.

Both packages are used as containers of one file each and are never imported, so nothing that they require is
needed (torchfcpe asks for torchaudio, whose Linux wheel on PyPI does not load beside a CPU-only PyTorch). The
network, the mel bands and the reader of the sound bank are therefore written here, in plain PyTorch.

Words and units: a *clip* is a row of `CLIP_SAMPLES` audio samples at `SAMPLE_RATE`; a *frame* is one step of
`HOP` samples; pitch is counted in *cents*, hundredths of a semitone, above 10 Hz.
"""

from __future__ import annotations

import importlib.util
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsel_graph.errors import WselError

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

PACKAGES = ("torchfcpe==0.0.4", "pretty_midi==0.2.11.post0")
INSTALL = "pip install --no-deps " + " ".join(PACKAGES)
"""What a user types to get the two files; `--no-deps` because nothing but those files is used."""


class MissingPackageError(WselError, ModuleNotFoundError):
    """A package whose file the demo reads is not installed."""


# --- the network ---


class ConvBlock(nn.Module):
    """One residual block: norm, gated expansion, a 31-frame filter per channel, projection back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = 2 * width
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Conv1d(width, 2 * hidden, kernel_size=1)  # values and their gates, end to end
        self.mix_frames = nn.Conv1d(hidden, hidden, kernel_size=31, padding=15, groups=hidden)
        self.project = nn.Conv1d(hidden, width, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(clips, frames, width) -> (clips, frames, width)."""
        y = functional.glu(self.expand(self.norm(x).mT), dim=1)
        y = self.project(functional.silu(self.mix_frames(y)))
        mixed: Tensor = y.mT
        return x + mixed


class PitchNet(nn.Module):
    """Pitch from mel bands: one residual stream of `width` channels through `depth` blocks."""

    def __init__(self, width: int = 512, depth: int = 6) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv1d(MELS, width, kernel_size=3, padding=1),
            nn.GroupNorm(4, width),
            nn.LeakyReLU(),
            nn.Conv1d(width, width, kernel_size=3, padding=1),
        )
        self.blocks = nn.ModuleList(ConvBlock(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, BINS)

    def forward(self, mels: Tensor) -> Tensor:
        """(clips, frames, MELS) log mel bands -> (clips, frames, BINS) logits, one per pitch."""
        x = self.stem(mels.mT).mT
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


def load_teacher() -> PitchNet:
    """The pretrained network, 512 channels wide, in evaluation mode.

    Raises:
        MissingPackageError: If torchfcpe is not installed.
    """
    path = _package_file("torchfcpe", "assets/fcpe_c_v001.pt")
    stored = torch.load(path, map_location="cpu", weights_only=True)["model"]
    teacher = PitchNet()
    weights = {ours: stored[theirs] for ours, theirs in _checkpoint_names(depth=6)}
    teacher.load_state_dict(weights | _head(stored))
    return teacher.eval()


def _checkpoint_names(depth: int) -> Iterator[tuple[str, str]]:
    """Pairs (name here, name in the checkpoint) of every parameter but the head's."""
    modules = {
        "stem.0": "input_stack.0",
        "stem.1": "input_stack.1",
        "stem.3": "input_stack.3",
        "norm": "norm",
    }
    parts = {"norm": "0", "expand": "2", "mix_frames": "4.conv", "project": "6"}
    for i in range(depth):
        for ours, theirs in parts.items():
            modules[f"blocks.{i}.{ours}"] = f"net.encoder_layers.{i}.conformer.net.{theirs}"
    for ours, theirs in modules.items():
        for kind in ("weight", "bias"):
            yield f"{ours}.{kind}", f"{theirs}.{kind}"


def _head(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The head as a plain linear layer; the checkpoint holds its rows as lengths and directions."""
    length = stored["output_proj.weight_g"]  # (BINS, 1)
    direction = stored["output_proj.weight_v"]  # (BINS, width)
    weight = direction * (length / direction.norm(dim=1, keepdim=True))
    return {"head.weight": weight, "head.bias": stored["output_proj.bias"]}


def _package_file(package: str, name: str) -> Path:
    """Path of a file inside an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingPackageError(f"{name} ships in {package}, which is not installed; run: {INSTALL}")
    return Path(spec.origin).parent / name


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


# --- recorded notes ---

INSTRUMENTS = {
    "Flute": "flute",
    "Shakuhachi": "shakuhachi",
    "Oboe": "oboe",
    "Sop": "saxophone",
    "Alto": "saxophone",
    "Bari": "saxophone",
    "Trump": "trumpet",
    "FRHORN": "horn",
    "FrenchHorn": "horn",
    "Str1": "strings",
    "ensstrings": "strings",
    "Aahs": "choir",
}
"""The winds, strings and voices of the sound bank: part of a sample's name -> instrument.

Left out are drums, noises and bells, synthetic waves, and instruments whose samples are shorter than a clip
or carry no pitch.
"""
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


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a sound bank."""

    name: str
    audio: Tensor
    """(samples,), within [-1, 1]."""
    rate: int
    """Audio samples per second."""
    hz: float
    """Pitch when played at `rate`."""


def recorded_notes() -> Clips:
    """The middle of every recorded note of `INSTRUMENTS`, with the pitch that the sound bank states.

    Raises:
        MissingPackageError: If pretty_midi, whose wheel holds the sound bank, is not installed.
    """
    bank = _package_file("pretty_midi", "TimGM6mb.sf2").read_bytes()
    notes = [note for sample in _samples(bank) if (note := _note(sample)) is not None]
    return Clips(
        audio=_level(torch.stack([audio for _, _, audio in notes])),
        hz=torch.tensor([hz for _, hz, _ in notes]),
        names=tuple(name for name, _, _ in notes),
    )


def _note(sample: Sample) -> tuple[str, float, Tensor] | None:
    """Instrument, pitch and middle (CLIP_SAMPLES,) of a sample; None if it is no note to score."""
    instrument = next((name for part, name in INSTRUMENTS.items() if part in sample.name), None)
    if instrument is None or not LOWEST_TONE_HZ <= sample.hz <= HIGHEST_TONE_HZ:
        return None
    audio = _resample(sample.audio, sample.rate)
    start = (len(audio) - CLIP_SAMPLES) // 2
    return None if start < 0 else (instrument, sample.hz, audio[start : start + CLIP_SAMPLES])


def _samples(bank: bytes) -> Iterator[Sample]:
    """The samples of a SoundFont 2 bank: 16-bit audio, end to end, and a header of 46 bytes for each."""
    chunks = dict(_chunks(bank))
    audio = torch.frombuffer(bytearray(chunks[b"smpl"]), dtype=torch.int16).float() / 2**15
    for fields in struct.iter_unpack("<20s 5I B b 2H", chunks[b"shdr"]):
        label, start, end, _, _, rate, key, correction, _, _ = fields
        if rate > 0:  # the last header is a terminator of zeros
            name = label.split(b"\0")[0].decode("latin-1")
            semitones = key - correction / 100 - 69  # above A4; the correction would bring it to its key
            hz = 440 * 2 ** (semitones / 12)
            yield Sample(name, audio[start:end], rate, hz)


def _chunks(riff: bytes, start: int = 12, end: int | None = None) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of every chunk of a RIFF file, lists opened; `start` skips the header of the file."""
    end = len(riff) if end is None else end
    while start < end:
        identifier, size = struct.unpack_from("<4sI", riff, start)
        content = start + 8
        if identifier == b"LIST":
            yield from _chunks(riff, content + 4, content + size)
        else:
            yield identifier, riff[content : content + size]
        start = content + size + size % 2


def _resample(audio: Tensor, rate: int) -> Tensor:
    """Audio (samples,) at `rate` per second -> the same at `SAMPLE_RATE`: its spectrum is cut or padded."""
    length = len(audio) * SAMPLE_RATE // rate
    spectrum = torch.fft.rfft(audio)[: length // 2 + 1]
    resampled: Tensor = torch.fft.irfft(spectrum, length)
    return resampled * (length / len(audio))


def _level(audio: Tensor) -> Tensor:
    """The same clips with their loudest sample at 0.5."""
    return 0.5 * audio / audio.abs().amax(-1, keepdim=True)


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
    return Clips(_level(tone + noise), hz, ("tone",) * count)


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
