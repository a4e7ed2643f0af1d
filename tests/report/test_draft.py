"""Drafted rule files: they are read, say what happens without rules, and settle what is refused."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.matching.test_pairs import Named
from tests.nets import ConvNet, Language, Transformer, mlp
from tests.nets_transplant import PatchViT, PlainBert, TorchBert
from tests.planner.test_plan import Laid, Wired
from tests.zoo import torchvision_stub
from wsel_graph.plan import Plan
from wsel_graph.planner.unfit import Unfit
from wsel_graph.report.draft import Drafting
from wsel_graph.report.lines import folded, literal, wrapped
from wsel_graph.report.settle import MOST_ATTEMPTS, Decisions, settle

IDS = torch.zeros(1, 5, dtype=torch.int64)
IMAGE = (1, 3, 16, 16)


def bert(kind: type[nn.Module], width: int, depth: int) -> nn.Module:
    return kind(vocabulary=11, length=8, width=width, heads=2, depth=depth, hidden=2 * width)


def vit(width: int, depth: int, *, size: int = 16, **forms: bool) -> nn.Module:
    heads, hidden = width // 8, 2 * width
    return PatchViT(
        size=size, patch=4, width=width, heads=heads, depth=depth, hidden=hidden, classes=5,
        **{"unfold": False, "embedding": False} | forms,
    )  # fmt: skip


class WithExtra(nn.Module):
    """A network of the teacher's kind, and parts that no teacher has."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.extra, self.more = mlp(8), nn.Conv1d(1, 1, 3, padding=1), nn.LayerNorm(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.more(self.extra(self.net(x)[:, None]))


FITTING = {
    "mlp": lambda: (mlp(4), mlp(8), (1, 4)),
    "labels that differ": lambda: (mlp(4, labels=2), mlp(8), (1, 4)),
    "transformer": lambda: (Transformer(8, 1, 8), Transformer(16, 2, 8, depth=4), (2, 5, 7)),
    "grouped queries": lambda: (Transformer(8, 2, 8, kv=1), Transformer(16, 4, 8, kv=2), (2, 5, 7)),
    "convolutions": lambda: (ConvNet(4), ConvNet(8), IMAGE),
    "tied": lambda: (Language(8, tied=True), Language(16, tied=True), IDS),
    "separate from fused": lambda: (bert(PlainBert, 8, 2), bert(TorchBert, 16, 4), IDS),
    "patches as linears": lambda: (vit(8, 1, unfold=True), vit(16, 2, embedding=True), IMAGE),
}

REFUSED = {
    "parts that the teacher lacks": lambda: (WithExtra(), mlp(16), (1, 4)),
    "several places fit": lambda: (Named({n: nn.Linear(*io) for n, io in CHAIN.items()}), normed(16), (1, 4)),
    "a larger student": lambda: (mlp(16), mlp(8), (1, 4)),
    "a larger vocabulary": lambda: (Language(8, tied=True, vocabulary=13), Language(16, tied=True), IDS),
    "a smaller vocabulary": lambda: (Language(8, tied=False, vocabulary=7), Language(16, tied=False), IDS),
    "axes laid otherwise": lambda: (Laid((2, 2)), Laid((2, 2, 4)), (1, 4)),
    "axes that need all elements": lambda: (Laid((3, 3)), Laid((2, 2, 2)), (1, 4)),
}

CHAIN = {"a": (4, 8), "b": (8, 8), "c": (8, 3)}


def normed(width: int) -> nn.Sequential:
    """Hidden layers of one width, with norms between the inner ones."""
    inner = [nn.Linear(width, width), nn.LayerNorm(width), nn.Linear(width, width), nn.LayerNorm(width)]
    return nn.Sequential(nn.Linear(4, width), *inner, nn.Linear(width, width), nn.Linear(width, 3))


Pair = Callable[[], tuple[nn.Module, nn.Module, Any]]


def graphs(pair: Pair) -> tuple[ws.ModelGraph, ws.ModelGraph]:
    student, teacher, inputs = pair()
    return ws.trace(student, inputs), ws.trace(teacher, inputs)


def content(plan: Plan) -> tuple[object, ...]:
    return plan.copies, plan.kept, plan.choices, plan.layers


def planned(text: str, student: ws.ModelGraph, teacher: ws.ModelGraph, folder: Path) -> Plan:
    file = folder / "drafted.yaml"
    file.write_text(text, encoding="utf-8")
    return ws.plan(student, teacher, rules=file)


def idle_rules(plan: Plan) -> list[str]:
    """What the plan notes about rules of the draft that govern nothing."""
    return [note for note in plan.notes if "drafted.yaml" in note]


@pytest.mark.parametrize("pair", FITTING.values(), ids=FITTING)
def test_a_draft_says_what_happens_without_it(pair: Pair, tmp_path: Path) -> None:
    student, teacher = graphs(pair)
    text = ws.draft_rules(student, teacher)
    made = planned(text, student, teacher, tmp_path)
    assert content(made) == content(ws.plan(student, teacher))
    assert not idle_rules(made)
    assert "CHECK" not in text
    assert "As it stands, this file says what happens without any" in text


