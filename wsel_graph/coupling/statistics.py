"""Statistics of a model's activations: one row of moments per coupled group and place, and what its blocks do.

They are data: they need no model once they are collected, and can be saved and used for any number of plans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from wsel_graph.axes import atoms
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.coupling.groups import CoupledGroup
from wsel_graph.errors import PlanError

LARGEST_SECOND_MOMENTS = 4096
"""Elements of the largest group whose second moments are kept: 128 MiB per place."""


@dataclass(frozen=True, eq=False)
class GroupStatistics:
    """What was seen of one coupled group, place by place; float64 on the CPU.

    Attributes:
        places: Where: `into blocks.0.mlp.fc2`.
        count: How many numbers were seen per element, int64 `[places]`.
        mean: `[places, size]`.
        magnitude: Mean absolute value, `[places, size]`.
        variance: Mean squared deviation from the mean, `[places, size]`.
        second_moments: Mean product of every pair of elements, `[places, size, size]`; None where it was not kept.
    """

    places: tuple[str, ...]
    count: torch.Tensor
    mean: torch.Tensor
    magnitude: torch.Tensor
    variance: torch.Tensor
    second_moments: torch.Tensor | None = None

    @property
    def size(self) -> int:
        """Elements of the group."""
        return self.mean.shape[1]


@dataclass(frozen=True, eq=False)
class Statistics:
    """What calibration batches showed of one model.

    Attributes:
        shapes: The shape of every tensor of the model, by its first name.
        groups: By the key of the group, see `group_key`.
        influence: By stage, by the number of graph segments that make a block, how much every block changes its
            stream: one minus the mean cosine of stream in and stream out; infinite where that cannot be measured.
    """

    shapes: Mapping[str, tuple[int, ...]]
    groups: Mapping[str, GroupStatistics]
    influence: Mapping[str, Mapping[int, tuple[float, ...]]] = field(default_factory=dict)

    def of(self, graph: ModelGraph, group: CoupledGroup) -> GroupStatistics | None:
        """What was seen of a coupled group; None where it shows in no activation.

        Raises:
            PlanError: If the group has another size here.
        """
        key = group_key(graph, group)
        found = self.groups.get(key)
        if found is not None and found.size != group.size:
            raise PlanError(
                f"the statistics know {found.size} elements at {key}, the model's coupled group there has "
                f"{group.size}: trace it with inputs like the calibration batches"
            )
        return found

    def check(self, graph: ModelGraph) -> None:
        """Refuse a model of another architecture.

        Raises:
            PlanError: If a tensor is missing or has another shape; names the first.
        """
        own = shapes_of(graph)
        odd = next((name for name in {**self.shapes, **own} if self.shapes.get(name) != own.get(name)), None)
        if odd is not None:
            seen, here = (_shape_words(shapes.get(odd)) for shapes in (self.shapes, own))
            raise PlanError(
                f"the statistics were collected on another model than this teacher: there {odd} is {seen}, "
                f"here {here}. Collect them anew: ws.statistics(teacher, batches)"
            )

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, which `load_statistics` reads; it is there whole or not at all.

        Raises:
            OSError: If the file cannot be written.
        """
        from wsel_graph.coupling.statistics_file import save_statistics  # which needs the classes of this module

        save_statistics(self, path)

    def __repr__(self) -> str:
        return f"Statistics({len(self.groups)} coupled groups, {len(self.influence)} stages)"


def group_key(graph: ModelGraph, group: CoupledGroup) -> str:
    """A name for a coupled group that does not depend on how it was found: `qkv.weight:0#1`.

    That is its first member, and which of the distinct atoms of that dim it is, zero-based.
    """
    name, dim = group.members[0]
    own = list(dict.fromkeys(atoms(graph.tensors[name].axes[dim])))
    return f"{name}:{dim}#{own.index(group.atom)}"


def shapes_of(graph: ModelGraph) -> dict[str, tuple[int, ...]]:
    """The shape of every traced tensor, by first name."""
    return {name: graph.tensors[name].shape for name in graph.own_names}


def _shape_words(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else f"of shape {list(shape)}"
