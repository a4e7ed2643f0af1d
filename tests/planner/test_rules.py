"""Element rules: every key where it governs and where it does not, what comes first, and what is reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import INPUT, ConvNet, Language, Transformer, mlp, randomize, snapshot
from tests.planner.rules import plan_by
from wsel_graph.errors import PlanError
from wsel_graph.matching.wishes import Wishes
from wsel_graph.planner.builder import build_plan
from wsel_graph.planner.elements import Elements
from wsel_graph.planner.settings import matches, subjects_of
from wsel_graph.selection.rules import read_rules
from wsel_graph.selection.selector import Selector
from wsel_graph.selection.subject import Subject

TOKENS = (2, 5, INPUT)
IDS = {"ids": torch.arange(10).reshape(2, 5)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"


def taken(plan: ws.Plan, name: str, dim: int = 0) -> list[int]:
    (copy,) = (copy for copy in plan.copies if copy.student == name)
    return list(copy.indices[dim])


def region(plan: ws.Plan, name: str) -> list[list[int]] | None:
    (copy,) = (copy for copy in plan.copies if copy.student == name)
    return None if copy.region is None else [list(indices) for indices in copy.region]


# -- take, and what comes first


@pytest.mark.parametrize(
    ("rules", "first", "second"),
    [
        pytest.param("  - take: consecutive", [0, 1], [0, 1, 2, 3], id="everything"),
        pytest.param('  - {where: {student: "0.*"}, take: consecutive}', [0, 1], [0, 2, 4, 6], id="a student member"),
        pytest.param('  - {where: {teacher: "4.*"}, take: consecutive}', [0, 2], [0, 1, 2, 3], id="a teacher member"),
        pytest.param(
            '  - {where: {student: "0.bias"}, take: [3, 1]}\n  - {where: {role: hidden}, take: consecutive}',
            [3, 1], [0, 1, 2, 3], id="the first that sets the key",
        ),
        pytest.param(
            '  - {where: {student: "0.bias"}, seed: 1}\n  - take: consecutive',
            [0, 1], [0, 1, 2, 3], id="a rule that does not set the key",
        ),
        pytest.param(
            '  - {where: {role: hidden, not: {student: "0.*"}}, take: consecutive}', [0, 2], [0, 1, 2, 3], id="not"
        ),
        pytest.param("  - {where: {role: embed}, take: consecutive}", [0, 2], [0, 2, 4, 6], id="nothing"),
        pytest.param('  - {where: {axes: "label hidden"}, take: consecutive}', [0, 2], [0, 1, 2, 3], id="axes"),
        pytest.param("  - {where: {module: ReLU}, take: consecutive}", [0, 2], [0, 2, 4, 6], id="module, negative"),
        pytest.param('  - {where: {inside: "4"}, take: consecutive}', [0, 2], [0, 1, 2, 3], id="inside"),
        pytest.param('  - {where: {operator: norm}, take: consecutive}', [0, 2], [0, 2, 4, 6], id="operator, negative"),
        pytest.param('  - {where: {operator: linear}, take: consecutive}', [0, 1], [0, 1, 2, 3], id="operator"),
    ],
)  # fmt: skip
def test_take(file: Path, rules: str, first: list[int], second: list[int]) -> None:
    plan = plan_by(file, rules, mlp(2), mlp(4), (1, 4))
    assert taken(plan, "0.weight") == taken(plan, "2.weight", 1) == first
    assert taken(plan, "2.weight") == taken(plan, "4.weight", 1) == second


def test_python_comes_before_rules(file: Path) -> None:
    rules = "  - {take: consecutive, unit: whole}"
    plan = plan_by(file, rules, mlp(2), mlp(4), (1, 4), overrides={"0.weight:0": [3, 2]})
    assert (taken(plan, "0.weight"), taken(plan, "2.weight")) == ([3, 2], [0, 1, 2, 3])
    assert taken(plan_by(file, rules, mlp(2), mlp(4), (1, 4), method="uniform"), "0.weight") == [0, 2]
    flat = plan_by(file, rules, Transformer(8, 2, 4), Transformer(8, 4, 4), TOKENS, unit="flat")
    assert taken(flat, "blocks.0.attn.q.weight") == list(range(8))
    assert {choice.method for choice in flat.choices if choice.role == "(heads head_dim)"} == {"consecutive, flat"}


def test_a_list_may_reorder_a_group_of_equal_size_and_a_method_may_not(file: Path) -> None:
    plan = plan_by(file, '  - {where: {student: "0.bias"}, take: [1, 0]}', mlp(2), mlp(2), (1, 4))
    assert (taken(plan, "0.weight"), taken(plan, "2.weight")) == ([1, 0], [0, 1, 2, 3])
    whole = plan_by(file, "  - take: random", mlp(2), mlp(2), (1, 4))
    assert {choice.method for choice in whole.choices} == {"whole"}


def test_a_list_that_does_not_fit_names_the_place(file: Path) -> None:
    said = r"the element list for 0\.bias:0 does not fit: 3 elements given, the student needs 2"
    with pytest.raises(PlanError, match=rf"^{file.name}:\d:5: {said}"):
        plan_by(file, '  - {where: {student: "0.bias"}, take: [1, 0, 2]}', mlp(2), mlp(4), (1, 4))
    with pytest.raises(PlanError, match=rf"^overrides\['0\.bias:0'\]: {said}"):
        ws.plan(mlp(2), mlp(4), (1, 4), overrides={"0.bias:0": [1, 0, 2]})


def test_pinned_groups_follow_only_rules_that_name_their_role(file: Path) -> None:
    student, teacher = mlp(2, labels=2), mlp(4, labels=5)
    general = plan_by(file, '  - {where: {student: "4.*"}, take: consecutive}', student, teacher, (1, 4))
    assert {kept.student for kept in general.kept} == {"4.weight", "4.bias"}
    named = plan_by(file, "  - {where: {role: label}, take: [4, 1]}", student, teacher, (1, 4))
    assert (taken(named, "4.weight"), taken(named, "4.bias")) == ([4, 1], [4, 1])


@pytest.mark.parametrize(("norm", "power"), [("l1", 1), ("l2", 2)])
def test_elements_of_the_highest_score(file: Path, norm: str, power: int) -> None:
    """Against the sums written out: what feeds a hidden unit, its bias, and what reads it."""
    file.write_text(f"version: 1\nelements:\n  - where: {{role: hidden}}\n    take: {{score: {norm}}}\n")
    torch.manual_seed(0)
    student, teacher = mlp(3), mlp(8)
    plan = ws.plan(student, teacher, (1, 4), rules=file)
    first, second = teacher[0], teacher[2]
    rows, columns = first.weight.abs().pow(power).sum(1), second.weight.abs().pow(power).sum(0)
    scores = rows + first.bias.abs().pow(power) + columns
    expected = sorted(scores.argsort(descending=True)[:3].tolist())
    copy = next(copy for copy in plan.copies if copy.student == "0.weight")
    assert list(copy.indices[0]) == expected
    assert {choice.method for choice in plan.choices if choice.role == "hidden"} == {f"score {norm}"}


def test_scores_need_values_and_single_axes(file: Path) -> None:
    file.write_text("version: 1\nelements:\n  - take: {score: l1}\n")
    with torch.device("meta"):
        teacher = mlp(8)
    with pytest.raises(PlanError, match=r"scores need the teacher's values, and 0\.weight is on the meta device"):
        ws.plan(mlp(3), teacher, (1, 4), rules=file)
    with pytest.raises(
        PlanError, match=r"take: \{score: l1\} ranks single axes: write unit: whole for \(heads head_dim\)"
    ):
        ws.plan(Transformer(8, 2, 4), Transformer(16, 4, 8), (2, 5, 7), rules=file, unit="flat")


# -- seed, consistent, unit


def test_seed_of_one_group(file: Path) -> None:
    def plan(rules: str) -> ws.Plan:
        return plan_by(file, rules, mlp(16), mlp(64), (1, 4))

    plain, seeded = plan("  - take: random"), plan('  - {where: {student: "0.*"}, seed: 7}\n  - take: random')
    assert taken(plain, "0.weight") != taken(seeded, "0.weight")
    assert taken(plain, "2.weight") == taken(seeded, "2.weight")
    assert taken(seeded, "0.weight") == taken(plan("  - {take: random, seed: 7}"), "0.weight")


def test_one_group_may_be_inconsistent(file: Path) -> None:
    rules = '  - {where: {student: "0.*"}, consistent: false}\n  - take: random'
    plan = plan_by(file, rules, mlp(16), mlp(64), (1, 4))
    assert taken(plan, "0.weight") != taken(plan, "0.bias")
    assert taken(plan, "2.weight") == taken(plan, "2.bias") == taken(plan, "4.weight", 1)


def test_the_unit_is_chosen_by_group(file: Path) -> None:
    rules = '  - {where: {student: "blocks.0.*", role: heads}, unit: flat}'
    plan = plan_by(file, rules, Transformer(12, 3, 4), Transformer(24, 6, 4), TOKENS)
    assert taken(plan, "blocks.0.attn.q.weight") == taken(plan, "blocks.0.attn.o.weight", 1) == list(range(0, 24, 2))
    whole = [head * 4 + channel for head in (0, 2, 4) for channel in range(4)]
    assert taken(plan, "blocks.1.attn.q.weight") == taken(plan, "blocks.1.attn.o.weight", 1) == whole


def test_a_stage_is_that_of_any_member(file: Path) -> None:
    student, teacher = Transformer(4, 2, 2), Transformer(8, 4, 2)
    plan = plan_by(file, "  - {where: {stage: blocks}, take: consecutive}", student, teacher, TOKENS)
    assert taken(plan, "stem.weight") == [0, 1, 2, 3]  # the stream runs through the blocks
    assert taken(plan, "blocks.0.attn.q.weight") == [0, 1, 2, 3]
    outside = plan_by(file, "  - {where: {not: {stage: blocks}}, take: consecutive}", student, teacher, TOKENS)
    assert taken(outside, "stem.weight") == [0, 2, 4, 6]


# -- rules that govern nothing


def test_rules_that_govern_nothing_are_reported(file: Path) -> None:
    rules = (
        "  - {where: {role: embed}, take: consecutive}\n  - {where: {role: hidden}, take: uniform}\n"
        '  - {where: {student: "0.*"}, take: random}'
    )
    plan = plan_by(file, rules, mlp(2), mlp(4), (1, 4))
    assert plan.notes == (
        f"{file.name}:3:5: this element rule governs nothing: {{role: embed}}",
        f"{file.name}:5:5: this element rule governs nothing: {{student: 0.*}}",  # the rule above it comes first
    )


def test_rules_of_extended_files_are_not_reported(file: Path, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("version: 1\nelements:\n  - {where: {role: heads}, take: random}\n")
    plan = plan_by(file, "  - take: consecutive\nextends: base.yaml", mlp(2), mlp(4), (1, 4))
    assert plan.notes == ()
    assert taken(plan, "0.weight") == [0, 1]


# -- grow


@pytest.mark.parametrize(
    ("rules", "expected", "filled"),
    [
        pytest.param("  - grow: tile", [0, 1, 2, 3, 0, 1], None, id="tile"),
        pytest.param("  - grow: keep", [0, 1, 2, 3], [0, 1, 2, 3], id="keep"),
    ],
)
def test_grow(file: Path, rules: str, expected: list[int], filled: list[int] | None) -> None:
    student, teacher = randomize(mlp(6), 1), randomize(mlp(4), 2)
    plan = plan_by(file, rules, student, teacher, (1, 4))
    assert taken(plan, "0.weight") == taken(plan, "2.weight", 1) == expected
    assert region(plan, "0.bias") == (None if filled is None else [filled])
    before, source = snapshot(student), snapshot(teacher)
    ws.apply(plan, student, teacher)
    assert torch.equal(student[0].bias[:4], source["0.bias"])
    rest = before["0.bias"][4:] if filled is not None else source["0.bias"][:2]
    assert torch.equal(student[0].bias[4:], rest)
    assert torch.equal(student[2].weight[:8, :4], source["2.weight"])


def test_grow_is_refused_unless_a_rule_allows_it(file: Path) -> None:
    text = r"(?s)hidden: 6 > 4 \(student 0\.weight:0.*\n  - where: \{role: hidden\}\n    grow: tile$"
    for rules in ("  - grow: error", '  - {where: {student: "2.bias"}, grow: tile}'):
        with pytest.raises(PlanError, match=text):
            plan_by(file, rules, mlp(6), mlp(4), (1, 4))


def test_grow_of_heads_and_of_flat_runs(file: Path) -> None:
    student, teacher = Transformer(16, 4, 2, depth=1), Transformer(16, 2, 2, depth=1)
    plan = plan_by(file, "  - grow: keep", student, teacher, TOKENS)
    assert taken(plan, "blocks.0.attn.q.weight") == [0, 1, 2, 3]
    assert region(plan, "blocks.0.attn.q.weight") == [[0, 1, 2, 3], list(range(16))]
    assert region(plan, "blocks.0.attn.o.weight") == [list(range(16)), [0, 1, 2, 3]]
    channels = plan_by(file, "  - grow: keep", Transformer(16, 2, 4, depth=1), teacher, TOKENS)
    assert region(channels, "blocks.0.attn.q.weight") == [[0, 1, 4, 5], list(range(16))]
    flat = plan_by(file, "  - {grow: keep, unit: flat}", Transformer(16, 2, 4, depth=1), teacher, TOKENS)
    assert region(flat, "blocks.0.attn.q.weight") == [[0, 1, 2, 3], list(range(16))]
    tiled = plan_by(file, "  - {grow: tile, unit: flat}", Transformer(16, 2, 3, depth=1), teacher, TOKENS)
    assert taken(tiled, "blocks.0.attn.q.weight") == [0, 1, 2, 3, 0, 1]


def test_grow_of_an_axis_that_the_teacher_lacks(file: Path) -> None:
    student, teacher = Transformer(16, 4, 4, kv=2, depth=1), Transformer(16, 2, 4, depth=1)
    plan = plan_by(file, "  - grow: keep", student, teacher, TOKENS)
    assert region(plan, "blocks.0.attn.q.weight") == [[0, 1, 2, 3, 8, 9, 10, 11], list(range(16))]
    ws.apply(plan, student, teacher)
    assert torch.equal(student.blocks[0].attn.q.weight[8:12], teacher.blocks[0].attn.q.weight[4:])
    text = r"the student has 2 elements on the coupled axis queries, and the teacher has no such axis.*`grow: keep`"
    with pytest.raises(PlanError, match=text):
        plan_by(file, "  - grow: tile", student, teacher, TOKENS)


class Laid(nn.Module):
    """Streams laid end to end before the last linear."""

    def __init__(self, *parts: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(4, size) for size in parts)
        self.last = nn.Linear(sum(parts), 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cat([part(x) for part in self.parts], -1))


def test_a_list_is_refused_where_all_elements_are_needed(file: Path) -> None:
    rules = '{student: "last.weight", not: {role: label}}'
    file.write_text(
        f"version: 1\ncomponents:\n  - keep: 'parts.*'\nelements:\n  - {{where: {rules}, take: [1, 0, 2]}}\n"
    )
    found = read_rules(file)
    models = ws.trace(Laid(3, 3), (1, 4)), ws.trace(Laid(2, 2, 2), (1, 4))
    wishes = Wishes((), (), found.components, "error", found.source)
    with pytest.raises(PlanError, match=r"all elements are needed at last\.weight:1, which the two models build diff"):
        build_plan(*models, Elements(rules=found.elements, source=found.source), wishes)


def test_a_grown_tile_network_keeps_the_stream(file: Path) -> None:
    """What tiling promises of a residual stream: each half of the wide norm's input is the narrow one's."""
    student, teacher = ConvNet(8), ConvNet(4)
    plan = plan_by(file, "  - grow: tile", student, teacher, (1, 3, 8, 8))
    ws.apply(plan, student, teacher)
    image = torch.randn(1, 3, 8, 8)
    wide, narrow = student.eval().bn1(student.stem(image)), teacher.eval().bn1(teacher.stem(image))
    torch.testing.assert_close(wide, torch.cat([narrow, narrow], 1))


# -- rescale


def scales(plan: ws.Plan) -> dict[str, float]:
    return {copy.student: copy.scale for copy in plan.copies if copy.scale != 1}


def test_rescale_is_by_fan_in_of_selected_inputs(file: Path) -> None:
    plan = plan_by(file, "  - rescale: variance", ConvNet(4), ConvNet(16), (1, 3, 8, 8))
    assert scales(plan) == {"point.weight": 2.0, "back.weight": 2.0, "head.weight": 2.0}  # not the depthwise, nor stem
    assert scales(plan_by(file, "  - rescale: none", ConvNet(4), ConvNet(16), (1, 3, 8, 8))) == {}
    student, teacher = randomize(ConvNet(4), 1), randomize(ConvNet(16), 2)
    ws.apply(plan, student, teacher)
    torch.testing.assert_close(student.back.weight, 2 * teacher.back.weight[::4, ::4])
    torch.testing.assert_close(student.back.bias, teacher.back.bias[::4])


def test_rescale_by_group_and_not_of_tables(file: Path) -> None:
    rules = "  - {where: {role: embed}, rescale: variance}"
    plan = plan_by(file, rules, Transformer(8, 2, 4, depth=1), Transformer(32, 2, 4, depth=1), TOKENS)
    expected = ("attn.q", "attn.k", "attn.v", "fc1")
    assert scales(plan) == {f"blocks.0.{name}.weight": 2.0 for name in expected} | {"head.weight": 2.0}
    language = plan_by(file, "  - rescale: variance", Language(8, tied=False), Language(32, tied=False), IDS)
    assert "embed.weight" not in scales(language)
    assert scales(language)["head.weight"] == 2.0


def test_rescale_leaves_repeated_axes_alone(file: Path) -> None:
    assert scales(plan_by(file, "  - {rescale: variance, grow: tile}", mlp(8), mlp(4), (1, 4))) == {}


def test_rescale_keeps_the_variance(file: Path) -> None:
    """The measured variance of the output, over many independent weights: within 5 % of the teacher's."""
    student, teacher = (nn.Sequential(nn.Linear(4, width), nn.Linear(width, 500)) for width in (64, 256))
    torch.manual_seed(0)
    for model in (student, teacher):
        nn.init.normal_(model[1].weight)
    ws.apply(plan_by(file, "  - rescale: variance", student, teacher, (1, 4)), student, teacher)
    features = torch.randn(200, 256)
    ours, theirs = (features[:, :width] @ model[1].weight.T for model, width in ((student, 64), (teacher, 256)))
    assert ours.var().item() == pytest.approx(theirs.var().item(), rel=0.05)


