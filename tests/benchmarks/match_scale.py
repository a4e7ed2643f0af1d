"""Time matching against depth: a pre-norm transformer on the meta device, a student of half the teacher's blocks.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.match_scale [--blocks 100 300 1000] [--repeats 3]

`structure` makes the component graph, the segments and the stages of both models; `match` does this again and then
pairs them, so what pairing itself costs is the difference; `plan` does all of it and chooses the elements. Tracing is
not counted (`trace_speed` times it). A cost that is linear in depth has a growth that equals the growth of the blocks.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
from collections.abc import Callable

import torch

import wsel_graph as ws
from tests.benchmarks.trace_speed import Transformer, in_turns
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.matching.pairs import match
from wsel_graph.matching.structure import structure
from wsel_graph.planner.builder import build_plan


def traced(blocks: int, embed: int) -> ModelGraph:
    with torch.device("meta"):
        model = Transformer(blocks, embed)
    return ws.trace(model, torch.zeros(1, 8, 16))


def measure(blocks: int, repeats: int) -> dict[str, float]:
    """Median seconds of each step, for a teacher of so many blocks."""
    student, teacher = traced(blocks // 2, 32), traced(blocks, 64)
    steps: dict[str, Callable[[], object]] = {
        "structure": lambda: (structure(student), structure(teacher)),
        "match": lambda: match(student, teacher),
        "plan": lambda: build_plan(student, teacher),
    }
    assert not match(student, teacher).unexplained
    times = in_turns(list(steps.values()), repeats)
    return dict(zip(steps, map(statistics.median, times), strict=True))


def main() -> None:
    """Print one row per depth, with its growth against the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, nargs="*", default=[100, 300, 1000])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"{datetime.date.today()}, Python {platform.python_version()}, torch {torch.__version__}, ", end="")
    print(f"{torch.get_num_threads()} CPU thread(s), median of {options.repeats}\n")
    print("| teacher, student blocks | structure, s | match, s | plan, s | blocks x | structure x | match x | plan x |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    base: dict[str, float] = {}
    for blocks in options.blocks:
        found = measure(blocks, options.repeats)
        base = base or found
        cells = [f"{value:.2f}" for value in found.values()]
        growth = [f"{blocks / options.blocks[0]:.1f}", *(f"{found[step] / base[step]:.1f}" for step in found)]
        print(f"| {blocks}, {blocks // 2} | {' | '.join(cells + growth)} |", flush=True)


if __name__ == "__main__":
    main()
