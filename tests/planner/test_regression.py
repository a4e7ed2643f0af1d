"""Greedy choice by regression error: every step against brute force, and what it promises of dependent elements."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wsel_graph.planner.regression import best_rebuilders


def data(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moments(rows: Tensor) -> Tensor:
    return rows.T @ rows / len(rows)


def error(rows: Tensor, kept: list[int]) -> float:
    """Share of the mean square that is left when all elements are rebuilt from some by least squares."""
    fit = torch.linalg.lstsq(rows[:, kept], rows, driver="gelsd").solution
    return float((rows - rows[:, kept] @ fit).square().sum() / rows.square().sum())


def by_force(places: list[Tensor], count: int) -> list[int]:
    """The same greedy choice, every candidate tried by least squares."""
    kept: list[int] = []
    for _ in range(count):
        rest = [element for element in range(places[0].shape[1]) if element not in kept]
        kept.append(min(rest, key=lambda element: sum(error(rows, [*kept, element]) for rows in places)))
    return sorted(kept)


@pytest.mark.parametrize("seed", range(12))
def test_every_step_is_the_best_one(seed: int) -> None:
    mixed = data(40, 8, seed=seed) @ data(8, 8, seed=seed + 100)
    for count in range(1, 8):
        assert best_rebuilders([moments(mixed)], count) == by_force([mixed], count)


@pytest.mark.parametrize("seed", range(6))
def test_several_places_each_with_a_regression_of_its_own(seed: int) -> None:
    places = [data(40, 7, seed=seed + i) @ data(7, 7, seed=seed + 50 + i) for i in range(3)]
    scaled = [rows * scale for rows, scale in zip(places, (1.0, 1e4, 1e-3), strict=True)]
    for count in range(1, 7):
        assert best_rebuilders(list(map(moments, scaled)), count) == by_force(places, count)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_taken_spans_the_rest(seed: int) -> None:
    rows = data(300, 32, seed=seed) @ data(32, 64, seed=seed + 9)  # rank 32
    rows = rows[:, torch.randperm(64, generator=torch.Generator().manual_seed(seed))]
    assert error(rows, best_rebuilders([moments(rows)], 32)) < 1e-18  # of squares: 1e-9 of the values
    assert error(rows, best_rebuilders([moments(rows)], 40)) < 1e-18


def test_dead_elements_come_last_and_the_first_of_equals_wins() -> None:
    rows = data(50, 4)
    same = torch.cat([torch.zeros(50, 2, dtype=torch.float64), rows, rows], 1)
    assert best_rebuilders([moments(same)], 4) == [2, 3, 4, 5]
    assert best_rebuilders([moments(same)], 8) == list(range(2, 10))
    assert best_rebuilders([moments(same)], 9) == [0, *range(2, 10)]
    assert best_rebuilders([torch.zeros(3, 3, dtype=torch.float64)], 2) == [0, 1]


def test_a_large_mean_is_part_of_what_is_rebuilt() -> None:
    """Without intercept: a constant element rebuilds the means of all others."""
    rows = torch.cat([data(60, 3) + 10, torch.full((60, 1), 10.0, dtype=torch.float64)], 1)
    assert best_rebuilders([moments(rows)], 2) == by_force([rows], 2)


def test_the_moments_stay_as_they_are() -> None:
    given = moments(data(20, 5))
    before = given.clone()
    best_rebuilders([given], 3)
    assert torch.equal(given, before)
