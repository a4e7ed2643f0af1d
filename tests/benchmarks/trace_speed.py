"""Time `wsel_graph.trace`, against torch-pruning on timm models and against depth on a plain transformer.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.trace_speed [--repeats 9] [--part models|depth]
        [--models NAME ...] [--blocks 10 100 300 1000]

Everything runs in this process, in turns, so a noisy machine disturbs both sides alike. `trace` gives the graph and the
coupled groups; `build_dependency` the dependency graph, whose groups take a second step. It runs the model for real, so
its time is mostly that of a forward pass. With one CPU thread seconds are CPU seconds, which other processes disturb
least; with more they are wall-clock seconds.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import wsel_graph as ws
from tests.zoo.torchvision_stub import install
from wsel_graph.capture.replicate import evaluation_copy

MODELS = (
    "vit_small_patch16_224", "convnext_tiny", "swin_tiny_patch4_window7_224", "resnet50", "mixer_b16_224",
    "efficientnet_b0",
)  # fmt: skip

TARGET_GROWTH = 1.1
"""Largest accepted growth of the time per block between any depth and a deeper one."""


class Block(nn.Module):
    """A pre-norm transformer block with a fused qkv projection."""

    def __init__(self, embed: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(embed), nn.LayerNorm(embed)
        self.qkv, self.out = nn.Linear(embed, 3 * embed), nn.Linear(embed, embed)
        self.up, self.down = nn.Linear(embed, 4 * embed), nn.Linear(4 * embed, embed)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, embed = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, embed // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(query, key, value)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, tokens, embed))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """Features of size 16 in, 10 labels out."""

    def __init__(self, blocks: int, embed: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.stem = nn.Linear(16, embed)
        self.blocks = nn.Sequential(*(Block(embed, heads) for _ in range(blocks)))
        self.norm, self.head = nn.LayerNorm(embed), nn.Linear(embed, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.stem(x))).mean(1))


def clock() -> float:
    """CPU seconds when there is one CPU thread, else wall-clock seconds."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def seconds(action: Callable[[], object]) -> float:
    """Time of one call; garbage of earlier calls is collected before."""
    gc.collect()
    start = clock()
    action()
    return clock() - start


def in_turns(actions: list[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Seconds of each action in each round, after one round that is not counted."""
    rounds = [[seconds(action) for action in actions] for _ in range(repeats + 1)]
    return [list(times) for times in zip(*rounds[1:], strict=True)]


def compare_models(names: list[str], repeats: int) -> None:
    """Print one row per model: medians, the ratio to each of the two, and what a bare meta forward pass costs."""
    install()
    import timm
    import torch_pruning

    warnings.filterwarnings("ignore", module="torch_pruning")
    print(f"batch 1, 224 x 224, median of {repeats} interleaved runs\n")
    print("| model | trace, s | dependency graph, s | ratio | graph and groups, s | ratio | bare meta forward, s |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    for name in names:
        model = timm.create_model(name).eval()

        def ours(model: nn.Module = model) -> object:
            return ws.trace(model, x)

        def theirs(model: nn.Module = model) -> object:
            return torch_pruning.DependencyGraph().build_dependency(model, example_inputs=x)

        def grouped(model: nn.Module = model) -> object:
            graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=x)
            return list(graph.get_all_groups())

        bare = evaluation_copy(model, lambda tensor: tensor.to("meta"))

        @torch.no_grad()
        def forward(bare: nn.Module = bare) -> object:
            return bare(x.to("meta"))

        actions: list[Callable[[], object]] = [ours, theirs, grouped, forward]
        mine, graph, groups, floor = map(statistics.median, in_turns(actions, repeats))
        cells = f"{mine:.3f} | {graph:.3f} | {mine / graph:.2f} | {groups:.3f} | {mine / groups:.2f} | {floor:.3f}"
        print(f"| {name} | {cells} |", flush=True)


def scale_depth(depths: list[int], repeats: int) -> None:
    """Print one row per depth: the median time, and its growth against the first depth of at least 100 blocks."""
    models = []
    for depth in depths:
        with torch.device("meta"):
            models.append(Transformer(depth))
    x = torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(0))
    actions = [lambda model=model: ws.trace(model, x) for model in models]
    medians = dict(zip(depths, map(statistics.median, in_turns(actions, repeats)), strict=True))
    base = min((depth for depth in depths if depth >= 100), default=depths[0])
    print(f"\npre-norm transformer on the meta device, median of {repeats} interleaved runs\n")
    print(f"| blocks | trace, s | ms per block | of {base} blocks' time | limit | within |")
    print("|--:|--:|--:|--:|--:|---|")
    for depth, median in medians.items():
        growth, limit = median / medians[base], TARGET_GROWTH * depth / base
        verdict = "-" if depth <= base else "yes" if growth <= limit else "NO"
        print(f"| {depth} | {median:.3f} | {1000 * median / depth:.2f} | {growth:.2f} | {limit:.1f} | {verdict} |")


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--blocks", type=int, nargs="*", default=[10, 100, 300, 1000])
    parser.add_argument("--models", nargs="*", default=list(MODELS), help="timm models of the first table")
    parser.add_argument("--part", choices=("models", "depth"), help="only one of the tables")
    options = parser.parse_args()
    threads = torch.get_num_threads()
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "timm", "torch-pruning"))
    unit = "CPU seconds" if threads == 1 else "wall-clock seconds"
    print(f"{datetime.date.today()}, Python {platform.python_version()}, {packages}, {threads} CPU thread(s), {unit}")
    if options.part != "depth":
        compare_models(options.models, options.repeats)
    if options.part != "models":
        scale_depth(options.blocks, max(5, options.repeats // 2))


if __name__ == "__main__":
    main()
