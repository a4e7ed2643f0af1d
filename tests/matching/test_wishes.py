"""The user's component and layer rules, written in YAML, and what they make of a matching."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import wsel_graph as ws
from tests.matching.families import Kind, Net, Sizes, Spec, Stage, inputs
from tests.matching.test_segments import UNet
from tests.nets import ConvNet, Language, Transformer
from tests.scrambled import flat
from wsel_graph.plan import Plan

Planned = Callable[..., Plan]


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    """Plan a pair under rules that are given as YAML, without the version line."""

    def run(rules: str, student: nn.Module, teacher: nn.Module, given: Any = (2, 5, 7)) -> Plan:
        path = tmp_path / "my.yaml"
        path.write_text(f"version: 1\n{rules}\n", encoding="utf-8")
        return ws.plan(student, teacher, given, rules=path)

    return run


def source(plan: Plan) -> dict[str, str]:
    return {copy.student: copy.teacher for copy in plan.copies}


def kept(plan: Plan) -> set[str]:
    return {item.student for item in plan.kept}


def pair(depth: int = 1, teacher_depth: int = 3) -> tuple[Transformer, Transformer]:
    return Transformer(8, 2, 4, depth=depth), Transformer(16, 4, 4, depth=teacher_depth)


def every(model: nn.Module, *patterns: str) -> set[str]:
    """Names that contain one of the texts."""
    return {name for name, _ in model.named_parameters() if any(text in name for text in patterns)}


# -- keep


@pytest.mark.parametrize(
    ("rule", "texts"),
    [
        pytest.param('"head.*"', ["head."], id="glob"),
        pytest.param('["head.bias", "stem.*"]', ["head.bias", "stem."], id="globs"),
        pytest.param('{student: "*.fc1.*"}', [".fc1."], id="student"),
        pytest.param("{operator: norm}", ["norm1", "norm2"], id="operator"),
        pytest.param("{operator: aten::linear, student: '*.attn.*'}", [".attn."], id="ATen operator, and a name"),
        pytest.param("{module: LayerNorm}", ["norm1", "norm2"], id="module"),
        pytest.param("{role: label}", ["head."], id="role"),
        pytest.param("{role: [label, input]}", ["head.", "stem."], id="roles"),
        pytest.param('{stage: "blocks*"}', ["blocks."], id="stage"),
        pytest.param('{inside: "blocks.*.attn.*"}', [".attn."], id="inside"),
        pytest.param('{axes: "hidden embed"}', [".fc1."], id="axes"),
        pytest.param("{not: {stage: 'blocks*'}}", ["head.", "stem."], id="not"),
        pytest.param('{feeds: {student: "head.*"}}', [".fc2.", ".o.", "stem."], id="feeds, through sums"),
        pytest.param('{fed_by: {student: "blocks.0.norm2.*"}}', [".fc1."], id="fed_by"),
        pytest.param("{operator: linear, fed_by: {operator: norm}}", [".q.", ".k.", ".v.", ".fc1."], id="after a norm"),
    ],
)
def test_keep(planned: Planned, rule: str, texts: list[str]) -> None:
    student, teacher = pair()
    plan = planned(f"components:\n  - keep: {rule}", student, teacher)
    assert kept(plan) == every(student, *texts)
    assert kept(plan) | set(source(plan)) == every(student, "")
    assert {item.reason.rpartition("my.yaml")[2] for item in plan.kept} == {":3:5"}
    assert plan.notes == ()


def test_operators_of_images(planned: Planned) -> None:
    for operator, names in {
        "depthwise_conv": {"depthwise.weight", "depthwise.bias"},
        "conv": {"stem.weight", "stem.bias"},
        "batch_norm": {f"{bn}.{name}" for bn in ("bn1", "bn2") for name in ("weight", "bias", *STATISTICS)},
    }.items():
        plan = planned(f"components:\n  - keep: {{operator: {operator}}}", ConvNet(4), ConvNet(8), (1, 3, 8, 8))
        counters = {"bn1.num_batches_tracked", "bn2.num_batches_tracked"}  # configuration, always kept
        assert kept(plan) - counters == names


STATISTICS = ("running_mean", "running_var")


def test_embeddings_and_every_name_of_a_tied_tensor(planned: Planned) -> None:
    ids = {"ids": torch.arange(10).reshape(2, 5)}
    for rule in ("{operator: embedding}", '"head.weight"'):
        plan = planned(f"components:\n  - keep: {rule}", Language(8, tied=True), Language(16, tied=True), ids)
        assert kept(plan) == {"embed.weight"}


def test_the_first_rule_that_matches_wins(planned: Planned) -> None:
    rules = 'components:\n  - require: {student: "head.bias"}\n  - keep: "head.*"'
    assert kept(planned(rules, *pair())) == {"head.weight"}


def test_a_file_comes_before_what_it_extends(planned: Planned, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text('version: 1\ncomponents:\n  - keep: ["head.*", "stem.*"]\n')
    own = 'extends: base.yaml\ncomponents:\n  - require: {student: "head.*"}'
    assert kept(planned(own, *pair())) == {"stem.weight", "stem.bias"}


# -- pair


def test_a_pair_takes_the_place_of_what_was_found(planned: Planned) -> None:
    rules = 'components:\n  - pair: {student: "blocks.0.fc1.*", teacher: "blocks.2.fc1.*"}'
    found = source(planned(rules, *pair()))
    assert found["blocks.0.fc1.weight"] == "blocks.2.fc1.weight"
    assert found["blocks.0.fc1.bias"] == "blocks.2.fc1.bias"
    assert found["blocks.0.fc2.weight"] == "blocks.0.fc2.weight"


def test_a_pair_with_two_stars(planned: Planned) -> None:
    class Renamed(Transformer):
        def __init__(self) -> None:
            super().__init__(16, 4, 4, depth=3)
            self.layer = self.blocks
            del self.blocks

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            for block in self.layer:
                x = block(x)
            return self.head(x.mean(1))

    rules = 'components:\n  - pair: {student: "blocks.*.fc1.*", teacher: "layer.*.fc1.*"}'
    found = source(planned(rules, Transformer(8, 2, 4, depth=2), Renamed()))
    assert found["blocks.1.fc1.bias"] == "layer.1.fc1.bias"


def test_a_pair_with_a_teacher_tensor_that_does_not_exist(planned: Planned) -> None:
    with pytest.raises(ws.WselError) as caught:
        planned('components:\n  - pair: {student: "head.*", teacher: "classifier.*"}', *pair())
    assert str(caught.value).partition("my.yaml")[2] == (
        ":3:5: the rule pairs head.weight with classifier.weight, and the teacher has no such tensor. "
        "Correct the teacher's side of the rule."
    )


def test_a_pair_of_tensors_that_cannot_correspond(planned: Planned) -> None:
    with pytest.raises(ws.WselError) as caught:
        planned('components:\n  - pair: {student: "head.bias", teacher: "head.weight"}', *pair())
    assert str(caught.value).partition("my.yaml")[2] == (
        ":3:5: the rule pairs head.bias with head.weight, but it has 1 axes [3], the teacher's head.weight has "
        "2 [3, 16]."
    )


class Branches(nn.Module):
    """Two hidden layers side by side, of any widths."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__()
        self.p, self.q = nn.Linear(7, one), nn.Linear(7, other)
        self.from_p, self.from_q = nn.Linear(one, 3), nn.Linear(other, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.from_p(self.p(x).relu()) + self.from_q(self.q(x).tanh())
        return y


def test_a_pair_that_breaks_a_coupled_axis_is_named(planned: Planned) -> None:
    """And no other rule is."""
    rules = 'components:\n  - pair: {student: "p.weight", teacher: "q.weight"}\n  - pair: {student: "*", teacher: "*"}'
    with pytest.raises(ws.WselError) as caught:
        planned(rules.replace('"*"', '"from_q.bias"'), Branches(4, 6), Branches(8, 12))
    lines = str(caught.value).splitlines()
    assert lines[0].endswith(
        ":3:5: the rule pairs p.weight with q.weight, whose axes are coupled to others that do not fit:"
    )
    assert lines[1] == "axes of different size in the student correspond to one coupled group of the teacher:"
    assert lines[2:4] == [
        "  - size 4: p.weight dim 0, p.bias dim 0, from_p.weight dim 1",
        "  - size 6: q.weight dim 0, q.bias dim 0, from_q.weight dim 1",
    ]


def test_a_pair_settles_an_ambiguity(planned: Planned) -> None:
    student = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 3))
    teacher = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3))
    rules = 'components:\n  - pair: {student: "1.*", teacher: "2.*"}'
    assert source(planned(rules, student, teacher, (1, 4)))["1.weight"] == "2.weight"


