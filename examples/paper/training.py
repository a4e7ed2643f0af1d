"""The training loop: timm's optimiser, schedule and mixup; one process or many; resumable after every epoch."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from timm.data import Mixup
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from examples.paper import logs, processes
from examples.paper.data import Split
from examples.paper.evaluation import Score, evaluate
from examples.paper.experiment import ExperimentError, Recipe
from examples.paper.learner import Learner, Objective

CHECKPOINT, LOG = "last.pt", "log.csv"


class Training:
    """One run of a recipe, which goes on where it stopped if its folder holds a checkpoint.

    Args:
        learner: What is trained, in place; on `device`.
        objective: The loss.
        split: What it is trained and scored on.
        recipe: How.
        seed: Of batches, augmentation and dropped paths.
        device: Where the learner is.
        folder: For checkpoints and logs; None: neither.
        identity: What the run is, in plain values; a checkpoint of another run is refused.
        workers: Processes that load data.
    Raises:
        ExperimentError: If a batch is larger than the training set, or the checkpoint is of another run.
    """

    def __init__(
        self,
        learner: Learner,
        objective: Objective,
        split: Split,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        folder: Path | None = None,
        identity: dict[str, Any] | None = None,
        workers: int = 0,
    ) -> None:
        self.learner, self.objective, self.split, self.recipe = learner, objective, split, recipe
        self.device, self.folder, self.identity, self.workers = device, folder, identity or {}, workers
        self.sampler: DistributedSampler[Any] = DistributedSampler(
            split.train, processes.count(), processes.rank(), shuffle=True, seed=seed, drop_last=True
        )
        self.loader = self._loader()
        self.steps_per_epoch = len(self.loader) // recipe.accumulate
        if not self.steps_per_epoch:
            raise ExperimentError(
                f"a batch of {recipe.batch} does not fit {len(split.train)} training images"  # type: ignore[arg-type]
                "; lower recipe.batch or recipe.accumulate"
            )
        self.optimizer = create_optimizer_v2(
            learner, recipe.optimizer, recipe.lr, recipe.weight_decay, **_options(recipe)
        )
        self.scheduler = schedule(self.optimizer, recipe, self.steps_per_epoch)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.amp == "fp16")
        self.mixup = mixer(recipe, split)
        self.model: nn.Module = DistributedDataParallel(learner) if processes.count() > 1 else learner
        self.epoch, self.step, self.seconds = 0, 0, 0.0
        self.history: list[dict[str, float]] = []
        processes.seed_all(seed + processes.rank())
        self._resume()

    def _loader(self) -> DataLoader[Any]:
        share, rest = divmod(self.recipe.batch, processes.count() * self.recipe.accumulate)
        if rest or not share:
            raise ExperimentError(
                f"recipe.batch {self.recipe.batch} does not divide among {processes.count()} processes and "
                f"{self.recipe.accumulate} passes"
            )
        return DataLoader(
            self.split.train,
            share,
            sampler=self.sampler,
            drop_last=True,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
        )

    # -- running

    def run(self, epochs: int | None = None) -> list[dict[str, float]]:
        """Train to the end, or until so many epochs are done; returns what was seen at every stop."""
        for epoch in range(self.epoch, self.recipe.epochs if epochs is None else epochs):
            self.sampler.set_epoch(epoch)
            self._epoch()
            self.epoch = epoch + 1
            self._save()
        return self.history

    def _epoch(self) -> None:
        self.model.train()
        last = self.steps_per_epoch * self.recipe.accumulate
        for place, (inputs, labels) in zip(range(1, last + 1), self.loader, strict=False):
            begun = time.perf_counter()
            loss = self._pass(inputs.to(self.device), labels.to(self.device))
            if place % self.recipe.accumulate == 0:
                self._update()
                self.seconds += time.perf_counter() - begun
                self._look(loss, place == last)
            else:
                self.seconds += time.perf_counter() - begun

    def _pass(self, inputs: Tensor, labels: Tensor) -> Tensor:
        if self.mixup is not None:
            inputs, labels = self.mixup(inputs, labels)
        with self._precision():
            loss = self.objective(self.model(inputs), inputs, labels)
        if not bool(torch.isfinite(loss)):
            raise ExperimentError(f"the loss is {float(loss.detach())} after {self.step} steps; lower recipe.lr")
        torch.autograd.backward(self.scaler.scale(loss / self.recipe.accumulate))
        return loss.detach()

    def _update(self) -> None:
        self.scheduler.step_update(self.step)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.step += 1

    def _precision(self) -> Any:
        kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
        kind = kinds.get(self.recipe.amp)
        return nullcontext() if kind is None else torch.autocast(self.device.type, kind)

    def _look(self, loss: Tensor, epoch_ends: bool) -> None:
        """Score the learner where the recipe says so; without stops, after every epoch."""
        stops = self.recipe.stops
        if self.step not in stops if stops else not epoch_ends:
            return
        score: Score = evaluate(self.learner, self.split.test, self.device, 3 * self.recipe.batch // 2, self.workers)
        rate = max(group["lr"] for group in self.optimizer.param_groups)
        seen = {"step": self.step, "lr": rate, "training loss": float(loss), "seconds": self.seconds}
        self.history.append(seen | {"accuracy": score.accuracy, "loss": score.loss})
        self.model.train()

    # -- checkpoints

    def _save(self) -> None:
        if self.folder is None:
            return
        states = processes.gather(processes.random_states())
        if processes.rank():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {name: getattr(self, name).state_dict() for name in ("learner", "optimizer", "scheduler", "scaler")}
        content |= {name: getattr(self, name) for name in ("epoch", "step", "seconds", "history", "identity")}
        part = self.folder / f"{CHECKPOINT}.part"
        torch.save(content | {"random": states}, part)
        part.replace(self.folder / CHECKPOINT)  # whole or not at all
        logs.write(self.folder, LOG, self.history)

    def _resume(self) -> None:
        if self.folder is None or not (self.folder / CHECKPOINT).exists():
            return
        content = torch.load(self.folder / CHECKPOINT, map_location=self.device, weights_only=True)
        if content["identity"] != self.identity:
            raise ExperimentError(f"{self.folder / CHECKPOINT} is of another experiment; give another --runs folder")
        if len(content["random"]) != processes.count():
            raise ExperimentError(
                f"{self.folder / CHECKPOINT} is of {len(content['random'])} processes, this run has {processes.count()}"
            )
        for name in ("learner", "optimizer", "scheduler", "scaler"):
            getattr(self, name).load_state_dict(content[name])
        for name in ("epoch", "step", "seconds", "history"):
            setattr(self, name, content[name])
        processes.restore(content["random"][processes.rank()])


def schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps_per_epoch: int) -> CosineLRScheduler:
    """Linear from 0 over the warm-up, then a cosine to `min_lr`; by step."""
    warm = recipe.warmup_epochs * steps_per_epoch
    return CosineLRScheduler(
        optimizer,
        t_initial=max(1, recipe.epochs * steps_per_epoch - warm),
        lr_min=recipe.min_lr,
        warmup_t=warm,
        warmup_lr_init=0.0,
        warmup_prefix=True,
        t_in_epochs=False,
    )


def mixer(recipe: Recipe, split: Split) -> Mixup | None:
    """timm's mixup and cutmix, one draw per batch; None where labels are not mixed."""
    if not split.soft or not (recipe.mixup or recipe.cutmix):
        return None
    return Mixup(recipe.mixup, recipe.cutmix, label_smoothing=recipe.label_smoothing, num_classes=split.classes)


def _options(recipe: Recipe) -> dict[str, Any]:
    return {"betas": tuple(recipe.betas), "eps": 1e-8} if recipe.optimizer == "adamw" else {}
