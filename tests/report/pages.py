"""What the tests of the HTML page share: pairs of models, and an independent reader of a page's data."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import wsel_graph as ws
from tests.nets import ConvNet, Language, Transformer, mlp
from tests.nets_transplant import PatchViT
from tests.zoo import torchvision_stub
from wsel_graph.plan import Plan

IMAGE = (1, 3, 16, 16)
IDS = torch.zeros(1, 5, dtype=torch.int64)


class Deep(nn.Module):
    """Many equal residual blocks."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(4, width), nn.Linear(width, 3)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
            for _ in range(depth)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


HOSTILE = "</script><script>hacked = 1</script><img src=x onerror='hacked = 2'>"


class Hostile(nn.Module):
    """Names that would break out of any markup."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.add_module(HOSTILE, nn.Linear(4, width))
        self.out = nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(getattr(self, HOSTILE)(x).relu())


def vit(width: int, depth: int, size: int = 16) -> nn.Module:
    return PatchViT(
        size=size, patch=4, width=width, heads=width // 8, depth=depth, hidden=2 * width, classes=5,
        unfold=False, embedding=False,
    )  # fmt: skip


def timm_pair(small: str, large: str) -> tuple[nn.Module, nn.Module, Any]:
    torchvision_stub.install()
    import timm

    return timm.create_model(small), timm.create_model(large), (1, 3, 224, 224)


def llama(width: int, depth: int) -> nn.Module:
    return Transformer(width, width // 8, 8, depth=depth, kv=width // 16, rope=True)


PAIRS: dict[str, Callable[[], tuple[nn.Module, nn.Module, Any]]] = {
    "mlp": lambda: (mlp(4), mlp(8), (1, 4)),
    "other labels": lambda: (mlp(4, labels=2), mlp(8), (1, 4)),
    "transformer": lambda: (Transformer(16, 2, 8, depth=3), Transformer(32, 4, 8, depth=6), (2, 5, 7)),
    "grouped queries, rotary": lambda: (llama(16, 2), llama(32, 4), (2, 5, 7)),
    "convolutions": lambda: (ConvNet(4), ConvNet(8), IMAGE),
    "tied": lambda: (Language(8, tied=True), Language(16, tied=True), IDS),
    "hostile names": lambda: (Hostile(4), Hostile(8), (1, 4)),
    "timm ViT": lambda: timm_pair("vit_tiny_patch16_224", "vit_small_patch16_224"),
    "timm ConvNeXt": lambda: timm_pair("convnext_atto", "convnext_tiny"),
    "timm ResNet": lambda: timm_pair("resnet18", "resnet34"),
}


@functools.cache
def traced(name: str) -> tuple[ws.ModelGraph, ws.ModelGraph]:
    """Student and teacher of a pair."""
    student, teacher, inputs = PAIRS[name]()
    return ws.trace(student, inputs), ws.trace(teacher, inputs)


@functools.cache
def planned(name: str) -> Plan:
    """The plan of a pair."""
    return ws.plan(*traced(name))


@functools.cache
def deep_plan() -> Plan:
    """500 blocks from 1,000."""
    return ws.plan(ws.trace(Deep(4, 500), (1, 4)), ws.trace(Deep(8, 1000), (1, 4)))


def data_of(page: str) -> dict[str, Any]:
    """The data of a page, as a browser would find it: up to the first end of the script element."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])  # type: ignore[no-any-return]


def names_of(model: dict[str, Any]) -> list[str]:
    """Tensors of a model of the page in the order of their numbers."""
    found: dict[str, None] = {}
    outline = model["outline"]
    for section in outline["sections"]:
        for block in section["blocks"]:
            for part in outline["kinds"][block["kind"]]["parts"]:
                for held in part["tensors"]:
                    name = held["name"]
                    found[block["path"] + name if name.startswith(".") else name] = None
    found |= dict.fromkeys(held["name"] for held in outline["unused"])
    return list(found | dict.fromkeys(name for name, _ in model["extra"]))
