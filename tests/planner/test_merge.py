"""Plans with merged elements: what they hold, where they are refused, and that they survive a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import wsel_graph as ws
from tests.nets import ConvNet, Transformer, mlp, randomize, snapshot
from tests.oracles.duplicates import averages, plant
from wsel_graph.errors import PlanError
from wsel_graph.planner.builder import build_plan
from wsel_graph.planner.elements import Elements
from wsel_graph.selection.rules import read_rules

TOKENS = (2, 5, 7)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"


def plan_by(file: Path, where: str, student: nn.Module, teacher: nn.Module, inputs: Any) -> ws.Plan:
    file.write_text(f"version: 1\nelements:\n  - where: {where}\n    take: {{merge: weights}}\n")
    return ws.plan(student, teacher, inputs, rules=file)


def test_a_hidden_layer_written_out(file: Path) -> None:
    """Two clusters in plain sight: rows are averaged, biases too, columns added up."""
    student, teacher = mlp(2), randomize(mlp(4))
    with torch.no_grad():
        teacher[0].weight.copy_(torch.tensor([[1.0] * 4, [-2.0] * 4, [1.5] * 4, [-2.5] * 4]))
        teacher[0].bias.copy_(torch.tensor([1.0, 0.0, 2.0, 1.0]))
    plan = plan_by(file, '{student: "0.bias"}', student, teacher, (1, 4))
    ws.apply(plan, student, teacher)
    assert student[0].weight.tolist() == [[1.25] * 4, [-2.25] * 4]
    assert student[0].bias.tolist() == [1.5, 0.5]
    columns = teacher[2].weight[list(range(0, 8, 2))]
    assert torch.equal(student[2].weight, torch.stack([columns[:, [0, 2]].sum(1), columns[:, [1, 3]].sum(1)], 1))
    assert plan.explain("0.weight").splitlines()[1] == (
        "  dim 0: averages [0, 2] [1, 3] of 4 (hidden 4 -> 2 merge weights)"
    )
    assert "  dim 1: sums [0, 2] [1, 3] of 4 (hidden 4 -> 2 merge weights)" in plan.explain("2.weight")
    copy = next(copy for copy in plan.copies if copy.student == "2.weight")
    assert list(copy.indices[1]) == [0, 1]


def test_all_members_of_a_group_have_the_same_clusters(file: Path) -> None:
    student, teacher = ConvNet(5), randomize(ConvNet(12))
    plan = plan_by(file, "{role: [embed, hidden]}", student, teacher, (1, 3, 8, 8))
    mixes = {(copy.student, mix.dim): mix for copy in plan.copies for mix in copy.mix}
    for choice in (choice for choice in plan.choices if choice.method == "merge weights"):
        own = [mixes[name, int(dim)] for name, _, dim in (place.rpartition(":") for place in choice.members)]
        assert len({mix.indices for mix in own}) == 1
        assert len(own[0].indices) == choice.student_size
        assert sorted(element for each in own[0].indices for element in each) == list(range(choice.teacher_size))
    reads = {place for place, mix in mixes.items() if {w for own in mix.weights for w in own} == {1.0}}
    assert reads == {("point.weight", 1), ("back.weight", 1), ("head.weight", 1)}
    assert all(
        sum(own) == pytest.approx(1) for place, mix in mixes.items() if place not in reads for own in mix.weights
    )


def test_heads_of_one_tensor_for_queries_keys_and_values(file: Path) -> None:
    def encoder(heads: int) -> nn.Module:
        class Fused(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.qkv, self.out = nn.Linear(6, 3 * heads * 4), nn.Linear(heads * 4, 6)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                q, k, v = self.qkv(x).unflatten(-1, (3, heads, 4)).permute(2, 0, 3, 1, 4)
                return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

        return Fused()

    student, teacher = encoder(2), randomize(encoder(3))
    plan = plan_by(file, "{role: heads}", student, teacher, (2, 5, 6))
    qkv, out = (next(copy for copy in plan.copies if copy.student == name) for name in ("qkv.weight", "out.weight"))
    (clusters,) = {tuple(sorted(tuple(p // 4 for p in own) for own in out.mix[0].indices[::4]))}
    spread = [tuple(sorted(4 * head + 12 * part for head in own)) for part in range(3) for own in clusters]
    assert sorted(tuple(sorted(own)) for own in qkv.mix[0].indices[::4]) == sorted(spread)


def test_nothing_to_merge_changes_nothing(file: Path) -> None:
    """A rule that merges, where student and teacher have one size: bit for bit the teacher (O1)."""
    student, teacher = Transformer(), randomize(Transformer())
    plan = plan_by(file, "{role: [hidden, heads, head_dim, embed, label, kernel]}", student, teacher, TOKENS)
    ws.apply(plan, student, teacher)
    assert all(torch.equal(value, snapshot(teacher)[name]) for name, value in snapshot(student).items())
    assert not any(copy.mix for copy in plan.copies)


class Odd(nn.Module):
    """A hidden axis, and one operator that counts its elements."""

    def __init__(self, width: int, way: str) -> None:
        super().__init__()
        self.way, self.a, self.b = way, nn.Linear(4, width), nn.Linear(width, 4)
        self.tied = nn.Linear(width, 4) if way != "tied" else self.a
        self.norm = nn.GroupNorm(2, width) if way == "group norm" else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(self.a(x))
        match self.way:
            case "softmax":
                h = h.softmax(-1)
            case "mean":
                h = h - h.mean(-1, keepdim=True)
            case "two activations":
                return (h @ h.mT) @ self.b(h)
            case "tied":
                return F.linear(h, self.a.weight.t())
            case "computed":
                return F.linear(h, self.b.weight / self.b.weight.norm(dim=0, keepdim=True))
            case "scaled":
                return F.linear(h, self.b.weight * 2)
            case "norm":
                h = F.normalize(h, dim=-1)
            case "code":
                h = h + torch.arange(h.shape[-1])
            case "cumulative":
                h = h.cumsum(-1)
        return self.b(h)


REFUSED = [
    ("softmax", "is normalised over (aten::_softmax at graph node"),
    ("mean", "is reduced to one value (aten::mean at graph node"),
    ("two activations", "is summed over in a product of two activations (aten::"),
    ("computed", "is read by weights that are computed from b.weight first"),
    ("scaled", "is read by weights that are computed from b.weight first"),
    ("norm", "is reduced to one value (aten::linalg_vector_norm at graph node"),
    ("group norm", "is normalised over (aten::native_group_norm at graph node"),
    ("code", "is tied to fixed values"),
]


@pytest.mark.parametrize(("way", "why"), REFUSED)
def test_refusals(file: Path, way: str, why: str) -> None:
    student, teacher = Odd(4, way), randomize(Odd(8, way))
    inputs = (3, 4) if way == "group norm" else (2, 3, 4)
    with pytest.raises(PlanError) as caught:
        plan_by(file, '{student: "a.bias"}', student, teacher, inputs)
    text = str(caught.value)
    assert text.startswith("my.yaml:3:5: take: {merge: weights} cannot merge the coupled axis ")
    assert "a.weight:0" in text
    assert why in text
    assert text.endswith("take: uniform")


def test_a_refusal_in_full(file: Path) -> None:
    with pytest.raises(PlanError) as caught:
        plan_by(file, "{role: embed}", Transformer(8), randomize(Transformer(16)), TOKENS)
    assert str(caught.value) == (
        "my.yaml:3:5: take: {merge: weights} cannot merge the coupled axis embed (student stem.weight:0, stem.bias:0, "
        "blocks.0.norm1.weight:0, ...): it is normalised over (aten::native_layer_norm at graph node "
        "native_layer_norm_default, module blocks.0.norm1), so averages and sums would not give the same function even "
        "where elements are equal. Merge other axes, and write above that rule in `elements`:\n"
        '  - where: {role: embed, student: "stem.weight"}\n    take: uniform'
    )


def test_the_rule_that_a_refusal_proposes_settles_it(file: Path) -> None:
    student, teacher = Transformer(8, 2, 4), randomize(Transformer(16, 2, 8))
    file.write_text(
        "version: 1\nelements:\n"
        '  - where: {role: embed, student: "stem.weight"}\n    take: uniform\n'
        "  - where: {role: head_dim}\n    take: uniform\n"
        "  - take: {merge: weights}\n"
    )
    plan = ws.plan(student, teacher, TOKENS, rules=file)
    assert {choice.role for choice in plan.choices if choice.method == "merge weights"} == {"hidden"}


def test_rotary_channels_and_tied_tables_are_refused(file: Path) -> None:
    rope = Transformer(16, 2, 4, rope=True), randomize(Transformer(16, 2, 8, rope=True))
    with pytest.raises(PlanError, match=r"the coupled axis head_dim .* it is (tied to fixed values|summed over)"):
        plan_by(file, "{role: head_dim}", *rope, TOKENS)

    class Tied(nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            self.embed = nn.Embedding(11, dim)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return F.relu(self.embed(ids)) @ self.embed.weight.T

    ids = {"ids": torch.arange(10).reshape(2, 5)}
    with pytest.raises(PlanError, match=r"is both made and read by dim 1 of embed.weight"):
        plan_by(file, '{student: "embed.weight", not: {role: vocabulary}}', Tied(4), randomize(Tied(8)), ids)


def test_pinned_axes_are_refused_by_name(file: Path) -> None:
    with pytest.raises(PlanError, match=r"it is pinned \(label, at graph node output\): it is taken whole"):
        plan_by(file, "{role: label}", mlp(4, labels=2), randomize(mlp(4, labels=5)), (1, 4))


def test_flat_runs_are_refused(file: Path) -> None:
    file.write_text("version: 1\nelements:\n  - {unit: flat, take: {merge: weights}}\n")
    student, teacher = Transformer(16, 2, 4, hidden=32), randomize(Transformer(16, 4, 4, hidden=32))
    with pytest.raises(PlanError, match=r"take: {merge: weights} merges along single axes: write unit: whole for \("):
        ws.plan(student, teacher, TOKENS, rules=file)


def test_values_are_needed(file: Path) -> None:
    with torch.device("meta"):
        teacher = mlp(4)
    with pytest.raises(PlanError, match=r"needs the teacher's values, and 0.weight is on the meta device: load its"):
        plan_by(file, "{role: hidden}", mlp(2), teacher, (1, 4))


def test_features_of_another_kind_are_plugged_in(file: Path) -> None:
    """What activations will use: any features by the name of the rule; here the element's number."""
    file.write_text("version: 1\nelements:\n  - where: {role: hidden}\n    take: {merge: weights}\n")
    rules = read_rules(file).elements
    seen: list[int] = []

    def by_number(teacher: ws.trace, groups: Any) -> torch.Tensor:  # type: ignore[valid-type]
        seen.append(groups[0].size)
        return torch.arange(groups[0].size)[:, None] // 2 * 1.0

    graphs = ws.trace(mlp(2), (1, 4)), ws.trace(randomize(mlp(4)), (1, 4))
    plan = build_plan(*graphs, Elements(rules=rules, features={"weights": by_number}))
    assert seen == [4, 8]
    assert plan.copies[0].mix[0].indices == ((0, 1), (2, 3))
    wrong = Elements(rules=rules, features={"weights": lambda teacher, groups: torch.zeros(3, 2)})
    with pytest.raises(PlanError, match=r"finite features of shape \[4, n\], one row per element of .* got \[3, 2\]"):
        build_plan(*graphs, wrong)


