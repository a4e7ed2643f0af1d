"""The picture of figure 5: `W_q W_k^T` and `W_v W_proj` of one head, of student, teacher, and student once started.

    python -m examples.paper.diagonals examples/paper/experiments/small/vit/paper.yaml --output diagonals.svg

In pretrained ViTs these products have a diagonal, and weight selection carries it over. The picture is one SVG; the
number below every product is the mean magnitude on its diagonal over that off it.
"""

from __future__ import annotations

import argparse
import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import torch
from PIL import Image
from torch import Tensor, nn

from examples.paper import data, models, processes, starts
from examples.paper.experiment import ExperimentError, read_experiment
from examples.paper.run import calibration

SIDE, GAP, TOP = 180, 30, 40
PRODUCTS = ("W_q W_k^T", "W_v W_proj")


def products(model: nn.Module, block: int = 0, head: int = 0) -> tuple[Tensor, Tensor]:
    """`W_q W_k^T` and `W_v W_proj` of one head of a timm ViT, both `(width, width)`, for row vectors; zero-based.

    Raises:
        ExperimentError: If the model is no ViT of timm.
    """
    blocks = getattr(model, "blocks", None)
    if blocks is None or not hasattr(blocks[block], "attn"):
        raise ExperimentError(f"{type(model).__name__} has no blocks with attention; the picture is of a ViT")
    attention = blocks[block].attn
    width = attention.proj.weight.shape[0]
    size = width // attention.num_heads
    own = slice(head * size, (head + 1) * size)
    query, key, value = (part[own].detach() for part in attention.qkv.weight.reshape(3, width, -1))
    return query.T @ key, value.T @ attention.proj.weight[:, own].detach().T


def dominance(product: Tensor) -> float:
    """Mean magnitude on the diagonal over the mean magnitude off it.

    >>> dominance(torch.tensor([[4.0, 1.0], [-1.0, -2.0]]))
    3.0
    """
    size, diagonal = product.abs(), product.diagonal().abs()
    off = (size.sum() - diagonal.sum()) / (size.numel() - len(diagonal))
    return float(diagonal.mean() / off)


def svg(columns: Sequence[tuple[str, tuple[Tensor, Tensor]]]) -> str:
    """The picture: a column for every network, a row for every product."""
    width, height = len(columns) * (SIDE + GAP) + GAP, TOP + len(PRODUCTS) * (SIDE + 2 * GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12" fill="#222222">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for place, (title, matrices) in enumerate(columns):
        x = GAP + place * (SIDE + GAP)
        parts.append(f'<text x="{x}" y="24" font-weight="bold">{escape(title)}</text>')
        parts += [line for row, matrix in enumerate(matrices) for line in _cell(x, row, matrix)]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _cell(x: int, row: int, matrix: Tensor) -> Iterator[str]:
    y = TOP + row * (SIDE + 2 * GAP)
    yield (
        f'<image x="{x}" y="{y}" width="{SIDE}" height="{SIDE}" image-rendering="pixelated" '
        f'href="data:image/png;base64,{_png(matrix)}"/>'
    )
    yield f'<text x="{x}" y="{y + SIDE + 16}">{escape(PRODUCTS[row])}: diagonal {dominance(matrix):.1f}</text>'


def _png(matrix: Tensor) -> str:
    """Magnitudes in grey, black from the 99.5th percentile on."""
    size = matrix.abs().float()
    shade = 255 - (255 * (size / size.quantile(0.995)).clamp(max=1)).round().to(torch.uint8)
    buffer = io.BytesIO()
    Image.fromarray(shade.numpy()).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="draw the products of attention weights before and after a start")
    parser.add_argument("experiment", type=Path, help="a YAML file whose student is a ViT")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--output", type=Path, required=True, help="an .svg file")
    options = parser.parse_args(arguments)
    experiment = read_experiment(options.experiment)
    if experiment.teacher is None:
        raise ExperimentError(f"{options.experiment}: the picture needs a teacher")
    split = data.load(experiment.data, experiment.recipe, options.data)
    teacher = models.build_teacher(experiment.teacher, options.runs)
    processes.seed_all(0)
    student = models.build(experiment.student.model, split.classes).eval()
    before = products(student)
    images = calibration(split) if experiment.start.statistics or experiment.start.calibrate else []
    starts.begin(student, teacher, experiment.start, split.example, images)
    columns = [("student, random", before), ("teacher", products(teacher)), ("student, started", products(student))]
    options.output.write_text(svg(columns), encoding="utf-8")


if __name__ == "__main__":
    main()
