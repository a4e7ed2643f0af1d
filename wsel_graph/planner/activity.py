"""What statistics say of coupled groups that share one choice: scores of single elements, and second moments."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.coupling.groups import CoupledGroup
from wsel_graph.coupling.statistics import LARGEST_SECOND_MOMENTS, GroupStatistics, Statistics
from wsel_graph.errors import PlanError


def activity(
    graph: ModelGraph, groups: Sequence[CoupledGroup], score: str, statistics: Statistics | None
) -> torch.Tensor:
    """The score of every element, float64 `[size]`.

    Every place of every group has one vote that it divides among the elements, so that places of large activations do
    not drown the others.

    Args:
        score: `activation` or `variance`.
    Raises:
        PlanError: If there are no statistics, or they hold none of the groups.
    """
    seen = _seen(graph, groups, f"{{score: {score}}}", statistics)
    rows = torch.cat([each.magnitude if score == "activation" else each.variance for each in seen])
    sums = rows.sum(1, keepdim=True)
    return (rows / torch.where(sums > 0, sums, 1.0)).sum(0)


def second_moments(
    graph: ModelGraph,
    groups: Sequence[CoupledGroup],
    statistics: Statistics | None,
    take: str = "{score: regression}",
) -> list[torch.Tensor]:
    """The mean products of all pairs of elements, float64 `[size, size]`, one matrix per place of every group.

    Args:
        take: What asks for them, for messages.
    Raises:
        PlanError: If there are no statistics, they hold none of the groups, or were made without second moments.
    """
    found: list[torch.Tensor] = []
    for each in _seen(graph, groups, take, statistics):
        if each.second_moments is None:
            raise PlanError(_without_moments(each.size, _name(groups), take))
        found.extend(each.second_moments)
    return found


def _seen(
    graph: ModelGraph, groups: Sequence[CoupledGroup], take: str, statistics: Statistics | None
) -> list[GroupStatistics]:
    """The statistics of those of the groups that show in activations: of one at least."""
    if statistics is None:
        raise PlanError(
            f"take: {take} needs statistics of the teacher's activations: pass {_call(take)} to plan or initialize"
        )
    found = [each for group in groups if (each := statistics.of(graph, group)) is not None]
    if not found:
        raise PlanError(
            f"take: {take}: the teacher's {_name(groups)} ({groups[0].status}) shows in no activation that "
            "the statistics hold. Take its elements another way, such as {score: l2}"
        )
    return found


def _call(take: str) -> str:
    products = take not in ("{score: activation}", "{score: variance}")
    return f"statistics=ws.statistics(teacher, batches{', second_moments=True' if products else ''})"


def _name(groups: Sequence[CoupledGroup]) -> str:
    tensor, dim = groups[0].members[0]
    return f"{groups[0].role} axis at {tensor}:{dim}"


def _without_moments(size: int, name: str, take: str) -> str:
    if size > LARGEST_SECOND_MOMENTS:
        return (
            f"take: {take}: the teacher's {name} has {size} elements, and second moments are kept of at "
            f"most {LARGEST_SECOND_MOMENTS}: take {{score: activation}} there"
        )
    return (
        f"take: {take} needs second moments of the teacher's {name}, and the statistics were made "
        f"without: pass {_call(take)}"
    )