def test_a_plan_survives_a_file(file: Path, tmp_path: Path) -> None:
    student, teacher = ConvNet(5), randomize(ConvNet(12))
    plan = plan_by(file, "{role: [embed, hidden]}", student, teacher, (1, 3, 8, 8))
    plan.save(tmp_path / "a.plan.json")
    again = ws.load_plan(tmp_path / "a.plan.json")
    assert again == plan
    ws.apply(plan, student, teacher)
    first = snapshot(student)
    ws.apply(again, student, teacher)
    assert all(torch.equal(first[name], value) for name, value in snapshot(student).items())


def test_old_plans_have_no_merges(tmp_path: Path) -> None:
    plan = ws.plan(mlp(2), mlp(4), (1, 4))
    plan.save(tmp_path / "a.plan.json")
    assert '"mix"' not in (tmp_path / "a.plan.json").read_text()
    assert '"also"' not in (tmp_path / "a.plan.json").read_text()


def test_rescaling_leaves_sums_alone(file: Path) -> None:
    """A sum over a cluster keeps the fan-in, so there is nothing to rescale."""
    file.write_text(
        "version: 1\nelements:\n  - {where: {role: hidden}, take: {merge: weights}}\n  - rescale: variance\n"
    )
    plan = ws.plan(mlp(2), randomize(mlp(4)), (1, 4), rules=file)
    assert {copy.scale for copy in plan.copies} == {1.0}
    assert replace(plan.copies[0], mix=()) != plan.copies[0]


