"""Element methods against formulas written down independently."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from wsel_graph.errors import PlanError
from wsel_graph.planner.elements import Elements, checked, consecutive, method_name, uniform


def published(teacher: int, student: int) -> list[int]:
    """`i * (t // s)` when s divides t, else `round(linspace(0, t - 1, s))`, in exact arithmetic."""
    if teacher % student == 0:
        return [i * (teacher // student) for i in range(student)]
    return [round(Fraction(i * (teacher - 1), student - 1)) for i in range(student)]  # Fraction rounds half to even


PAIRS = [(t, s) for t in range(1, 65) for s in range(1, t + 1)]


def test_uniform_is_the_published_formula() -> None:
    assert [list(uniform(t, s)) for t, s in PAIRS] == [published(t, s) for t, s in PAIRS]


def test_uniform_is_what_torch_rounds_to() -> None:
    """`torch.linspace` in float64 may miss an exact half by one bit, and only there may it differ."""
    for t, s in PAIRS:
        if t % s:
            line = torch.linspace(0, t - 1, s, dtype=torch.float64)
            for i, (element, value) in enumerate(zip(uniform(t, s), line.tolist(), strict=True)):
                half = Fraction(i * (t - 1), s - 1) % 1 == Fraction(1, 2)
                assert element == round(value) or (half and abs(element - value) < 0.5 + 1e-12)


@pytest.mark.parametrize("method", [uniform, consecutive], ids=["uniform", "consecutive"])
def test_methods_pick_a_subset_in_order(method: Any) -> None:
    for t, s in PAIRS:
        chosen = list(method(t, s))
        assert len(chosen) == s
        assert chosen == sorted(set(chosen))
        assert chosen[0] == 0
        assert chosen[-1] < t


@pytest.mark.parametrize(
    ("method", "teacher", "student", "expected"),
    [
        pytest.param("uniform", 384, 192, range(0, 384, 2), id="half"),
        pytest.param("uniform", 7, 5, [0, 2, 3, 4, 6], id="ties go to even"),
        pytest.param("uniform", 9, 1, [0], id="one"),
        pytest.param("consecutive", 9, 4, [0, 1, 2, 3], id="consecutive"),
        pytest.param("random", 5, 5, [0, 1, 2, 3, 4], id="random whole"),
        pytest.param(lambda t, s: range(t - s, t), 6, 2, [4, 5], id="function"),
        pytest.param([5, 0, 3], 6, 3, [5, 0, 3], id="list keeps its order"),
        pytest.param(torch.tensor([1, 4]), 6, 2, [1, 4], id="tensor"),
        pytest.param(np.array([1, 4]), 6, 2, [1, 4], id="array"),
    ],
)
def test_choose(method: Any, teacher: int, student: int, expected: Sequence[int]) -> None:
    assert list(Elements().choose(method, teacher, student, "fc.weight:0")) == list(expected)


RANDOM_0 = [1, 8, 9, 16, 18]
RANDOM_1 = [3, 5, 8, 13, 15]


def test_random_is_frozen() -> None:
    """The lists of a seed and a place never change between versions: plans can be made again."""
    assert list(Elements(seed=0).choose("random", 20, 5, "fc.weight:0")) == RANDOM_0
    assert list(Elements(seed=1).choose("random", 20, 5, "fc.weight:0")) == RANDOM_1


def test_random_depends_on_seed_and_place_alone() -> None:
    torch.manual_seed(0)
    one = [list(Elements(seed=3).choose("random", 1000, 10, place)) for place in ("a:0", "b:0")]
    torch.manual_seed(1)
    two = [list(Elements(seed=3).choose("random", 1000, 10, place)) for place in ("b:0", "a:0")]
    assert one == two[::-1]
    assert one[0] != one[1]
    assert list(Elements(seed=4).choose("random", 1000, 10, "a:0")) != one[0]


def test_random_is_even() -> None:
    """Every element is drawn about equally often: 400 draws of 5 out of 10, five standard deviations."""
    draws = [i for seed in range(400) for i in Elements(seed=seed).choose("random", 10, 5, "a:0")]
    deviation = math.sqrt(400 * 0.25)
    assert all(abs(draws.count(i) - 200) < 5 * deviation for i in range(10))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        pytest.param([0, 1], r"for a:0 does not fit: 2 elements given, the student needs 3$", id="too few"),
        pytest.param([0, 1, 2, 3], r"4 elements given, the student needs 3$", id="too many"),
        pytest.param([0, 1, 6], r"6 is outside the teacher's 0\.\.5$", id="outside"),
        pytest.param([0, 1, -1], r"-1 is outside the teacher's 0\.\.5$", id="negative"),
        pytest.param([0, 1, 1], r"repeated elements$", id="repeated"),
        pytest.param([9, 9], r"2 elements given.*; 9 is outside.*; repeated elements$", id="everything"),
        pytest.param([0, 1.5, 2], r"for a:0 must be integers, got \[0, 1\.5, 2\]", id="fraction"),
        pytest.param(None, r"for a:0 must be integers, got None", id="nothing"),
    ],
)
def test_faulty_lists_are_refused(given: Any, text: str) -> None:
    with pytest.raises(PlanError, match=text):
        checked(given, 6, 3, "a:0")
    with pytest.raises(PlanError, match=text):
        Elements().choose(lambda t, s: given, 6, 3, "a:0")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        pytest.param({"method": "unifrom"}, r"unknown element method 'unifrom'; known: uniform, consec", id="name"),
        pytest.param({"overrides": {"heads": "last"}}, r"unknown element method 'last'", id="override"),
        pytest.param({"method": [0, 1]}, r"method must be uniform.*got \[0, 1\]; lists go in overrides", id="list"),
        pytest.param({"unit": "half"}, r"unit must be 'whole' or 'flat', got 'half'", id="unit"),
    ],
)
def test_unknown_settings_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(PlanError, match=text):
        Elements(**options)


def test_method_names_for_reports() -> None:
    def mine(teacher: int, student: int) -> list[int]:
        return []

    assert [method_name(m) for m in ("random", mine, [1, 2])] == ["random", "mine", "explicit list"]