# -- token maps


def tokens(tmp_path: Path, pairs: dict[int, int]) -> str:
    (tmp_path / "map.json").write_text(json.dumps({str(key): value for key, value in pairs.items()}))
    return "  - {where: {role: vocabulary}, take: {tokens: map.json}}"


@pytest.mark.parametrize("tied", [True, False])
def test_token_maps_fill_the_rows_they_name(file: Path, tmp_path: Path, tied: bool) -> None:
    student, teacher = Language(4, tied=tied, vocabulary=5), Language(8, tied=tied, vocabulary=11)
    randomize(student, 1), randomize(teacher, 2)
    plan = plan_by(file, tokens(tmp_path, {3: 0, 0: 10}), student, teacher, {"ids": torch.arange(4).reshape(1, 4)})
    assert (taken(plan, "embed.weight"), region(plan, "embed.weight")) == ([10, 0], [[0, 3], [0, 1, 2, 3]])
    before = snapshot(student)["embed.weight"]
    ws.apply(plan, student, teacher)
    assert torch.equal(student.embed.weight[[0, 3]], teacher.embed.weight[[10, 0]][:, ::2])
    assert torch.equal(student.embed.weight[[1, 2, 4]], before[[1, 2, 4]])
    assert [kept.student for kept in plan.kept] == ([] if tied else ["head.weight"])


