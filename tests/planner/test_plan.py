"""Plans: which elements, which groups agree, what is kept, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import wsel_graph as ws
from tests.nets import INPUT, ConvNet, Language, Transformer, mlp
from wsel_graph.errors import MatchError, PlanError
from wsel_graph.plan import Choice, Copy

TOKENS = (2, 5, INPUT)
IDS = {"ids": torch.arange(10).reshape(2, 5)}


def copies(plan: ws.Plan) -> dict[str, Copy]:
    """Copies by student name."""
    return {copy.student: copy for copy in plan.copies}


def elements(plan: ws.Plan, name: str, dim: int) -> list[int]:
    """The teacher elements of one student dim."""
    return list(copies(plan)[name].indices[dim])


def choices(plan: ws.Plan, role: str) -> list[Choice]:
    """Choices of one role."""
    return [choice for choice in plan.choices if choice.role == role]


def whole_heads(heads: list[int], head_dim: int) -> list[int]:
    """All channels of the given heads."""
    return [head * head_dim + channel for head in heads for channel in range(head_dim)]


# -- heads


def test_heads_are_taken_whole_and_agree() -> None:
    plan = ws.plan(Transformer(12, 3, 4), Transformer(24, 6, 4), TOKENS)
    expected = whole_heads([0, 2, 4], 4)
    for block in (0, 1):
        assert all(elements(plan, f"blocks.{block}.attn.{name}.weight", 0) == expected for name in "qkv")
        assert elements(plan, f"blocks.{block}.attn.o.weight", 1) == expected
        assert elements(plan, f"blocks.{block}.attn.o.weight", 0) == list(range(0, 24, 2))
    assert [(c.teacher_size, c.student_size, c.method) for c in choices(plan, "heads")] == [(6, 3, "uniform")] * 2


def test_head_channels_are_chosen_within_every_head() -> None:
    plan = ws.plan(Transformer(12, 2, 3), Transformer(12, 4, 6), TOKENS)
    expected = [head * 6 + channel for head in (0, 2) for channel in (0, 2, 4)]
    assert all(elements(plan, f"blocks.0.attn.{name}.weight", 0) == expected for name in "qkv")


def test_fused_projection_takes_the_same_heads_of_every_part() -> None:
    student, teacher = nn.MultiheadAttention(6, 3, batch_first=True), nn.MultiheadAttention(24, 6, batch_first=True)
    plan = ws.plan(
        student,
        teacher,
        (torch.ones(1, 5, 6),) * 3,
        teacher_inputs=(torch.ones(1, 5, 24),) * 3,
        overrides={"input": range(6)},
    )
    chosen = elements(plan, "in_proj_weight", 0)
    heads = [head * 4 + channel for head in (0, 2, 4) for channel in (0, 2)]
    assert chosen == [part * 24 + channel for part in range(3) for channel in heads]


@pytest.mark.parametrize(
    ("student", "teacher", "q", "k"),
    [
        pytest.param((4, 2), (8, 4), [0, 1, 4, 5], [0, 2], id="fewer key heads"),
        pytest.param((4, 4), (8, 4), [0, 2, 4, 6], [0, 1, 2, 3], id="ungrouped student"),
        pytest.param((2, 1), (8, 4), [0, 1], [0], id="one key head"),
        pytest.param((2, 2), (8, 4), [0, 4], [0, 2], id="fewer of both"),
    ],
)
def test_grouped_queries(student: tuple[int, int], teacher: tuple[int, int], q: list[int], k: list[int]) -> None:
    ours, theirs = (Transformer(16, heads, 4, kv=kv, depth=1) for heads, kv in (student, teacher))
    plan = ws.plan(ours, theirs, TOKENS)
    assert elements(plan, "blocks.0.attn.q.weight", 0) == whole_heads(q, 4)
    assert (
        elements(plan, "blocks.0.attn.k.weight", 0) == elements(plan, "blocks.0.attn.v.weight", 0) == whole_heads(k, 4)
    )
    assert elements(plan, "blocks.0.attn.o.weight", 1) == whole_heads(q, 4)


def test_grouped_student_of_an_ungrouped_teacher_is_refused() -> None:
    ours, theirs = Transformer(16, 4, 4, kv=2), Transformer(16, 8, 4)
    with pytest.raises(PlanError, match=r"student is larger than the teacher on the coupled axis queries: 2 > 1"):
        ws.plan(ours, theirs, TOKENS)


class SingleHead(nn.Module):
    """Attention that knows no heads."""

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(INPUT, dim), nn.Linear(dim, 3)
        self.q, self.k, self.v = (nn.Linear(dim, channels) for _ in range(3))
        self.o = nn.Linear(channels, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        weights = (self.q(x) @ self.k(x).transpose(1, 2)).softmax(-1)
        return self.head(x + self.o(weights @ self.v(x)))


class ManyHeads(SingleHead):
    """The same with heads."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__(dim, heads * head_dim)
        self.shape = (heads, head_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        q, k, v = (part(x).unflatten(-1, self.shape).transpose(1, 2) for part in (self.q, self.k, self.v))
        weights = (q @ k.transpose(-1, -2)).softmax(-1)
        return self.head(x + self.o((weights @ v).transpose(1, 2).flatten(2)))


@pytest.mark.parametrize("make", [lambda: SingleHead(8, 4), lambda: ManyHeads(8, 1, 4)], ids=["no heads", "one head"])
def test_single_head_takes_one_head_of_many(make: Any) -> None:
    plan = ws.plan(make(), ManyHeads(16, 4, 4), TOKENS)
    assert all(elements(plan, f"{name}.weight", 0) == [0, 1, 2, 3] for name in "qkv")
    assert elements(plan, "o.weight", 1) == [0, 1, 2, 3]
    assert {(c.teacher_size, c.student_size) for c in choices(plan, "heads")} == {(4, 1)}


def test_wide_single_head_needs_the_flat_unit() -> None:
    student, teacher = SingleHead(8, 8), ManyHeads(16, 4, 4)
    with pytest.raises(PlanError, match=r"head_dim: 8 > 4 .*or select merged axes as one with unit='flat'\. To fill"):
        ws.plan(student, teacher, TOKENS)
    plan = ws.plan(student, teacher, TOKENS, unit="flat")
    assert all(elements(plan, f"{name}.weight", 0) == list(range(0, 16, 2)) for name in "qkv")


# -- the flat unit


def test_flat_takes_channels_from_every_head() -> None:
    plan = ws.plan(Transformer(12, 3, 4), Transformer(24, 6, 4), TOKENS, unit="flat")
    assert all(elements(plan, f"blocks.0.attn.{name}.weight", 0) == list(range(0, 24, 2)) for name in "qkv")
    assert {c.method for c in choices(plan, "(heads head_dim)")} == {"uniform, flat"}
    assert not choices(plan, "heads")
    assert "(heads head_dim) 24 -> 12 uniform, flat" in plan.explain("blocks.0.attn.q.weight")


def test_flat_allows_more_heads_of_fewer_channels() -> None:
    plan = ws.plan(Transformer(12, 4, 2), Transformer(24, 3, 4), TOKENS, unit="flat")
    assert elements(plan, "blocks.0.attn.q.weight", 0) == [round(i * 11 / 7) for i in range(8)]


class Mixed(nn.Module):
    """Merges two axes `(a b)`, and then uses them in another way too."""

    def __init__(self, a: int, b: int, how: str) -> None:
        super().__init__()
        self.a, self.b, self.how = a, b, how
        self.first, self.last = nn.Linear(4, a * b), nn.Linear(a * b, 3)
        self.scale = nn.Parameter(torch.ones(a, b) if how == "apart" else torch.ones(b if how == "inner" else a))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).unflatten(-1, (self.a, self.b))
        if self.how == "order":
            return self.last((x * self.scale[:, None]).transpose(-1, -2).flatten(-2))
        if self.how == "none":
            return self.last((x * x.amax(-1, keepdim=True)).flatten(-2))
        return self.last((x * (self.scale[:, None] if self.how == "outer" else self.scale)).flatten(-2))


