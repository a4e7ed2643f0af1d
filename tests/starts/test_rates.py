"""The first learning rate: closed forms on quadratics, and that it keeps a fitted start."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import Transformer, randomize
from wsel_graph.errors import DiagnosisError
from wsel_graph.plan import Feature
from wsel_graph.starts.rates import RATES, SLACK, Rate, find_rate

GRID = tuple(2.0**power for power in range(-30, 6))
SGD = torch.optim.SGD


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Quadratic:
    """x'Hx / 2 at a place x, float64; every loss is this one times a factor."""

    def __init__(self, curvatures: list[float], at: list[float]) -> None:
        self.curvatures = torch.tensor(curvatures, dtype=torch.float64)
        self.start = torch.tensor(at, dtype=torch.float64)
        self.x = nn.Parameter(self.start.clone())

    def loss(self) -> torch.Tensor:
        return (self.curvatures * self.x.square()).sum() / 2

    def restore(self) -> None:
        with torch.no_grad():
            self.x.copy_(self.start)

    def find(self, make: Any, steps: int = 1, losses: Any = None, rates: tuple[float, ...] = GRID) -> Rate:
        return find_rate(losses or [self.loss], [self.x], make, steps=steps, restore=self.restore, rates=rates)

    def limit(self, direction: torch.Tensor) -> float:
        """The largest step against `direction` after which the loss is at most 1 + SLACK of the start's."""
        gradient = self.curvatures * self.start
        a = float((self.curvatures * direction.square()).sum()) / 2
        b, c = float(gradient @ direction), SLACK * float(self.loss().detach())
        return (b + math.sqrt(b * b + 4 * a * c)) / (2 * a)


CASES = [
    pytest.param([1.0], [3.0], id="one dim"),
    pytest.param([1.0, 100.0], [5.0, 0.1], id="two scales"),
    pytest.param([0.01, 0.3, 7.0], [1.0, -2.0, 0.5], id="three"),
]


@pytest.mark.parametrize(("curvatures", "at"), CASES)
def test_one_step_of_gradient_descent(curvatures: list[float], at: list[float]) -> None:
    """Up to 2 g'g / g'Hg (and the slack) the loss does not rise; the gain is 2 r - r^2 at r times g'g / g'Hg."""
    made = Quadratic(curvatures, at)
    gradient = made.curvatures * made.start
    found = made.find(SGD)
    limit = made.limit(gradient)
    assert found.highest == max(rate for rate in GRID if rate <= limit)
    assert found.lost == min(rate for rate in GRID if rate > limit)
    exact = float(gradient @ gradient / (gradient @ (made.curvatures * gradient)))
    assert limit > 2 * exact
    assert limit == pytest.approx(2 * exact, rel=0.25)
    gain = {rate: 2 * rate / exact - (rate / exact) ** 2 for rate in GRID if rate <= limit}
    assert found.rate == max(rate for rate, gained in gain.items() if gained >= 0.5 * max(gain.values()))
    assert found.warm_up is None
    assert torch.equal(made.x.detach(), made.start)


@pytest.mark.parametrize(("curvatures", "at"), CASES)
def test_one_step_of_adam(curvatures: list[float], at: list[float]) -> None:
    """Adam's first step is the rate times the sign of the gradient."""
    made = Quadratic(curvatures, at)
    sign = made.start.sign()
    found = made.find(partial(torch.optim.Adam, eps=0.0))
    limit = made.limit(sign)
    assert found.highest == max(rate for rate in GRID if rate <= limit)
    assert (found.warm_up, found.optimizer) == (2000, "Adam")


def test_many_steps_of_gradient_descent() -> None:
    """x after k steps is x0 (1 - rate h)^k in every dim: it stays where all |1 - rate h| are at most 1."""
    made = Quadratic([1.0, 10.0], [1.0, 1.0])
    found = made.find(SGD, steps=200, rates=(0.05, 0.1, 0.19, 0.21, 0.4))
    assert (found.highest, found.lost, found.rate) == (0.19, 0.21, 0.19)
    after = [sum(h * (1 - t.rate * h) ** 400 for h in (1.0, 10.0)) / 11 for t in found.trials]
    assert [t.after for t in found.trials] == pytest.approx(after, rel=1e-6)


def test_a_second_batch_decides() -> None:
    made = Quadratic([1.0], [3.0])

    def other() -> torch.Tensor:
        return (made.x - 2.9).square().sum() + 1.0  # what lowers the first by much raises this

    alone, both = made.find(SGD), made.find(SGD, losses=[made.loss, other])
    assert (alone.batches, both.batches) == (1, 2)
    assert both.highest is not None
    assert both.highest < (alone.highest or 0)
    limit = (0.1 + math.sqrt(0.01 * 1.01 + 0.01)) / 3  # (3 - 3 rate - 2.9)^2 + 1 <= 1.01 (0.1^2 + 1)
    assert both.highest == max(rate for rate in GRID if rate <= limit)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        pytest.param(lambda x: x.sum() * math.nan, r"the loss of the start is not finite", id="nan"),
        pytest.param(lambda x: x.sum() * 0, r"the loss of the start is 0, and only what is positive", id="zero"),
        pytest.param(lambda x: x.abs().sum() * 1e9, r"already at 1 the loss rises.*give smaller `rates`", id="steep"),
        pytest.param(
            lambda x: 1 + x.sum() * 0,
            r"no rate up to 2 does harm, and none lowers the loss on a batch that it did not",
            id="flat",
        ),
    ],
)
def test_no_rate(loss: Callable[[torch.Tensor], torch.Tensor], said: str) -> None:
    made = Quadratic([1.0], [3.0])
    found = made.find(SGD, losses=[lambda: loss(made.x)], rates=(1.0, 2.0))
    assert found.rate is None
    assert str(found).startswith("No first learning rate: ")
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(str(found))


