"""Run experiments: tune the rate where they say so, start, train, score, and add the numbers to a file of rows.

    python -m examples.paper.run examples/paper/experiments/small/vit/default.yaml --seeds 5
    torchrun --nproc_per_node 8 -m examples.paper.run examples/paper/experiments/cifar100/vit_t-uniform.yaml \
        --data DATA --set recipe.amp=bf16 --workers 8

Several files may be given. What the rows already hold is not computed again, and an interrupted training goes on after
its last whole epoch (`--runs` keeps checkpoints and logs). `--set` changes the experiment: `--set recipe.epochs=2`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from examples.paper import data, models, processes, starts
from examples.paper.evaluation import evaluate, nearest
from examples.paper.experiment import HERE, Experiment, ExperimentError, read_experiment
from examples.paper.learner import Learner, Objective
from examples.paper.results import Row, append_rows, device_name, read_rows, today, versions
from examples.paper.training import Training

CALIBRATION_IMAGES, CALIBRATION_BATCH = 640, 40
TUNING_SEED = 1000
"""Rates are tuned with this seed and the following ones, which no run has."""


@dataclass
class Runner:
    """Where things are, and what has been done."""

    runs: Path
    files: Path
    """The folder of data sets."""
    rows: Path
    device: torch.device
    workers: int = 0

    def __post_init__(self) -> None:
        self.held = {row.key: row for row in (read_rows([self.rows]) if self.rows.exists() else [])}
        self._teachers: dict[str, nn.Module] = {}

    def experiment(self, experiment: Experiment, seeds: Sequence[int]) -> None:
        """All that the file asks for."""
        rate = self._rate(experiment)
        tuned = replace(experiment, recipe=replace(experiment.recipe, lr=rate))
        for seed in seeds:
            if experiment.untrained and not self._has(experiment.name, "untrained", seed):
                self._add(experiment, seed, "untrained", rate, self._untrained(tuned, seed))
            if not self._has(experiment.name, "run", seed):
                self._add(experiment, seed, "run", rate, self._train(tuned, seed, tuning=False))

    # -- parts of an experiment

    def _rate(self, experiment: Experiment) -> float:
        """The learning rate: the recipe's, or the best of the sweep on held-out training images."""
        if experiment.tune is None:
            return experiment.recipe.lr
        name = experiment.tune.like or experiment.name
        for rate, seed in product(experiment.tune.lr, range(TUNING_SEED, TUNING_SEED + experiment.tune.seeds)):
            if not any(key[:4] == (name, seed, "tune", rate) for key in self.held):
                trial = replace(experiment, recipe=replace(experiment.recipe, lr=rate))
                self._add(experiment, seed, "tune", rate, self._train(trial, seed, tuning=True)[-1:])
        return best_rate(self.held.values(), name)

    def _train(self, experiment: Experiment, seed: int, *, tuning: bool) -> list[dict[str, float]]:
        split = data.load(experiment.data, experiment.recipe, self.files, seed, tuning=tuning)
        teacher = self._teacher(experiment)
        student = self._student(experiment, split, teacher, seed)
        distil = experiment.distil
        width = int(teacher.num_features) if teacher and distil and distil.kind == "features" else 0  # type: ignore[arg-type]
        learner = Learner(student, width, probe=experiment.probe).to(self.device)
        mixed = split.soft and bool(experiment.recipe.mixup or experiment.recipe.cutmix)
        if teacher is not None and distil is not None:
            teacher.to(self.device)
        objective = Objective(experiment.recipe, mixed=mixed, distil=distil, teacher=teacher)
        folder = None if tuning else self.runs / experiment.name / f"seed{seed}"
        training = Training(
            learner,
            objective,
            split,
            experiment.recipe,
            seed,
            self.device,
            folder,
            _plain(experiment, seed),
            self.workers,
        )
        history = training.run()
        if folder is not None and processes.rank() == 0:
            models.save(student, split.classes, models.checkpoint_of(self.runs, experiment.name, seed))
        processes.wait()  # what one wrote, all may read
        return history

    def _untrained(self, experiment: Experiment, seed: int) -> list[dict[str, float]]:
        """The start itself; where it takes values from a teacher of the same classes, with the teacher's last layer."""
        split = data.load(experiment.data, experiment.recipe, self.files, seed)
        teacher, begun = self._teacher(experiment), time.perf_counter()
        whole = replace(experiment, start=replace(experiment.start, keep=()))
        student = self._student(whole, split, teacher, seed)
        seconds = time.perf_counter() - begun
        score = evaluate(student, split.test, self.device)
        found = {"step": 0.0, "seconds": seconds, "accuracy": score.accuracy, "loss": score.loss}
        if hasattr(student, "forward_head"):
            found["nearest"] = nearest(student, split.train, split.test, self.device)
        return [found]

    def _student(self, experiment: Experiment, split: data.Split, teacher: nn.Module | None, seed: int) -> nn.Module:
        processes.seed_all(seed)
        student = models.build(experiment.student.model, split.classes, experiment.recipe.drop_path).to(self.device)
        reads = experiment.start.statistics or experiment.start.calibrate
        images = [batch.to(self.device) for batch in calibration(split)] if reads else []
        student.eval()
        starts.begin(student, teacher, experiment.start, split.example.to(self.device), images, seed)
        return student.train()

    def _teacher(self, experiment: Experiment) -> nn.Module | None:
        if experiment.teacher is None:
            return None
        key = repr(experiment.teacher)
        if key not in self._teachers:
            self._teachers[key] = models.build_teacher(experiment.teacher, self.runs).to(self.device)
        return self._teachers[key].requires_grad_(False)

    # -- rows

    def _has(self, name: str, phase: str, seed: int) -> bool:
        return any(key[0] == name and key[1] == seed and key[2] == phase for key in self.held)

    def _add(self, experiment: Experiment, seed: int, phase: str, rate: float, history: list[dict[str, float]]) -> None:
        about = (device_name(self.device), versions(), today())
        rows = [
            Row(experiment.name, seed, phase, rate, int(seen["step"]), measure, seen[measure], seen["seconds"], *about)
            for seen in history
            for measure in ("accuracy", "loss", "nearest")
            if measure in seen and (measure == "accuracy" or seen is history[-1])
        ]
        self.held |= {row.key: row for row in rows}
        if processes.rank() == 0:
            append_rows(self.rows, rows)
            last = history[-1]
            print(f"{experiment.name} seed {seed} {phase} lr {rate:g}: {last['accuracy']:.4f}", flush=True)


