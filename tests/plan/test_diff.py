"""What differs between two plans, in words that stand for every tensor."""

from __future__ import annotations

from dataclasses import replace

import pytest

import wsel_graph as ws
from tests.nets import Transformer
from wsel_graph.plan import Copy, Kept, Plan
from wsel_graph.plan.diff import Difference, diff_plans

COPY = Copy("a.0.w", "t.1.w", (2, 3), (4, 6), (range(0, 4, 2), range(0, 6, 2)), True)
OTHER = replace(COPY, student="a.0.b", teacher="t.1.b")


def plan(*copies: Copy, kept: tuple[Kept, ...] = ()) -> Plan:
    return Plan(copies, kept, (), ())


@pytest.fixture(scope="module")
def made() -> Plan:
    return planned()


def planned(**options: object) -> Plan:
    student, teacher = Transformer(8, 2, 4, depth=2), Transformer(16, 4, 4, depth=4)
    return ws.plan(student, teacher, (2, 5, 7), **options)  # type: ignore[arg-type]


def test_a_plan_does_what_it_does(made: Plan) -> None:
    found = ws.diff_plans(made, made)
    assert not found
    assert str(found) == "the plans do the same"


def test_another_method_is_told_once_for_all_tensors(made: Plan) -> None:
    found = ws.diff_plans(made, planned(overrides={"hidden": "consecutive"}))
    first = found.differences[0]
    assert (first.kind, first.what, len(first.names)) == ("tensor", "hidden elements uniform -> consecutive", 6)
    assert str(first).splitlines() == [
        "6 tensors: hidden elements uniform -> consecutive",
        "  blocks.0.fc1.weight, blocks.0.fc1.bias, blocks.0.fc2.weight, blocks.1.fc1.weight, and 2 more",
    ]
    assert not [d for d in found.differences[1:] if d.kind == "tensor"]
    assert found.origin == (
        "made with other rules or options (default -> default; no options -> overrides=hidden: consecutive)",
    )


def test_another_block_is_told_once_for_all_its_tensors(made: Plan) -> None:
    found = ws.diff_plans(made, planned(rules="uniform-layers"))
    assert found.differences[0] == Difference("stage", "blocks 0<-0, 1<-1 of 4 -> 0<-0, 1<-2 of 4", ("blocks",))
    assert ("taken from blocks.1 -> blocks.2", 16) in [(d.what, len(d.names)) for d in found.differences]


def test_every_tensor_that_differs_is_named(made: Plan) -> None:
    """Against a comparison of the copies one by one."""
    other = planned(method="random", keep=["head.*"])
    before, after = ({copy.student: copy for copy in each.copies} for each in (made, other))
    odd = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert odd <= {name for d in ws.diff_plans(made, other).differences for name in d.names}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"teacher": "t.2.w"}, "taken from t.1 -> t.2", id="block"),
        pytest.param({"teacher": "u.3.w"}, "taken from t.1.w -> u.3.w", id="teacher"),
        pytest.param({"scale": 0.5}, "multiplied by: 1 -> 0.5", id="scale"),
        pytest.param({"indices": (range(2), COPY.indices[1])}, "dim 0: elements 0:4:2 -> 0:2", id="elements"),
        pytest.param({"region": (range(2), range(3))}, "fills: all -> 0:2, 0:3", id="region"),
        pytest.param({"also": (OTHER,)}, "added: nothing -> t.*.b", id="sum"),
        pytest.param({"teacher_shape": (5, 6)}, "teacher shape [4, 6] -> [5, 6]", id="shape"),
        pytest.param({"parameter": False}, "a parameter in one plan, a buffer in the other", id="buffer"),
    ],
)
def test_what_may_differ_in_a_copy(change: dict[str, object], said: str) -> None:
    found = diff_plans(plan(COPY, OTHER), plan(replace(COPY, **change), OTHER))  # type: ignore[arg-type]
    assert [(d.what, d.names) for d in found.differences] == [(said, ("a.0.w",))]


def test_filled_kept_and_not_there() -> None:
    kept = Kept("a.0.w", (2, 3), "wished", True)
    assert diff_plans(plan(COPY), plan(kept=(kept,))).differences[0].what == "filled -> kept (wished)"
    assert diff_plans(plan(COPY), plan()).differences[0].what == "filled -> not there"
    other = replace(kept, reason="label")
    assert diff_plans(plan(kept=(kept,)), plan(kept=(other,))).differences[0].what == "kept (wished) -> kept (label)"


def test_plans_of_other_origin_may_do_the_same(made: Plan) -> None:
    found = ws.diff_plans(made, replace(made, provenance=None))
    assert not found
    assert found.origin == ("the second plan does not say where it comes from",)
    student, teacher = Transformer(8, 2, 4, depth=2), Transformer(16, 4, 4, depth=4).half()
    assert ws.diff_plans(made, ws.plan(student, teacher, (2, 5, 7))).origin == (
        "made for another teacher (Transformer -> Transformer, other dtypes, buffers or operators)",
    )