# -- require


def test_require_is_silent_where_all_is_initialised(planned: Planned) -> None:
    plan = planned("components:\n  - require: {operator: linear}", *pair())
    assert kept(plan) == set()
    assert plan.notes == ()


def test_require_names_the_tensor_and_the_reason(planned: Planned) -> None:
    student, teacher = pair()
    teacher.blocks[0].fc1.register_parameter("bias", None)
    with pytest.raises(ws.WselError) as caught:
        planned("unmatched: keep\ncomponents:\n  - require: {operator: linear}", student, teacher)
    assert str(caught.value).partition("my.yaml")[2] == (
        ":4:5: the rule requires blocks.0.fc1.bias to be initialised, and it is not: "
        "unmatched: the teacher's linear at blocks.0.fc1.weight has no bias"
    )


# -- ignore


def test_ignored_teacher_components_are_not_used(planned: Planned) -> None:
    student, teacher = pair()
    disguised = flat(student, 1)
    plan = planned('unmatched: keep\ncomponents:\n  - ignore: {teacher: "blocks.*.fc1.*"}', disguised.model, teacher)
    assert {disguised.original[name] for name in kept(plan)} == {"blocks.0.fc1.weight", "blocks.0.fc1.bias"}
    assert not any(".fc1." in name for name in source(plan).values())
    assert all(
        item.reason.startswith("unmatched: the teacher's blocks.0.fc1.weight is ignored by ") for item in plan.kept
    )
    assert all(item.reason.endswith("my.yaml:4:5") for item in plan.kept)


