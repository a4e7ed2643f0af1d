"""Elements by score: those of the teacher's coupled group whose weights have the largest norm.

Reference: structured magnitude selection, as compared in Xu et al., arXiv:2311.18823, table 7 (L1 and L2 norms).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from wsel_graph.axes import positions
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.coupling.groups import CoupledGroup
from wsel_graph.errors import PlanError


def top_elements(graph: ModelGraph, groups: Iterable[CoupledGroup], norm: str, count: int) -> Sequence[int]:
    """The elements of the highest score, ascending; of equal ones the first.

    Args:
        graph: The teacher.
        groups: Its coupled groups that share one choice; every member counts with all the weights of an element.
        norm: `l1` (sum of absolute values) or `l2` (root of the sum of squares).
        count: How many to take.
    Raises:
        PlanError: If the teacher has no values (meta device).
    """
    total = torch.stack([_scores(graph, group, 1 if norm == "l1" else 2) for group in groups]).sum(0)
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
            raise PlanError(
                f"scores need the teacher's values, and {name} is on the meta device: load its weights first"
            )
        others = [d for d in range(tensor.dim()) if d != dim]
        rows = tensor.abs().double().pow(power).sum(others).cpu() if others else tensor.abs().double().pow(power).cpu()
        axis = graph.tensors[name].axes[dim]
        for element in range(group.size):
            total[element] += rows[list(positions(axis, {group.atom: [element]}))].sum()
    return total
