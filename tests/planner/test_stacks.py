"""Experts as one stacked parameter, and as a list of modules: in own code, and in Mixtral."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import wsel_graph as ws
from tests.planner.planted import planted, randomized
from tests.zoo.torchvision_stub import install
from wsel_graph.coupling.verify import relative_error
from wsel_graph.errors import MatchError, PlanError

install()
import transformers  # noqa: E402

TOKENS = torch.randn(3, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
IDS = {"input_ids": torch.arange(36).reshape(4, 9) % 19}


class Experts(nn.Module):
    """The two best of several gated perceptrons, run one after another.

    Args:
        stacked: One parameter for all experts, gate and value fused in it; else a linear each.
        dense: Every expert sees all tokens; else only those that chose it.
        reverse: The experts run in the opposite order.
        equal: Who chose an expert is found by comparing numbers, else in a mask.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        count: int,
        *,
        stacked: bool,
        dense: bool,
        reverse: bool = False,
        equal: bool = False,
    ) -> None:
        super().__init__()
        self.equal = equal
        self.router, self.dense, self.order = nn.Linear(width, count, bias=False), dense, list(range(count))
        self.stacked = stacked
        if reverse:
            self.order.reverse()
        if stacked:
            self.widen = nn.Parameter(torch.zeros(count, 2 * hidden, width))
            self.narrow = nn.Parameter(torch.zeros(count, width, hidden))
        else:
            sizes = (width, hidden), (width, hidden), (hidden, width)
            lists = (nn.ModuleList(nn.Linear(*size, bias=False) for _ in range(count)) for size in sizes)
            self.gate, self.value, self.back = lists

    def expert(self, number: int, x: Tensor) -> Tensor:
        if self.stacked:
            gate, value = F.linear(x, self.widen[number]).chunk(2, -1)
            return F.linear(F.silu(gate) * value, self.narrow[number])
        y: Tensor = self.back[number](F.silu(self.gate[number](x)) * self.value[number](x))
        return y

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) to the same."""
        scores, chosen = self.router(x.flatten(0, 1)).softmax(-1).topk(2, -1)
        mask = F.one_hot(chosen, len(self.order)).permute(2, 1, 0)
        flat, full = (
            x.flatten(0, 1),
            torch.zeros(len(scores), len(self.order), dtype=x.dtype).scatter(1, chosen, scores),
        )
        total = torch.zeros_like(flat)
        for number in self.order:
            if self.dense:
                total = total + self.expert(number, flat) * full[:, number : number + 1]
            else:
                rank, row = torch.where(number == chosen.T if self.equal else mask[number])
                total = total.index_add(0, row, self.expert(number, flat[row]) * scores[row, rank, None])
        return total.view_as(x)


class Net(nn.Module):
    """Two residual blocks."""

    def __init__(self, hidden: int, count: int = 4, **form: bool) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(7, 8), nn.Linear(8, 3)
        self.blocks = nn.ModuleList(Experts(8, hidden, count, **form) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for block in self.blocks:
            x = x + block(x)
        y: Tensor = self.leave(x)
        return y


class Listed(nn.Module):
    """Mixtral's experts as a list, the tokens of each found with a mask."""

    def __init__(self, width: int, hidden: int, count: int) -> None:
        super().__init__()
        self.router = nn.Linear(width, count, bias=False)
        sizes = (width, hidden), (hidden, width), (width, hidden)
        self.experts = nn.ModuleList(
            nn.ModuleList(nn.Linear(*size, bias=False) for size in sizes) for _ in range(count)
        )

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(0, 1)
        best, chosen = torch.topk(F.softmax(self.router(flat), dim=1, dtype=torch.float), 2, dim=-1)
        weights = (best / best.sum(-1, keepdim=True)).to(x.dtype)
        mask, total = F.one_hot(chosen, len(self.experts)).permute(2, 1, 0), torch.zeros_like(flat)
        for number, (gate, back, value) in enumerate(self.experts):
            rank, row = torch.where(mask[number])
            own = flat[row]
            made = back(F.silu(gate(own)) * value(own))
            total.index_add_(0, row, made * weights[row, rank, None])
        return total.view_as(x)