def test_ignoring_by_operator_is_about_the_teacher(planned: Planned) -> None:
    student, teacher = pair()
    disguised = flat(student, 1)
    plan = planned("unmatched: keep\ncomponents:\n  - ignore: {operator: norm}", disguised.model, teacher)
    assert {disguised.original[name] for name in kept(plan)} == every(student, "norm")


def test_an_ignored_stage_leaves_the_next_one(planned: Planned) -> None:
    layer = (Kind("attention"), Kind("mlp"))
    sizes = Sizes(1)
    sizes["s1.embed"] = sizes["s0.embed"]
    teacher = Net(Spec("tokens", (Stage((layer,) * 2),) * 2, positions=False), sizes, None, names=1)
    student = Net(Spec("tokens", (Stage((layer,)),), positions=False), Sizes(2, sizes), None, names=2)
    rules = "unmatched: keep\ncomponents:\n  - ignore: {stage: stage}"
    found = source(planned(rules, student, teacher, inputs(student.spec)))
    places = {name: place for place, name in teacher.words.items()}
    assert places[found[student.words["s0.l0.1.fc1.weight"]]] == "s1.l0.1.fc1.weight"


# -- layers


@pytest.mark.parametrize(
    ("take", "blocks"),
    [
        ("first", [0, 1]),
        ("last", [3, 4]),
        ("middle", [1, 2]),
        ("uniform", [0, 4]),
        ("[3, 1]", [3, 1]),
    ],
)
def test_take(planned: Planned, take: str, blocks: list[int]) -> None:
    plan = planned(f"layers:\n  - take: {take}", *pair(2, 5))
    found = source(plan)
    for part in ("fc1.weight", "attn.q.bias", "norm2.weight"):
        assert [found[f"blocks.{i}.{part}"] for i in range(2)] == [f"blocks.{block}.{part}" for block in blocks]
    assert plan.layers[0].pairs == tuple(enumerate(blocks))


def test_stages_are_governed_one_by_one(planned: Planned) -> None:
    rules = "layers:\n  - {stage: first, take: last}\n  - {stage: inner, take: [1, 2]}\n  - take: uniform"
    found = source(planned(rules, UNet(4, 2), UNet(8, 4), (1, 3, 8, 8)))
    assert [found[f"first.{i}.weight"] for i in range(2)] == ["first.2.weight", "first.3.weight"]
    assert [found[f"inner.{i}.weight"] for i in range(2)] == ["inner.1.weight", "inner.2.weight"]
    assert [found[f"last.{i}.weight"] for i in range(2)] == ["last.0.weight", "last.2.weight"]


