"""Applying a plan in memory, against a bare loop of one `copy_` of slices per tensor with the same indices.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.apply_speed [--repeats 15]

`apply` checks names, shapes, overlaps and finite values, and keeps what the student held until it is through. CPU
seconds with one thread, in turns, in this process; every pair starts from the same tensors.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import wsel_graph as ws
from tests.benchmarks.shapes import Sizes, header, language_model, tokens
from tests.benchmarks.trace_speed import in_turns
from tests.zoo.torchvision_stub import install
from wsel_graph.plan import Plan


def vision() -> tuple[nn.Module, nn.Module, Any]:
    install()
    import timm

    return timm.create_model("vit_tiny_patch16_224"), timm.create_model("vit_small_patch16_224"), (1, 3, 224, 224)


def language(sizes: Sizes) -> tuple[nn.Module, nn.Module, Any]:
    return language_model(sizes.smaller(4, 2), "cpu"), language_model(sizes, "cpu"), tokens()


PAIRS: dict[str, Callable[[], tuple[nn.Module, nn.Module, Any]]] = {
    "ViT-S -> ViT-T, float32": vision,
    "decoder 1024 x 8 -> 256 x 4, bfloat16": lambda: language(Sizes(1024, 2816, 8, 16, 16, 8000)),
    "decoder 2048 x 16 -> 512 x 8, bfloat16": lambda: language(Sizes(2048, 5632, 16, 16, 16, 32000)),
}


def bare_loop(plan: Plan, student: nn.Module, teacher: nn.Module) -> Callable[[], None]:
    """One `copy_` per tensor: slices are taken before where they can be, lists are gathered when it runs."""
    ours, theirs = student.state_dict(), teacher.state_dict()
    steps: list[tuple[torch.Tensor, torch.Tensor, list[tuple[int, torch.Tensor]]]] = []
    for copy in plan.copies:
        if copy.region or copy.view or copy.resize or copy.mix or copy.also or copy.scale != 1:
            raise ValueError(f"{copy.student} is no plain copy")
        source, lists = theirs[copy.teacher], []
        for dim, indices in enumerate(copy.indices):
            if isinstance(indices, range):
                source = source[(slice(None),) * dim + (slice(indices.start, indices.stop, indices.step),)]
            else:
                lists.append((dim, torch.tensor(indices)))
        steps.append((ours[copy.student], source, lists))

    def run() -> None:
        for target, source, lists in steps:
            values = source
            for dim, indices in lists:
                values = values.index_select(dim, indices)
            target.copy_(values)

    return run


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    print(f"{header('timm', 'transformers')}, median of {options.repeats} interleaved runs\n")
    print("| pair | student MB | tensors | bare loop, ms | apply, ms | ratio | within 1.3 |")
    print("|---|--:|--:|--:|--:|--:|---|")
    for name, make in PAIRS.items():
        student, teacher, inputs = make()
        with torch.no_grad():
            for parameter in (*teacher.parameters(), *student.parameters()):
                parameter.normal_()
        plan = ws.plan(student, teacher, inputs, rules="default" if "ViT" in name else "llm")
        actions: list[Callable[[], object]] = [
            bare_loop(plan, student, teacher),
            lambda plan=plan, student=student, teacher=teacher: ws.apply(plan, student, teacher),  # type: ignore[misc]
        ]
        bare, ours = map(statistics.median, in_turns(actions, options.repeats))
        size = sum(tensor.numel() * tensor.element_size() for tensor in student.state_dict().values())
        verdict = "yes" if ours <= 1.3 * bare else "NO"
        cells = f"{size / 1e6:.0f} | {len(plan.copies)} | {1e3 * bare:.1f} | {1e3 * ours:.1f} | {ours / bare:.2f}"
        print(f"| {name} | {cells} | {verdict} |", flush=True)


if __name__ == "__main__":
    main()