def test_token_maps_hold_for_equal_sizes_too(file: Path, tmp_path: Path) -> None:
    rules = tokens(tmp_path, dict(enumerate(range(10, -1, -1))))
    plan = plan_by(file, rules, Language(4, tied=True), Language(8, tied=True), IDS)
    assert (taken(plan, "embed.weight"), region(plan, "embed.weight")) == (list(range(10, -1, -1)), None)
    assert next(choice.method for choice in plan.choices if choice.role == "vocabulary") == "tokens"


def test_a_token_map_is_for_vocabularies(file: Path, tmp_path: Path) -> None:
    rules = tokens(tmp_path, {0: 1}).replace("role: vocabulary", 'student: "embed.weight"')
    plan = plan_by(file, rules, Language(4, tied=True), Language(8, tied=True), IDS)
    assert taken(plan, "embed.weight", 1) == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        pytest.param(
            {11: 0}, "names student token 11, and the student's vocabulary at .* 11 tokens, 0..10", id="student"
        ),
        pytest.param({0: 99}, "names teacher token 99, and the teacher's vocabulary at .* has 11 tokens", id="teacher"),
    ],
)
def test_token_maps_of_other_vocabularies_are_refused(
    file: Path, tmp_path: Path, pairs: dict[int, int], text: str
) -> None:
    with pytest.raises(PlanError, match=text):
        plan_by(file, tokens(tmp_path, pairs), Language(4, tied=True), Language(8, tied=True), IDS)