@pytest.mark.parametrize("pair", REFUSED.values(), ids=REFUSED)
def test_a_draft_settles_what_is_refused(pair: Pair, tmp_path: Path) -> None:
    student, teacher = graphs(pair)
    with pytest.raises(ws.WselError):
        ws.plan(student, teacher)
    text = ws.draft_rules(student, teacher)
    made = planned(text, student, teacher, tmp_path)
    assert made.copies
    assert not idle_rules(made)
    assert "Without rules this pair is refused" in text
    assert re.search(r"^  # CHECK ", text, flags=re.MULTILINE)


REAL = {
    "swin windows": ("timm", "swin_tiny_patch4_window7_224", "swin_tiny_patch4_window7_224", {"window_size": 4}),
    "axes coupled otherwise": ("timm", "mobilevit_s", "mobilevit_xxs", {}),
    "shuffled halves": ("torchvision", "shufflenet_v2_x2_0", "shufflenet_v2_x0_5", {}),
    "vision transformer": ("timm", "vit_small_patch16_224", "vit_tiny_patch16_224", {"depth": 4, "num_classes": 9}),
}


@pytest.mark.parametrize("names", REAL.values(), ids=REAL)
def test_published_models(names: tuple[str, str, str, dict[str, Any]], tmp_path: Path) -> None:
    torchvision_stub.install()
    library, large, small, options = names
    build = {"timm": "create_model", "torchvision": "get_model"}[library]
    make = getattr(importlib.import_module("torchvision.models" if library == "torchvision" else library), build)
    with torch.device("meta"):
        models = make(small, **options), make(large)
    student, teacher = (ws.trace(model, (1, 3, 224, 224)) for model in models)
    made = planned(ws.draft_rules(student, teacher), student, teacher, tmp_path)
    assert not idle_rules(made)
    parameters = {name for name, _ in models[0].named_parameters()}
    filled = {copy.student for copy in made.copies} & parameters
    assert len(filled) > 0.6 * len(parameters)


def test_only_what_is_refused_is_settled(tmp_path: Path) -> None:
    student, teacher = graphs(REFUSED["parts that the teacher lacks"])
    text = ws.draft_rules(student, teacher)
    made = planned(text, student, teacher, tmp_path)
    assert {kept.student for kept in made.kept} == {"extra.weight", "extra.bias", "more.weight", "more.bias"}
    assert (
        "  # CHECK extra.weight [1, 1, 3], extra.bias [1], more.weight [3], more.bias [3]: the teacher has no block of "
        "this\n  # structure here\n"
        '  - keep:\n      - "extra.*"\n      - "more.*"\n'
    ) in text


def test_several_places_are_paired_with_the_others_named(tmp_path: Path) -> None:
    student, teacher = graphs(REFUSED["several places fit"])
    text = ws.draft_rules(student, teacher)
    assert (
        '  # CHECK b.weight [8, 8]: several teacher tensors fit equally well; or "5.weight"\n'
        '  - pair: {student: "b.weight", teacher: "1.weight"}\n'
    ) in text
    other = text.replace('teacher: "1.', 'teacher: "5.')
    taken = {copy.student: copy.teacher for copy in planned(other, student, teacher, tmp_path).copies}
    assert (taken["b.weight"], taken["b.bias"]) == ("5.weight", "5.bias")


def test_every_stage_and_kind_of_group_is_in_it() -> None:
    text = ws.draft_rules(Transformer(8, 1, 8), Transformer(16, 2, 8, depth=4), (2, 5, 7))
    assert (
        'layers:\n  # 2 of the teacher\'s 4 blocks: 0<-0, 1<-1\n  - stage: "blocks"\n    take: first\n'
        '    # from: "blocks"  # the teacher\'s stage\n'
    ) in text
    rows = [re.split(r"\s{2,}", line.removeprefix("#").strip()) for line in text.splitlines() if " -> " in line]
    assert ["1", "embed", "16 -> 8", "uniform", "free", "stem.weight:0"] in rows
    assert ["2", "heads", "2 -> 1", "uniform", "free", "blocks.0.attn.q.weight:0"] in rows
    assert ["2", "hidden", "32 -> 16", "uniform", "free", "blocks.0.fc1.weight:0"] in rows
    assert "# 32 teacher tensors not used: blocks.2.norm1.weight, blocks.2.norm1.bias, " in text


def test_a_changed_draft_changes_the_plan(tmp_path: Path) -> None:
    student, teacher = graphs(FITTING["transformer"])
    text = ws.draft_rules(student, teacher)
    last = planned(text.replace("    take: first", "    take: last"), student, teacher, tmp_path)
    assert [layer.pairs for layer in last.layers] == [((0, 2), (1, 3))]
    first = planned(text.replace("  - take: uniform", "  - take: consecutive"), student, teacher, tmp_path)
    assert {choice.method for choice in first.choices} == {"consecutive", "whole"}


