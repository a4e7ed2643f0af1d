"""Data sets and their splits: the paper's ten through `torchvision.datasets`, and small ones that packages carry.

Nothing is downloaded: torchvision's classes say what is missing below `--data`, and its own `download=True` fetches it.
Every image is 224x224 with ImageNet's mean and deviation, as in the official code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from PIL import __version__ as pillow_version
from timm.data import auto_augment, create_transform
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset
from torchvision import datasets

from examples.paper import experiment, packaged
from examples.paper.experiment import ExperimentError, Recipe
from examples.paper.language import VOCABULARY, SourceBytes

TUNING_SHARE = 0.1
"""Of the training images, held out while rates are tuned, where a data set has no validation part."""


@dataclass(frozen=True, slots=True)
class Split:
    """What a run sees."""

    train: Dataset[Any]
    test: Dataset[Any]
    """What is scored: the test part, or held-out training images while a rate is tuned."""
    classes: int
    example: torch.Tensor
    """Two inputs, for tracing."""
    soft: bool = True
    """Whether labels may be mixed."""


@dataclass(frozen=True, slots=True)
class ImageSet:
    """One data set of the paper: a class of `torchvision.datasets`, and the arguments that name its parts."""

    make: Callable[..., Dataset[Any]]
    folder: str
    classes: int
    splits: str
    """In words, with the number of images."""
    train: tuple[Mapping[str, Any], ...] = field(default=({"split": "train"},))
    test: tuple[Mapping[str, Any], ...] = field(default=({"split": "test"},))
    held_out: float = 0.0
    """Share of all images that is the test part, drawn once with seed 0: for a set without official parts."""


_TRUE, _FALSE = ({"train": True},), ({"train": False},)
IMAGE_SETS: dict[str, ImageSet] = {
    "imagenet1k": ImageSet(
        datasets.ImageNet, "imagenet", 1000, "train 1,281,167; val 50,000 as test", test=({"split": "val"},)
    ),
    "cifar10": ImageSet(datasets.CIFAR10, "cifar", 10, "train 50,000; test 10,000", _TRUE, _FALSE),
    "cifar100": ImageSet(datasets.CIFAR100, "cifar", 100, "train 50,000; test 10,000", _TRUE, _FALSE),
    "flowers": ImageSet(
        datasets.Flowers102, "", 102, "train and val 2,040; test 6,149", ({"split": "train"}, {"split": "val"})
    ),
    "pets": ImageSet(datasets.OxfordIIITPet, "", 37, "trainval 3,680; test 3,669", ({"split": "trainval"},)),
    "stl10": ImageSet(datasets.STL10, "", 10, "train 5,000; test 8,000"),
    "food101": ImageSet(datasets.Food101, "", 101, "train 75,750; test 25,250"),
    "dtd": ImageSet(
        datasets.DTD,
        "",
        47,
        "train and val 3,760; test 1,880, partition 1 (the paper does not say which)",
        ({"split": "train"}, {"split": "val"}),
    ),
    "svhn": ImageSet(
        datasets.SVHN,
        "svhn",
        10,
        "train and extra 604,388; test 26,032 (the paper does not say; its 50 epochs suggest it)",
        ({"split": "train"}, {"split": "extra"}),
    ),
    "eurosat": ImageSet(
        datasets.EuroSAT,
        "",
        10,
        "no official parts: 21,600 to train, 5,400 to test, drawn once with seed 0 (the paper does not say)",
        ({},),
        ({},),
        0.2,
    ),
}


def load(data: experiment.Data, recipe: Recipe, root: Path, seed: int = 0, *, tuning: bool = False) -> Split:
    """Training and test parts.

    Args:
        data: Which data set, and how many images to train on.
        recipe: Its augmentation and image size.
        root: The folder of the downloaded data sets.
        seed: Draws the training images where `data.limit` is set.
        tuning: Score held-out training images in place of the test part.
    Raises:
        ExperimentError: If the data set is not known.
    """
    if data.name in IMAGE_SETS:
        split = _images(IMAGE_SETS[data.name], recipe, root, tuning)
    elif data.name in _PACKAGED:
        split = _PACKAGED[data.name](tuning)
    else:
        raise ExperimentError(f"data: {data.name!r} is none of {', '.join((*IMAGE_SETS, *_PACKAGED))}")
    if not data.limit:
        return split
    order = torch.randperm(_length(split.train), generator=torch.Generator().manual_seed(seed))
    limited = Subset(split.train, order[: data.limit].tolist())
    return Split(limited, split.test, split.classes, split.example, split.soft)


def _images(images: ImageSet, recipe: Recipe, root: Path, tuning: bool) -> Split:
    def parts(keywords: tuple[Mapping[str, Any], ...], training: bool) -> Dataset[Any]:
        turn = transform(recipe, training)
        made = [images.make(str(root / images.folder), transform=turn, **keyword) for keyword in keywords]
        return made[0] if len(made) == 1 else ConcatDataset(made)

    train, scored = parts(images.train, True), parts(images.test, False)
    if images.held_out:
        train, scored = _parted(train, scored, images.held_out)
    if tuning:
        seen = parts(images.train, False)
        seen = _parted(seen, seen, images.held_out)[0] if images.held_out else seen
        train, scored = _parted(train, seen, TUNING_SHARE)
    return Split(train, scored, images.classes, torch.zeros(2, 3, recipe.size, recipe.size))


def transform(recipe: Recipe, training: bool) -> Callable[[Any], torch.Tensor]:
    """timm's augmentation, or its evaluation crop: 224 of 256, bicubic."""
    common: dict[str, Any] = {
        "input_size": recipe.size,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
    }
    if training and recipe.augment != "none":
        policy = None if recipe.augment == "crop" else recipe.augment
        if policy:
            _posterizes_fully()
        made = create_transform(
            **common, is_training=True, color_jitter=None, auto_augment=policy, re_prob=recipe.erase, re_mode="pixel"
        )
    else:
        made = create_transform(**common, crop_pct=224 / 256)
    turned: Callable[[Any], torch.Tensor] = made
    return lambda image: turned(image.convert("RGB"))


