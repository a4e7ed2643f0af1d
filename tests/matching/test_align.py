"""Alignment of two folded sequences: order-keeping, by worth, and honest about choices that are equally good."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import wsel_graph as ws
from tests.matching.test_pairs import Named, paired
from wsel_graph.matching.align import SAME_KIND, SAME_STRUCTURE, align_items, worth
from wsel_graph.matching.segments import Item, Segment


def single(kind: str, level: int = 0, nodes: int = 1) -> Item:
    return Item((segment(kind, level, nodes),))


def stage(kinds: str, level: int = 0) -> Item:
    return Item(tuple(segment(kind, level) for kind in kinds), stage=True)


def segment(kind: str, level: int = 0, nodes: int = 1) -> Segment:
    """An upper-case kind is alike, but not equal, to the lower-case one."""
    return Segment(tuple(range(nodes)), kind, kind.lower(), True, False, frozenset(), level)


def aligned(student: list[Item], teacher: list[Item], forbidden: tuple[tuple[int, int], ...] = ()) -> dict[int, object]:
    """Partner numbers by student number; a tuple where several are equally good."""
    found = align_items(student, teacher, lambda s, t: (s, t) not in forbidden)
    return {**dict(found.pairs), **dict(found.ambiguous)}


# -- worth


def test_kinds_count_by_their_nodes_and_exactness_is_a_bonus() -> None:
    assert worth(single("a", nodes=3), single("a")) == 3 * SAME_KIND + SAME_STRUCTURE
    assert worth(single("a", nodes=3), single("A")) == 3 * SAME_KIND
    assert worth(single("a"), single("b")) == 0


def test_stages_share_what_both_have() -> None:
    assert worth(stage("aam"), stage("ammm")) == 2 * (SAME_KIND + SAME_STRUCTURE)


def test_a_stage_is_no_counterpart_of_a_single_segment_unless_it_has_one_block() -> None:
    assert worth(stage("aa"), single("a")) == 0
    assert worth(stage("a"), single("a")) > 0


# -- alignment


def test_equal_sequences_are_paired_place_by_place() -> None:
    items = [single("s"), stage("amam"), single("h")]
    assert aligned(items, items) == {0: 0, 1: 1, 2: 2}


def test_order_is_kept() -> None:
    found = aligned([single("a"), single("b")], [single("b"), single("a"), single("b")])
    assert found == {0: 1, 1: 2}


def test_what_the_teacher_lacks_stays_open() -> None:
    assert aligned([single("a"), single("x"), single("b")], [single("a"), single("b")]) == {0: 0, 2: 1}


def test_stages_with_more_in_common_are_preferred() -> None:
    assert aligned([stage("am")], [stage("xm"), stage("amam")]) == {0: 1}


def test_the_same_resolution_is_preferred() -> None:
    assert aligned([stage("aa", 1)], [stage("aa", 0), stage("aa", 1), stage("aa", 2)]) == {0: 1}


def test_equal_neighbours_decide_between_equal_partners() -> None:
    assert aligned([single("h")], [single("h"), single("h"), single("z")]) == {0: 0}
    assert aligned([single("h")], [single("z"), single("h"), single("h")]) == {0: 2}


def test_two_equally_good_partners_are_listed() -> None:
    student = [single("s"), single("h"), single("e")]
    teacher = [single("s"), single("h"), single("h"), single("e")]
    assert aligned(student, teacher) == {0: 0, 1: (1, 2), 2: 3}


def test_what_may_not_be_filled_is_not() -> None:
    student, teacher = [stage("aa")], [stage("aa"), stage("aa")]
    assert aligned(student, teacher, forbidden=((0, 0),)) == {0: 1}
    assert aligned(student, teacher, forbidden=((0, 0), (0, 1))) == {}


items = st.lists(st.sampled_from([single(k) for k in "abA"] + [stage("am"), stage("a"), stage("aa")]), max_size=4)


@given(items, items)
def test_no_alignment_is_worth_more(student: list[Item], teacher: list[Item]) -> None:
    """Against all order-keeping pairings, without the small bonus for neighbours."""
    found = align_items(student, teacher, lambda s, t: True)
    settled = sum(worth(student[s], teacher[t]) for s, t in found.pairs)
    assert all(s1 < s2 and t1 < t2 for (s1, t1), (s2, t2) in combinations(sorted(found.pairs), 2))
    best = max(
        sum(worth(student[s], teacher[t]) for s, t in zip(ours, theirs, strict=True))
        for size in range(min(len(student), len(teacher)) + 1)
        for ours in combinations(range(len(student)), size)
        for theirs in combinations(range(len(teacher)), size)
    )
    bonus = min(len(student), len(teacher))  # all neighbours of a pair are worth less than 1
    if not found.ambiguous:
        assert best - bonus <= settled <= best


# -- whole models


def with_norms() -> Named:
    """Two linears that nothing tells apart: one after the first, one before the last."""
    layers: dict[str, nn.Module] = {"p": nn.Linear(4, 8), "q": nn.Linear(8, 8), "n": nn.LayerNorm(8)}
    layers |= {"x": nn.Linear(8, 8), "m": nn.LayerNorm(8), "r": nn.Linear(8, 8), "s": nn.Linear(8, 3)}
    return Named(layers)


def test_the_error_lists_the_candidates_and_the_yaml_that_decides() -> None:
    student = Named({"a": nn.Linear(4, 8), "b": nn.Linear(8, 8), "c": nn.Linear(8, 3)})
    teacher = with_norms()
    with pytest.raises(ws.WselError) as caught:
        ws.plan(student, teacher, (1, 4))
    assert str(caught.value) == (
        "2 student tensors have no counterpart in the teacher:\n"
        "  - b.weight [8, 8]: several places of the teacher fit equally well: q.weight, r.weight\n"
        "  - b.bias [8]: several places of the teacher fit equally well: q.bias, r.bias\n"
        "To leave them at the student's own values, pass keep=['b.*'], or write in a rule file:\n"
        "  components:\n"
        '    - pair: {student: "b.weight", teacher: "q.weight"}  # or r.weight\n'
        '    - pair: {student: "b.bias", teacher: "q.bias"}  # or r.bias\n'
        "or `unmatched: keep` to accept all of it."
    )


def test_all_candidates_are_in_the_matching() -> None:
    student = Named({"a": nn.Linear(4, 8), "b": nn.Linear(8, 8), "c": nn.Linear(8, 3)})
    teacher = with_norms()
    matching = paired(student, teacher, (1, 4))
    assert dict(matching.candidates) == {"b.weight": ("q.weight", "r.weight"), "b.bias": ("q.bias", "r.bias")}


def test_equal_names_settle_what_structure_leaves_open() -> None:
    student = Named({"p": nn.Linear(4, 8), "r": nn.Linear(8, 8), "s": nn.Linear(8, 3)})
    matching = paired(student, with_norms(), (1, 4))
    assert matching.unexplained == ()
    assert {name: piece.teacher.tensor for name, (piece,) in matching.pieces}["r.weight"] == "r.weight"
    assert matching.notes == ("2 tensors were paired by equal names, where structure left a choice, such as r.weight",)