@pytest.mark.parametrize(
    ("how", "flat"),
    [
        pytest.param("order", False, id="merged in two orders"),
        pytest.param("apart", False, id="taken apart"),
        pytest.param("inner", False, id="inner axis on its own"),
        pytest.param("outer", False, id="outer axis on its own"),
        pytest.param("none", True, id="merged in one way"),
    ],
)
def test_flat_only_where_it_is_consistent(how: str, flat: bool) -> None:
    plan = ws.plan(Mixed(2, 2, how), Mixed(4, 6, how), (1, 4), unit="flat")
    by_factor = [outer * 6 + inner for outer in (0, 2) for inner in (0, 3)]
    assert elements(plan, "first.weight", 0) == ([0, 6, 12, 18] if flat else by_factor)
    assert any(choice.method == "uniform, flat" for choice in plan.choices) == flat


def test_flat_leaves_pinned_factors_whole() -> None:
    def flattens(width: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, width, 3), nn.Flatten(), nn.Linear(width * 4, 2))

    plan = ws.plan(flattens(2), flattens(4), (1, 3, 4, 4), unit="flat")
    assert elements(plan, "2.weight", 1) == [0, 1, 2, 3, 8, 9, 10, 11]


def test_flat_leaves_grouped_queries_whole() -> None:
    plan = ws.plan(Transformer(16, 4, 4, kv=2), Transformer(16, 8, 4, kv=4), TOKENS, unit="flat")
    assert elements(plan, "blocks.0.attn.k.weight", 0) == whole_heads([0, 2], 4)
    assert elements(plan, "blocks.0.attn.q.weight", 0) == whole_heads([0, 1, 4, 5], 4)


