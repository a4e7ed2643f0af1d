"""Score every method on one network, for several seeds, and add the numbers to a file of rows.

    python -m examples.starts.run minilm --seeds 5 --output rows.jsonl            # the start alone
    python -m examples.starts.run minilm --seeds 5 --train --output rows.jsonl    # and after equal short training

What the file already holds is not computed again, so a run can be stopped and started, and `--train` added later.

Before the training, each start gets the learning rate whose training leaves the least loss on validation batches, in
one training of a seed of its own (`TUNING_SEED`); a start that is trained with another loss keeps that rate. Of the
random initialisations, the one with the least loss goes on.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import importlib.metadata
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from examples.starts.methods import METHODS, Given, Method
from examples.starts.network import NETWORKS, Batch, Network, Training, load
from examples.starts.rows import TUNING, VALIDATION_LOSS, Row, append_rows, best_rates, read_rows
from examples.starts.training import own_loss, train, validation_loss
from wsel_graph.errors import WselError

TEACHER = "teacher"
TUNING_SEED = 100
"""No table's seed."""


@dataclass
class Run:
    """One network, and the file that its rows go to."""

    name: str
    network: Network
    output: Path
    rows: list[Row] = field(default_factory=list)
    """All that the file holds of this network."""

    def __post_init__(self) -> None:
        rows = read_rows([self.output]) if self.output.exists() else []
        self.rows = [row for row in rows if row.network == self.name]
        _refuse_mixture(self.rows, self.versions, self.output)

    @cached_property
    def versions(self) -> dict[str, str]:
        """Of everything that decides the numbers."""
        names = ("torch", *self.network.packages)
        versions = {name: importlib.metadata.version(name) for name in names}
        return {"python": platform.python_version(), "wsel_graph": _commit(), **versions, "one thread of": _processor()}

    @cached_property
    def _validation(self) -> list[Batch]:
        return self.network.validation()

    def score_teacher(self) -> None:
        """The teacher's own exam, once."""
        if not self._holds(TEACHER, 0):
            self._write(TEACHER, 0, "", 0, 0.0, self.network.teacher())

    def tune(self, methods: Mapping[str, Method]) -> None:
        """Find every start's learning rate."""
        training = self.network.training
        if training is None:
            return
        starts = {name: method for name, method in methods.items() if method.trained and not method.base}
        given = self._given(TUNING_SEED)
        for name, method in starts.items():
            rates = [rate for rate in training.rates if not self._holds(name, TUNING_SEED, f"{TUNING}{rate:g}")]
            made = self._started(name, method, given) if rates else None
            for rate in rates if made is not None else []:
                self._tune(training, name, rate, copy.deepcopy(made[0]))  # type: ignore[index]

    def _tune(self, training: Training, name: str, rate: float, student: nn.Module) -> None:
        short = replace(training, stops=(training.tried,))
        *_, (step, seconds) = train(student, self.network, short, rate, TUNING_SEED)
        loss = validation_loss(student, self.network, self._validation)
        self._add((name, TUNING_SEED, f"{TUNING}{rate:g}", step), seconds, {VALIDATION_LOSS: loss})

    def score(self, methods: Mapping[str, Method], seed: int, *, training: bool = False) -> None:
        """All methods for one seed."""
        given = self._given(seed)
        families = {name: method.family for name, method in {**METHODS, **methods}.items()}
        rates = best_rates(self.rows, families) if training else {}
        for name, method in methods.items():
            rate = rates.get(method.base or name)
            start = not method.base and not self._holds(name, seed)
            train = method.trained and rate is not None and not self._holds(name, seed, f"{rate:g}")
            made = self._started(name, method, given) if start or train else None
            if made is None:
                continue
            student, result, seconds = made
            if start:
                self._write(name, seed, "", 0, seconds, student)
            if train and rate is not None:
                try:
                    self._train(name, method, given, rate, student, result)
                except WselError as error:
                    print(f"{name}: refused: {error}", flush=True)

    def _given(self, seed: int) -> Given:
        return Given(self.network.teacher(), self.network.example_inputs, self.network.calibration(seed), seed)

    def _started(self, name: str, method: Method, given: Given) -> tuple[nn.Module, Any, float] | None:
        """The student, the result of `initialize`, and the seconds that it took; None where it is refused."""
        student = self.network.student(given.seed)
        if method.observes:
            _ = given.statistics
        begun = time.perf_counter()
        try:
            result = method.start(student, given)
        except WselError as error:
            print(f"{name}: refused: {error}", flush=True)
            return None
        return student, result, time.perf_counter() - begun + (given.seconds if method.observes else 0.0)

    def _train(self, name: str, method: Method, given: Given, rate: float, student: nn.Module, result: Any) -> None:
        training = self.network.training
        if training is None:
            return
        make_loss = method.make_loss or (lambda *_: nullcontext(own_loss))
        with make_loss(student, given, result) as loss:
            for step, seconds in train(student, self.network, training, rate, given.seed, loss):
                self._write(name, given.seed, f"{rate:g}", step, seconds, student)

    # -- rows

    def _holds(self, method: str, seed: int, training: str = "") -> bool:
        """Whether the file has this to its last step."""
        schedule = self.network.training
        if training and schedule is not None:
            last = schedule.tried if training.startswith(TUNING) else max(schedule.stops)
        else:
            last = 0
        wanted = (method, seed, training, last)
        return any((row.method, row.seed, row.training, row.step) == wanted for row in self.rows)

    def _write(self, method: str, seed: int, training: str, step: int, seconds: float, model: nn.Module) -> None:
        about = (method, seed, training, step)
        if not any((row.method, row.seed, row.training, row.step) == about for row in self.rows):
            self._add(about, seconds, self.network.exam(model))

    def _add(self, about: tuple[str, int, str, int], seconds: float, scores: Mapping[str, float]) -> None:
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        rows = [
            Row(self.name, *about, name, value, round(seconds, 3), self.versions, day) for name, value in scores.items()
        ]
        append_rows(self.output, rows)
        self.rows.extend(rows)
        told = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
        method, seed, training, step = about
        print(f"{method:32} seed {seed}  {training or 'start'} step {step} ({seconds:.1f} s)  {told}", flush=True)