def test_what_reads_an_element_does_not_say_what_it_is(file: Path) -> None:
    """One input feature makes the elements, fifty outputs read them in any way: duplicates are duplicates."""

    def net(width: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(1, width, bias=False), nn.Tanh(), nn.Linear(width, 50))

    student, teacher = net(3).double(), randomize(net(9).double())
    with torch.no_grad():
        teacher[0].weight.copy_(torch.tensor([1.0, 1.1, 1.2]).repeat(3)[:, None])
        teacher[2].weight.mul_(100)
    plan = plan_by(file, "{role: hidden}", student, teacher, (4, 1))
    ws.apply(plan, student, teacher)
    assert plan.copies[0].mix[0].indices == ((0, 3, 6), (1, 4, 7), (2, 5, 8))
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    torch.testing.assert_close(student(x), teacher(x), rtol=1e-12, atol=1e-12)


class Fused(nn.Module):
    """Attention by one operator; queries and keys may be of another width than values."""

    def __init__(self, key: int, value: int) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(6, 2 * key), nn.Linear(6, 2 * key), nn.Linear(6, 2 * value)
        self.out = nn.Linear(2 * value, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (part(x).unflatten(-1, (2, -1)).transpose(1, 2) for part in (self.q, self.k, self.v))
        return self.out(F.scaled_dot_product_attention(q, k, v, scale=1.0).transpose(1, 2).flatten(2))


def test_channels_of_values_merge_and_those_of_queries_do_not(file: Path) -> None:
    with pytest.raises(PlanError, match=r"coupled axis head_dim .* two activations \(aten::_?scaled_dot_product_"):
        plan_by(file, '{role: head_dim, student: "q.*"}', Fused(2, 8), randomize(Fused(4, 8)), (2, 5, 6))
    student, teacher = Fused(4, 3).double(), randomize(Fused(4, 8).double())
    where = '{role: head_dim, student: "v.*", not: {student: "q.*"}}'
    plant(plan_by(file, where, student, teacher, (2, 5, 6)), teacher)
    ws.apply(plan_by(file, where, student, teacher, (2, 5, 6)), student, teacher)
    x = torch.randn(2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(student(x), teacher(x), rtol=1e-10, atol=1e-10)


class Turned(nn.Module):
    """Weights in the forms in which libraries hold them: transposed, normed, reshaped, with a learned start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(width))
        self.inlet = nn.utils.parametrizations.weight_norm(nn.Linear(4, width))
        self.up = nn.Parameter(torch.zeros(width, 3, 5))
        self.deconv = nn.ConvTranspose1d(width, width, 3)
        self.slope = nn.PReLU(width)
        self.down = nn.Parameter(torch.zeros(width, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.slope(self.deconv((self.inlet(x) + self.start).mT)).mT
        return (h @ self.up.flatten(1)).unflatten(-1, (3, 5)).sum(-1) @ x.new_ones(3, 2) + torch.matmul(h, self.down)


def test_weights_in_other_forms(file: Path) -> None:
    student, teacher = Turned(3).double(), randomize(Turned(8).double())
    rules = "{role: [hidden, embed]}"
    plan = plan_by(file, rules, student, teacher, (2, 5, 4))
    plant(plan, teacher)
    plan = plan_by(file, rules, student, teacher, (2, 5, 4))
    ws.apply(plan, student, teacher)
    read = {copy.student for copy in plan.copies for mix in copy.mix if not averages(mix)}
    assert read == {"up", "deconv.weight", "down"}
    x = torch.randn(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(student(x), teacher(x), rtol=1e-10, atol=1e-10)
