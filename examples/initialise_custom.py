"""Initialise a vision transformer of your own from a library's larger one.

python examples/initialise_custom.py [--pretrained] [--rules examples/rules/initialise_custom.yaml]

The two share no names: the student has a linear each for queries, keys and values where the teacher has one for all
three, it is narrower, less deep, and made for smaller images. `--pretrained` has timm fetch the teacher's weights.

Prints:

    Initialised 1,293,184 of 1,294,474 student parameters (99.90 %)
    layers  6 of 12  0<-0, 1<-1, 2<-2, 3<-3, 4<-4, 5<-5
    1       embed     384 -> 128          uniform       free              summary:2
    2       position  14 -> 6             interpolated  pinned: position  places:1
    2        1,290     label axis of size 10, the teacher's has 1000  answer.weight, answer.bias
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import wsel_graph as ws


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ask, self.offer, self.content, self.mix = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.ask, self.offer, self.content)
        )
        return self.mix(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.calm, self.talk = nn.LayerNorm(width), Attention(width, heads)
        self.think = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.talk(self.calm(x))
        return x + self.think(x)


class SmallViT(nn.Module):
    def __init__(self, *, size: int = 96, width: int = 128, heads: int = 2, depth: int = 6, classes: int = 10) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.summary = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.zeros(1, (size // 16) ** 2 + 1, width))
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(depth))
        self.last = nn.LayerNorm(width)
        self.answer = nn.Linear(width, classes)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat((self.summary.expand(len(x), -1, -1), x), dim=1) + self.places
        for layer in self.layers:
            x = layer(x)
        return self.answer(self.last(x)[:, 0])


def main(arguments: Sequence[str] | None = None) -> tuple[nn.Module, ws.InitResult]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pretrained", action="store_true", help="have timm fetch the teacher's weights")
    parser.add_argument("--rules", default="default", help="selection rules: a file, or the name of a shipped one")
    options = parser.parse_args(arguments)
    teacher = timm.create_model("vit_small_patch16_224", pretrained=options.pretrained)
    student = SmallViT()
    result = ws.initialize(
        student,
        teacher,
        example_inputs=torch.zeros(1, 3, 96, 96),
        teacher_inputs=torch.zeros(1, 3, 224, 224),
        rules=options.rules,
    )
    print(result)
    return student, result


if __name__ == "__main__":
    main()
