"""`initialize` against the time that torch-pruning takes for the teacher's graph alone; what `import` costs.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.end_to_end [--repeats 9] [--part pairs|import]

Both sides of the first table run in this process, in turns. Importing takes a fresh process each time, in turns too;
its seconds are CPU seconds of that process.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import warnings
from typing import Any

import torch

import wsel_graph as ws
from tests.benchmarks.shapes import header
from tests.benchmarks.trace_speed import in_turns
from tests.zoo.torchvision_stub import install

PAIRS: tuple[tuple[tuple[str, dict[str, Any]], tuple[str, dict[str, Any]]], ...] = (
    (("vit_small_patch16_224", {}), ("vit_tiny_patch16_224", {})),
    (("convnext_tiny", {}), ("convnext_femto", {"conv_mlp": False})),
)


def compare_pairs(repeats: int) -> None:
    """Print one row per pair."""
    install()
    import timm
    import torch_pruning

    warnings.filterwarnings("ignore", module="torch_pruning")
    print("| teacher -> student | initialize, s | dependency graph of the teacher, s | ratio | within 1 |")
    print("|---|--:|--:|--:|---|")
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    for (large, form), (small, other) in PAIRS:
        teacher = timm.create_model(large, **form).eval()
        student = timm.create_model(small, **other).eval()

        def ours(student: Any = student, teacher: Any = teacher) -> object:
            return ws.initialize(student, teacher, x)

        def theirs(teacher: Any = teacher) -> object:
            return torch_pruning.DependencyGraph().build_dependency(teacher, example_inputs=x)

        mine, graph = map(statistics.median, in_turns([ours, theirs], repeats))
        verdict = "yes" if mine < graph else "NO"
        print(f"| {large} -> {small} | {mine:.3f} | {graph:.3f} | {mine / graph:.2f} | {verdict} |", flush=True)


def import_seconds(code: str) -> float:
    """CPU seconds of a fresh process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare_imports(repeats: int) -> None:
    """Print what each import costs."""
    codes = {
        "import torch": "import torch",
        "import torch, wsel_graph": "import torch, wsel_graph",
        "... and its verbs": "import torch, wsel_graph; wsel_graph.initialize",
    }
    rounds = [{name: import_seconds(code) for name, code in codes.items()} for _ in range(repeats + 1)][1:]
    base = statistics.median(one["import torch"] for one in rounds)
    print("\n| | CPU s | of `import torch` |\n|---|--:|--:|")
    for name in codes:
        seconds = statistics.median(one[name] for one in rounds)
        print(f"| {name} | {seconds:.3f} | {seconds / base:.3f} |")


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--part", choices=("pairs", "import"), help="only one of the tables")
    options = parser.parse_args()
    print(f"{header('timm', 'torch-pruning')}, median of {options.repeats} interleaved runs\n")
    if options.part != "import":
        compare_pairs(options.repeats)
    if options.part != "pairs":
        compare_imports(options.repeats)


if __name__ == "__main__":
    main()
