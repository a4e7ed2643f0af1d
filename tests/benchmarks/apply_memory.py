"""Applying a plan from a sharded checkpoint of a 7B model: memory, bytes read, and time.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.apply_memory FOLDER [--model 7B] [--rounds 3] [--keep]

Writes a bfloat16 teacher of the sizes of LLaMA 2 7B (13.5 GB of noise, three shards) into FOLDER, plans for a student
of a quarter of its width and half of its depth, and deletes it all at the end. Each measurement is a process:

- `apply`: `ws.apply(plan, student, index)`, the student's memory being there before.
- `plain`: one `os.preadv` for every run of selected rows, into one buffer, and nothing else.
- `mapped`: `safetensors.torch.load_file` of one shard after the other, which maps the file, and indexing.
- `whole`: every shard read into memory, one after the other, and indexed. Once, and cold only: it needs 16 GB.

Cold: the shards are dropped from the page cache before (`posix_fadvise`); bytes read are those that the system counts
for the process. Pages are counted from the plan and the headers, not by the code that reads. Every value that `apply`
wrote is compared with that of `whole`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

import wsel_graph as ws
from tests.benchmarks.shapes import LARGE, header, language_model, tokens
from wsel_graph.plan import Copy, Plan

PAGE = 4096
SHARD = 5_000_000_000
INDEX, PLAN = "model.safetensors.index.json", "plan.json"


# -- the teacher, and the plan


def write_teacher(folder: Path, shapes: dict[str, tuple[int, ...]]) -> int:
    """Shards of noise with an index; gives their bytes."""
    noise = torch.randn(1 << 24, generator=torch.Generator().manual_seed(0)).mul_(0.02).bfloat16()
    noise = torch.cat([noise, noise])
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    for name, shape in shapes.items():
        if sum(2 * torch.Size(s).numel() for s in shards[-1].values()) + 2 * torch.Size(shape).numel() > SHARD:
            shards.append({})
        shards[-1][name] = shape
    places, start = {}, 0
    for number, shard in enumerate(shards):
        file = f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        places.update(dict.fromkeys(shard, file))
        start = _write_shard(folder / file, shard, noise, start)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _write_shard(path: Path, shapes: dict[str, tuple[int, ...]], noise: torch.Tensor, start: int) -> int:
    entries, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * torch.Size(shape).numel()
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for shape in shapes.values():
            left = torch.Size(shape).numel()
            while left:
                start = (start + 999_983) % (1 << 24)
                part = noise[start : start + min(left, 1 << 24)]
                file.write(part.view(torch.int16).numpy().tobytes())
                left -= part.numel()
        file.flush()
        os.fsync(file.fileno())
    return start


def prepare(folder: Path, name: str) -> int:
    """The teacher's files and the plan; gives the bytes of the former."""
    teacher, student = language_model(LARGE[name]), language_model(LARGE[name].smaller(4, 2))
    ws.plan(student, teacher, tokens(), rules="llm").save(folder / PLAN)
    return write_teacher(folder, {key: tuple(tensor.shape) for key, tensor in teacher.state_dict().items()})


# -- what the plan selects, counted on its own


def runs(plan: Plan, folder: Path) -> Iterator[tuple[str, int, int]]:
    """File, start and length of every run of selected rows, in the order of the plan."""
    places = json.loads((folder / INDEX).read_text())["weight_map"]
    headers = {file: _header(folder / file) for file in set(places.values())}
    for copy in plan.copies:
        base, entries = headers[places[copy.teacher]]
        row = 2 * torch.Size(copy.teacher_shape[1:]).numel()
        rows = torch.tensor(list(copy.indices[0]))
        breaks = ((rows.diff() != 1).nonzero().flatten() + 1).tolist()
        first = base + entries[copy.teacher]["data_offsets"][0]
        for start, stop in zip([0, *breaks], [*breaks, len(rows)], strict=True):
            yield places[copy.teacher], first + int(rows[start]) * row, (stop - start) * row


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return 8 + length, json.loads(file.read(length))