# -- methods, overrides, seeds


def test_rope_frequencies_stay_exact() -> None:
    """A student head of half the channels has every other frequency: uniform keeps them in place, in both halves."""
    plan = ws.plan(Transformer(16, 2, 4, rope=True), Transformer(16, 2, 8, rope=True), TOKENS)
    assert elements(plan, "blocks.0.attn.q.weight", 0) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert elements(plan, "blocks.0.attn.k.weight", 0) == [0, 2, 4, 6, 8, 10, 12, 14]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, [0, 2, 4, 6], id="uniform"),
        pytest.param({"method": "consecutive"}, [0, 1, 2, 3], id="consecutive"),
        pytest.param({"method": lambda t, s: range(t - s, t)}, [4, 5, 6, 7], id="function"),
        pytest.param({"overrides": {"hidden": "consecutive"}}, [0, 1, 2, 3], id="role"),
        pytest.param({"overrides": {"0.bias:0": [7, 1, 0, 2]}}, [7, 1, 0, 2], id="place"),
        pytest.param({"overrides": {"0.bias:0": np.array([7, 1, 0, 2])}}, [7, 1, 0, 2], id="array"),
        pytest.param({"overrides": {"hidden": "consecutive", "0.weight:0": "uniform"}}, [0, 2, 4, 6], id="place wins"),
    ],
)
def test_methods_and_overrides(options: dict[str, Any], expected: list[int]) -> None:
    plan = ws.plan(mlp(4), mlp(8), (1, 4), **options)
    assert elements(plan, "0.weight", 0) == elements(plan, "0.bias", 0) == elements(plan, "2.weight", 1) == expected


def test_an_override_may_reorder_and_may_choose_labels() -> None:
    plan = ws.plan(
        mlp(8, labels=2), mlp(8, labels=5), (1, 4), overrides={"label": [4, 1], "0.weight:0": list(range(7, -1, -1))}
    )
    assert elements(plan, "4.bias", 0) == [4, 1]
    assert elements(plan, "2.weight", 1) == list(range(7, -1, -1))


def test_unknown_overrides_are_refused() -> None:
    with pytest.raises(
        PlanError,
        match=r"overrides name no coupled group: 'hiden'\. Keys are roles \(here hidden, inp.*mean 'hidden'\?",
    ):
        ws.plan(mlp(4), mlp(8), (1, 4), overrides={"hiden": "uniform"})