# -- groups as selectors see them


def test_subjects_merge_the_members() -> None:
    student, teacher = ws.trace(mlp(2), (1, 4)), ws.trace(mlp(4), (1, 4))
    ours, theirs = student.group_of("2.weight", 1), teacher.group_of("2.weight", 1)
    known = {
        "0.weight": Subject(operators=frozenset({"linear"}), modules=frozenset({"Linear"}), stage="a", inside=("0",)),
        "2.weight": Subject(operators=frozenset({"norm"}), stage="b", inside=("2",)),
    }
    first, second = subjects_of(student, teacher, (ours, theirs), known)
    assert (first.stage, second.stage) == ("a", "b")
    assert first.student == first.teacher == ("0.weight", "0.bias", "2.weight")
    assert (first.roles, first.axes) == ({"hidden"}, ("hidden input", "hidden", "hidden1 hidden2"))
    assert (first.operators, first.modules, first.inside) == ({"linear", "norm"}, {"Linear"}, ("0", "2"))


def test_a_selector_needs_one_subject_that_has_it_all() -> None:
    spread = [Subject(stage="a", roles=frozenset({"embed"})), Subject(stage="b", roles=frozenset({"embed"}))]
    assert matches(Selector(stage=("b",), role=("embed",)), spread)
    assert not matches(Selector(stage=("c",)), spread)
    assert not matches(Selector(role=("embed",), excluded=Selector(stage=("b",))), spread)
    twice = Selector(excluded=Selector(role=("embed",), excluded=Selector(stage=("b",))))
    assert matches(twice, spread)


