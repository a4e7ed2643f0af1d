"""Training: schedule and losses against their formulas, resuming against running through, whole runs."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from tests.zoo import torchvision_stub

torchvision_stub.install()
run = pytest.importorskip("examples.paper.run")

from examples.paper import data, evaluation, experiment, models, results, training  # noqa: E402
from examples.paper.experiment import Distil, ExperimentError, Recipe, resolve_recipe  # noqa: E402
from examples.paper.learner import Learner, Objective, classifier, features  # noqa: E402

CPU = torch.device("cpu")
TINY = {"size": 32, "batch": 4, "epochs": 2, "warmup_epochs": 1, "augment": "none", "drop_path": 0.2}


def tiny_split(count: int = 8, classes: int = 10) -> data.Split:
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(count, 1, 32, 32, generator=draw)
    labels = torch.arange(count) % classes
    whole = TensorDataset(images, labels)
    return data.Split(whole, whole, classes, images[:2])


def tiny_recipe(**own: Any) -> Recipe:
    return resolve_recipe(TINY | own, "vit", "cifar100")


def tiny_training(folder: Path | None, recipe: Recipe, identity: str = "a", classes: int = 10) -> training.Training:
    torch.manual_seed(1)
    learner = Learner(models.build("small_vit_shallow", classes, recipe.drop_path))
    objective = Objective(recipe, mixed=bool(recipe.mixup), distil=None, teacher=None)
    return training.Training(
        learner, objective, tiny_split(classes=classes), recipe, 3, CPU, folder, {"experiment": identity}
    )


def weights(run: training.Training) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.learner.state_dict().items()}


@pytest.mark.parametrize("optimizer", ["adamw", "lars"])
def test_resuming_gives_the_weights_of_an_uninterrupted_run(tmp_path: Path, optimizer: str) -> None:
    recipe = tiny_recipe(optimizer=optimizer)  # mixup, cutmix and dropped paths draw random numbers
    whole = tiny_training(tmp_path / "whole", recipe)
    start = weights(whole)
    assert [seen["step"] for seen in whole.run()] == [2, 4]
    first = tiny_training(tmp_path / "parts", recipe)
    first.run(epochs=1)
    halfway = weights(first)
    torch.manual_seed(99)  # what happens in between does not matter
    second = tiny_training(tmp_path / "parts", recipe)
    assert (second.epoch, second.step) == (1, 2)
    second.run()
    ended = weights(second)
    assert all(torch.equal(ended[name], value) for name, value in weights(whole).items())
    assert any(not torch.equal(ended[name], halfway[name]) for name in ended)
    assert any(not torch.equal(halfway[name], start[name]) for name in ended)
    logs = [(tmp_path / name / training.LOG).read_text() for name in ("whole", "parts")]
    table = [list(csv.DictReader(text.splitlines())) for text in logs]
    for row in (*table[0], *table[1]):
        assert float(row.pop("seconds")) > 0
    assert table[0] == table[1]
    assert [row["step"] for row in table[0]] == ["2", "4"]


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    tiny_training(tmp_path, tiny_recipe()).run(epochs=1)
    with pytest.raises(ExperimentError, match=r"last\.pt is of another experiment; give another --runs folder"):
        tiny_training(tmp_path, tiny_recipe(), identity="b")


def test_the_schedule_is_a_line_and_a_cosine() -> None:
    recipe = replace(resolve_recipe({}, "convnext", "pets"), epochs=10, warmup_epochs=2)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    schedule = training.schedule(optimizer, recipe, steps_per_epoch=5)
    for step in range(50):
        schedule.step_update(step)
        rest = (step - 10) / 40
        cosine = 1e-6 + (4e-3 - 1e-6) * 0.5 * (1 + math.cos(math.pi * rest))
        assert optimizer.param_groups[0]["lr"] == pytest.approx(4e-3 * step / 10 if step < 10 else cosine, abs=1e-12)


def test_weight_decay_spares_vectors_and_positions() -> None:
    made = tiny_training(None, tiny_recipe())
    names = {id(value): name for name, value in made.learner.named_parameters()}
    decay = {
        group["weight_decay"]: {names[id(value)] for value in group["params"]} for group in made.optimizer.param_groups
    }
    assert set(decay) == {0.0, 0.05}
    matrices = {name for name, value in made.learner.named_parameters() if value.dim() > 1}
    assert decay[0.05] == matrices - {"student.pos_embed", "student.cls_token"}
    assert len({group["lr"] for group in made.optimizer.param_groups}) == 1  # no decay by layer


def test_accumulated_passes_are_one_step() -> None:
    plain = {"mixup": 0, "cutmix": 0, "drop_path": 0, "label_smoothing": 0.1}
    one, two = (tiny_training(None, tiny_recipe(**plain, accumulate=passes)) for passes in (1, 2))
    assert [seen["step"] for seen in one.run(epochs=1)] == [seen["step"] for seen in two.run(epochs=1)] == [2]
    ours, theirs = weights(one), weights(two)
    assert all(torch.allclose(ours[name], theirs[name], atol=2e-5) for name in ours)


def test_stops_are_where_the_recipe_says() -> None:
    made = tiny_training(None, tiny_recipe(stops=[1, 3]))
    assert [seen["step"] for seen in made.run()] == [1, 3]


def test_batches_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ExperimentError, match=r"a batch of 16 does not fit 8 training images; lower recipe\.batch"):
        tiny_training(None, tiny_recipe(batch=16))
    with pytest.raises(ExperimentError, match=r"recipe\.batch 4 does not divide among 1 processes and 3 passes"):
        tiny_training(None, tiny_recipe(accumulate=3))


def test_a_loss_that_is_not_finite_is_refused() -> None:
    made = tiny_training(None, tiny_recipe())
    with torch.no_grad():
        made.learner.student.head.weight.fill_(math.inf)
    with pytest.raises(ExperimentError, match=r"the loss is (nan|inf) after 0 steps; lower recipe\.lr"):
        made.run()


def test_bf16_trains() -> None:
    assert math.isfinite(tiny_training(None, tiny_recipe(amp="bf16")).run(epochs=1)[0]["loss"])


# -- losses


def test_logit_distillation_by_hand() -> None:
    teacher = models.build("small_vit_teacher", 10).eval()
    student = models.build("small_vit_shallow", 10)
    images, labels = torch.randn(4, 1, 32, 32), torch.tensor([1, 2, 3, 4])
    recipe = tiny_recipe(label_smoothing=0.0)
    objective = Objective(recipe, mixed=False, distil=Distil("logits", alpha=3.0, temperature=2.0), teacher=teacher)
    logits = Learner(student)(images)[0]
    ours, theirs = (value.double() / 2 for value in (logits, teacher(images)))
    divergence = (theirs.softmax(1) * (theirs.log_softmax(1) - ours.log_softmax(1))).sum(1).mean()
    wanted = functional.cross_entropy(logits.double(), labels) + 3 * 4 * divergence
    assert float(objective((logits, None), images, labels).detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)


def test_feature_distillation_by_hand() -> None:
    teacher = models.build("small_vit_teacher", 7).eval()  # of other classes
    learner = Learner(models.build("small_vit_shallow", 10), teacher_width=128)
    images, labels = torch.randn(4, 1, 32, 32), torch.tensor([1, 2, 3, 4])
    objective = Objective(
        tiny_recipe(label_smoothing=0.0), mixed=False, distil=Distil("features", 2.0), teacher=teacher
    )
    output = learner(images)
    assert output[1] is not None
    torch.testing.assert_close(output[0], learner.student(images))
    wanted = functional.cross_entropy(output[0], labels) + 2 * (output[1] - features(teacher, images)).abs().mean()
    loss = objective(output, images, labels)
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-6)
    loss.backward()
    assert learner.projector is not None
    assert all(value.grad is not None for value in learner.projector.parameters())
    assert all(value.grad is None for value in teacher.parameters())


def test_mixed_labels_are_a_cross_entropy_of_shares() -> None:
    logits, shares = torch.randn(3, 5), torch.rand(3, 5).softmax(1)
    objective = Objective(tiny_recipe(), mixed=True, distil=None, teacher=None)
    wanted = -(shares * logits.log_softmax(1)).sum(1).mean()
    assert float(objective((logits, None), torch.zeros(3), shares)) == pytest.approx(float(wanted), rel=1e-6)


@pytest.mark.parametrize("name", ["small_vit_shallow", "small_convnext_student"])
def test_a_probe_trains_the_last_layer_alone(name: str) -> None:
    learner = Learner(models.build(name, 10), probe=True)
    recipe = tiny_recipe(mixup=0, cutmix=0, optimizer="lars", lr=1.0)
    objective = Objective(recipe, mixed=False, distil=None, teacher=None)
    before = {key: value.clone() for key, value in learner.state_dict().items()}
    training.Training(learner, objective, tiny_split(), recipe, 0, CPU).run()
    last = {f"student.{key}" for key, value in learner.student.named_parameters() if value.requires_grad}
    changed = {key for key, value in learner.state_dict().items() if not torch.equal(value, before[key])}
    assert last < changed
    assert changed - last <= {"probe.running_mean", "probe.running_var", "probe.num_batches_tracked"}
    assert sum(value.numel() for value in classifier(learner.student).parameters()) == sum(
        value.numel() for value in learner.parameters() if value.requires_grad
    )


# -- scores


class Fixed(nn.Module):
    """Logits that stand in the input."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs


