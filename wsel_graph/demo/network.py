"""A pretrained pitch network, read from an installed package.

The network is FCPE ("fast context-based pitch estimation"): it hears 128 mel bands every 10 ms and says which of 360
pitches sounds. Its weights ship in the wheel of `torchfcpe`; its code is written here, in plain PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsel_graph.demo.packages import package_file
from wsel_graph.demo.pitch import BINS, MELS


class ConvBlock(nn.Module):
    """One residual block: norm, gated expansion, a 31-frame filter per channel, projection back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = 2 * width
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Conv1d(width, 2 * hidden, kernel_size=1)  # values and their gates, end to end
        self.mix_frames = nn.Conv1d(hidden, hidden, kernel_size=31, padding=15, groups=hidden)
        self.project = nn.Conv1d(hidden, width, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(clips, frames, width) -> (clips, frames, width)."""
        y = functional.glu(self.expand(self.norm(x).mT), dim=1)
        y = self.project(functional.silu(self.mix_frames(y)))
        mixed: Tensor = y.mT
        return x + mixed


class PitchNet(nn.Module):
    """Pitch from mel bands: one residual stream of `width` channels through `depth` blocks."""

    def __init__(self, width: int = 512, depth: int = 6) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv1d(MELS, width, kernel_size=3, padding=1),
            nn.GroupNorm(4, width),
            nn.LeakyReLU(),
            nn.Conv1d(width, width, kernel_size=3, padding=1),
        )
        self.blocks = nn.ModuleList(ConvBlock(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, BINS)

    def forward(self, mels: Tensor) -> Tensor:
        """(clips, frames, MELS) log mel bands -> (clips, frames, BINS) logits, one per pitch."""
        x = self.stem(mels.mT).mT
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


def load_teacher() -> PitchNet:
    """The pretrained network, 512 channels wide, in evaluation mode.

    Raises:
        MissingPackageError: If torchfcpe is not installed.
    """
    path = package_file("torchfcpe", "assets/fcpe_c_v001.pt")
    stored = torch.load(path, map_location="cpu", weights_only=True)["model"]
    teacher = PitchNet()
    weights = {ours: stored[theirs] for ours, theirs in _checkpoint_names(depth=6)}
    teacher.load_state_dict(weights | _head(stored))
    return teacher.eval()


def _checkpoint_names(depth: int) -> Iterator[tuple[str, str]]:
    """Pairs (name here, name in the checkpoint) of every parameter but the head's."""
    modules = {
        "stem.0": "input_stack.0",
        "stem.1": "input_stack.1",
        "stem.3": "input_stack.3",
        "norm": "norm",
    }
    parts = {"norm": "0", "expand": "2", "mix_frames": "4.conv", "project": "6"}
    for i in range(depth):
        for ours, theirs in parts.items():
            modules[f"blocks.{i}.{ours}"] = f"net.encoder_layers.{i}.conformer.net.{theirs}"
    for ours, theirs in modules.items():
        for kind in ("weight", "bias"):
            yield f"{ours}.{kind}", f"{theirs}.{kind}"


def _head(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The head as a plain linear layer; the checkpoint holds its rows as lengths and directions."""
    length = stored["output_proj.weight_g"]  # (BINS, 1)
    direction = stored["output_proj.weight_v"]  # (BINS, width)
    weight = direction * (length / direction.norm(dim=1, keepdim=True))
    return {"head.weight": weight, "head.bias": stored["output_proj.bias"]}