def test_the_first_layer_rule_wins(planned: Planned) -> None:
    rules = 'layers:\n  - {stage: "blo*", take: last}\n  - {stage: blocks, take: first}'
    assert source(planned(rules, *pair(1, 3)))["blocks.0.fc1.weight"] == "blocks.2.fc1.weight"


def test_take_works_among_blocks_of_one_kind(planned: Planned) -> None:
    a, r = (Kind("attention"),), (Kind("recurrent"),)
    teacher = Net(Spec("tokens", (Stage((a, a, r, a, r, a)),), positions=False), Sizes(1), None, names=1)
    student = Net(Spec("tokens", (Stage((a, r)),), positions=False), Sizes(2, Sizes(1)), None, names=2)
    found = source(planned("layers:\n  - take: last", student, teacher, inputs(student.spec)))
    places = {name: place for place, name in teacher.words.items()}
    assert places[found[student.words["s0.l0.0.q.weight"]]] == "s0.l5.0.q.weight"
    assert places[found[student.words["s0.l1.0.out.weight"]]] == "s0.l4.0.out.weight"


def test_from_chooses_the_teacher_stage(planned: Planned) -> None:
    class Two(Transformer):
        def __init__(self) -> None:
            super().__init__(16, 4, 4, depth=3)
            self.change = nn.Linear(16, 16)
            self.later = Transformer(16, 4, 4, depth=3).blocks

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            for block in self.blocks:
                x = block(x)
            x = self.change(x)
            for block in self.later:
                x = block(x)
            return self.head(x.mean(1))

    rules = 'unmatched: keep\nlayers:\n  - {stage: blocks, from: "later", take: last}'
    found = source(planned(rules, Transformer(8, 2, 4, depth=2), Two()))
    assert found["blocks.0.fc1.weight"] == "later.1.fc1.weight"
    assert not any(teacher.startswith("blocks.") for teacher in found.values())


def test_a_list_that_does_not_fit_the_stage(planned: Planned) -> None:
    with pytest.raises(ws.WselError) as caught:
        planned("layers:\n  - take: [0, 3]", *pair(2, 3))
    assert str(caught.value) == (
        "my.yaml:3:5: layers: stage 'blocks' has 2 student blocks and 3 teacher blocks of this kind, and the list "
        "names [0, 3]. Give one teacher block (0 to 2) per student block."
    )


# -- what is left


def test_unmatched_keep_accepts_what_nothing_explains(planned: Planned) -> None:
    student, teacher = pair(4, 3)
    with pytest.raises(ws.WselError, match=r"16 student tensors have no counterpart"):
        planned("unmatched: error", student, teacher)
    plan = planned("unmatched: keep", student, teacher)
    assert kept(plan) == every(student, "blocks.3.")
    assert {item.reason for item in plan.kept} == {
        "unmatched: the teacher's stage has no further block of this kind (block 3 of stage 'blocks')"
    }


def test_rules_that_govern_nothing_are_noted(planned: Planned) -> None:
    rules = (
        'components:\n  - keep: "nowhere.*"\n  - ignore: {teacher: "nowhere.*"}\n  - keep: "head.*"\n'
        "layers:\n  - {stage: elsewhere, take: last}\n  - {stage: blocks, take: last}"
    )
    plan = planned(rules, *pair(2))
    assert [note.partition("my.yaml")[2] for note in plan.notes] == [
        ":7:5: this rule matches nothing in these models",
        ":3:5: this rule matches nothing in these models",
        ":4:5: this rule matches nothing in these models",
    ]


def test_rules_of_extended_files_are_not_noted(planned: Planned, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text('version: 1\ncomponents:\n  - keep: "nowhere.*"\n')
    assert planned("extends: base.yaml", *pair()).notes == ()


def test_a_rule_behind_another_one_governs_nothing(planned: Planned) -> None:
    plan = planned('components:\n  - keep: {operator: linear}\n  - keep: {student: "head.*"}', *pair())
    assert [note.partition("my.yaml")[2] for note in plan.notes] == [":4:5: this rule matches nothing in these models"]
