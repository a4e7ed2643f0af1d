"""One experiment, as its YAML file says it: teacher, student, start, data set and recipe."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

HERE = Path(__file__).parent
EXPERIMENTS = HERE / "experiments"
START_KINDS = ("default", "xavier", "kaiming", "mimetic", "select", "l1", "magnitude")

T = TypeVar("T")


class ExperimentError(ValueError):
    """An experiment says something that is not known."""


@dataclass(frozen=True, slots=True)
class Model:
    """A network of `models.yaml`, and where its values come from."""

    model: str
    weights: str = ""
    """`timm:TAG` (downloads), `run:EXPERIMENT` (what that run saved), `file:PATH`, or empty: as `models.yaml` says."""


@dataclass(frozen=True, slots=True)
class Start:
    """How the student begins."""

    kind: str = "default"
    rules: str = "paper"
    """For what takes values from the teacher: a shipped rule file, or a path from this folder."""
    keep: tuple[str, ...] = ()
    """Student tensors that keep the library's own values, besides what the rules keep."""
    statistics: bool = False
    """Collect the teacher's activations, for rules that score by them."""
    calibrate: bool = False
    """Fit the selected values on training inputs."""


@dataclass(frozen=True, slots=True)
class Data:
    """A data set by name."""

    name: str
    limit: int = 0
    """Train on this many images, drawn anew for every seed; 0: on all."""


@dataclass(frozen=True, slots=True)
class Distil:
    """What is learnt from the teacher besides the labels."""

    kind: str
    """`logits` or `features`."""
    alpha: float = 1.0
    temperature: float = 1.0
    """Of the logits; the paper does not say which."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the student is trained; the values of one `recipes.yaml` entry over the others."""

    optimizer: str
    betas: tuple[float, float]
    weight_decay: float
    lr: float
    min_lr: float
    batch: int
    """Of all processes together, per optimiser step."""
    epochs: int
    warmup_epochs: int
    drop_path: float
    mixup: float
    cutmix: float
    label_smoothing: float
    augment: str
    """A RandAugment text of timm; `crop`: crops and flips alone; `none`."""
    erase: float
    size: int
    """Of images, after augmentation."""
    amp: str = "none"
    """`none`, `bf16` or `fp16`."""
    accumulate: int = 1
    """Backward passes per optimiser step."""
    stops: tuple[int, ...] = ()
    """Optimiser steps after which the test set is looked at; empty: after every epoch."""


@dataclass(frozen=True, slots=True)
class Tune:
    """A sweep of learning rates on held-out training images, before the runs."""

    lr: tuple[float, ...] = ()
    seeds: int = 1
    """Runs of every rate; the mean counts."""
    like: str = ""
    """Take the rate that another experiment's sweep found."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """What one YAML file says."""

    name: str
    """The file's path below `experiments/`, without its ending."""
    student: Model
    data: Data
    recipe: Recipe
    start: Start = field(default_factory=Start)
    teacher: Model | None = None
    distil: Distil | None = None
    tune: Tune | None = None
    probe: bool = False
    """Train a linear layer on the frozen features and nothing else."""
    untrained: bool = False
    """Look at the untrained start too."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for checkpoints and comparison."""
        return asdict(self)


