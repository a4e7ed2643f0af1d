"""Score every method on one network, for several seeds, and add the numbers to a file of rows.

    python -m examples.starts.run minilm --seeds 5 --output rows.jsonl            # the start alone
    python -m examples.starts.run minilm --seeds 5 --train --output rows.jsonl    # and after equal short training

What the file already holds is not computed again, so a run can be stopped and started, and `--train` added later.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import importlib.metadata
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from examples.starts.methods import METHODS, Method
from examples.starts.network import NETWORKS, Network, Schedule, load
from examples.starts.rows import Row, append_rows, read_rows
from examples.starts.training import own_loss, train
from wsel_graph.errors import WselError

TEACHER = "teacher"


@dataclass
class Run:
    """One network, and the file that its rows go to."""

    name: str
    network: Network
    output: Path
    schedules: Mapping[str, Schedule]
    """How to train; empty: not at all."""
    done: set[tuple[str, int, str]] = field(default_factory=set)
    """(method, seed, schedule) that the file holds to the last step."""
    held: set[tuple[str, int, str, int]] = field(default_factory=set)
    """(method, seed, schedule, step) that it holds: more, where a training was interrupted."""

    def __post_init__(self) -> None:
        rows = read_rows([self.output]) if self.output.exists() else []
        own = [row for row in rows if row.network == self.name]
        _refuse_mixture(own, self.versions, self.output)
        self.held = {(row.method, row.seed, row.training, row.step) for row in own}
        last = {name: max(schedule.stops) for name, schedule in self.network.schedules.items()} | {"": 0}
        self.done = {(row.method, row.seed, row.training) for row in own if row.step == last.get(row.training)}

    @cached_property
    def versions(self) -> dict[str, str]:
        """Of everything that decides the numbers."""
        names = ("torch", *self.network.packages)
        versions = {name: importlib.metadata.version(name) for name in names}
        return {"python": platform.python_version(), "wsel_graph": _commit(), **versions}

    def score_teacher(self) -> None:
        """The teacher's own exam, once."""
        if (TEACHER, 0, "") not in self.done:
            self._write(TEACHER, 0, "", 0, 0.0, self.network.teacher())

    def score(self, methods: Mapping[str, Method], seed: int) -> None:
        """All methods for one seed."""
        calibration: Sequence[Any] = []
        for name, method in methods.items():
            wanted = [one for one in self._wanted(method) if (name, seed, one) not in self.done]
            if not wanted:
                continue
            calibration = calibration or self.network.calibration(seed)
            try:
                self._score(name, method, seed, wanted, calibration)
            except WselError as error:
                print(f"{name}: refused: {error}", flush=True)

    def _wanted(self, method: Method) -> Iterator[str]:
        """Schedules to train on; the empty one is the start itself."""
        if method.make_loss is None:
            yield ""
        yield from self.schedules

    def _score(self, name: str, method: Method, seed: int, wanted: Sequence[str], calibration: Sequence[Any]) -> None:
        student, teacher = self.network.student(seed), self.network.teacher()
        begun = time.perf_counter()
        result = method.start(student, teacher, self.network.example_inputs, calibration, seed)
        seconds = time.perf_counter() - begun
        for training in wanted:
            if not training:
                self._write(name, seed, "", 0, seconds, student)
            else:
                self._train(name, method, seed, training, copy.deepcopy(student), result)

    def _train(self, name: str, method: Method, seed: int, training: str, student: nn.Module, result: Any) -> None:
        make_loss = method.make_loss or (lambda *_: nullcontext(own_loss))
        with make_loss(student, self.network.teacher(), result) as loss:
            for step, seconds in train(student, self.network, self.schedules[training], seed, loss):
                self._write(name, seed, training, step, seconds, student)

    def _write(self, method: str, seed: int, training: str, step: int, seconds: float, model: nn.Module) -> None:
        if (method, seed, training, step) in self.held:
            return
        scores = self.network.exam(model)
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        about = (self.name, method, seed, training, step)
        append_rows(
            self.output,
            [Row(*about, name, value, round(seconds, 3), self.versions, day) for name, value in scores.items()],
        )
        told = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
        print(f"{method:32} seed {seed}  {training or 'start'} step {step} ({seconds:.1f} s)  {told}", flush=True)


def _commit() -> str:
    """The last commit that touched the library, its rules or this harness; its version outside a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return importlib.metadata.version("wsel_graph")
    places = ["--", "wsel_graph", "rules", "examples/starts"]
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


def available(methods: Mapping[str, Method]) -> dict[str, Method]:
    """The methods that this version of the library has; of the others it is printed why not."""
    missing = {name: method.missing() for name, method in methods.items()}
    for name, reason in missing.items():
        if reason is not None:
            print(f"{name}: left out: {reason}", flush=True)
    return {name: method for name, method in methods.items() if missing[name] is None}


def chosen_schedules(schedules: Mapping[str, Schedule], rates: Sequence[float] | None) -> dict[str, Schedule]:
    """The schedules of these learning rates; all without rates.

    Raises:
        ValueError: If no schedule has one of the rates.
    """
    known = {schedule.rate for schedule in schedules.values()}
    if unknown := [rate for rate in rates or () if rate not in known]:
        raise ValueError(f"--rates {unknown[0]:g}: this network is trained at {sorted(known) or 'no rate'}")
    return {name: schedule for name, schedule in schedules.items() if rates is None or schedule.rate in rates}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="score starts of a small student")
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to N - 1")
    parser.add_argument("--train", action="store_true", help="also after equal short training")
    parser.add_argument("--rates", type=float, nargs="+", help="train with these of the network's learning rates only")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--output", type=Path, required=True, help="file of rows, added to")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # sums repeat exactly
    network = load(options.network)
    methods = available({name: METHODS[name] for name in options.methods})
    schedules = chosen_schedules(network.schedules, options.rates) if options.train else {}
    run = Run(options.network, network, options.output, schedules)
    run.score_teacher()
    for seed in range(options.seeds):
        run.score(methods, seed)


if __name__ == "__main__":
    main()