def test_text() -> None:
    made = Quadratic([1.0], [3.0])
    found = made.find(SGD, rates=(0.5, 1.0, 4.0))
    assert str(found).splitlines() == [
        "First learning rate: 1 (SGD: after 1 step without warm-up the loss is 0 of the start's, on the batch "
        "it stepped on)",
        "At 4 the start is harmed: the loss rises to 9 of the start's.",
        "Give a second batch for a rate that is judged on inputs which it did not step on.",
    ]
    adam = made.find(torch.optim.Adam, steps=3, rates=(1e-3, 1e-2))
    assert str(adam).splitlines()[1:3] == [
        "No rate up to 0.01 harmed the start.",
        "Warm up linearly from 0, over the first tenth of training or 2,000 steps, whichever is shorter.",
    ]


def test_rates_ascend() -> None:
    assert list(RATES) == sorted(RATES)
    assert len(RATES) == 13
    with pytest.raises(DiagnosisError, match="rates must ascend"):
        Quadratic([1.0], [3.0]).find(SGD, rates=(0.0, 1.0))


# -- a real start


def compensated() -> tuple[nn.Module, nn.Module, ws.Plan, list[torch.Tensor]]:
    """A student that was fitted to a teacher, and batches that it was not fitted to."""
    teacher = Transformer(32, 4, 8, depth=3).eval()
    with torch.no_grad():
        for value in teacher.parameters():
            value.mul_(1.5)
    student = Transformer(16, 4, 4, depth=3).eval()
    generator = torch.Generator().manual_seed(3)
    batches = [torch.randn(32, 6, 7, generator=generator) for _ in range(16)]
    plan = ws.plan(student, teacher, batches[0])
    ws.compensate(plan, student, teacher, batches[:8])
    return student, teacher, plan, batches[8:]


def shown(model: nn.Module, paths: list[str], x: torch.Tensor) -> list[torch.Tensor]:
    """What blocks return, by hooks, and the result."""
    found: dict[str, torch.Tensor] = {}
    handles = [
        model.get_submodule(path).register_forward_hook(lambda m, a, out, path=path: found.update({path: out}))
        for path in paths
    ]
    result = model(x)
    for handle in handles:
        handle.remove()
    return [*(found[path] for path in paths), result]


def trained(
    start: nn.Module, teacher: nn.Module, pairs: tuple[Feature, ...], batches: list[torch.Tensor], rate: float
) -> float:
    """Ten steps of Adam on batches that `diagnose` has not seen, by hand: the loss on yet others, over the start's."""
    channels = [list(pair.indices) for pair in pairs]

    def error(one: nn.Module, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            theirs = shown(teacher, [pair.teacher.module for pair in pairs], x)
        wanted = [*(value[..., own] for value, own in zip(theirs, channels, strict=False)), theirs[-1]]
        ours = shown(one, [pair.student.module for pair in pairs], x)
        terms = [(a - b).square().mean() / b.square().mean() for a, b in zip(ours, wanted, strict=True)]
        return torch.stack(terms).mean()

    model = copy.deepcopy(start).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for step in range(10):
        optimizer.zero_grad()
        error(model, batches[step % 3]).backward()
        optimizer.step()
    with torch.no_grad():
        last = torch.cat(batches[3:])
        return float(error(model, last) / error(start, last))


def test_a_fitted_start_is_kept() -> None:
    student, teacher, plan, batches = compensated()
    found = ws.diagnose(student, batches[:4], teacher=teacher, plan=plan).rate
    assert found is not None
    assert found.rate is not None
    assert found.lost is not None
    pairs = ws.feature_pairs(plan)
    kept, more = (trained(student, teacher, pairs, batches[4:], rate) for rate in (found.rate, 10 * found.rate))
    assert kept < 1 < more


def test_rate_of_any_optimizer() -> None:
    model = randomize(Transformer(8, 2, 4)).eval()
    x = torch.randn(4, 5, 7)

    def loss(out: torch.Tensor) -> torch.Tensor:
        return (out - 1).square().mean()

    slow = ws.diagnose(model, x, loss=loss, optimizer=partial(SGD, momentum=0.9), rates=(1e-4, 1e-3)).rate
    assert slow is not None
    assert (slow.optimizer, slow.steps, slow.warm_up) == ("SGD", 10, None)
    assert [trial.rate for trial in slow.trials] == [1e-4, 1e-3]
    twin = copy.deepcopy(model)
    optimizer = SGD(twin.parameters(), lr=1e-3, momentum=0.9)
    start = float(loss(twin(x)).detach())
    for _ in range(10):
        optimizer.zero_grad()
        loss(twin(x)).backward()
        optimizer.step()
    assert slow.trials[1].after == pytest.approx(float(loss(twin(x)).detach()) / start, rel=1e-5)
