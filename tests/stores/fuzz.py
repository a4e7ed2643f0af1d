"""Damage checkpoints at random: whatever happens, an error of ours or the values that were written.

    nice python -m tests.stores.fuzz [--minutes 5] [--seed 0]

Every kind of file of `checkpoints.py` is mutated byte by byte (bits, runs, cuts, insertions, numbers of headers), then
opened and read. An error of ours is fine, and so is a tensor of the promised shape. Anything else, memory beyond all
measure included, is printed with the seed that repeats it, and ends the hunt. Safetensors files are also given to the
library: what it refuses, we must.
"""

from __future__ import annotations

import argparse
import random
import resource
import shutil
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from tests.stores.checkpoints import WRITERS
from wsel_graph.errors import PlanError
from wsel_graph.stores import open_source

STATE = {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.ones(2).bfloat16(), "c": torch.tensor(4)}
NUMBERS = (b"-1", b"0", b"1e400", b"NaN", b"true", b"null", b"[]", b"{}", b"18446744073709551615", b"4", b'"a"', b"1.5")


GREEDY = 1 << 20
"""Kilobytes that opening a file of a few kilobytes may add to the peak."""


def mutated(data: bytes, chance: random.Random) -> bytes:
    """One to four changes; half of them near the start or the end, where headers are."""
    held = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        if not held:
            return bytes(held)
        place = chance.randrange(len(held))
        if chance.random() < 0.5:
            place = min(place, chance.randrange(64)) if chance.random() < 0.5 else max(place, len(held) - 64)
        length = chance.choice([1, 1, 2, 4, 8, 32])
        match chance.randrange(12):
            case 0 | 7 | 8 | 9 | 10 | 11:
                held[place] ^= 1 << chance.randrange(8)
            case 1:
                held[place : place + length] = chance.randbytes(length)
            case 2:
                del held[place : place + length]
            case 3:
                held[place:place] = chance.randbytes(length)
            case 4:
                held = held[:place]
            case 5:
                other = chance.randrange(len(held))
                held[place : place + length] = held[other : other + length]
            case _:
                held[place : place + length] = chance.choice(NUMBERS)
    return bytes(held)


def attempt(path: Path) -> str:
    """What became of it; raises what must not be."""
    try:
        source = open_source(path)
    except PlanError as error:
        if not str(error).strip():
            raise AssertionError("an error without a text") from error
        return "refused"
    try:
        for name, info in source.infos().items():
            if torch.Size(info.shape).numel() > 1 << 24:
                continue
            whole = source.read(name, tuple(map(range, info.shape)))
            part = source.read(name, tuple(range(0, size, 2) for size in info.shape))
            if (tuple(whole.shape), whole.dtype) != (info.shape, info.dtype) or part.dtype != info.dtype:
                raise AssertionError(f"{name} is {whole.shape}, {info} was promised")
    except PlanError:
        return "refused when read"
    finally:
        source.close()
    return "read"


def agrees(path: Path) -> None:
    """What the safetensors library refuses is refused here."""
    try:
        with safe_open(path, "pt") as file:
            file.keys()
    except (SafetensorError, OSError):
        try:
            open_source(path)
        except PlanError:
            return
        raise AssertionError("the library refuses what is opened here") from None


def one_round(seed: int, folder: Path) -> tuple[str, str]:
    """Write one checkpoint, damage one of its files, and open it."""
    chance = random.Random(seed)
    write = WRITERS[seed % len(WRITERS)]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = write(STATE, folder)
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != "config.json")
    hit = chance.choice(files)
    hit.write_bytes(mutated(hit.read_bytes(), chance))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = attempt(path)
    if (grown := resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) > GREEDY:
        raise AssertionError(f"{grown >> 10} MB of memory were used")
    if hit.suffix == ".safetensors":
        agrees(hit)
    return write.__name__, outcome


def hunt(seeds: range, until: float = float("inf")) -> Counter[tuple[str, str]]:
    """Rounds until the seeds or the time are through; says how often what came out."""
    found: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            if time.time() > until:
                break
            try:
                found[one_round(seed, Path(folder) / "x")] += 1
            except BaseException:
                print(f"seed {seed}", flush=True)
                raise
    return found


def main() -> None:
    """Hunt for as long as is asked, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = hunt(range(options.seed, options.seed + 10**9), time.time() + 60 * options.minutes)
    print(f"{sum(found.values())} rounds")
    for (kind, outcome), count in sorted(found.items()):
        print(f"{kind}: {outcome} {count}")


if __name__ == "__main__":
    main()