def selected_pages(plan: Plan, folder: Path) -> int:
    """How many pages the selected rows occupy."""
    pages: dict[str, bytearray] = {}
    for file, start, size in runs(plan, folder):
        held = pages.setdefault(file, bytearray((folder / file).stat().st_size // PAGE + 1))
        first, last = start // PAGE, (start + size - 1) // PAGE
        held[first : last + 1] = b"\1" * (last + 1 - first)
    return sum(sum(held) for held in pages.values())


# -- what is measured


def empty_student(plan: Plan) -> dict[str, torch.Tensor]:
    return {copy.student: torch.full(copy.student_shape, 7.0, dtype=torch.bfloat16) for copy in plan.copies}


def run_apply(plan: Plan, folder: Path, student: dict[str, torch.Tensor]) -> None:
    ws.apply(plan, student, folder / INDEX)


def run_plain(plan: Plan, folder: Path, student: dict[str, torch.Tensor]) -> None:
    spans = list(runs(plan, folder))
    buffer = memoryview(bytearray(max(size for _, _, size in spans)))
    files = {file: os.open(folder / file, os.O_RDONLY) for file in {file for file, _, _ in spans}}
    restart()
    for file, start, size in spans:
        os.preadv(files[file], [buffer[:size]], start)


def run_whole(plan: Plan, folder: Path, student: dict[str, torch.Tensor]) -> None:
    from safetensors.torch import load

    _run_indexed(plan, folder, student, lambda file: load(file.read_bytes()))


def run_mapped(plan: Plan, folder: Path, student: dict[str, torch.Tensor]) -> None:
    from safetensors.torch import load_file

    _run_indexed(plan, folder, student, load_file)


def _run_indexed(
    plan: Plan, folder: Path, student: dict[str, torch.Tensor], opened: Callable[[Path], dict[str, torch.Tensor]]
) -> None:
    places = json.loads((folder / INDEX).read_text())["weight_map"]
    for file in sorted(set(places.values())):
        tensors = opened(folder / file)
        for copy in plan.copies:
            if places[copy.teacher] == file:
                student[copy.student].copy_(_indexed(copy, tensors[copy.teacher]))


def _indexed(copy: Copy, tensor: torch.Tensor) -> torch.Tensor:
    for dim, indices in enumerate(copy.indices):
        picks: Any = slice(indices.start, indices.stop, indices.step) if isinstance(indices, range) else list(indices)
        tensor = tensor[(slice(None),) * dim + (picks,)]
    return tensor


ACTIONS: dict[str, Callable[[Plan, Path, dict[str, torch.Tensor]], None]] = {
    "apply": run_apply, "plain": run_plain, "mapped": run_mapped, "whole": run_whole,
}  # fmt: skip
_started: list[float] = []


def restart() -> None:
    """Start the clock anew: what comes before is no part of the measurement."""
    _started[:] = [time.perf_counter(), time.process_time(), _read_bytes()]


def _read_bytes() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


def measure(action: str, folder: Path, cold: bool) -> dict[str, Any]:
    """One measurement, in this process."""
    plan = ws.load_plan(folder / PLAN)
    student = {} if action == "plain" else empty_student(plan)
    size = sum(2 * tensor.numel() for tensor in student.values())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if cold:
        for file in folder.glob("*.safetensors"):
            handle = os.open(file, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)
    restart()
    ACTIONS[action](plan, folder, student)
    wall, cpu, read = time.perf_counter() - _started[0], time.process_time() - _started[1], _read_bytes() - _started[2]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    digest = hashlib.sha256()
    for name in sorted(student):
        digest.update(student[name].view(torch.int16).numpy())
    return {
        "wall": wall, "cpu": cpu, "read": read, "peak": peak, "before": before, "student": size,
        "digest": digest.hexdigest(),
    }  # fmt: skip


# -- the tables


def _child(action: str, folder: Path, cold: bool) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.apply_memory", str(folder), "--one", action]
    out = subprocess.run([*command, *(["--cold"] if cold else [])], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(out.stdout.splitlines()[-1])
    print(action, "cold" if cold else "warm", {k: v for k, v in found.items() if k != "digest"}, file=sys.stderr)
    return found


def report(folder: Path, rounds: int, size: int) -> None:
    """Measure in turns, and print the tables."""
    plan = ws.load_plan(folder / PLAN)
    found: dict[bool, dict[str, list[dict[str, Any]]]] = {
        cold: {action: [] for action in ACTIONS} for cold in (True, False)
    }
    for number in range(rounds):
        for action in ACTIONS:
            if action != "whole" or not number:
                found[True][action].append(_child(action, folder, cold=True))
    del found[False]["whole"]
    for number in range(rounds + 1):
        for action, all_of_it in found[False].items():
            one = _child(action, folder, cold=False)
            all_of_it.extend([one] if number else [])  # after the first round, what is read is in the page cache
    pages = selected_pages(plan, folder) * PAGE
    ours = found[True]["apply"]
    digests = {
        one["digest"] for cold in found.values() for key in ("apply", "mapped", "whole") for one in cold.get(key, ())
    }
    peak, student = max(one["peak"] for one in ours), ours[0]["student"]
    read = max(one["read"] for one in ours)
    print(
        f"teacher {size / 1e9:.2f} GB, student {student / 1e6:.0f} MB, {len(plan.copies)} tensors, median of {rounds}"
    )
    print(f"values equal those of indexing whole tensors: {'yes' if len(digests) == 1 else 'NO'}\n")
    print("| | MB | target | within |\n|---|--:|--:|---|")
    print(f"| peak less the student | {(peak - student) / 1e6:.0f} | 600 | {_within((peak - student) / 6e8)} |")
    print(f"| of which before the call | {(ours[0]['before'] - student) / 1e6:.0f} | | |")
    print(f"| bytes read | {read / 1e6:.0f} | | |\n| pages of the selected rows | {pages / 1e6:.0f} | | |")
    print(f"| ratio | {read / pages:.3f} | 1.15 | {_within(read / pages / 1.15)} |\n")
    print("| cache | | wall s | CPU s | apply's wall | apply's CPU | read MB |\n|---|---|--:|--:|--:|--:|--:|")
    for cold, parts in found.items():
        own = [statistics.median(one[key] for one in parts["apply"]) for key in ("wall", "cpu")]
        for action, all_of_it in parts.items():
            wall, cpu, bytes_read = (
                statistics.median(one[key] for one in all_of_it) for key in ("wall", "cpu", "read")
            )
            cells = f"{wall:.2f} | {cpu:.2f} | {own[0] / wall:.2f} | {own[1] / cpu:.2f} | {bytes_read / 1e6:.0f}"
            print(f"| {'cold' if cold else 'warm'} | {action} | {cells} |")


def _within(share: float) -> str:
    return "yes" if share <= 1 else "NO"


def main() -> None:
    """Print the tables, or one measurement as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the teacher is written and deleted again")
    parser.add_argument("--model", default="7B", choices=list(LARGE))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="do not delete the teacher, and use one that is there")
    parser.add_argument("--one", choices=list(ACTIONS), help=argparse.SUPPRESS)
    parser.add_argument("--cold", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.folder, options.cold)))
        return
    own = options.folder / f"teacher-{options.model}"
    print(header("safetensors"), end="; ")
    try:
        if not (options.keep and own.exists()):
            own.mkdir(parents=True)
            prepare(own, options.model)
        report(own, options.rounds, sum(file.stat().st_size for file in own.glob("*.safetensors")))
    finally:
        if not options.keep:
            shutil.rmtree(own, ignore_errors=True)


if __name__ == "__main__":
    main()