def catalogue(file: str) -> dict[str, Any]:
    """One of the YAML files beside this module."""
    content: dict[str, Any] = yaml.load((HERE / file).read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    return content


def read_experiment(path: Path, changes: Iterable[str] = ()) -> Experiment:
    """Read a file, with `KEY=VALUE` changes such as `recipe.epochs=2`.

    Raises:
        ExperimentError: If a key or a name is not known.
    """
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    for change in changes:
        _change(raw, change)
    resolved = path.resolve()
    below = resolved.is_relative_to(EXPERIMENTS)
    name = resolved.relative_to(EXPERIMENTS).with_suffix("").as_posix() if below else path.stem
    try:
        return parse(name, raw)
    except ExperimentError as error:
        raise ExperimentError(f"{path}: {error}") from error


def _change(raw: dict[str, Any], change: str) -> None:
    key, mark, value = change.partition("=")
    if not mark:
        raise ExperimentError(f"--set {change}: write KEY=VALUE, such as recipe.epochs=2")
    *folders, last = key.split(".")
    for folder in folders:
        inner = raw.setdefault(folder, {})
        if isinstance(inner, str):  # the short form of a mapping
            inner = raw[folder] = {{"student": "model", "teacher": "model"}.get(folder, "name"): inner}
        raw = inner
    raw[last] = yaml.safe_load(value)


def parse(name: str, raw: Mapping[str, Any]) -> Experiment:
    """The experiment that plain values describe; see the fields of the classes here for the keys."""
    known = [entry.name for entry in fields(Experiment) if entry.name != "name"]
    _refuse_unknown("the experiment", raw, known)
    student, data = _made(Model, raw.get("student"), "model"), _made(Data, raw.get("data"), "name")
    if student is None or data is None:
        raise ExperimentError("an experiment needs a `student` and a `data` set")
    teacher, start = _made(Model, raw.get("teacher"), "model"), _made(Start, raw.get("start"), "kind") or Start()
    distil = _made(Distil, raw.get("distil"), "kind")
    if start.kind not in START_KINDS:
        raise ExperimentError(f"start: {_unknown(start.kind, START_KINDS)}")
    if distil is not None and distil.kind not in ("logits", "features"):
        raise ExperimentError(f"distil: {_unknown(distil.kind, ('logits', 'features'))}")
    if teacher is None and (distil is not None or start.kind in ("select", "l1", "magnitude")):
        raise ExperimentError("a start or a distillation that reads a teacher needs a `teacher`")
    models = catalogue("models.yaml")
    for side in (student, teacher):
        if side is not None and side.model not in models:
            raise ExperimentError(f"models.yaml: {_unknown(side.model, models)}")
    recipe = resolve_recipe(raw.get("recipe") or {}, models[student.model]["family"], data.name)
    tune = _made(Tune, raw.get("tune"), "like")
    flags = {key: bool(raw.get(key, False)) for key in ("probe", "untrained")}
    return Experiment(name, student, data, recipe, start, teacher, distil, tune, **flags)


def resolve_recipe(own: Mapping[str, Any] | str, family: str, data: str) -> Recipe:
    """The recipe of a family on a data set, with an experiment's own values.

    >>> recipe = resolve_recipe({}, "convnext", "stl10")
    >>> recipe.lr, recipe.batch, recipe.epochs, recipe.drop_path
    (0.004, 128, 300, 0.0)
    """
    own = {"name": own} if isinstance(own, str) else dict(own)
    recipes = catalogue("recipes.yaml")
    of_data = dict(recipes["data"].get(data, {}))
    families = {key: of_data.pop(key, {}) for key in recipes["family"]}
    name = own.pop("name", "")
    if name and name not in recipes["named"]:
        raise ExperimentError(f"recipe: {_unknown(name, recipes['named'])}")
    values = recipes["base"] | recipes["family"][family] | of_data | families[family]
    values |= recipes["named"].get(name, {}) | own
    made = _made(Recipe, values, "name")
    if made is None:
        raise ExperimentError("recipe: empty")
    return made


def _made(kind: type[T], raw: Any, short: str) -> T | None:
    """A dataclass from a mapping, or from a text that is its field `short`."""
    if raw is None:
        return None
    values = {short: raw} if isinstance(raw, str) else dict(raw)
    _refuse_unknown(kind.__name__.lower(), values, [entry.name for entry in fields(kind)])  # type: ignore[arg-type]
    lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    try:
        return kind(**(values | lists))
    except TypeError as error:
        raise ExperimentError(f"{kind.__name__.lower()}: {error}") from error


def _refuse_unknown(place: str, raw: Mapping[str, Any], known: Iterable[str]) -> None:
    for key in raw:
        if key not in known:
            raise ExperimentError(f"{place}: {_unknown(key, known)}")


def _unknown(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"{word!r} is not known; " + (f"did you mean {near[0]!r}?" if near else f"one of: {', '.join(known)}")
