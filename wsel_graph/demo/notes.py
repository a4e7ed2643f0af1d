"""Recorded instrument notes of known pitch, from the General MIDI sound bank in the wheel of `pretty_midi`."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from wsel_graph.demo.packages import package_file
from wsel_graph.demo.pitch import CLIP_SAMPLES, HIGHEST_TONE_HZ, LOWEST_TONE_HZ, SAMPLE_RATE, Clips, level

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
    bank = package_file("pretty_midi", "TimGM6mb.sf2").read_bytes()
    notes = [note for sample in _samples(bank) if (note := _note(sample)) is not None]
    return Clips(
        audio=level(torch.stack([audio for _, _, audio in notes])),
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