def test_faulty_override_names_the_place() -> None:
    with pytest.raises(PlanError, match=r"for 0\.bias:0 does not fit: 3 elements given, the student needs 4"):
        ws.plan(mlp(4), mlp(8), (1, 4), overrides={"0.weight:0": [0, 1, 2]})


def test_random_is_consistent_and_seeded() -> None:
    plans = [ws.plan(ConvNet(8), ConvNet(32), (1, 3, 8, 8), method="random", seed=seed) for seed in (0, 0, 1)]
    stream = elements(plans[0], "stem.weight", 0)
    assert elements(plans[0], "back.weight", 0) == elements(plans[0], "head.weight", 1) == stream
    assert plans[0] == plans[1]
    assert elements(plans[2], "stem.weight", 0) != stream


def test_inconsistent_draws_differ() -> None:
    plan = ws.plan(ConvNet(8), ConvNet(32), (1, 3, 8, 8), method="random", consistent=False)
    drawn = [elements(plan, name, dim) for name, dim in (("stem.weight", 0), ("bn1.weight", 0), ("point.weight", 1))]
    assert all(len(set(items)) == 8 for items in drawn)
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]
    uniform = ws.plan(ConvNet(8), ConvNet(32), (1, 3, 8, 8), consistent=False)
    assert copies(uniform) == copies(ws.plan(ConvNet(8), ConvNet(32), (1, 3, 8, 8)))


def test_inconsistent_flat_draws_differ() -> None:
    plan = ws.plan(Transformer(12, 3, 4), Transformer(24, 6, 4), TOKENS, unit="flat", method="random", consistent=False)
    assert elements(plan, "blocks.0.attn.q.weight", 0) != elements(plan, "blocks.0.attn.k.weight", 0)


# -- what is kept


@pytest.mark.parametrize(("ours", "theirs"), [(3, 9), (9, 3), (1, 9), (9, 1)])
def test_label_head_of_another_size_is_kept(ours: int, theirs: int) -> None:
    plan = ws.plan(mlp(4, labels=ours), mlp(8, labels=theirs), (1, 4))
    reason = f"label axis of size {ours}, the teacher's has {theirs}"
    assert {kept.student: kept.reason for kept in plan.kept} == {"4.weight": reason, "4.bias": reason}
    assert plan.explain("4.bias") == f"4.bias [{ours}] keeps the student's own values: {reason}"


def test_kept_reasons() -> None:
    class Spare(nn.Sequential):
        def __init__(self, width: int) -> None:
            super().__init__(nn.BatchNorm1d(4), *mlp(width))
            self.unused = nn.ParameterList([nn.Parameter(torch.ones(2))])
            self.register_buffer("computed", torch.ones(3), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in list(self)[:6]:
                x = layer(x)
            return x + 0 * self.computed

    plan = ws.plan(Spare(4), Spare(8), (2, 4), keep=["1.b*"])
    assert {kept.student: kept.reason for kept in plan.kept} == {
        "1.bias": "asked for by keep: 1.b*",
        "unused.0": "not used by the forward pass",
        "0.num_batches_tracked": "integer values are configuration",
        "computed": "not in the state dict: the student computes it",
    }


def test_keep_takes_globs_and_refuses_what_matches_nothing() -> None:
    plan = ws.plan(Transformer(8, 2, 4), Transformer(16, 4, 4), TOKENS, keep=["blocks.*.attn.*", "head.?eight"])
    kept = {item.student for item in plan.kept}
    assert kept == {f"blocks.{i}.attn.{p}.{t}" for i in (0, 1) for p in "qkvo" for t in ("weight", "bias")} | {
        "head.weight"
    }
    with pytest.raises(PlanError, match=r"keep: no student tensor matches 'haed\.weight'; near: head\.weight"):
        ws.plan(Transformer(), Transformer(), TOKENS, keep="haed.weight")


def test_a_plan_that_copies_nothing_is_refused() -> None:
    with pytest.raises(PlanError, match=r"the plan would copy nothing.*asked for by keep: \*"):
        ws.plan(mlp(4), mlp(8), (1, 4), keep=["*"])


# -- layers


def test_layer_maps() -> None:
    plan = ws.plan(Transformer(8, 2, 4, depth=2), Transformer(16, 4, 4, depth=5), TOKENS)
    ((stage, depth, pairs),) = ((layer.stage, layer.teacher_depth, layer.pairs) for layer in plan.layers)
    assert (stage, depth, pairs) == ("blocks", 5, ((0, 0), (1, 1)))
    assert {copy.teacher for copy in plan.copies} == {copy.student for copy in plan.copies}


# -- refusals that name both sides


def pinned(length: int) -> nn.Module:
    """A learned position table of its own length."""

    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.place = nn.Conv1d(4, 6, 1), nn.Parameter(torch.ones(6, length))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x) + self.place

    return Positions()


