"""The HTML page says what the plan says, in one file, whatever tensors are called."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import Transformer, mlp
from tests.report.pages import HOSTILE, PAIRS, Hostile, data_of, deep_plan, names_of, planned, traced, vit
from wsel_graph.plan import Choice, Copy, Kept, Plan
from wsel_graph.report.page import report_page
from wsel_graph.report.page_counts import counts, stretches

Words = tuple[str, ...]


class Text(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def elements(own: list[object]) -> tuple[int, ...]:
    """An index list of the page."""
    if len(own) == 1:
        return tuple(own[0])  # type: ignore[arg-type]
    start, count, step = own
    return tuple(start + i * step for i in range(count))  # type: ignore[operator, call-overload]


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("known", [True, False], ids=["outlined", "names alone"])
def test_a_page_holds_every_copy_with_its_elements(name: str, known: bool) -> None:
    plan = planned(name) if known else replace(planned(name), outlines=())
    data = data_of(report_page(plan))
    ours, theirs = names_of(data["student"]), names_of(data["teacher"])
    found = []
    for student, teacher, form in data["copies"]:
        own = data["forms"][form]
        filled = tuple(elements(data["lists"][i]) for i in own["filled"])
        found.append((ours[student], theirs[teacher], tuple(elements(data["lists"][i]) for i in own["taken"]), filled))
    assert found == [
        (copy.student, source.teacher, tuple(map(tuple, source.indices)), tuple(map(tuple, source.region or ())))
        for copy in plan.copies
        for source in copy.sources
    ]
    assert [(ours[i], data["reasons"][why]) for i, why in data["kept"]] == [(k.student, k.reason) for k in plan.kept]
    for group, choice in zip(data["groups"], plan.choices, strict=True):
        pairs = zip(group["members"][::2], group["members"][1::2], strict=True)
        assert tuple(f"{ours[tensor]}:{dim}" for tensor, dim in pairs) == choice.members
        assert (group["role"], group["method"], group["rule"]) == (choice.role, choice.method, choice.rule)


@pytest.mark.parametrize("name", PAIRS)
def test_the_coverage_bar_is_to_scale(name: str) -> None:
    graph, plan = traced(name)[0], planned(name)
    total = sum(state.tensor.numel() for state in graph.captured.states if state.kind == "parameter")
    kept = sum(math.prod(item.shape) for item in plan.kept if item.parameter)
    assert counts(plan).total == sum(own.count for own in stretches(plan)) == total
    assert sum(own.count for own in stretches(plan) if own.fate == "kept") == kept == counts(plan).kept
    shares = [float(share) for share in re.findall(r"flex-grow:([\d.]+)", report_page(plan))]
    assert sum(shares) == pytest.approx(1, abs=1e-4)


def test_what_is_filled_in_part_counts_in_part() -> None:
    copy = Copy("a", "b", (4, 3), (2, 3), (range(2), range(3)), True, region=(range(2), range(3)))
    plan = Plan((copy,), (Kept("c", (8,), "asked", True), Kept("d", (99,), "a buffer", False)), (), ())
    assert [(own.label, own.fate, own.count) for own in stretches(plan)] == [
        ("a", "copied", 6), ("a", "kept", 6), ("c", "kept", 8),
    ]  # fmt: skip
    assert counts(plan).percent == "30.00 %"


def test_a_page_needs_nothing_else() -> None:
    page = report_page(planned("transformer"))
    outside = set(re.findall(r"https?://[^\s\"')]+", page)) - {"http://www.w3.org/2000/svg"}
    assert not outside
    assert "@import" not in page
    assert "url(" not in page
    tags = Text(page).tags
    assert not [tag for tag, given in tags if "src" in given]
    assert [given["href"] for tag, given in tags if tag == "link"] == ["data:,"]
    policy = next(given["content"] for tag, given in tags if given.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_hostile_names_are_text() -> None:
    plan = planned("hostile names")
    kept = Kept(f"{HOSTILE}.kept", (2,), f"because of {HOSTILE}", True)
    choice = Choice(HOSTILE, HOSTILE, 2, 2, HOSTILE, (f"{HOSTILE}.weight:0",), HOSTILE)
    plan = replace(plan, kept=(kept,), choices=(*plan.choices, choice), notes=(HOSTILE,))
    parsed = Text(report_page(plan, title=HOSTILE, unknown_ops=(HOSTILE,)))
    names = [tag for tag, _ in parsed.tags]
    assert names.count("script") == 2
    assert "img" not in names
    assert not [given for _, given in parsed.tags if "onerror" in given]
    assert any(HOSTILE in text for text in parsed.text)


def test_a_page_without_javascript_is_tables() -> None:
    text = " ".join(Text(report_page(planned("other labels"))).text)
    assert "label axis of size 2, the teacher's has 3" in text  # why the last layer is kept
    for copy in planned("other labels").copies:
        assert copy.student in text
    assert "default.yaml:6:5" in text


def test_a_thousand_blocks_are_a_small_page() -> None:
    page = report_page(deep_plan())
    assert len(page.encode()) < 1_000_000
    data = data_of(page)
    for side, depth in (("student", 500), ("teacher", 1000)):
        outline = data[side]["outline"]
        assert [len(section["blocks"]) for section in outline["sections"]] == [1, depth, 1]
        assert len(outline["kinds"]) == 3


# -- what decided


def rule_of(plan: Plan, role: str) -> set[str]:
    return {choice.rule for choice in plan.choices if choice.role == role and choice.method != "whole"}


def test_choices_name_the_rule_that_governed(tmp_path: Path) -> None:
    student, teacher = traced("transformer")
    file = tmp_path / "mine.yaml"
    file.write_text("version: 1\nextends: default\nelements:\n  - where: {role: hidden}\n    take: consecutive\n")
    plan = ws.plan(student, teacher, rules=file)
    assert rule_of(plan, "hidden") == {f"{file.name}:4:5"}
    assert rule_of(plan, "embed") == rule_of(plan, "heads") == {"default.yaml:6:5"}
    assert {layer.rule for layer in plan.layers} == {"default.yaml:4:5"}
    assert {choice.rule for choice in plan.choices if choice.method == "whole"} == {""}


def test_choices_name_what_python_asked_for() -> None:
    student, teacher = traced("transformer")
    plan = ws.plan(student, teacher, method="random", overrides={"heads": "consecutive"})
    assert rule_of(plan, "embed") == {"method='random'"}
    assert rule_of(plan, "heads") == {"overrides['heads']"}


def test_axes_that_are_resized_name_the_rule_that_says_how(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("version: 1\nextends: default\nelements:\n  - where: {role: position}\n    resize: interpolate\n")
    student = ws.trace(vit(8, 1, size=16), (1, 3, 16, 16))
    teacher = ws.trace(vit(16, 1, size=24), (1, 3, 24, 24))
    by_rule = ws.plan(student, teacher, rules=file)
    assert {choice.rule for choice in by_rule.choices if choice.method == "interpolated"} == {f"{file.name}:4:5"}
    assert {choice.rule for choice in ws.plan(student, teacher).choices if choice.method == "interpolated"} == {""}


# -- the verb


def test_a_report_of_a_result_tells_what_compensation_did(tmp_path: Path) -> None:
    torch.manual_seed(0)
    student, teacher = mlp(4), mlp(16)
    result = ws.initialize(student, teacher, (1, 4), calibration=[torch.randn(64, 4) for _ in range(3)])
    assert result.compensation is not None
    ws.report(result, tmp_path / "start.html")
    page = (tmp_path / "start.html").read_text()
    said = data_of(page)["fitted"]
    assert len(said) == len(result.compensation.outcomes) + len(result.compensation.kept)
    assert f"Fitted {len(result.compensation.fitted)} of {len(said)} parameters" in page


def test_a_report_of_a_saved_plan_is_the_same(tmp_path: Path) -> None:
    plan = planned("grouped queries, rotary")
    plan.save(tmp_path / "start.plan.json")
    ws.report(ws.load_plan(tmp_path / "start.plan.json"), tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == report_page(plan)


def test_the_function_is_not_its_package() -> None:
    from wsel_graph.report.text import plan_tables

    assert callable(ws.report)
    assert callable(plan_tables)


def test_averaged_blocks_show_all_their_teachers(tmp_path: Path) -> None:
    file = tmp_path / "merge.yaml"
    file.write_text("version: 1\nextends: default\nlayers:\n  - take: merge\n")
    student, teacher = ws.trace(Transformer(16, 2, 8, depth=2), (2, 5, 7)), traced("transformer")[1]
    plan = ws.plan(student, teacher, rules=file)
    page = report_page(plan)
    data = data_of(page)
    assert sum(data["forms"][form]["added"] for _, _, form in data["copies"]) == sum(len(c.also) for c in plan.copies)
    assert "0 \u2190 0+1+2, 1 \u2190 3+4+5" in page
    assert {own.fate for own in stretches(plan)} == {"copied", "adapted"}


def test_a_plan_of_hostile_names_can_be_applied() -> None:
    student, teacher = Hostile(4), Hostile(8)
    result = ws.initialize(student, teacher, (1, 4))
    assert isinstance(getattr(student, HOSTILE), nn.Linear)
    assert result.coverage == 1
