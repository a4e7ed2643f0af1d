"""Tiny data sets in the layout that torchvision's classes read: a few images of noise each."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

SIDE = 40


def picture(path: Path, shade: int = 0, side: int = SIDE) -> None:
    """A small picture of one shade, with noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(shade).integers(0, 60, (side, side, 3))
    Image.fromarray((noise + shade % 180).astype(np.uint8)).save(path)


def imagenet(root: Path) -> None:
    """`meta.bin`, and a folder for every class in `train` and `val`."""
    root = root / "imagenet"
    wnids = [f"n{place:08d}" for place in range(1000)]
    for part in ("train", "val"):
        for wnid in wnids[:3]:
            picture(root / part / wnid / f"{wnid}_1.JPEG", int(wnid[1:]))
    torch.save(({wnid: (wnid,) for wnid in wnids}, [wnids[0]]), root / "meta.bin")


def cifar(root: Path, classes: int) -> None:
    """Pickled batches; torchvision's checksums are of the real files and are passed over by the tests."""
    hundred = classes == 100
    folder = root / "cifar" / ("cifar-100-python" if hundred else "cifar-10-batches-py")
    folder.mkdir(parents=True)
    names = ["train", "test"] if hundred else [*(f"data_batch_{place}" for place in range(1, 6)), "test_batch"]
    labels = "fine_labels" if hundred else "labels"
    for name in names:
        data = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": data, labels: [0, 1, 2, classes - 1]}))
    meta, key = ("meta", "fine_label_names") if hundred else ("batches.meta", "label_names")
    (folder / meta).write_bytes(pickle.dumps({key: [str(place) for place in range(classes)]}))


def flowers(root: Path) -> None:
    """Numbered pictures, labels from 1, and lists of numbers for the three parts."""
    from scipy.io import savemat

    folder = root / "flowers-102"
    for number in range(1, 8):
        picture(folder / "jpg" / f"image_{number:05d}.jpg", number)
    savemat(folder / "imagelabels.mat", {"labels": np.array([[1, 2, 102, 1, 2, 102, 3]])})
    parts = {"trnid": [1, 2], "valid": [3, 7], "tstid": [4, 5, 6]}
    savemat(folder / "setid.mat", {name: np.array([numbers]) for name, numbers in parts.items()})


def pets(root: Path) -> None:
    """Pictures, and lists with a class from 1 for both parts."""
    folder = root / "oxford-iiit-pet"
    for part, numbers in (("trainval", (1, 2)), ("test", (3,))):
        lines = []
        for number in numbers:
            picture(folder / "images" / f"Cat_{number}.jpg", number)
            lines.append(f"Cat_{number} {number} 1 1")
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / f"{part}.txt").write_text("\n".join(lines))


def stl10(root: Path) -> None:
    """Raw bytes, labels from 1."""
    folder = root / "stl10_binary"
    folder.mkdir()
    (folder / "class_names.txt").write_text("\n".join(map(str, range(10))))
    for part in ("train", "test"):
        images = np.random.default_rng(1).integers(0, 256, (4, 3, 96, 96), dtype=np.uint8)
        (folder / f"{part}_X.bin").write_bytes(images.tobytes())
        (folder / f"{part}_y.bin").write_bytes(np.array([1, 2, 3, 10], dtype=np.uint8).tobytes())


def food101(root: Path) -> None:
    """Pictures in a folder for every class, and a list for either part."""
    folder = root / "food-101"
    (folder / "meta").mkdir(parents=True)
    for part, number in (("train", 1), ("test", 2)):
        for dish in ("apple", "bread"):
            picture(folder / "images" / dish / f"{number}.jpg", number)
        (folder / "meta" / f"{part}.json").write_text(f'{{"apple": ["apple/{number}"], "bread": ["bread/{number}"]}}')


def dtd(root: Path) -> None:
    """Pictures in a folder for every texture, and numbered lists for the three parts."""
    folder = root / "dtd" / "dtd"
    (folder / "labels").mkdir(parents=True)
    for place, part in enumerate(("train", "val", "test")):
        names = [f"{texture}/{texture}_{place}.jpg" for texture in ("banded", "dotted")]
        for name in names:
            picture(folder / "images" / name, place)
        (folder / "labels" / f"{part}1.txt").write_text("\n".join(names))


def svhn(root: Path) -> None:
    """Matlab files; the digit zero has the label 10."""
    from scipy.io import savemat

    folder = root / "svhn"
    folder.mkdir()
    for part, count in (("train", 3), ("extra", 2), ("test", 2)):
        images = np.random.default_rng(2).integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        labels = np.array([10, 1, 9][:count]).reshape(-1, 1)
        savemat(folder / f"{part}_32x32.mat", {"X": images, "y": labels})


def eurosat(root: Path) -> None:
    """Pictures in a folder for every land use."""
    for place, use in enumerate(("Crop", "Forest")):
        for number in range(5):
            picture(root / "eurosat" / "2750" / use / f"{use}_{number}.jpg", 10 * place + number, 64)


MAKERS: dict[str, tuple[Callable[[Path], None], int, int, set[int]]] = {
    "imagenet1k": (imagenet, 3, 3, {0, 1, 2}),
    "cifar10": (lambda root: cifar(root, 10), 20, 4, {0, 1, 2, 9}),
    "cifar100": (lambda root: cifar(root, 100), 4, 4, {0, 1, 2, 99}),
    "flowers": (flowers, 4, 3, {0, 1, 2, 101}),
    "pets": (pets, 2, 1, {0, 1, 2}),
    "stl10": (stl10, 4, 4, {0, 1, 2, 9}),
    "food101": (food101, 2, 2, {0, 1}),
    "dtd": (dtd, 4, 2, {0, 1}),
    "svhn": (svhn, 5, 2, {0, 1, 9}),
    "eurosat": (eurosat, 8, 2, {0, 1}),
}
"""Of every data set: what writes it, how many images there are to train and to test, and the classes that occur."""
