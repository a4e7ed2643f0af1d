"""What the command-line tests share: a file of models, model libraries that import, and a way to run commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.zoo import torchvision_stub
from wsel_graph.cli.main import main

MODELS = """
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class Sizes:  # dataclasses look their module up by name
    width: int = 8


def mlp(width=8, labels=2, depth=1):
    hidden = [layer for _ in range(depth - 1) for layer in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), *hidden, nn.Linear(width, labels))


def chatty(width=8):
    print("building", Sizes(width))
    return mlp(width)


class Norm(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Linear(width, 2)
        self.register_buffer("steps", torch.tensor(7))
        self.register_buffer("scratch", torch.zeros(3), persistent=False)

    def forward(self, x):
        return self.fc(self.bn(self.conv(x)).relu().mean((2, 3)))


class Tied(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.embed, self.head = nn.Embedding(11, width), nn.Linear(width, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        return self.head(self.embed(ids))


class Ids(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.fc = nn.Embedding(5, 4), nn.Linear(4, 2)

    def forward(self, ids, scale=None):
        return self.fc(self.embed(ids)) * (1 if scale is None else scale)


CALLS = [0]


class Mad(nn.Module):  # every call gives another result: no group can be proved
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        CALLS[0] += 1
        return self.b(self.a(x)) * CALLS[0]


class Extra(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.net = mlp(width)

    def forward(self, x):
        return self.net(x)

    def get_extra_state(self):
        return {"epoch": 3}

    def set_extra_state(self, state):
        pass


def number():
    return 3


def fails():
    raise RuntimeError("no such weights")
"""


@pytest.fixture
def models(tmp_path: Path) -> str:
    """A file with models."""
    file = tmp_path / "models.py"
    file.write_text(MODELS)
    return str(file)


@pytest.fixture(scope="session")
def libraries() -> None:
    """timm, torchvision and transformers can be imported, with or without torchvision's compiled part."""
    torchvision_stub.install()


class Run:
    """One command: its exit code and what it printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))

    def lines(self) -> list[list[str]]:
        """The words of every line of standard output."""
        return [line.split() for line in self.out.splitlines()]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Run a command in this process."""

    def call(*arguments: object) -> Run:
        code = main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return Run(code, shown.out, shown.err)

    return call


@pytest.fixture
def refused(run: Callable[..., Run]) -> Callable[..., str]:
    """Run a command that must be refused: exit code 1, nothing on stdout; gives what it said."""

    def call(*arguments: object) -> str:
        done = run(*arguments)
        assert done.code == 1
        assert done.out == ""
        assert done.err.startswith("refused: ")
        return done.err

    return call


def save(model: nn.Module, path: Path) -> Path:
    """Write a state dict as safetensors, with tied tensors under each of their names."""
    save_file({name: tensor.clone() for name, tensor in model.state_dict().items()}, path)
    return path


def filled(model: nn.Module, seed: int = 5) -> nn.Module:
    """Random values in every floating-point tensor."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return model