def _commit() -> str:
    """The last commit that touched the library, its rules or this harness; its version outside a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return importlib.metadata.version("wsel_graph")
    places = ["--", "wsel_graph", "rules", "examples/starts/*.py", "examples/starts/rules"]
    commit, changed = (
        subprocess.run(["git", *command, *places], cwd=root, capture_output=True, text=True, check=True).stdout.strip()
        for command in (("log", "-1", "--format=%h"), ("status", "--porcelain"))
    )
    return f"{commit}{'-changed' if changed else ''}"


def _refuse_mixture(rows: Sequence[Row], versions: dict[str, str], output: Path) -> None:
    for row in rows:
        other = {name: (row.versions.get(name), version) for name, version in versions.items()}
        if changed := [f"{name} {was} then, {now} now" for name, (was, now) in other.items() if was != now]:
            raise ValueError(f"{output} holds rows of other versions ({'; '.join(changed)}); give another --output")


def _processor() -> str:
    """What the processor calls itself, where the system says so."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.processor() or platform.machine())


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="score starts of a small student")
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to N - 1")
    parser.add_argument("--train", action="store_true", help="also after equal short training")
    everything = [TEACHER, *METHODS]
    parser.add_argument("--methods", nargs="+", choices=everything, default=everything, metavar="METHOD")
    parser.add_argument("--output", type=Path, required=True, help="file of rows, added to")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # sums repeat exactly
    methods = {name: method for name, method in METHODS.items() if name in options.methods}
    run = Run(options.network, load(options.network), options.output)
    if TEACHER in options.methods:
        run.score_teacher()
    if options.train:
        run.tune(methods)
    for seed in range(options.seeds):
        run.score(methods, seed, training=options.train)


if __name__ == "__main__":
    main()
