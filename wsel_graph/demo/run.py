"""The demo: a pitch network of 256 channels starts from a pretrained one of 512; no training, then a little.

Two students of one architecture are made. One keeps PyTorch's random initialisation, the other is
initialised from the teacher. Both then see the same training batches, and both are scored along the way on
sounds that the training never shows. The training is plain supervised learning on synthetic tones; the
teacher takes no part in it.

This is no proof that a random start fails: given ten times the steps, the random student is most of the way
there (`python -m wsel_graph.demo.run --steps 400`). What the initialisation saves is training.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

import wsel_graph as ws
from wsel_graph.demo import network, notes, pitch
from wsel_graph.demo.packages import MissingPackageError

LEARNING_RATE = 1e-3
BATCH = 16


@dataclass(frozen=True, slots=True)
class Scores:
    """Raw pitch accuracy, 0 to 1, on recorded notes and on synthetic tones that training never shows."""

    notes: float
    tones: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Scores of the teacher, and of both students by the number of training steps behind them."""

    teacher: Scores
    random: dict[int, Scores]
    initialised: dict[int, Scores]


@dataclass(frozen=True, slots=True)
class Exam:
    """The sounds that every network is scored on."""

    notes: pitch.Clips
    tones: pitch.Clips

    def scores(self, network: nn.Module) -> Scores:
        """Accuracy of a network on both kinds of sounds."""
        return Scores(pitch.accuracy(network, self.notes), pitch.accuracy(network, self.tones))


def pitch_demo(steps: int = 40, seed: int = 0, width: int = 256, console: Console | None = None) -> Outcome:
    """Tell the whole story and return its numbers; about a minute on one processor core.

    Args:
        steps: Training steps of each student, of `BATCH` clips.
        seed: Decides the random initialisation and all synthetic tones; the recorded notes stay the same.
        width: Channels of the student, a multiple of 4; the teacher has 512.
        console: Where to print; standard output if None.

    Raises:
        MissingPackageError: If a package whose file is read is not installed; the text tells the remedy.
    """
    with _one_thread():
        return _tell(steps, seed, width, console or Console())


def _tell(steps: int, seed: int, width: int, console: Console) -> Outcome:
    teacher = network.load_teacher()
    exam = Exam(notes.recorded_notes(), pitch.synthetic_tones(100, _generator(seed, "exam")))
    torch.manual_seed(seed)
    random_student, student = network.PitchNet(width), network.PitchNet(width)
    _describe(exam, teacher, student, console)

    result = ws.initialize(student, teacher, pitch.log_mels(exam.tones.audio[:2]), seed=seed)
    console.print(str(result), markup=False, highlight=False, soft_wrap=True)

    outcome = Outcome(
        teacher=exam.scores(teacher),
        random=train(random_student, exam, steps, seed),
        initialised=train(student, exam, steps, seed),
    )
    console.print(_table(outcome))
    return outcome


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread: sums repeat exactly, and networks this small lose little by it (on a busy machine they win)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train(student: nn.Module, exam: Exam, steps: int, seed: int) -> dict[int, Scores]:
    """Train on synthetic tones; the scores before, after a quarter, half and all of the steps."""
    stops = {0, steps // 4, steps // 2, steps}
    optimizer = torch.optim.AdamW(student.parameters(), LEARNING_RATE)
    generator = _generator(seed, "training")
    scores = {0: exam.scores(student)}
    for step in range(1, steps + 1):
        student.train()
        loss = _loss(student, pitch.synthetic_tones(BATCH, generator))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if step in stops:
            scores[step] = exam.scores(student)
    return scores


def _loss(student: nn.Module, clips: pitch.Clips) -> Tensor:
    """Cross-entropy between what the student says and what is right, a mean over clips, frames and bins."""
    logits = student(pitch.log_mels(clips.audio))
    return functional.binary_cross_entropy_with_logits(logits, pitch.target(clips.hz))


def _generator(seed: int, use: str) -> torch.Generator:
    """A random stream of its own for each use, so that no tone of the exam turns up in training."""
    return torch.Generator().manual_seed(2 * seed + ("training", "exam").index(use))


def _describe(exam: Exam, teacher: nn.Module, student: nn.Module, console: Console) -> None:
    instruments = ", ".join(f"{count} {name}" for name, count in Counter(exam.notes.names).most_common())
    console.print(
        f"teacher: FCPE, a pretrained pitch network, {_size(teacher)} parameters (weights in torchfcpe)\n"
        f"student: the same network with fewer channels, {_size(student)} parameters\n"
        f"exam:    {len(exam.notes.hz)} recorded notes: {instruments}\n"
        f"         (sound bank in pretty_midi), and {len(exam.tones.hz)} synthetic tones in noise\n"
        "score:   share of 10 ms frames heard within 50 cents, half a semitone, of the true pitch\n",
        highlight=False,
        soft_wrap=True,
    )


def _size(network: nn.Module) -> str:
    return f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} M"


def _table(outcome: Outcome) -> Table:
    table = Table(title="Frames heard within 50 cents", title_justify="left")
    for name in ("", "training steps", "recorded notes", "synthetic tones"):
        table.add_column(name, justify="right" if name else "left")
    _add(table, "teacher", {"-": outcome.teacher})
    _add(table, "student, random", outcome.random)
    _add(table, "student, initialised", outcome.initialised)
    return table


def _add(table: Table, name: str, scores: dict[int, Scores] | dict[str, Scores]) -> None:
    for row, (steps, score) in enumerate(scores.items()):
        table.add_row("" if row else name, str(steps), f"{score.notes:.1%}", f"{score.tones:.1%}")
    table.add_section()


def main() -> None:
    """Command line: `python -m wsel_graph.demo.run [--steps N] [--seed N] [--width N]`."""
    parser = argparse.ArgumentParser(description="initialise a small pitch network from a pretrained one")
    parser.add_argument("--steps", type=int, default=40, help="training steps of each student")
    parser.add_argument("--seed", type=int, default=0, help="of the random student and the synthetic tones")
    parser.add_argument("--width", type=int, default=256, help="channels of the student; the teacher has 512")
    options = parser.parse_args()
    try:
        pitch_demo(options.steps, options.seed, options.width)
    except MissingPackageError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
