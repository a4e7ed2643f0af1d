"""Elements by score: the norm of the teacher's weights, or what calibration batches showed of its activations.

References: structured magnitude selection, as compared in Xu et al., arXiv:2311.18823, table 7 (L1 and L2 norms); mean
absolute activation and variance, after Muralidharan et al., arXiv:2407.14679, who rank neurons, heads and
embedding channels by activations of a small calibration set.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from wsel_graph.axes import positions
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.coupling.groups import CoupledGroup
from wsel_graph.coupling.statistics import Statistics
from wsel_graph.errors import MissingValuesError
from wsel_graph.planner.activity import activity, second_moments
from wsel_graph.planner.regression import best_rebuilders


def top_elements(
    graph: ModelGraph, groups: Sequence[CoupledGroup], score: str, count: int, statistics: Statistics | None = None
) -> Sequence[int]:
    """The elements of the highest score, ascending; of equal ones the first.

    Args:
        graph: The teacher.
        groups: Its coupled groups that share one choice; every member counts with all the weights of an element.
        score: `l1` (sum of absolute weights), `l2` (root of the sum of squares), `activation` (mean absolute
            activation), `variance` (of the activation) or `regression` (those that rebuild the others best). Before
            activations are added over places and groups, each place's are divided by their sum over all elements.
        count: How many to take.
        statistics: Of the teacher, for the scores of activations.
    Raises:
        PlanError: If the teacher is on the meta device, or the statistics are missing or lack the groups.
    """
    if score in ("l1", "l2"):
        total = torch.stack([_scores(graph, group, 1 if score == "l1" else 2) for group in groups]).sum(0)
    elif score == "regression":
        return best_rebuilders(second_moments(graph, groups, statistics), count)
    else:
        total = activity(graph, groups, score, statistics)
    order = torch.argsort(total, descending=True, stable=True)
    return sorted(order[:count].tolist())


def _scores(graph: ModelGraph, group: CoupledGroup, power: int) -> torch.Tensor:
    """For every element, the sum of its weights' absolute values (or squares), float64 on the CPU."""
    tensors = {state.name: state.tensor for state in graph.captured.states if state.kind == "parameter"}
    total = torch.zeros(group.size, dtype=torch.float64, device="cpu")
    for name, dim in group.members:
        if name not in tensors:
            continue  # buffers are statistics, not weights
        tensor = tensors[name].detach()
        if tensor.is_meta:
            raise MissingValuesError(
                f"scores need the teacher's values, and {name} is on the meta device: load its weights first"
            )
        others = [d for d in range(tensor.dim()) if d != dim]
        rows = tensor.abs().double().pow(power).sum(others).cpu() if others else tensor.abs().double().pow(power).cpu()
        axis = graph.tensors[name].axes[dim]
        for element in range(group.size):
            total[element] += rows[list(positions(axis, {group.atom: [element]}))].sum()
    return total
