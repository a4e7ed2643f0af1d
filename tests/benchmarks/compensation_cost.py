"""What compensation costs: CPU seconds against the plain forward passes of both models over the same inputs.

    python -m tests.benchmarks.compensation_cost [--inputs 1000] [--only vit]

Both in one process on one thread. `peak` is the most memory that activations of both models took at one time, all
batches together; more than the budget goes to disk.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

import wsel_graph as ws
from tests.zoo import torchvision_stub

torchvision_stub.install()
import timm  # noqa: E402
from transformers import BertConfig, BertModel  # noqa: E402

Case = tuple[str, nn.Module, nn.Module, list[Any]]


def cases(inputs: int) -> Iterator[Case]:
    """Name, student, teacher, and so many inputs in 20 batches."""
    size = inputs // 20
    torch.manual_seed(0)
    sizes = {"num_attention_heads": 8, "max_position_embeddings": 128}
    bert = [
        BertModel(BertConfig(hidden_size=width, intermediate_size=4 * width, num_hidden_layers=depth, **sizes))
        for width, depth in ((256, 4), (512, 4))  # mini from small
    ]
    tokens = [{"input_ids": torch.randint(0, 30000, (size, 48))} for _ in range(20)]
    yield "BERT-small -> BERT-mini, 48 tokens", bert[0], bert[1], tokens
    vit = [timm.create_model(f"vit_{size}_patch16_224") for size in ("tiny", "small")]
    yield "ViT-S -> ViT-T, 224 x 224", vit[0], vit[1], [torch.randn(size, 3, 224, 224) for _ in range(20)]


def forwards(models: tuple[nn.Module, nn.Module], batches: list[Any]) -> float:
    """CPU seconds of one forward pass of both models over all batches."""
    begun = time.process_time()
    with torch.no_grad():
        for model in models:
            for batch in batches:
                model(**batch) if isinstance(batch, dict) else model(batch)
    return time.process_time() - begun


def main() -> None:
    """Print one line of Markdown for every case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=1000, help="how many, a multiple of 20")
    parser.add_argument("--only", default="", help="only cases whose name holds this, whatever its case")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| models | forward passes, s | compensation, s | ratio | peak, MB | on disk, MB |\n|---|--:|--:|--:|--:|--:|"
    )
    for name, student, teacher, batches in cases(options.inputs):
        if options.only.lower() not in name.lower():
            continue
        student.eval(), teacher.eval()
        plan = ws.plan(student, teacher, batches[0])
        plain = forwards((student, teacher), batches)
        begun = time.process_time()
        done = ws.compensate(plan, student, teacher, batches, progress=False)
        taken = time.process_time() - begun
        sizes = f"{done.peak / 2**20:.0f} | {done.spilled / 2**20:.0f}"
        print(f"| {name} | {plain:.1f} | {taken:.1f} | {taken / plain:.2f} | {sizes} |", flush=True)


if __name__ == "__main__":
    main()
