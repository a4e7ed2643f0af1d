"""`rescale: attention`: scores equal those of a teacher whose other head channels are zero, for any head size."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import wsel_graph as ws
from tests.planner.planted import scales, transferred

RULES = "  - rescale: attention"
HEADS, WIDTH = 2, 6
X = torch.randn(3, 5, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
FACTOR = math.sqrt(4 / 16)  # 1 / sqrt(16) in the teacher over 1 / sqrt(4) in the student


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"


class Base(nn.Module):
    """Attention of two heads with `size` channels each, between streams of one width."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, inner = size, HEADS * size
        self.q, self.k, self.v = (nn.Linear(WIDTH, inner) for _ in range(3))
        self.out = nn.Linear(inner, WIDTH)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:2], HEADS, -1).transpose(1, 2)

    def made(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.attend(*self.made(x)).transpose(1, 2).flatten(2))


class Library(Base):
    pass


class Given(Base):
    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, scale=self.size**-0.5, is_causal=True)


class ScaledBefore(Base):
    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return (q * self.size**-0.5 @ k.transpose(-2, -1)).softmax(-1) @ v


class DividedAfter(Base):
    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        scores = torch.matmul(q, k.mT) / math.sqrt(q.shape[-1])
        mask = torch.triu(torch.ones(scores.shape[-2:], dtype=torch.bool), 1)
        return scores.masked_fill(mask, float("-inf")).softmax(-1) @ v


class BothSides(Base):
    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        root = torch.tensor(float(self.size)).sqrt().sqrt()
        return ((q / root) @ (k / root).transpose(-2, -1)).softmax(-1) @ v


class Einsum(Base):
    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        scores = torch.einsum("bhqd,bhkd->bhqk", q, k) * self.size**-0.5
        return torch.einsum("bhqk,bhkd->bhqd", scores.softmax(-1), v)


class AddedProduct(Base):
    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q, k, v = (x.flatten(0, 1) for x in (q, k, v))
        bias = torch.linspace(0, 1, k.shape[1], dtype=q.dtype).expand(q.shape[0], q.shape[1], -1)
        scores = torch.baddbmm(bias, q, k.transpose(1, 2), beta=1.0, alpha=self.size**-0.5)
        return (scores.softmax(-1) @ v).unflatten(0, (-1, HEADS))


class Capped(Base):
    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        scores = 5 * torch.tanh((q @ k.mT) * self.size**-0.5 / 5)
        return scores.softmax(-1) @ v