def mixtral(hidden: int = 12, *, listed: bool) -> nn.Module:
    config = transformers.MixtralConfig(
        vocab_size=19, hidden_size=16, intermediate_size=hidden, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=4, num_local_experts=4, num_experts_per_tok=2, use_cache=False,
        experts_implementation="eager",
    )  # fmt: skip
    model = transformers.MixtralForCausalLM(config)
    if listed:
        for layer in model.model.layers:
            layer.mlp = Listed(16, hidden, 4)
    return model


def distance(student: nn.Module, teacher: nn.Module, inputs: Any, call: Callable[[nn.Module], Tensor]) -> float:
    """Of the student from the teacher whose left-out elements are zero; everything is to be filled."""
    with torch.no_grad():
        randomized(student, 1), randomized(teacher, 2)
    plan = ws.plan(student, teacher, inputs)
    assert not [kept.student for kept in plan.kept if kept.parameter]
    source = planted(plan, teacher)
    ws.apply(plan, student, source)
    with torch.no_grad():
        return float(relative_error(call(source), call(student)))


@pytest.mark.parametrize("hidden", [6, 3])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("stacked", [False, True])
def test_own_experts(stacked: bool, dense: bool, hidden: int) -> None:
    student, teacher = Net(hidden, stacked=stacked, dense=dense), Net(6, stacked=not stacked, dense=dense)
    assert distance(student, teacher, TOKENS, lambda net: net(TOKENS)) < 1e-9


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("stacked", [False, True])
def test_experts_in_another_order_are_never_exchanged(stacked: bool, dense: bool) -> None:
    """The router's rows say which expert is which. In a chain of sums the order stays, and they cannot be told."""
    student = Net(6, stacked=stacked, dense=dense, reverse=True)
    teacher = Net(6, stacked=not stacked, dense=dense)
    if dense:
        assert distance(student, teacher, TOKENS, lambda net: net(TOKENS)) < 1e-9
    else:
        with pytest.raises(MatchError, match=r"its branch and the teacher's that comes in this order take part in oth"):
            ws.plan(student, teacher, TOKENS.float())


@pytest.mark.parametrize("hidden", [12, 5])
@pytest.mark.parametrize("listed", [False, True])
def test_mixtral(listed: bool, hidden: int) -> None:
    pair = mixtral(hidden, listed=listed), mixtral(listed=not listed)
    assert distance(*pair, IDS, lambda net: net(**IDS).logits) < 1e-9


FORMS = [{"dense": True}, {"dense": False}, {"dense": False, "equal": True}]


@pytest.mark.parametrize("form", FORMS, ids=["dense", "mask", "equal"])
def test_fewer_experts_are_the_first_ones(form: dict[str, bool]) -> None:
    """Experts are paired by their numbers, so a router's rows have to be the first too."""
    student, teacher = Net(6, 2, stacked=False, **form), Net(6, stacked=False, **form)
    with torch.no_grad():
        randomized(student, 1), randomized(teacher, 2)
    with pytest.raises(PlanError, match=r"router.weight:0: size 2 in the student, 4 in the teacher.*overrides="):
        ws.plan(student, teacher, TOKENS)
    first, others = ({f"blocks.{i}.router.weight:0": rows for i in range(2)} for rows in ([0, 1], [1, 3]))
    with pytest.raises(
        PlanError, match=r"elements \[1, 3\] of teacher .*router.weight are.* Take the first ones, \[0, 1\]"
    ):
        ws.plan(student, teacher, TOKENS, overrides=others)
    ws.initialize(student, teacher, TOKENS, overrides=first)
    given = dict(teacher.named_parameters())
    for name, tensor in student.named_parameters():
        assert torch.equal(tensor, given[name][:2] if "router" in name else given[name])


def test_a_stack_of_which_a_part_is_used_is_refused() -> None:
    student = Net(6, stacked=True, dense=True)
    for block in student.blocks:
        block.order = block.order[:3]
    teacher = Net(6, count=3, stacked=False, dense=True)
    with pytest.raises(MatchError, match=r"only 3 of the 4 elements of this stack take part on the example inputs"):
        ws.plan(student, teacher, TOKENS.float(), keep=["*.router.*"])
