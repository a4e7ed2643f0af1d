"""Planning for large language models on the meta device: seconds and peak memory, each in a process of its own.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.plan_only [--models 7B 70B 405B] [--one 7B]

The student has a quarter of the width and half of the depth. No weight exists. Seconds are CPU seconds of `ws.plan`;
the peak is that of the whole process, with Python, torch and transformers in it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import wsel_graph as ws
from tests.benchmarks.shapes import LARGE, header, language_model, tokens


def measure(name: str) -> dict[str, float]:
    """Plan once, in this process."""
    sizes = LARGE[name]
    teacher, student = language_model(sizes), language_model(sizes.smaller(4, 2))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start, clock = time.process_time(), time.perf_counter()
    plan = ws.plan(student, teacher, tokens(), rules="llm")
    return {
        "seconds": time.process_time() - start,
        "wall": time.perf_counter() - clock,
        "before": before,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "copies": len(plan.copies),
        "parameters": sum(parameter.numel() for parameter in teacher.parameters()),
    }


def main() -> None:
    """Print the table, or the numbers of one model as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=list(LARGE), choices=list(LARGE))
    parser.add_argument("--one", choices=list(LARGE), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    print(f"{header('transformers')}\n")
    print("| teacher | parameters | copies | plan, CPU s | wall s | peak MB before | peak MB | within 60 s and 2 GB |")
    print("|---|--:|--:|--:|--:|--:|--:|---|")
    for name in options.models:
        command = [sys.executable, "-m", "tests.benchmarks.plan_only", "--one", name]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        verdict = "yes" if found["wall"] < 60 and found["peak"] < 2000 else "NO"
        print(
            f"| {name} | {found['parameters'] / 1e9:.1f} B | {found['copies']} | {found['seconds']:.1f} | "
            f"{found['wall']:.1f} | {found['before']:.0f} | {found['peak']:.0f} | {verdict} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