def test_accuracy_and_loss_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0]])
    whole = TensorDataset(logits, torch.tensor([0, 0, 0]))
    score = evaluation.evaluate(Fixed(), whole, CPU, batch=2)
    lost = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1)) + math.log(1 + math.exp(-2))) / 3
    assert (score.accuracy, score.loss) == (pytest.approx(2 / 3), pytest.approx(lost, rel=1e-6))


def test_accuracy_of_positions() -> None:
    logits = functional.one_hot(torch.tensor([[1, 2, 0, 1]]), 3).float()
    score = evaluation.evaluate(Fixed(), TensorDataset(logits, torch.tensor([[1, 2, 2, 1]])), CPU)
    assert score.accuracy == 0.75


def test_nearest_knows_what_it_has_seen() -> None:
    split = tiny_split(20)
    assert evaluation.nearest(models.build("small_convnext_student", 10), split.train, split.train, CPU) == 1.0


# -- whole runs


def test_a_run_from_the_command_line_and_what_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(data._PACKAGED, "digits", lambda tuning: tiny_split(12 if tuning else 16))
    monkeypatch.setitem(data._PACKAGED, "mnist5k", lambda tuning: tiny_split(8))
    folders = ["--runs", str(tmp_path / "runs"), "--rows", str(tmp_path / "rows.jsonl"), "--device", "cpu"]
    changes = ["--set", "recipe.epochs=1", "--set", "recipe.batch=4", "--set", "recipe.warmup_epochs=0"]
    small = experiment.EXPERIMENTS / "small"
    run.main([str(small / "vit-teacher.yaml"), *folders, *changes])
    changes += ["--set", "recipe.stops=[1, 2]", "--set", "data.limit=8", "--set", "tune.lr=[1.0e-3, 1.0e-2]"]
    files = [str(small / "vit" / f"{name}.yaml") for name in ("scored", "default")]
    run.main([*files, *folders, *changes, "--seeds", "2"])
    rows = results.read_rows([tmp_path / "rows.jsonl"])
    own = [row for row in rows if row.experiment == "small/vit/scored"]
    assert {(row.phase, row.seed) for row in own} == {
        *(("tune", run.TUNING_SEED + draw) for draw in range(3)),
        *((phase, seed) for phase in ("untrained", "run") for seed in (0, 1)),
    }
    assert {row.lr for row in own if row.phase == "tune"} == {1e-3, 1e-2}
    assert {row.step for row in own if row.phase == "tune"} == {2}
    assert {row.step for row in own if row.phase == "run" and row.measure == "loss"} == {2}
    best = run.best_rate(rows, "small/vit/scored")
    assert {row.lr for row in own if row.phase == "run"} == {best}
    assert {row.step for row in own if row.phase == "run"} == {1, 2}
    size = (tmp_path / "rows.jsonl").stat().st_size
    run.main([*files, *folders, *changes, "--seeds", "2"])  # nothing is computed again
    assert (tmp_path / "rows.jsonl").stat().st_size == size
    like = ["--set", "recipe.epochs=1", "--set", "recipe.batch=4", "--set", "recipe.stops=[1]", "--set", "data.limit=8"]
    run.main([str(small / "vit" / "scored-distilled.yaml"), *folders, *like])
    last = results.read_rows([tmp_path / "rows.jsonl"])[-1]
    assert (last.experiment, last.phase, last.lr) == ("small/vit/scored-distilled", "run", best)


