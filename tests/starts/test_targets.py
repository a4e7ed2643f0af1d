"""Targets correspond: a student that computes what the teacher does is told to compute what it computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import wsel_graph as ws
from tests.oracles import transplant_convnets, transplant_images, transplant_tokens
from tests.oracles.transplants import Transplant, build, directed
from tests.starts.architectures import PAIRS, built, cast
from tests.starts.twins import target_errors, worst

TWINS = (*transplant_images.TWINS, *transplant_convnets.TWINS, *transplant_tokens.TWINS)
EQUAL = 1e-9
REFUSED = (
    "the teacher lays out positions in another way",
    "no operator of this kind uses it",
    "its bias is no parameter with one value per channel",
    "its weight is computed from parameters",
    "embedding_default reads it too, in another way",
    "a norm or scale that is used several times",
)


@pytest.mark.parametrize("pair", directed(TWINS), ids=lambda pair: pair.name)
def test_targets_between_two_implementations(pair: Transplant) -> None:
    student, teacher, example = build(pair.student, 1), build(pair.teacher, 2), pair.example()
    ours, theirs = pair.student.inputs(example), pair.teacher.inputs(example)
    plan = ws.plan(student, teacher, ours, teacher_inputs=theirs)
    for repair in ("never", "last", "always"):
        errors, kept = target_errors(plan, student, teacher, ([ours], [theirs]), repair)
        assert worst(errors.values()) < EQUAL, {name: error for name, error in errors.items() if not error < EQUAL}
        assert errors or kept
        assert all(reason.endswith(REFUSED) for reason in kept.values()), kept


class Cls(nn.Module):
    """A summary token, first or last."""

    def __init__(self, turned: bool) -> None:
        super().__init__()
        self.turned, self.inlet, self.cls = turned, nn.Linear(5, 6), nn.Parameter(torch.randn(1, 1, 6))
        self.a, self.b, self.out = nn.Linear(6, 8), nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inlet(x)
        cls = self.cls.expand(x.shape[0], -1, -1)
        x = torch.cat((x, cls) if self.turned else (cls, x), 1)
        x = x + self.b(self.a(x).relu())
        return self.out(x[:, -1] if self.turned else x[:, 0])


class Grid(nn.Module):
    """Patches row by row, or column by column."""

    def __init__(self, turned: bool) -> None:
        super().__init__()
        self.turned, self.one, self.a, self.out = turned, nn.Conv2d(5, 6, 2, 2), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        x = x.permute(0, 3, 2, 1) if self.turned else x.permute(0, 2, 3, 1)
        return self.out(self.a(x.flatten(1, 2)).relu().mean(1))


class Flip(nn.Module):
    """Positions in order, or from the last to the first."""

    def __init__(self, turned: bool) -> None:
        super().__init__()
        self.turned, self.inlet, self.a, self.out = turned, nn.Linear(5, 6), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inlet(x)
        return self.out(self.a(x.flip(1) if self.turned else x).relu().mean(1))


def test_a_summary_token_on_the_other_side_is_refused() -> None:
    student, teacher = (Cls(turned).double().eval() for turned in (False, True))
    with pytest.raises(ws.WselError, match=r"a\.weight \[8, 6\]: parts of .* are laid together in another order"):
        ws.plan(student, teacher, torch.randn(2, 4, 5, dtype=torch.float64))


@pytest.mark.parametrize("kind", [Grid, Flip])
def test_positions_in_another_order_are_refused(kind: type[nn.Module]) -> None:
    student, teacher = (kind(turned).double().eval() for turned in (False, True))
    shape = (2, 5, 8, 8) if kind is Grid else (2, 4, 5)
    example = torch.randn(*shape, dtype=torch.float64)
    plan = ws.plan(student, teacher, example)
    for repair in ("never", "last", "always"):
        errors, kept = target_errors(plan, student, teacher, ([example], [example]), repair)
        assert worst(errors.values()) < EQUAL
        assert kept["a.weight"] == REFUSED[0]


@pytest.mark.parametrize("name", PAIRS)
def test_targets_of_the_same_architecture(name: str) -> None:
    pair = PAIRS[name]
    teacher, student = pair.teacher().double(), built(lambda: pair.make(2, pair.depths[1]), 1).double()
    batches = [cast(batch, torch.float64) for batch in pair.batches(2, 3)]
    plan = ws.plan(student, teacher, batches[0])
    for repair in ("never", "last", "always"):
        errors, kept = target_errors(plan, student, teacher, (batches, batches), repair)
        assert worst(errors.values()) < EQUAL, {name: error for name, error in errors.items() if not error < EQUAL}
        assert len(errors) > len(kept)
        assert set(kept.values()) <= set(REFUSED[-2:]), kept


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, torch.float32) for name in PAIRS]
    + [(name, dtype) for name in ("BERT", "ConvNeXt", "U-Net") for dtype in (torch.float64, torch.bfloat16)],
)
def test_the_teachers_own_architecture_is_not_changed(name: str, dtype: torch.dtype) -> None:
    """O1: everything is exact already, so the selected values stay, bit for bit."""
    pair = PAIRS[name]
    teacher, student = pair.teacher().to(dtype), built(lambda: pair.make(2, pair.depths[1]), 1).to(dtype)
    batches = [cast(batch, dtype) for batch in pair.batches(5, 3)]
    plan = ws.plan(student, teacher, batches[0])
    for repair in ("never", "always"):
        done = ws.compensate(plan, student, teacher, batches, repair=repair)
        assert done.fitted == ()
        assert {outcome.how for outcome in done.outcomes} == {"exact"}
        wanted = teacher.state_dict()
        assert [key for key, value in student.state_dict().items() if not torch.equal(value, wanted[key])] == []