REFUSED = [
    pytest.param(
        mlp(9), mlp(8), (1, 4), None,
        r"larger than the teacher on the coupled axis hidden: 9 > 8 \(student 0\.weight:0, 0\.bias:0, 2\.weight:1\).*"
        r"give the student at most the teacher's size, or exchange student and teacher\. .*"
        r"  - where: \{role: hidden\}\n    grow: tile$", id="larger",
    ),
    pytest.param(
        mlp(4, inputs=3), mlp(4), (1, 3), (1, 4),
        r"0\.weight:1: size 3 in the student, 4 in the teacher, and the axis is pinned \(input, at graph node input_0\)"
        r".*channels.*keep=\['0\.weight'\].*overrides=\{'0\.weight:1': \[\.\.\.\]\}", id="input",
    ),
    pytest.param(
        pinned(4), pinned(5), (1, 4, 4), (1, 4, 5),
        r"place:1: size 4 in the student, 5 in the teacher.*pinned \(input.*or length.*keep=\['place'\].*"
        r'  - where: \{role: input, student: "place"\}\n    resize: keep$', id="position",
    ),
    pytest.param(
        Language(8, tied=False, vocabulary=10), Language(8, tied=False), IDS, None,
        r"embed\.weight:0: size 10 in the student, 11 in the teacher.*\(vocab.*teacher's vocabulary.*"
        r"  - where: \{role: vocabulary\}\n    take: \{tokens: map\.json\}$", id="vocabulary",
    ),
    pytest.param(
        nn.Sequential(nn.Conv1d(4, 4, 3, padding=1)), nn.Sequential(nn.Linear(4, 4)), (1, 4, 4), None,
        r"the plan would copy nothing.*label axis, without a counterpart: the teacher has no block of this structure",
        id="part",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("student", "teacher", "inputs", "teacher_inputs", "text"), REFUSED)
def test_refusals(student: nn.Module, teacher: nn.Module, inputs: Any, teacher_inputs: Any, text: str) -> None:
    with pytest.raises(ws.WselError, match=rf"(?s){text}"):
        ws.plan(student, teacher, inputs, teacher_inputs=teacher_inputs)


class Wired(nn.Module):
    """Three linears; a residual connection may tie the widths of two of them."""

    def __init__(self, a: int, b: int, tied: bool) -> None:
        super().__init__()
        self.tied = tied
        self.first, self.left, self.right, self.last = (
            nn.Linear(4, a),
            nn.Linear(4, b),
            nn.Linear(a, 3),
            nn.Linear(b, 3),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.first(x), self.left(x)
        a, b = (F.relu(a + b), a - b) if self.tied else (F.relu(a), -b)
        return self.right(a) + self.last(b)


def test_coupled_teacher_and_uncoupled_student() -> None:
    plan = ws.plan(Wired(4, 4, tied=False), Wired(8, 8, tied=True), (1, 4))
    assert elements(plan, "first.weight", 0) == elements(plan, "last.weight", 1) == [0, 2, 4, 6]
    with pytest.raises(
        PlanError,
        match=r"(?s)different size in the student correspond to one coupled group of the teacher:.*"
        r"size 3: left\.weight dim 0.*size 4: first\.weight dim 0.*couple their axes diff",
    ):
        ws.plan(Wired(4, 3, tied=False), Wired(8, 8, tied=True), (1, 4))


def test_uncoupled_teacher_and_coupled_student() -> None:
    plan = ws.plan(Wired(4, 4, tied=True), Wired(8, 8, tied=False), (1, 4))
    assert elements(plan, "left.weight", 0) == elements(plan, "right.weight", 1) == [0, 2, 4, 6]
    with pytest.raises(
        PlanError, match=r"different size in the teacher correspond to one coupled group of the student"
    ):
        ws.plan(Wired(4, 4, tied=True), Wired(8, 6, tied=False), (1, 4))


class Laid(nn.Module):
    """Two streams laid end to end before the last linear, in one order or the other."""

    def __init__(self, parts: tuple[int, ...]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(4, size) for size in parts)
        self.last = nn.Linear(sum(parts), 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cat([part(x) for part in self.parts], -1))


def test_concatenated_parts_are_chosen_separately() -> None:
    plan = ws.plan(Laid((2, 3)), Laid((4, 6)), (1, 4))
    assert elements(plan, "last.weight", 1) == [0, 2, 4, 6, 8]


def test_axes_built_differently_but_of_one_size_are_whole() -> None:
    student, teacher = Laid((3, 3)), Laid((2, 2, 2))
    plan = ws.plan(student, teacher, (1, 4), keep=["parts.*"])
    assert elements(plan, "last.weight", 1) == list(range(6))
    assert {(c.teacher_size, c.student_size, c.method) for c in choices(plan, "hidden")} == {
        (2, 2, "whole"),
        (3, 3, "whole"),
    }
    text = r"all elements are needed at last\.weight:1, which the two models build differently.*keep=\['last\.weight'\]"
    with pytest.raises(
        PlanError, match=r"^parts\.0\.weight:0, .*: size 3 in the student, 2 in the teacher, and " + text
    ):
        ws.plan(student, teacher, (1, 4))
    with pytest.raises(PlanError, match=text):
        ws.plan(student, teacher, (1, 4), keep=["parts.*"], overrides={"hidden": "random"})


def test_axes_built_differently_show_both_notations() -> None:
    with pytest.raises(
        PlanError,
        match=r"(?s)dim 1 of student last\.weight \[3, 4\] and dim 1 of teacher last\.weight \[3, 8\] are built "
        r"differently:\n  student: label \(hidden1 \+ hidden2\)\n  teacher: label \(hidden1 \+ "
        r"hidden2 \+ hidden3\)\n.*keep=\['last\.weight'\]",
    ):
        ws.plan(Laid((2, 2)), Laid((2, 2, 4)), (1, 4))


def test_number_of_dims_must_agree() -> None:
    class Scaled(nn.Module):
        def __init__(self, *shape: int) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(shape))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.scale

    with pytest.raises(
        MatchError, match=r"(?s)scale \[4\]: it has 1 axes \[4\], the teacher's scale has 2 \[2, 4\].*keep="
    ):
        ws.plan(Scaled(4), Scaled(2, 4), (2, 4))
    assert ws.plan(Scaled(4), Scaled(1, 4), (2, 4)).copies[0].indices == (range(1), range(4))  # size 1 only broadcasts


# -- plans from graphs


def test_graphs_may_be_given_instead_of_models() -> None:
    student, teacher = mlp(4), mlp(8)
    from_graphs = ws.plan(ws.trace(student, (1, 4)), ws.trace(teacher, (1, 4)))
    assert from_graphs == ws.plan(student, teacher, (1, 4))


def test_meta_models_can_be_planned() -> None:
    with torch.device("meta"):
        student, teacher = Transformer(8, 2, 4), Transformer(16, 4, 4)
    plan = ws.plan(student, teacher, torch.empty(TOKENS, device="meta"))
    assert plan == ws.plan(Transformer(8, 2, 4), Transformer(16, 4, 4), TOKENS)
