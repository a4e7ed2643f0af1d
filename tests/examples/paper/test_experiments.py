"""All experiment files load, say what the matrix writes, and their networks build and plan without a weight."""

from __future__ import annotations

import doctest
from functools import cache
from pathlib import Path

import pytest
import torch

import wsel_graph as ws
from tests.zoo import torchvision_stub

torchvision_stub.install()
matrix = pytest.importorskip("examples.paper.matrix")

from examples.paper import data, models, processes, pruning, starts, summary  # noqa: E402
from examples.paper import experiment as described  # noqa: E402
from examples.paper.experiment import (  # noqa: E402
    EXPERIMENTS,
    Experiment,
    ExperimentError,
    catalogue,
    parse,
    read_experiment,
)

NAMES = sorted(path.relative_to(EXPERIMENTS).with_suffix("").as_posix() for path in EXPERIMENTS.rglob("*.yaml"))
CLASSES = {name: found.classes for name, found in data.IMAGE_SETS.items()} | {"python-source": 256}


def read(name: str) -> Experiment:
    return read_experiment(EXPERIMENTS / f"{name}.yaml")


@pytest.mark.parametrize("module", [described, pruning, summary], ids=lambda module: module.__name__)
def test_doctests(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0


def test_the_files_are_what_the_matrix_writes() -> None:
    written = matrix.everything()
    assert sorted(written) == NAMES
    assert all((EXPERIMENTS / f"{name}.yaml").read_text(encoding="utf-8") == text for name, text in written.items())


def test_every_cell_of_the_tables_has_its_experiment() -> None:
    cells = [cell for content in catalogue("numbers.yaml").values() for row in content["rows"].values() for cell in row]
    named = {name for _, of in cells for name in ([of] if isinstance(of, str) else of)}
    small = {
        name
        for content in catalogue("numbers.yaml").values()
        for row in content.get("small", {}).values()
        for name in row
        if name
    }
    assert named | small <= set(NAMES)
    unused = {name for name in NAMES if not name.startswith("small/")} - named
    ours = ("-engine", "-scored", "-norms", "-compensated", "-coupled-l1")
    helpers = {name for name in unused if name.endswith(ours) or name.startswith("imagenet1k/vit_t-default-")}
    assert unused - helpers == {
        "cifar100/mixer_s-default",
        "cifar100/mixer_s-uniform",
        "python-source/llama-default",
        "python-source/llama-teacher",
        "python-source/llama-uniform",
    }


def test_every_file_loads() -> None:
    for name in NAMES:
        found = read(name)
        assert found.name == name
        for weights in (found.teacher.weights,) if found.teacher else ():
            kind, _, place = weights.partition(":")
            assert kind in ("", "timm", "run")
            assert kind != "run" or place in NAMES
        if found.tune and found.tune.like:
            assert read(found.tune.like).tune.lr


PLANS = {
    (found.student.model, found.teacher.model, found.start.rules, found.start.keep): found
    for found in map(read, NAMES)
    if found.teacher and found.start.kind in ("select", "l1", "magnitude") and not found.start.statistics
    if found.start.rules == "paper" or (found.name.startswith("small") and "l1" not in found.start.rules)
}
"""One experiment for every two networks, and in the small setting for every rule file that reads no values."""


LEFT_OUT = {
    "patch-embed": ("patch_embed.", "stem."),
    "position": ("pos_embed",),
    "attention": ("attn.",),
    "norm": ("norm", "stem.1.", "downsample.0."),
    "mlp": ("mlp.",),
}
"""By what a rule leaves out: parts of the names of these tensors."""


@cache
def graph(model: str, classes: int | None) -> ws.ModelGraph:
    small, language = model.startswith("small"), model.startswith("llama")
    with torch.device("cpu" if language else "meta"):  # transformers looks at values of its mask
        network = models.build(model, classes).eval()
    inputs = torch.zeros(2, 16, dtype=torch.int64) if language else torch.zeros(2, 1, 32, 32) if small else None
    return ws.trace(network, torch.zeros(2, 3, 224, 224) if inputs is None else inputs)


@pytest.mark.parametrize("key", PLANS, ids=lambda key: "-".join(map(str, key[:3])))
def test_networks_build_and_plan(key: tuple[str, str, str, tuple[str, ...]]) -> None:
    found = PLANS[key]
    classes = CLASSES.get(found.data.name, 10)
    student = graph(found.student.model, classes)
    made_by = found.teacher.weights.removeprefix("run:")
    teacher = graph(found.teacher.model, CLASSES.get(read(made_by).data.name, 10) if made_by in NAMES else None)
    plan = ws.plan(student, teacher, rules=starts.rules_of(found.start), keep=found.start.keep)
    kept = {entry.student for entry in plan.kept}
    heads = {name for name in kept if "head" in name}
    assert found.student.model.startswith("llama") or bool(heads) != ("-head" in found.name)
    left_out = LEFT_OUT.get(Path(found.start.rules).stem.removeprefix("without-"), ())
    parts = {name for name in student.tensors if any(part in name for part in left_out)} - heads
    assert {name for name in kept - heads if not name.endswith("inv_freq")} == parts


def test_recipes_are_those_of_the_appendix() -> None:
    """Tables 13 to 15, typed anew."""
    epochs = {"pets": (600, 100), "flowers": (600, 100), "dtd": (600, 100), "svhn": (50, 10)}
    batches = {"convnext": {"imagenet1k": 4096, "cifar10": 1024, "cifar100": 1024, "food101": 1024, "svhn": 1024}}
    batches["convnext"] |= {"pets": 128, "flowers": 128, "stl10": 128, "dtd": 128, "eurosat": 512}
    batches["vit"] = {name: 4096 if name == "imagenet1k" else 512 for name in data.IMAGE_SETS}
    drop_path = {"imagenet1k": 0.0, "stl10": 0.0, "dtd": 0.2}
    for family, lr in (("vit", 2e-3), ("convnext", 4e-3)):
        for name in data.IMAGE_SETS:
            recipe = described.resolve_recipe({}, family, name)
            assert (recipe.epochs, recipe.warmup_epochs) == epochs.get(name, (300, 50))
            assert recipe.batch == batches[family][name]
            assert recipe.lr == lr
            assert recipe.drop_path == (0 if family == "vit" else drop_path.get(name, 0.1))
            assert (recipe.mixup, recipe.cutmix, recipe.label_smoothing, recipe.erase) == (0.8, 1.0, 0.1, 0.25)
            assert (recipe.optimizer, recipe.betas, recipe.weight_decay) == ("adamw", (0.9, 0.999), 0.05)


def test_changes_of_the_command_line(tmp_path: Path) -> None:
    file = EXPERIMENTS / "cifar100" / "vit_t-uniform.yaml"
    found = read_experiment(file, ["recipe.epochs=2", "data.limit=10", "start.rules=default", "teacher.weights=file:x"])
    assert (found.recipe.epochs, found.recipe.batch) == (2, 512)
    assert found.data == described.Data("cifar100", 10)
    assert found.start.rules == "default"
    assert found.teacher == described.Model("vit_s", "file:x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"student": "vit_t"}, "needs a `student` and a `data` set"),
        ({"student": "vit_x", "data": "pets"}, "models.yaml: 'vit_x' is not known; did you mean 'vit_"),
        ({"student": "vit_t", "data": "pets", "recipes": "long"}, "'recipes' is not known; did you mean 'recipe'"),
        ({"student": "vit_t", "data": "pets", "recipe": {"epoch": 3}}, "recipe: 'epoch' is not known; did you mean"),
        (
            {"student": "vit_t", "data": "pets", "recipe": "longer"},
            "recipe: 'longer' is not known; did you mean 'lo",
        ),
        ({"student": "vit_t", "data": "pets", "start": "select"}, "reads a teacher needs a `teacher`"),
        ({"student": "vit_t", "data": "pets", "start": "xaver"}, "start: 'xaver' is not known; did you mean 'xavier'"),
        ({"student": "vit_t", "data": "pets", "teacher": "vit_s", "distil": "logit"}, "did you mean 'logits'"),
    ],
)
def test_what_is_not_known_is_refused(content: dict[str, object], message: str) -> None:
    with pytest.raises(ExperimentError) as error:
        parse("x", content)
    assert message in str(error.value)


def test_a_teacher_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"small_vit_teacher: no weights; write timm:TAG, run:EXPERIMENT or"):
        models.build_teacher(described.Model("small_vit_teacher"), tmp_path)
    missing = described.Model("small_vit_teacher", "run:small/vit-teacher")
    with pytest.raises(ExperimentError, match=r"student\.pt is not there; run experiments/small/vit-teacher\.yaml"):
        models.build_teacher(missing, tmp_path)


def test_one_process_is_alone() -> None:
    assert (processes.count(), processes.rank(), processes.gather(3)) == (1, 0, [3])
