"""Clusters of alike elements: against the greedy definition written out, and on planted duplicates."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wsel_graph.planner.clusters import clusters


def normal(elements: int, features: int, seed: int) -> torch.Tensor:
    return torch.randn(elements, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def greedy(values: torch.Tensor, count: int) -> set[frozenset[int]]:
    """Ward's method by its definition: join the two clusters whose union adds least to the squared distances."""

    def spread(own: frozenset[int]) -> float:
        rows = values[sorted(own)]
        return float((rows - rows.mean(0)).square().sum())

    found = {frozenset({element}) for element in range(len(values))}
    while len(found) > count:
        one, two = min(
            itertools.combinations(sorted(found, key=min), 2),
            key=lambda pair: spread(pair[0] | pair[1]) - spread(pair[0]) - spread(pair[1]),
        )
        found = found - {one, two} | {one | two}
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [1, 2, 5, 9, 14])
def test_against_the_definition(seed: int, count: int) -> None:
    values = normal(14, 3, seed)
    assert {frozenset(own) for own in clusters(values, count)} == greedy(values, count)


@settings(max_examples=60)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 10_000))
def test_planted_duplicates_are_found(distinct: int, copies: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    owner = torch.arange(distinct).repeat(copies)[torch.randperm(distinct * copies, generator=generator)]
    found = clusters(normal(distinct, 5, seed)[owner], distinct)
    assert [set(owner[list(own)].tolist()) for own in found] == [{int(owner[own[0]])} for own in found]
    assert sorted(element for own in found for element in own) == list(range(len(owner)))


@settings(max_examples=60)
@given(st.integers(1, 20), st.data())
def test_a_partition_into_as_many_clusters_as_asked_for(elements: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, elements))
    values = data.draw(st.sampled_from([torch.zeros(elements, 2), normal(elements, 2, 1), torch.ones(elements, 1)]))
    found = clusters(values, count)
    assert len(found) == count
    assert all(found)
    assert sorted(element for own in found for element in own) == list(range(elements))
    assert [own[0] for own in found] == sorted(own[0] for own in found)
    assert clusters(values.clone(), count) == found


def test_the_representative_is_the_element_nearest_to_the_average() -> None:
    values = torch.tensor([[0.0], [4.0], [5.0], [6.0], [100.0]])
    assert clusters(values, 2) == ((1, 0, 2, 3), (4,)) or clusters(values, 2) == ((2, 0, 1, 3), (4,))
    mean = values[:4].mean()
    assert clusters(values, 2)[0][0] == int((values[:4] - mean).abs().argmin())


def test_as_many_clusters_as_elements_change_nothing() -> None:
    assert clusters(normal(7, 3, 0), 7) == tuple((element,) for element in range(7))