def test_modules_and_graphs_give_the_same() -> None:
    student, teacher, inputs = FITTING["mlp"]()
    assert ws.draft_rules(student, teacher, inputs) == ws.draft_rules(*graphs(lambda: (student, teacher, inputs)))
    with pytest.raises(ws.WselError, match="the same object"):
        ws.draft_rules(student, student, inputs)


def test_what_stands_against_a_pair_even_so_is_said(tmp_path: Path) -> None:
    student, teacher = graphs(lambda: (Wired(4, 3, tied=False), Wired(8, 8, tied=True), (1, 4)))
    text = ws.draft_rules(student, teacher)
    assert "# This pair is refused, even with the rules that are marked CHECK." in text
    reason = "the plan would copy nothing: no student tensor receives teacher values (asked for by this file:"
    assert reason in " ".join(text.replace("#", "").split())
    assert '  #   or pair: {student: "first.weight", teacher: "first.weight"}, or "left.weight"\n' in text
    with pytest.raises(ws.WselError, match="copy nothing"):
        planned(text, student, teacher, tmp_path)


def test_attempts_are_bounded() -> None:
    student, teacher = graphs(FITTING["mlp"])
    seen: list[Decisions] = []

    def attempt(decisions: Decisions) -> tuple[Any, Callable[[], Plan]]:
        def refuse() -> Plan:
            seen.append(decisions)
            raise Unfit(f"refusal {len(seen)}", [str(len(seen))], "too late")  # what is advised never helps

        return ws.load_rules("default"), refuse

    decisions, made = settle(student, teacher, attempt)
    assert made is None
    assert decisions.refused == f"refusal {len(seen)}"
    assert len(seen) == MOST_ATTEMPTS


def test_a_pairing_that_is_refused_gives_way(tmp_path: Path) -> None:
    student, teacher = graphs(REFUSED["several places fit"])

    def attempt(decisions: Decisions) -> tuple[Any, Callable[[], Plan]]:
        text = Drafting(student, teacher, decisions, None).text().replace('teacher: "1.weight"', 'teacher: "1.bias"')
        (tmp_path / "drafted.yaml").write_text(text, encoding="utf-8")
        rules = ws.load_rules(tmp_path / "drafted.yaml")
        return rules, lambda: ws.plan(student, teacher, rules=rules)

    decisions, made = settle(student, teacher, attempt)
    assert made is not None
    assert decisions.keep.keys() == {"b.weight"}
    assert "the rule pairs b.weight with 1.bias, but it has 2 axes" in decisions.keep["b.weight"]
    assert decisions.pairs.keys() == {"b.bias"}


@pytest.mark.parametrize(
    "name", ["a[0]", "b*", 'quo"te', "ünï", "colon: x", "#c", "back\\slash", "{y}", "- z", "!t", "e?"]
)
def test_names_of_any_kind_are_spelled_so_that_they_are_read(name: str, tmp_path: Path) -> None:
    student = Named({"in": nn.Linear(4, 6), name: nn.LayerNorm(6), f"{name}2": nn.Linear(6, 3)})
    models = graphs(lambda: (student, nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3)), (1, 4)))
    made = planned(ws.draft_rules(*models), *models, tmp_path)
    assert {kept.student for kept in made.kept} == {f"{name}.weight", f"{name}.bias"}
    assert not idle_rules(made)


@pytest.mark.parametrize("name", ["a[0]", "b*", "e?"])
def test_stages_of_any_name(name: str, tmp_path: Path) -> None:
    student = Transformer(8, 1, 8)
    stage = student._modules.pop("blocks")
    student.register_module(name, stage)
    student.blocks = list(stage)  # what the forward pass goes through
    models = graphs(lambda: (student, Transformer(16, 2, 8, depth=4), (2, 5, 7)))
    text = ws.draft_rules(*models)
    last = planned(text.replace("    take: first", "    take: last"), *models, tmp_path)
    assert [layer.pairs for layer in last.layers] == [((0, 2), (1, 3))]
    assert not idle_rules(last)


def test_globs_match_what_is_kept_and_no_more() -> None:
    names = {name: name for name in ("net.a.w", "net.a.b", "net.c.w", "net.c.b", "d", "e[0].w")}
    assert folded(["net.a.w", "net.a.b", "net.c.w"], names) == ["net.a.*", "net.c.w"]
    assert folded(["net.a.w", "net.a.b", "net.c.w", "net.c.b", "d"], names) == ["net.*", "d"]
    assert folded(["e[0].w"], names) == ["e[[]0].*"]
    assert literal("a*b?[c]") == "a[*]b[?][[]c]"


def test_comments_are_wrapped() -> None:
    lines = list(wrapped("word " * 60, "  # "))
    assert len(lines) == 3
    assert all(line.startswith("  # ") and len(line) <= 118 for line in lines)
    assert " ".join(line.removeprefix("  # ") for line in lines) == ("word " * 60).strip()
