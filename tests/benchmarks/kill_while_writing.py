"""Kill a process at random moments while it replaces files, and look at what is left.

`python -m tests.benchmarks.kill_while_writing --kills 50` prints one line per form. A process writes one start after
another to the same place; every start holds one number in all its tensors, so that a mixture is seen.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import load_file

from wsel_graph.stores.save import save_tensors
from wsel_graph.stores.source import TensorInfo

TENSORS, SIZE = 24, 100_000
FORMS: dict[str, tuple[str, int | None]] = {
    "file": ("start.safetensors", None),
    "shards": ("start.safetensors", 2_000_000),
    "checkpoint folder": ("start", None),
}


def write(place: Path, number: int, limit: int | None) -> None:
    """One start, 9.6 MB, in which every value is `number`."""
    infos = {f"t.{n}": TensorInfo((SIZE,), torch.float32) for n in range(TENSORS)}
    save_tensors(place, infos, lambda name: torch.full((SIZE,), float(number)), limit)


def read(place: Path) -> set[float]:
    """The numbers in what is there: just one when it is whole."""
    index = place.with_name(f"{place.name}.index.json")
    if place.is_dir():
        import torch.distributed.checkpoint as dcp

        found = {f"t.{n}": torch.zeros(SIZE) for n in range(TENSORS)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcp.load(found, checkpoint_id=place)
    elif index.exists():
        places = json.loads(index.read_text())["weight_map"]
        found = {name: load_file(place.with_name(shard))[name] for name, shard in places.items()}
    else:
        found = load_file(place)
    if len(found) != TENSORS:
        raise ValueError(f"{len(found)} of {TENSORS} tensors")
    return {value for tensor in found.values() for value in (tensor.min().item(), tensor.max().item())}


def kill(place: Path, number: int, limit: int | None, delay: float) -> None:
    """Start a process that writes `number`, `number + 1`, ... to the place, and kill it after a while."""
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(tell, b"x")
            while True:
                write(place, number, limit)
                number += 1
        finally:
            os._exit(1)
    os.read(ready, 1)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(ready)
    os.close(tell)


def torment(form: str, kills: int, folder: Path, generator: random.Random) -> Counter[str]:
    """What was seen: `old` or `new` starts, `broken` ones, and how often files were left half-way."""
    name, limit = FORMS[form]
    place = folder / name
    write(place, 0, limit)
    begin = time.perf_counter()
    write(place, 1, limit)
    once = time.perf_counter() - begin
    seen: Counter[str] = Counter()
    last = 1.0
    for attempt in range(kills):
        kill(place, 1000 * (attempt + 1), limit, generator.uniform(0, 3 * once))
        try:
            numbers = read(place)
        except Exception as error:  # whatever a reader stumbles on
            seen[f"broken: {type(error).__name__}"] += 1
            continue
        if len(numbers) != 1:
            seen["broken: a mixture"] += 1
            continue
        found = numbers.pop()
        seen["old" if found == last else "new"] += 1
        last = found
        seen["left half-way"] += any(entry.name.startswith(".") for entry in folder.iterdir())
    write(place, 7, limit)
    kept = {place, *place.parent.glob("start.safetensors.index.json"), *place.parent.glob("start-*-of-*.safetensors")}
    seen["not swept"] = sum(entry.name.startswith(".") for entry in folder.iterdir())
    if read(place) != {7.0}:
        seen["broken: the next write"] += 1
    seen["shards that nothing names"] = len(kept & set(folder.iterdir())) - _named(place)
    return seen


def _named(place: Path) -> int:
    index = place.with_name(f"{place.name}.index.json")
    return 1 + len(set(json.loads(index.read_text())["weight_map"].values())) if index.exists() else 1


def main() -> None:
    """Print what every form stood."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for form in FORMS:
        with tempfile.TemporaryDirectory() as folder:
            print(form, dict(torment(form, options.kills, Path(folder), random.Random(options.seed))))


if __name__ == "__main__":
    main()