class Fused(Base):
    """One projection; `self.form` says how it is taken apart."""

    form = "unbind"

    def __init__(self, size: int) -> None:
        super().__init__(size)
        del self.q, self.k, self.v
        self.qkv = nn.Linear(WIDTH, 3 * HEADS * size)

    def made(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        made = self.qkv(x)
        if self.form == "unbind":
            q, k, v = made.view(*x.shape[:2], 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
            return q, k, v
        q, k, v = made.chunk(3, -1)
        return self.split(q), self.split(k), self.split(v)


class FusedChunks(Fused):
    form = "chunk"


class FusedByHeads(Fused):
    """`(heads 3 head_dim)`, as in GPT-NeoX."""

    def made(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q, k, v = self.split(self.qkv(x)).chunk(3, -1)
        return q, k, v


class FusedTransposed(Fused):
    """The weight is `(in, out)`."""

    form = "chunk"

    def __init__(self, size: int) -> None:
        super().__init__(size)
        del self.qkv
        self.weight = nn.Parameter(torch.zeros(WIDTH, 3 * HEADS * size))
        self.bias = nn.Parameter(torch.zeros(3 * HEADS * size))

    def qkv(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return torch.addmm(self.bias, x.reshape(-1, WIDTH), self.weight).view(*x.shape[:2], -1)


class Grouped(Base):
    """One key head for both query heads."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.k, self.v = nn.Linear(WIDTH, size), nn.Linear(WIDTH, size)

    def made(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        k, v = (layer(x).unsqueeze(1).expand(-1, HEADS, -1, -1) for layer in (self.k, self.v))
        return self.split(self.q(x)), k, v


class Rotary(Base):
    def turn(self, x: torch.Tensor) -> torch.Tensor:
        half = x.shape[-1] // 2
        rates = 100.0 ** -(torch.arange(half, dtype=x.dtype) / half)
        angles = torch.arange(x.shape[-2], dtype=x.dtype)[:, None] * torch.cat([rates, rates])
        return x * angles.cos() + torch.cat([-x[..., half:], x[..., :half]], -1) * angles.sin()

    def made(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q, k, v = super().made(x)
        return self.turn(q), self.turn(k), v


class Convolved(Base):
    """Projections are 1 x 1 convolutions."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.q, self.k, self.v = (nn.Conv1d(WIDTH, HEADS * size, 1) for _ in range(3))

    def made(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q, k, v = (m(x.transpose(1, 2)).unflatten(1, (HEADS, -1)).transpose(2, 3) for m in (self.q, self.k, self.v))
        return q, k, v


class BiasesEndToEnd(Fused):
    """Queries and values have a bias, keys have none."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.qkv = nn.Linear(WIDTH, 3 * HEADS * size, bias=False)
        self.bq, self.bv = (nn.Parameter(torch.zeros(HEADS * size)) for _ in range(2))

    def made(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        bias = torch.cat([self.bq, torch.zeros_like(self.bq, requires_grad=False), self.bv])
        made = F.linear(x, self.qkv.weight, bias)
        q, k, v = made.view(*x.shape[:2], 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v


class InPlace(Base):
    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q *= self.size**-0.5
        scores = q @ k.mT
        scores += torch.linspace(0, 1, k.shape[-2], dtype=q.dtype)
        return scores.softmax(-1) @ v


class TensorOfNumbers(Base):
    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q = q * torch.full((self.size,), self.size**-0.25, dtype=q.dtype)
        return (q @ (k * torch.full_like(k, self.size**-0.25)).mT).softmax(-1) @ v


class Complex(Base):
    """Rotary codes as complex numbers."""

    def made(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q, k, v = super().made(x)
        half = q.shape[-1] // 2
        rates = 100.0 ** -(torch.arange(half, dtype=x.dtype) / half)
        angles = torch.arange(q.shape[-2], dtype=x.dtype)[:, None] * rates
        codes = torch.polar(torch.ones_like(angles), angles)
        q, k = (
            torch.view_as_real(torch.view_as_complex(t.unflatten(-1, (half, 2))) * codes).flatten(3) for t in (q, k)
        )
        return q, k, v


class Whole(nn.Module):
    """A library module that is recorded operator by operator."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.stem, self.out = nn.Linear(WIDTH, HEADS * size), nn.Linear(HEADS * size, WIDTH)
        self.mha = nn.MultiheadAttention(HEADS * size, HEADS, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.out(self.mha(x, x, x)[0])


def run(file: Path, make: Callable[[int], nn.Module], rules: str = RULES, **kw: Any) -> tuple[ws.Plan, float]:
    """The plan, and the largest difference of the outputs."""
    plan, student, teacher = transferred(file, rules, make(4), make(16), (3, 5, WIDTH), **kw)
    with torch.no_grad():
        return plan, float((student(X) - teacher(X)).abs().max())


SEPARATE = [
    Library, Given, ScaledBefore, DividedAfter, BothSides, Einsum, AddedProduct, Capped, Grouped, Rotary, Convolved,
    InPlace, TensorOfNumbers, Complex,
]  # fmt: skip
FUSED = [Fused, FusedChunks, FusedByHeads, FusedTransposed, BiasesEndToEnd, Whole]


@pytest.mark.parametrize("make", SEPARATE)
def test_scores_are_exact(file: Path, make: Callable[[int], nn.Module]) -> None:
    plan, off = run(file, make)
    assert plan.notes == ()
    assert scales(plan) == {"q.weight": pytest.approx(FACTOR), "q.bias": pytest.approx(FACTOR)}
    assert off < 1e-9
    assert run(file, make, "  - rescale: none")[1] > 1e-3  # the check can fail


@pytest.mark.parametrize("make", FUSED)
def test_a_fused_projection_is_scaled_in_part(file: Path, make: Callable[[int], nn.Module]) -> None:
    plan, off = run(file, make)
    assert plan.notes == ()
    assert off < 1e-9
    assert run(file, make, "  - rescale: none")[1] > 1e-3
    weight = [copy for copy in plan.copies if copy.student in ("qkv.weight", "weight", "mha.in_proj_weight")]
    assert {copy.scale for copy in weight} == {FACTOR, 1}
    (scaled,) = (copy for copy in weight if copy.scale != 1)
    assert math.prod(scaled.target_shape) == scaled.student_shape[0] * scaled.student_shape[1] / 3
    assert "multiplied by 0.5" in plan.explain(weight[0].student)


@pytest.mark.parametrize(("ours", "theirs"), [(Library, Fused), (Fused, Library), (ScaledBefore, FusedTransposed)])
def test_between_two_ways_to_write_it(file: Path, ours: type[Base], theirs: type[Base]) -> None:
    plan, student, teacher = transferred(file, RULES, ours(4), theirs(16), (3, 5, WIDTH))
    with torch.no_grad():
        torch.testing.assert_close(student(X), teacher(X), rtol=1e-9, atol=1e-9)
    assert plan.notes == ()


class Normed(Base):
    """Queries and keys pass norms before they meet."""

    def __init__(self, size: int, eps: float = 0.0, norm: type[nn.Module] = nn.RMSNorm) -> None:
        super().__init__(size)
        self.nq, self.nk = norm(size, eps), norm(size, eps)  # type: ignore[call-arg]

    def made(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q, k, v = super().made(x)
        return self.nq(q), self.nk(k), v


def test_behind_a_norm_its_gain_takes_the_factor(file: Path) -> None:
    plan, off = run(file, Normed, "  - rescale: [norm, attention]")
    assert scales(plan) == {"nk.weight": pytest.approx(2)}  # of nq, the root of 16 / 4 and that of 4 / 16 cancel
    assert off < 1e-9
    only = run(file, Normed, "  - rescale: attention")[0]
    assert scales(only) == {"nq.weight": pytest.approx(0.5)}
    layer = run(file, lambda size: Normed(size, 1e-5, nn.LayerNorm))[0]
    assert scales(layer) == {"nq.weight": pytest.approx(0.5), "nq.bias": pytest.approx(0.5)}


class NoGain(Base):
    def made(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q, k, v = super().made(x)
        return F.rms_norm(q, q.shape[-1:]), F.rms_norm(k, k.shape[-1:]), v


class OffsetGain(Normed):
    def made(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q, k, v = Base.made(self, x)
        return tuple(F.rms_norm(t, t.shape[-1:]) * (n.weight + 1) for t, n in ((q, self.nq), (k, self.nk))) + (v,)  # type: ignore[return-value]


class LearnedScale(Base):
    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.tau = nn.Parameter(torch.ones(1))

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return ((q @ k.mT) * self.tau * self.size**-0.5).softmax(-1) @ v


class Shared(Base):
    """Queries are keys."""

    def made(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q = self.split(self.q(x))
        return q, q, self.split(self.v(x)) + 0 * self.split(self.k(x))


class QueriesAreValues(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.made(x)
        return self.out((self.attend(q, k, q) + v).transpose(1, 2).flatten(2))


class QueriesReadTwice(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.made(x)
        return self.out((self.attend(q, k, v) + q).transpose(1, 2).flatten(2))


class BothReadTwice(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.made(x)
        return self.out((self.attend(q, k, v) + q + k).transpose(1, 2).flatten(2))


class Twice(Base):
    """The same layer, applied twice."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(super().forward(x))


class Disentangled(Base):
    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return ((q @ k.mT + q @ v.mT) * self.size**-0.5).softmax(-1) @ v


class TurnedTogether(Rotary):
    """Queries and keys are laid end to end while they are turned."""

    def made(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q, k, v = Base.made(self, x)
        both = self.turn(torch.cat([q, k], 1))
        return both[:, :HEADS], both[:, HEADS:], v


@pytest.mark.parametrize(
    ("make", "why"),
    [
        pytest.param(NoGain, "which has no gain to fold a factor into|it passes mul of two values", id="no gain"),
        pytest.param(OffsetGain, "it passes mul of two values at", id="1 + gain"),
        pytest.param(Shared, "is read elsewhere too", id="shared"),
        pytest.param(BothReadTwice, "is read elsewhere too", id="read elsewhere"),
        pytest.param(Twice, "q.weight is used in several places", id="applied twice"),
        pytest.param(TurnedTogether, " is read by slice_tensor.* too", id="turned together"),
        pytest.param(
            LearnedScale,
            "no scores of queries and keys were found that have a number as their scale",
            id="learned scale",
        ),
        pytest.param(
            Disentangled,
            "no scores of queries and keys were found that have a number as their scale",
            id="two products",
        ),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_scaled(
    file: Path, make: Callable[[int], nn.Module], why: str
) -> None:
    plan, _ = run(file, make)
    assert scales(plan) == {}
    (note,) = plan.notes
    assert note.startswith("rescale: attention: ")
    assert re.search(why, note)


@pytest.mark.parametrize("make", [QueriesReadTwice, QueriesAreValues])
def test_keys_take_the_factor_where_queries_are_read_elsewhere(file: Path, make: Callable[[int], nn.Module]) -> None:
    plan, off = run(file, make)
    assert set(scales(plan)) == {"k.weight", "k.bias"}
    assert off < 1e-9


def test_equal_numbers_need_no_factor(file: Path) -> None:
    class Unscaled(Base):
        def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return F.scaled_dot_product_attention(q, k, v, scale=1.0)

    plan, off = run(file, Unscaled)
    assert (scales(plan), plan.notes) == ({}, ())
    assert off < 1e-9


def test_only_where_a_rule_asks(file: Path) -> None:
    plan = run(file, Library, "  - {where: {role: hidden}, rescale: attention}")[0]
    assert scales(plan) == {}
    plan = run(file, Library, "  - {where: {role: head_dim}, rescale: attention}")[0]
    assert set(scales(plan)) == {"q.weight", "q.bias"}


def test_queries_that_keep_their_own_values(file: Path) -> None:
    file.write_text('version: 1\ncomponents:\n  - keep: "q.*"\nelements:\n  - rescale: attention\n')
    plan = ws.plan(Library(4), Library(16), (3, 5, WIDTH), rules=file)
    assert scales(plan) == {}
    assert "the teacher's scores could not be found" in plan.notes[0]


def test_a_larger_student_is_left_alone(file: Path) -> None:
    plan, *_ = transferred(file, "  - {rescale: attention, grow: tile}", Library(16), Library(4), (3, 5, WIDTH))
    assert scales(plan) == {}
    assert "the student has more channels there than the teacher" in plan.notes[0]


@pytest.mark.parametrize("name", ["default", "paper", "llm"])
def test_it_is_off_in_shipped_files(name: str) -> None:
    plan = ws.plan(Library(4), Library(16), (3, 5, WIDTH), rules=name)
    assert (scales(plan), plan.notes) == ({}, ())


def test_a_fused_plan_through_a_file(file: Path, tmp_path: Path) -> None:
    plan, _ = run(file, FusedTransposed)
    plan.save(tmp_path / "plan.json")
    assert ws.load_plan(tmp_path / "plan.json") == plan


def test_heads_that_are_mixed_have_no_scale_to_keep(file: Path) -> None:
    plan, _ = run(file, Library, "  - {rescale: attention, unit: flat}")
    assert scales(plan) == {}
    assert plan.notes[0].endswith("heads and their channels are selected as one run; write unit: whole")
