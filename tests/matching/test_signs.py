"""A vector that is subtracted, scaled, divided by or shifted is no counterpart of one that is not."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import wsel_graph as ws
from tests.planner.planted import randomized
from wsel_graph.coupling.verify import relative_error
from wsel_graph.errors import MatchError

VECTORS = torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Form = Callable[[Tensor, Tensor], Tensor]


class Net(nn.Module):
    """A linear, a function of its result and a vector, another linear.

    Args:
        between: What comes before the function.
    """

    def __init__(self, form: Form, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(7, 8, bias=False), nn.Linear(8, 3)
        self.vector, self.form, self.between = nn.Parameter(torch.ones(8)), form, between

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.leave(self.form(self.between(self.enter(x)), self.vector).tanh())
        return y


def rms(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


ADDED: dict[str, tuple[Form, ...]] = {
    "y + c": (lambda y, c: y + c, lambda y, c: c + y, lambda y, c: torch.add(c, y)),
    "y - c": (lambda y, c: y - c, lambda y, c: torch.rsub(c, y), lambda y, c: y.clone().sub_(c)),
    "c - y": (lambda y, c: c - y, lambda y, c: torch.rsub(y, c)),
    "y + 2 c": (lambda y, c: torch.add(y, c, alpha=2),),
    "y + (-c)": (lambda y, c: y + (-c),),
}
MULTIPLIED: dict[str, tuple[Form, ...]] = {
    "y c": (lambda y, c: y * c, lambda y, c: c * y),
    "y / c": (lambda y, c: y / c, lambda y, c: y.clone().div_(c)),
    "c / y": (lambda y, c: c / y,),
    "y (1 + c)": (lambda y, c: y * (1 + c), lambda y, c: (c + 1) * y),
}


def start(ours: Form, theirs: Form, between: Callable[[Tensor], Tensor]) -> float:
    student, teacher = randomized(Net(ours, between), 1), randomized(Net(theirs, between), 2)
    assert ws.initialize(student, teacher, VECTORS).coverage == 1
    with torch.no_grad():
        return float(relative_error(teacher(VECTORS), student(VECTORS)))


@pytest.mark.parametrize("between", [lambda y: y, torch.relu, rms], ids=["a bias", "a shift", "a norm"])
@pytest.mark.parametrize("forms", [ADDED, MULTIPLIED], ids=["added", "multiplied"])
def test_equal_forms_correspond_and_others_are_refused(
    forms: dict[str, tuple[Form, ...]], between: Callable[[Tensor], Tensor]
) -> None:
    for one, other in itertools.product(forms, forms):
        for ours, theirs in itertools.product(forms[one], forms[other]):
            if one == other:
                assert start(ours, theirs, between) < 1e-9, (one, other)
            else:
                with pytest.raises(MatchError, match="have no counterpart in the teacher"):
                    start(ours, theirs, between)


def test_a_vector_that_is_subtracted_is_no_bias() -> None:
    plain = nn.Sequential(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, 3))
    for form in ADDED["y + c"]:
        net = randomized(Net(form, lambda y: y), 1)
        ws.initialize(net, randomized(plain, 2), VECTORS)
        with torch.no_grad():
            assert relative_error(plain(VECTORS), net(VECTORS)) < 1e-9
    for name in ADDED.keys() - {"y + c"}:
        with pytest.raises(MatchError, match=r"vector \[8\]: "):
            ws.plan(Net(ADDED[name][0], lambda y: y), plain, VECTORS.float())