def test_element_rules_reach_initialize(file: Path) -> None:
    file.write_text(
        'version: 1\nextends: default\nelements:\n  - {where: {student: "0.*"}, take: [3, 1], rescale: variance}\n'
    )
    student, teacher = mlp(2), mlp(4)
    ws.initialize(student, teacher, (1, 4), rules=file)
    assert torch.equal(student[0].weight, teacher[0].weight[[3, 1]])
    torch.testing.assert_close(student[2].weight, teacher[2].weight[::2][:, [3, 1]] * 2**0.5)
    assert torch.equal(student[4].weight, teacher[4].weight[:, ::2])


def test_axes_that_do_not_fit_keep_their_own_values_where_unmatched_ones_may(file: Path) -> None:
    file.write_text("version: 1\nunmatched: keep\n")
    plan = ws.plan(Transformer(4, 2, 2), Transformer(8, 4, 2, hidden=4), TOKENS, rules=file)
    kept = {item.student for item in plan.kept}
    assert {"blocks.0.fc1.weight", "blocks.1.fc2.weight"} <= kept
    assert "blocks.0.attn.q.weight" not in kept


def test_blocks_that_are_filled_from_one_block_share_its_choices(file: Path) -> None:
    file.write_text(
        "version: 1\nlayers:\n  - take: [2, 2]\n"
        'elements:\n  - {where: {role: hidden, student: "blocks.1.*"}, take: random, seed: 3}\n'
    )
    plan = ws.plan(Transformer(8, 2, 4), Transformer(16, 4, 4, depth=3), (2, 5, INPUT), rules=file)
    first, second = (taken(plan, f"blocks.{block}.fc1.weight") for block in range(2))
    assert first == second != list(range(0, 32, 2))
