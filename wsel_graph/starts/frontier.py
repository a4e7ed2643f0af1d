"""Both models on every calibration batch, side by side, each node run once.

What is alive of a batch stays in memory as long as all batches together fit the budget; others wait on disk. A batch
is written as a whole, so that views go on sharing memory.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch

from wsel_graph.capture.replay import Run
from wsel_graph.errors import CompensationError


@dataclass(slots=True, eq=False)
class Batch:
    """The runs of the models on one calibration batch; there is no teacher where nothing is compared."""

    student: Run
    teacher: Run | None

    @property
    def teacher_run(self) -> Run:
        """The teacher's run."""
        if self.teacher is None:
            raise CompensationError("this walk has no teacher; pass one to compensate")
        return self.teacher

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs, the student's first."""
        return (self.student,) if self.teacher is None else (self.student, self.teacher)


class Frontier:
    """The calibration batches of one compensation.

    Args:
        batches: Runs that have not started.
        memory: Bytes that activations may take; more are kept on disk.
    """

    def __init__(self, batches: Sequence[Batch], memory: int) -> None:
        self._batches, self._memory = list(batches), memory
        self._sizes = [0] * len(self._batches)
        self._folder: Path | None = None
        self.peak = 0
        self.spilled = 0

    def __len__(self) -> int:
        return len(self._batches)

    def __enter__(self) -> Frontier:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def open(self, number: int) -> Batch:
        """The batch, in memory."""
        batch = self._batches[number]
        file = None if self._folder is None else self._folder / f"{number}.pt"
        if file is not None and file.exists():
            held = torch.load(file, weights_only=True)
            for run, (values, snapshots) in zip(batch.runs, held, strict=True):
                run.values, run.snapshots = values, snapshots
            file.unlink()
        return batch

    def close(self, number: int) -> None:
        """Done with a batch for now: it goes to disk when memory is short."""
        batch = self._batches[number]
        self._sizes[number] = size = held_bytes(batch)
        self.peak = max(self.peak, sum(self._sizes))
        if sum(self._sizes) <= self._memory or not size:
            return
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="wsel-"))
        torch.save([(run.values, run.snapshots) for run in batch.runs], self._folder / f"{number}.pt")
        for run in batch.runs:
            run.values, run.snapshots = {}, {}
        self._sizes[number] = 0
        self.spilled += size

    def restart_student(self) -> None:
        """Forget how far the student has run: its weights have changed before the place where it stands."""
        for number in range(len(self)):
            batch = self.open(number)
            batch.student = batch.student.anew()
            self.close(number)


def held_bytes(batch: Batch) -> int:
    """Bytes of all memory that the values of a batch hold, shared memory counted once."""
    storages: dict[int, int] = {}
    for run in batch.runs:
        for value in (*run.values.values(), *run.snapshots.values()):
            for tensor in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(tensor, torch.Tensor):
                    storage = tensor.untyped_storage()
                    storages[storage._cdata] = storage.nbytes()
    return sum(storages.values())
