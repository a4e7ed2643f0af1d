"""Oracle O7: on random architectures and random tensor programs the groups are right or the model is refused.

`test_pinned.py` keeps the counterexamples that this hunt has found.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import event, given, settings
from torch import nn

import wsel_graph as ws
from tests.blocks.attention import Attention, GroupedQueries
from tests.blocks.base import Block
from tests.blocks.images import Conv, Generated, Residual
from tests.blocks.tokens import Cut, Experts, GatedMlp, Mlp, Recurrent, Shuffle
from tests.blocks.weights import Computed
from tests.oracles.duplicates import duplicates_are_merged
from tests.oracles.judge import right_or_refused, zeroed_teacher_is_student
from tests.programs import Program
from tests.strategies import Architecture, Recipe, architectures, programs
from wsel_graph.ops import Call, Outputs
from wsel_graph.ops.registry import RULES

EXAMPLES = max(200, settings.default.max_examples if settings.default else 0)


@settings(max_examples=EXAMPLES)
@given(architectures())
def test_random_architectures_are_right_or_refused(architecture: Architecture) -> None:
    right_or_refused(architecture.build(), architecture.arguments())


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=EXAMPLES)
@given(programs())
def test_random_programs_are_right_or_refused(program: Program) -> None:
    right_or_refused(program.build(), program.arguments())


@settings(max_examples=EXAMPLES // 3)
@given(architectures(longest=3, counting=False))
def test_the_zeroed_wider_teacher_computes_what_the_student_computes(architecture: Architecture) -> None:
    student, teacher = architecture.build(), architecture.build(width_scale=2)
    zeroed_teacher_is_student(student, teacher, architecture.arguments())


@settings(max_examples=EXAMPLES // 3)
@given(architectures(longest=3, counting=False))
def test_merged_duplicates_change_nothing(architecture: Architecture) -> None:
    student, teacher = architecture.build(), architecture.build(width_scale=2)
    event(duplicates_are_merged(student, teacher, architecture.arguments(), zero=True))


@settings(max_examples=EXAMPLES // 3)
@given(architectures(longest=3))
def test_merged_duplicates_beside_norms_change_nothing(architecture: Architecture) -> None:
    """Pairs that the oracle can judge are those of which every smaller axis is merged."""
    student, teacher = architecture.build(), architecture.build(width_scale=2)
    event(duplicates_are_merged(student, teacher, architecture.arguments(), zero=False))


@settings(max_examples=50)
@given(architectures())
def test_a_wider_teacher_has_the_same_tensors(architecture: Architecture) -> None:
    student, teacher = architecture.build(), architecture.build(width_scale=2)
    sizes = {name: tuple(p.shape) for name, p in student.named_parameters()}
    wide = {name: tuple(p.shape) for name, p in teacher.named_parameters()}
    assert sizes.keys() == wide.keys()
    ratios = {b / a for name, shape in sizes.items() for a, b in zip(shape, wide[name], strict=True)}
    assert min(ratios) == 1.0
    assert 2.0 in ratios
    teacher(*architecture.arguments())


def recipe(kind: type[Block], **options: object) -> Recipe:
    """A block with every option given."""
    return Recipe(kind, tuple(options.items()))


MLP = recipe(Mlp, hidden=8, act="gelu", residual=True, norm=True, scaled=True)
ATTENTION = recipe(Attention, heads=3, layout="3hd", code="half", bias="table", whole=True, residual=True)
TRANSFORMER = (ATTENTION, MLP, recipe(GatedMlp, hidden=9, form="chunk"))
CONVOLUTIONS = (
    recipe(Conv, to=6, kernel=3, groups=1, norm="batch", act="relu", form="plain"),
    recipe(Residual, to=8, hidden=5, shortcut="conv", expand=True),
)
FIXED = {
    "transformer": Architecture("embedding", 12, 5, (), "", TRANSFORMER, "tied"),
    "grouped queries": Architecture(
        "linear", 8, 6, (), "", (recipe(GroupedQueries, pair=(4, 2), form="interleave", fused=True), MLP), "mean"
    ),
    "convolutions": Architecture("image", 6, 4, CONVOLUTIONS, "patches", (MLP,), "flatten"),
    "cuts": Architecture("linear", 9, 4, (), "", (recipe(Cut, at=4, form="inplace"), MLP), "mean"),
    "recurrent": Architecture(
        "linear", 6, 5, (), "", (recipe(Recurrent, form="lstm", hidden=5, both=True, layers=2, state="none"),), "first"
    ),
    "experts": Architecture(
        "linear", 8, 4, (), "", (recipe(Experts, form="stacked", experts=3, top=2, hidden=6), MLP), "mean"
    ),
    "computed weights": Architecture("linear", 8, 4, (), "", (recipe(Computed, form="lora", to=6), MLP), "mean"),
    "generated kernels": Architecture(
        "image", 6, 4, (recipe(Generated, form="bank", groups=2),), "flatten", (MLP,), "mean"
    ),
}


@pytest.mark.parametrize("architecture", FIXED.values(), ids=FIXED)
def test_known_architectures_are_exact_and_free(architecture: Architecture) -> None:
    model, inputs = architecture.build(), architecture.arguments()
    assert right_or_refused(model, inputs) == "exact"
    graph = ws.trace(model, inputs)
    assert any(group.free and len(group.members) > 3 for group in graph.groups)
    assert graph.free_fraction() > 0.9


# -- the oracle can fail: it is as sensitive as it must be


def disturbed(model: nn.Module) -> nn.Module:
    """A float64 copy in which no parameter is zero, one or equal to another."""
    model = copy.deepcopy(model).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def run(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """All result tensors."""
    wide = tuple(tensor.double() if tensor.is_floating_point() else tensor for tensor in inputs)
    with torch.no_grad():
        output = model(*wide)
    return list(torch.utils._pytree.tree_leaves(output))


def permute_one_member(model: nn.Module, graph: ws.ModelGraph, group: ws.CoupledGroup, member: int) -> nn.Module:
    """A copy in which one member of a group is permuted and the others are not."""
    name, dim = group.members[member]
    order = torch.roll(torch.arange(group.size), 1)
    model = copy.deepcopy(model)
    with torch.no_grad():
        tensor = (dict(model.named_parameters()) | dict(model.named_buffers()))[name]
        tensor.copy_(tensor.index_select(dim, graph.index(name, dim, {group: order})))
    return model


def sensitivity(architecture: Architecture) -> float:
    """Of all single members of free groups, the share whose permutation alone changes the outputs."""
    model, inputs = disturbed(architecture.build()), architecture.arguments()
    graph = ws.trace(model.float(), inputs)
    model = model.double()
    before = run(model, inputs)
    seen = []
    for group in graph.groups:
        if not group.free or len(group.members) < 2:
            continue
        for member in range(len(group.members)):
            after = run(permute_one_member(model, graph, group, member), inputs)
            seen.append(not all(torch.allclose(a, b, rtol=1e-6) for a, b in zip(before, after, strict=True)))
    assert len(seen) > 4
    return sum(seen) / len(seen)


def test_a_norm_over_channels_breaks_the_zeroed_teacher() -> None:
    architecture = Architecture("linear", 8, 4, (), "", (MLP,), "flatten")
    with pytest.raises(AssertionError):
        zeroed_teacher_is_student(architecture.build(), architecture.build(2), architecture.arguments())


@pytest.mark.parametrize("architecture", FIXED.values(), ids=FIXED)
def test_permuting_one_member_alone_changes_the_outputs(architecture: Architecture) -> None:
    assert sensitivity(architecture) > 0.8


def passes_through(call: Call) -> Outputs:
    """A wrong rule: whatever the operator does, the axes of its first operand are those of its result."""
    return call.tensors[0].axes


def forgets_the_input(call: Call) -> Outputs:
    """A wrong rule: a linear that does not couple its input with its weight."""
    x, weight = call["input"], call["weight"]
    if call["bias"] is not None:
        call.unify(weight.axes[0], call["bias"].axes[0])
    return (*x.axes[:-1], weight.axes[0])


def forgets_the_pieces(call: Call) -> Outputs:
    """A wrong rule: parts that have nothing to do with the whole."""
    return [tuple(call.fresh(size) for size in shape) for shape in call.shapes]


ORDERED = Architecture("linear", 6, 4, (), "", (recipe(Shuffle, form="cumsum", groups=2), MLP), "mean")
WRONG: dict[str, tuple[str, Callable[[Call], Outputs], Architecture]] = {
    "cumsum": ("aten::cumsum", passes_through, ORDERED),
    "linear": ("aten::linear", forgets_the_input, FIXED["transformer"]),
    "chunk": ("aten::split", forgets_the_pieces, FIXED["transformer"]),
    "split": ("aten::split_with_sizes", forgets_the_pieces, FIXED["grouped queries"]),
}


@pytest.mark.parametrize(("name", "rule", "architecture"), WRONG.values(), ids=WRONG)
def test_a_wrong_rule_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, rule: Callable[[Call], Outputs], architecture: Architecture
) -> None:
    right_or_refused(architecture.build(), architecture.arguments())
    monkeypatch.setitem(RULES, name, rule)
    with pytest.raises(AssertionError, match="NOT verified"):
        right_or_refused(architecture.build(), architecture.arguments())
