"""Rules that take elements by statistics: which they take in planted and in real networks, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.zoo import torchvision_stub

torchvision_stub.install()
import timm  # noqa: E402

import wsel_graph as ws  # noqa: E402
from tests.nets import INPUT, Transformer, mlp, randomize  # noqa: E402
from wsel_graph.coupling import statistics as module  # noqa: E402
from wsel_graph.errors import PlanError  # noqa: E402
from wsel_graph.planner.activity import activity  # noqa: E402
from wsel_graph.report.check import check_rules  # noqa: E402


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"


def by(file: Path, score: str, where: str = "role: hidden") -> Path:
    file.write_text(f"version: 1\nelements:\n  - where: {{{where}}}\n    take: {{score: {score}}}\n")
    return file


def taken(plan: ws.Plan, name: str, dim: int = 0) -> list[int]:
    (copy,) = (copy for copy in plan.copies if copy.student == name)
    return list(copy.indices[dim])


def double(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def best(rows: Tensor, count: int) -> list[int]:
    return sorted(rows.argsort(descending=True, stable=True)[:count].tolist())


# -- against what the network computes


@pytest.mark.parametrize("score", ["activation", "variance"])
def test_the_highest_scores_of_hidden_units(file: Path, score: str) -> None:
    teacher, x = randomize(mlp(8), seed=1).double(), double(50, 4)
    plan = ws.plan(mlp(3), teacher, (1, 4), rules=by(file, score), statistics=ws.statistics(teacher, [x[:20], x[20:]]))
    first = teacher[:2](x).detach()
    second = teacher[:4](x).detach()
    for name, hidden, count in (("0.weight", first, 3), ("2.weight", second, 6)):
        rows = hidden.abs().mean(0) if score == "activation" else hidden.var(0)
        assert taken(plan, name) == best(rows, count) != sorted(range(count))
    assert {choice.method for choice in plan.choices if choice.role == "hidden"} == {f"score {score}"}


@pytest.mark.parametrize("score", ["activation", "variance", "regression"])
def test_heads_stay_whole_and_one_list_serves_the_stream(file: Path, score: str) -> None:
    torch.manual_seed(0)
    teacher = randomize(
        timm.create_model("vit_tiny_patch16_224", depth=2, img_size=32, embed_dim=48, num_heads=6)
    ).eval()
    student = timm.create_model("vit_tiny_patch16_224", depth=2, img_size=32, embed_dim=24, num_heads=3)
    statistics = ws.statistics(teacher, [torch.randn(4, 3, 32, 32)], second_moments=True)
    plan = ws.plan(
        student, teacher, (1, 3, 32, 32), rules=by(file, score, "role: [heads, embed]"), statistics=statistics
    )
    heads = statistics.groups["blocks.1.attn.qkv.weight:0#0"]
    rows = taken(plan, "blocks.1.attn.qkv.weight")
    chosen = sorted({row % 48 // 8 for row in rows})
    assert rows == [48 * part + 8 * head + channel for part in range(3) for head in chosen for channel in range(8)]
    if score != "regression":
        assert chosen == best((heads.magnitude if score == "activation" else heads.variance)[0], 3)
    lists = {tuple(taken(plan, name, dim)) for name, dim in (("cls_token", 2), ("norm.weight", 0), ("head.weight", 1))}
    assert len(lists) == 1


def test_every_place_has_one_vote(file: Path) -> None:
    """A place of huge activations decides no more than the others."""
    teacher = randomize(Transformer(6, 1, 6, depth=1)).double()
    graph, statistics = ws.trace(teacher, (2, 5, INPUT)), ws.statistics(teacher, [double(2, 5, INPUT)])
    stream = statistics.groups["stem.weight:0#0"]
    group = next(group for group in graph.groups if ("stem.weight", 0) in group.members)
    expected = (stream.magnitude / stream.magnitude.sum(1, keepdim=True)).sum(0)
    for factor in (1.0, 1e6):
        scaled = stream.magnitude.clone()
        scaled[1] *= factor
        changed = replace(
            statistics, groups={**statistics.groups, "stem.weight:0#0": replace(stream, magnitude=scaled)}
        )
        torch.testing.assert_close(activity(graph, [group], "activation", changed), expected, rtol=1e-12, atol=0)


# -- planted networks


def planted(seed: int, dead: Sequence[int]) -> nn.Sequential:
    """Hidden units of which some never fire."""
    teacher = randomize(nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)), seed).double()
    with torch.no_grad():
        teacher[0].bias[list(dead)] = -100.0
        teacher[0].weight[list(dead)] *= 5  # the norm of the weights would take them
        teacher[2].weight[:, list(dead)] *= 50
    return teacher


@pytest.mark.parametrize("score", ["activation", "variance", "regression"])
@pytest.mark.parametrize("seed", range(4))
def test_dead_units_are_never_taken(file: Path, score: str, seed: int) -> None:
    dead = torch.randperm(16, generator=torch.Generator().manual_seed(seed))[:8].tolist()
    teacher, x = planted(seed, dead), double(64, 6, seed=seed)
    student = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    statistics = ws.statistics(teacher, [x], second_moments=True)
    result = ws.initialize(student, teacher, x, rules=by(file, score), statistics=statistics)
    assert taken(result.plan, "0.weight") == sorted(set(range(16)) - set(dead))
    torch.testing.assert_close(student(x), teacher(x), rtol=1e-12, atol=1e-12)  # nothing is lost
    assert set(taken(ws.plan(student, teacher, x, rules=by(file, "l2")), "0.weight")) & set(dead)


@pytest.mark.parametrize("seed", range(4))
def test_regression_takes_what_spans_the_rest(file: Path, seed: int) -> None:
    torch.manual_seed(seed)
    teacher = nn.Sequential(nn.Linear(12, 16, bias=False), nn.Linear(16, 3)).double()
    order = torch.randperm(16)
    with torch.no_grad():
        basis = double(8, 12, seed=seed)
        teacher[0].weight[order] = torch.cat([basis, 3 * double(8, 8, seed=seed + 1) @ basis])
    x = double(100, 12, seed=seed + 2)
    student = nn.Sequential(nn.Linear(12, 8, bias=False), nn.Linear(8, 3)).double()
    statistics = ws.statistics(teacher, [x[:31], x[31:]], second_moments=True)
    kept = taken(ws.plan(student, teacher, x, rules=by(file, "regression"), statistics=statistics), "0.weight")
    hidden = teacher[0](x).detach()
    fit = torch.linalg.lstsq(hidden[:, kept], hidden).solution
    assert float((hidden[:, kept] @ fit - hidden).abs().max() / hidden.abs().max()) < 1e-9


# -- uses and refusals


def test_saved_statistics_plan_for_a_teacher_without_values(file: Path, tmp_path: Path) -> None:
    teacher, x = randomize(mlp(8)), torch.randn(30, 4)
    made = ws.statistics(teacher, [x])
    made.save(tmp_path / "a.safetensors")
    with torch.device("meta"):
        empty = mlp(8)
    plans = [
        ws.plan(mlp(3), model, (1, 4), rules=by(file, "activation"), statistics=statistics)
        for model, statistics in ((teacher, made), (empty, ws.load_statistics(tmp_path / "a.safetensors")))
    ]
    assert plans[0] == plans[1]


@pytest.mark.parametrize(
    ("score", "call"),
    [("activation", "batches"), ("variance", "batches"), ("regression", "batches, second_moments=True")],
)
def test_a_rule_without_statistics_says_what_to_pass(file: Path, score: str, call: str) -> None:
    with pytest.raises(PlanError) as caught:
        ws.plan(mlp(3), mlp(8), (1, 4), rules=by(file, score))
    assert str(caught.value) == (
        f"my.yaml:3:5: take: {{score: {score}}} needs statistics of the teacher's activations: pass statistics="
        f"ws.statistics(teacher, {call}) to plan or initialize"
    )


def test_regression_needs_second_moments(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, x = mlp(8), torch.randn(30, 4)
    with pytest.raises(
        PlanError,
        match=r"^my\.yaml:3:5: take: \{score: regression\} needs second moments of the teacher's hidden axis at "
        r"0\.weight:0, and the statistics were made without: "
        r"pass statistics=ws\.statistics\(teacher, batches, second_moments=True\)$",
    ):
        ws.plan(mlp(3), teacher, (1, 4), rules=by(file, "regression"), statistics=ws.statistics(teacher, [x]))
    monkeypatch.setattr("wsel_graph.planner.collect.LARGEST_SECOND_MOMENTS", 7)
    small = ws.statistics(teacher, [x], second_moments=True)
    assert [small.groups[key].second_moments is None for key in ("0.weight:0#0", "0.weight:1#0")] == [True, False]
    monkeypatch.setattr("wsel_graph.planner.activity.LARGEST_SECOND_MOMENTS", 7)
    with pytest.raises(
        PlanError,
        match=r"the teacher's hidden axis at 0\.weight:0 has 8 elements, and second moments are kept of at most 7: "
        r"take \{score: activation\} there$",
    ):
        ws.plan(mlp(3), teacher, (1, 4), rules=by(file, "regression"), statistics=small)
    assert module.LARGEST_SECOND_MOMENTS == 4096


def test_a_group_that_shows_in_no_activation(file: Path) -> None:
    teacher = mlp(8)
    statistics = replace(ws.statistics(teacher, [torch.randn(3, 4)]), groups={})
    with pytest.raises(
        PlanError,
        match=r"^my\.yaml:3:5: take: \{score: activation\}: the teacher's hidden axis at 0\.weight:0 \(free\) shows in "
        r"no activation that the statistics hold\. Take its elements another way, such as \{score: l2\}$",
    ):
        ws.plan(mlp(3), teacher, (1, 4), rules=by(file, "activation"), statistics=statistics)


def test_checking_a_rule_file_shows_scores_and_what_they_lack(file: Path) -> None:
    file.write_text("version: 1\nlayers:\n  - take: {score: depth}\nelements:\n  - take: {score: variance}\n")
    rules = ws.load_rules(file)
    graphs = (
        ws.trace(Transformer(8, 2, 4, depth=2), (2, 5, INPUT)),
        ws.trace(Transformer(16, 4, 8, depth=3), (2, 5, INPUT)),
    )
    check = check_rules(*graphs, rules, lambda: ws.plan(*graphs, rules=rules))
    assert [rule.says for rule in check.rules] == [
        "stage *: take {score: depth}",
        "every group: take {score: variance}",
    ]
    assert check.refused.startswith("my.yaml:3:5: layers: take: {score: depth} needs statistics of the teacher's")


def test_flat_runs_are_refused(file: Path) -> None:
    teacher = Transformer(16, 4, 8)
    statistics = ws.statistics(teacher, [torch.randn(2, 5, INPUT)])
    with pytest.raises(
        PlanError, match=r"take: \{score: variance\} ranks single axes: write unit: whole for \(heads head_dim\)"
    ):
        ws.plan(
            Transformer(8, 2, 4), teacher, (2, 5, INPUT), rules=by(file, "variance", 'student: "*"'), unit="flat",
            statistics=statistics,
        )  # fmt: skip


def test_rotary_channels_are_selected_in_pairs(file: Path) -> None:
    """Anchored groups may be selected from: both halves of a head are one group, at the projections' results."""
    teacher, x = randomize(Transformer(16, 2, 8, rope=True, depth=1)).double(), double(3, 5, INPUT)
    student = Transformer(16, 2, 4, rope=True, depth=1)
    plan = ws.plan(
        student, teacher, x, rules=by(file, "activation", "role: head_dim"), statistics=ws.statistics(teacher, [x])
    )
    rows = [row for row in taken(plan, "blocks.0.attn.q.weight") if row < 8]
    block, stream = teacher.blocks[0], teacher.stem(x)
    read = block.norm1(stream)
    total = torch.zeros(4, dtype=torch.float64)
    for project in (block.attn.q, block.attn.k):
        seen = project(read).detach().abs().mean((0, 1)).reshape(2, 2, 4).sum((0, 1))
        total += seen / seen.sum()
    assert rows == [half * 4 + pair for half in (0, 1) for pair in best(total, 2)]