def test_the_best_rate() -> None:
    row = results.Row("x", 1000, "tune", 0.1, 80, "accuracy", 0.5, 1.0, "cpu", {}, "2026-01-02")
    rows = [row, replace(row, measure="loss", value=2.0)]
    for rate, accuracy, loss in ((0.2, 0.6, 1.5), (0.3, 0.6, 1.4), (0.4, 0.4, 1.0)):
        rows += [replace(row, lr=rate, value=accuracy), replace(row, lr=rate, measure="loss", value=loss)]
    rows.append(replace(row, lr=0.4, step=40, value=0.9))  # on the way
    assert run.best_rate(rows, "x") == 0.3
    rows += [replace(row, lr=0.3, seed=1001, value=0.4), replace(row, lr=0.3, seed=1001, measure="loss", value=1.4)]
    assert run.best_rate(rows, "x") == 0.2  # 0.6 against a mean of 0.5
    with pytest.raises(ExperimentError, match="no rate of y has been tuned yet; run it first"):
        run.best_rate(rows, "y")


def test_a_language_model_trains_on_bytes(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from examples.paper.language import SourceBytes

    part = SourceBytes(True, length=16, limit=16 * 9)
    inputs, following = part[1]
    assert torch.equal(inputs[1:], following[:-1])
    assert len(part) == 8
    split = data.Split(part, SourceBytes(False, length=16, limit=64), 256, torch.zeros(2, 16, dtype=torch.int64), False)
    recipe = resolve_recipe({"batch": 4, "epochs": 1, "warmup_epochs": 0}, "llama", "python-source")
    learner = Learner(models.build("llama_student", 256))
    objective = Objective(recipe, mixed=False, distil=None, teacher=None)
    history = training.Training(learner, objective, split, recipe, 0, CPU).run()
    assert [seen["step"] for seen in history] == [2]
    assert history[0]["loss"] == pytest.approx(math.log(256), rel=0.2)  # of a network that knows next to nothing