def _posterizes_fully() -> None:
    """RandAugment posterizes to no bits at its full strength, by chance; refuse before an epoch ends on it."""
    try:
        auto_augment.posterize(Image.new("RGB", (1, 1)), 0)
    except ValueError as error:
        raise ExperimentError(
            f"augment: timm's RandAugment may keep 0 bits of a picture, and Pillow {pillow_version} refuses that "
            f"({error}): an epoch would stop by chance. Install 'pillow<13'"
        ) from error


def _parted(first: Dataset[Any], second: Dataset[Any], share: float) -> tuple[Dataset[Any], Dataset[Any]]:
    """All but a share of the first, and that share of the second; always alike, for two views of one set."""
    order = torch.randperm(_length(first), generator=torch.Generator().manual_seed(0)).tolist()
    held = round(share * len(order))
    return Subset(first, order[held:]), Subset(second, order[:held])


def _length(dataset: Dataset[Any]) -> int:
    return len(dataset)  # type: ignore[arg-type]


# -- what packages carry


def _pretraining(tuning: bool) -> Split:
    return _digits(packaged.pretraining_digits(), packaged.PRETRAINING_TEST, packaged.PRETRAINING_TEST, tuning)


def _target(tuning: bool) -> Split:
    return _digits(packaged.target_digits(), packaged.TEST, packaged.VALIDATION, tuning)


def _digits(found: tuple[torch.Tensor, torch.Tensor], test: int, validation: int, tuning: bool) -> Split:
    """Test images first, then those of the validation, then those to train on."""
    whole = TensorDataset((found[0] - 0.13) / 0.31, found[1])
    scored = range(test, test + validation) if tuning else range(test)
    train = range(test + validation, len(whole))
    return Split(Subset(whole, train), Subset(whole, scored), 10, whole.tensors[0][:2])


def _source(tuning: bool) -> Split:
    train, test = SourceBytes(True), SourceBytes(False)
    held: tuple[Dataset[Any], Dataset[Any]] = _parted(train, train, TUNING_SHARE) if tuning else (train, test)
    return Split(*held, VOCABULARY, torch.zeros(2, 16, dtype=torch.int64), soft=False)


_PACKAGED: dict[str, Callable[[bool], Split]] = {
    "mnist5k": _pretraining,
    "digits": _target,
    "python-source": _source,
}
