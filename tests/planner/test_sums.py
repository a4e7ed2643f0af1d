"""Sums in other words: a mean and a deviation of one layer or two, `lerp`, `addcmul`, repeated positions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import wsel_graph as ws
from tests.planner.planted import planted, randomized
from wsel_graph.coupling.verify import relative_error

VECTORS = torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Vae(nn.Module):
    """A variational autoencoder whose noise is one everywhere.

    Args:
        fused: One layer for the mean and the logarithm of the variance, cut by `chunk` or as a grid.
    """

    def __init__(self, width: int, latent: int, fused: str = "") -> None:
        super().__init__()
        self.enter, self.fused = nn.Linear(7, width), fused
        if fused:
            self.both = nn.Linear(width, 2 * latent)
        else:
            self.mean, self.log = nn.Linear(width, latent), nn.Linear(width, latent)
        self.back, self.leave = nn.Linear(latent, width), nn.Linear(width, 7)

    def parts(self, x: Tensor) -> tuple[Tensor, ...]:
        if not self.fused:
            return self.mean(x), self.log(x)
        return self.both(x).chunk(2, -1) if self.fused == "chunk" else self.both(x).unflatten(-1, (2, -1)).unbind(-2)

    def forward(self, x: Tensor) -> Tensor:
        mean, log = self.parts(self.enter(x).relu())
        y: Tensor = self.leave(self.back(mean + (0.5 * log).exp() * torch.ones_like(mean)).relu())
        return y


class ImageVae(nn.Module):
    """The same with convolutions."""

    def __init__(self, width: int, latent: int, fused: str = "") -> None:
        super().__init__()
        self.enter, self.fused = nn.Conv2d(3, width, 3, 2, 1), fused
        if fused:
            self.both = nn.Conv2d(width, 2 * latent, 1)
        else:
            self.mean, self.log = nn.Conv2d(width, latent, 1), nn.Conv2d(width, latent, 1)
        self.back, self.leave = nn.Conv2d(latent, width, 3, 1, 1), nn.ConvTranspose2d(width, 3, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x).relu()
        mean, log = self.both(x).chunk(2, 1) if self.fused else (self.mean(x), self.log(x))
        y: Tensor = self.leave(self.back(mean + (0.5 * log.clamp(-30, 20)).exp()).relu())
        return y


def distance(student: nn.Module, teacher: nn.Module, inputs: Tensor) -> float:
    """Of the student from the teacher whose left-out elements are zero; everything is to be filled."""
    randomized(student, 1), randomized(teacher, 2)
    plan = ws.plan(student, teacher, inputs)
    assert not [kept.student for kept in plan.kept if kept.parameter]
    source = planted(plan, teacher)
    ws.apply(plan, student, source)
    with torch.no_grad():
        return float(relative_error(source(inputs), student(inputs)))


@pytest.mark.parametrize("sizes", [(8, 4), (6, 2)])
@pytest.mark.parametrize(
    ("net", "fused", "inputs"), [(Vae, "chunk", VECTORS), (Vae, "grid", VECTORS), (ImageVae, "chunk", IMAGES)]
)
def test_one_layer_for_mean_and_deviation(
    net: Callable[..., nn.Module], fused: str, inputs: Tensor, sizes: tuple[int, int]
) -> None:
    assert distance(net(*sizes, fused), net(8, 4), inputs) < 1e-9
    assert distance(net(*sizes), net(8, 4, fused), inputs) < 1e-9


SUMS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], ...]] = {
    "halves": (
        lambda x, y: torch.lerp(x, y, 0.5),
        lambda x, y: 0.5 * x + 0.5 * y,
        lambda x, y: x + 0.5 * (y - x),
        lambda x, y: x.clone().lerp_(y, torch.tensor(0.5, dtype=x.dtype)),
    ),
    "plain": (lambda x, y: x + y, lambda x, y: torch.addcmul(x, y, torch.ones_like(y))),
    "gated": (lambda x, y: x + x * y, lambda x, y: torch.addcmul(x, x, y), lambda x, y: x.clone().addcmul_(y, x)),
    "less": (lambda x, y: x - x * y, lambda x, y: torch.addcmul(x, x, y, value=-1)),
}


class Blocks(nn.Module):
    """Two blocks, each put together with its stream by a function of both."""

    def __init__(self, width: int, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.enter, self.leave, self.join = nn.Linear(7, width), nn.Linear(width, 3), join
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for block in self.blocks:
            x = self.join(x, block(x))
        y: Tensor = self.leave(x)
        return y


@pytest.mark.parametrize("width", [8, 4])
@pytest.mark.parametrize("name", SUMS)
def test_sums_in_other_words(name: str, width: int) -> None:
    for ours in SUMS[name]:
        for theirs in SUMS[name]:
            assert distance(Blocks(width, ours), Blocks(8, theirs), VECTORS) < 1e-9


def test_repeated_positions_are_a_nearest_upsampling() -> None:
    ways: tuple[Callable[[Tensor], Tensor], ...] = (
        lambda x: x.repeat_interleave(2, -1).repeat_interleave(2, -2),
        lambda x: F.interpolate(x, scale_factor=2.0, mode="nearest"),
    )

    class UNet(nn.Module):
        def __init__(self, width: int, up: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            self.enter, self.down = nn.Conv2d(3, width, 3, 1, 1), nn.Conv2d(width, 2 * width, 3, 2, 1)
            self.up, self.leave, self.way = nn.Conv2d(2 * width, width, 3, 1, 1), nn.Conv2d(2 * width, 3, 1), up

        def forward(self, x: Tensor) -> Tensor:
            skip = self.enter(x).relu()
            y: Tensor = self.leave(torch.cat([self.up(self.way(self.down(skip).relu())), skip], 1))
            return y

    for ours, theirs in (ways, ways[::-1]):
        assert distance(UNet(3, ours), UNet(6, theirs), IMAGES) < 1e-9