def calibration(split: data.Split) -> list[Tensor]:
    """Training inputs in batches, without their labels."""
    found: list[Tensor] = []
    for inputs, _ in DataLoader(split.train, CALIBRATION_BATCH):
        found.append(inputs)
        if len(found) * CALIBRATION_BATCH >= CALIBRATION_IMAGES:
            break
    return found


def best_rate(rows: object, name: str) -> float:
    """The rate of the best mean final accuracy in an experiment's sweep; of equals, the one of the smaller loss."""
    found = [row for row in rows if row.experiment == name and row.phase == "tune"]  # type: ignore[attr-defined]
    if not found:
        raise ExperimentError(f"no rate of {name} has been tuned yet; run it first")
    last = max(row.step for row in found)
    scores: dict[float, dict[str, list[float]]] = {}
    for row in found:
        if row.step == last:
            scores.setdefault(row.lr, {}).setdefault(row.measure, []).append(row.value)
    return max(scores, key=lambda rate: (fmean(scores[rate]["accuracy"]), -fmean(scores[rate]["loss"])))


def _plain(experiment: Experiment, seed: int) -> dict[str, object]:
    """What a checkpoint is of, in values that compare equal once they were saved."""
    return {"experiment": repr(experiment), "seed": seed}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="run experiments of examples/paper/experiments")
    parser.add_argument("experiments", type=Path, nargs="+", help="YAML files")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a value")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from --first-seed on")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of checkpoints and logs")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of downloaded data sets")
    parser.add_argument("--rows", type=Path, default=HERE / "rows" / "own.jsonl", help="file that numbers are added to")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto")
    parser.add_argument("--workers", type=int, default=0, help="processes that load data")
    options = parser.parse_args(arguments)
    found = [read_experiment(path, options.set) for path in options.experiments]
    device = processes.begin(options.device)
    runner = Runner(options.runs, options.data, options.rows, device, options.workers)
    for experiment in found:
        runner.experiment(experiment, range(options.first_seed, options.first_seed + options.seeds))
    processes.end()


if __name__ == "__main__":
    main()
