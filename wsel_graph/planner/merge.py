"""Averages instead of picks: one student element for every cluster of alike teacher elements.

A weight that makes an element is the average over its cluster, a weight that reads it the sum. Where the elements of
a cluster carry equal activations, this leaves the function as it is; the graph says where (`coupling.merging`).

Reference: Srinivas and Babu, "Data-free parameter pruning for deep neural networks", arXiv:1507.06149: a neuron is
removed by adding its outgoing weights to those of an alike one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch

from wsel_graph.axes import Atom, Axis, Concat, positions
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.coupling.groups import CoupledGroup, Member
from wsel_graph.coupling.merging import Part
from wsel_graph.coupling.statistics import Statistics
from wsel_graph.errors import MissingValuesError, PlanError
from wsel_graph.planner.activity import second_moments
from wsel_graph.planner.clusters import clusters

Terms: TypeAlias = tuple[tuple[int, ...], tuple[float, ...]]
"""Teacher positions that make one student position, and their weights."""


class ElementFeatures(Protocol):
    """What makes elements alike: a row of numbers for each, whose distances count."""

    def __call__(self, teacher: ModelGraph, groups: Sequence[CoupledGroup]) -> torch.Tensor:
        """Features of the elements that some coupled groups of the teacher share, `(elements, features)`.

        Raises:
            MissingValuesError: If the teacher is on the meta device.
        """
        ...


@dataclass(frozen=True, slots=True)
class Merged:
    """The clusters of one joint group.

    Attributes:
        clusters: Teacher elements that make each student element, the representative first.
        parts: What every member of the teacher's coupled groups does with the axis.
    """

    clusters: tuple[tuple[int, ...], ...]
    parts: Mapping[Member, Part]

    @property
    def representatives(self) -> list[int]:
        """One teacher element for each student element."""
        return [own[0] for own in self.clusters]

    def terms(self, tensor: str, dim: int) -> list[Terms]:
        """The terms of every student element in one dim of a teacher tensor: averages, or sums."""
        reads = self.parts[tensor, dim] == "reads"
        return [(own, (1.0 if reads else 1 / len(own),) * len(own)) for own in self.clusters]


def merge(teacher: ModelGraph, groups: Sequence[CoupledGroup], count: int, features: ElementFeatures) -> Merged:
    """Gather the elements that some coupled groups of the teacher share into `count` clusters.

    Raises:
        Unmergeable: If merging would change the function even where elements are equal.
        PlanError: If the features do not fit.
    """
    parts = {member: part for group in groups for member, part in teacher.merging.parts(group).items()}
    rows = features(teacher, groups)
    if rows.dim() != 2 or len(rows) != groups[0].size or not bool(torch.isfinite(rows).all()):
        raise PlanError(
            f"merging needs finite features of shape [{groups[0].size}, n], one row per element of the teacher's "
            f"{groups[0].members[0][0]} dim {groups[0].members[0][1]}; got {list(rows.shape)}"
        )
    return Merged(clusters(rows, count), parts)


def weight_features(teacher: ModelGraph, groups: Sequence[CoupledGroup]) -> torch.Tensor:
    """All weights that make an element, member after member, each scaled to a mean square of 1; float64.

    What reads an element is left out: it does not change what the element is.
    """
    tensors = {state.name: state.tensor for state in teacher.captured.states}
    found = []
    for group in groups:
        for (name, dim), part in teacher.merging.parts(group).items():
            if part == "makes":
                found.append(_rows(tensors[name], name, dim, teacher.tensors[name].axes[dim], group.atom))
    return torch.cat(found, 1)


def _rows(tensor: torch.Tensor, name: str, dim: int, axis: Axis, atom: Atom) -> torch.Tensor:
    if tensor.is_meta:
        raise MissingValuesError(
            f"merging by weights needs the teacher's values, and {name} is on the meta device: load its weights first"
        )
    values = tensor.detach().cpu()
    values = (torch.view_as_real(values) if values.is_complex() else values).movedim(dim, 0)
    places = [list(positions(axis, {atom: [element]})) for element in range(atom.size)]
    rows = values.double()[torch.tensor(places, device="cpu")].flatten(1)
    scale = float(rows.square().mean().sqrt())
    return rows / scale if scale else rows


def activation_features(moments: Sequence[torch.Tensor]) -> torch.Tensor:
    """Features whose squared distances are the mean squared differences of activations; float64 `(elements, n)`.

    Args:
        moments: Mean products of all pairs of elements, one `(elements, elements)` matrix per place; each place
            counts by its share of its own mean square.

    Elements 0 and 2 carry the same activations:

    >>> rows = torch.tensor([[1.0, 0.0, 1.0], [1.0, 3.0, 1.0]], dtype=torch.float64)
    >>> torch.cdist(found := activation_features([rows.T @ rows / 2]), found)[0].round(decimals=6).tolist()
    [0.0, 0.620174, 0.0]
    """
    found = []
    for matrix in moments:
        values, vectors = torch.linalg.eigh(matrix / (matrix.trace() or 1.0))
        found.append(vectors * values.clamp_min(0).sqrt())
    return torch.cat(found, 1)


def features_by(word: str, statistics: Statistics | None) -> ElementFeatures:
    """What makes elements alike, by the word that follows `merge:` in a rule file."""
    if word == "weights":
        return weight_features
    return lambda teacher, groups: activation_features(
        second_moments(teacher, groups, statistics, f"{{merge: {word}}}")
    )


def mixed_terms(
    axis: Axis, merged: Mapping[Atom, Sequence[Terms]], chosen: Mapping[Atom, Sequence[int]]
) -> list[Terms]:
    """The terms of every position that is left of an axis, as `positions` gives the positions.

    Args:
        merged: For an atom, the terms of each element that takes the place of its own.
        chosen: For another atom, the elements it takes; atoms in neither are whole.

    >>> h, d = Atom(3), Atom(2)
    >>> mixed_terms(Concat((h, d), 5), {h: [((0, 2), (0.5, 0.5))]}, {d: [1]})
    [((0, 2), (0.5, 0.5)), ((4,), (1.0,))]
    """
    if isinstance(axis, Atom):
        single: Sequence[int] = chosen.get(axis, range(axis.size))
        return list(merged[axis]) if axis in merged else [((element,), (1.0,)) for element in single]
    if isinstance(axis, Concat):
        return list(_laid_out(axis, merged, chosen))
    result: list[Terms] = [((0,), (1.0,))]
    for factor in axis.factors:
        inner = mixed_terms(factor, merged, chosen)
        result = [_product(outer, own, factor.size) for outer in result for own in inner]
    return result


def _laid_out(
    axis: Concat, merged: Mapping[Atom, Sequence[Terms]], chosen: Mapping[Atom, Sequence[int]]
) -> Iterator[Terms]:
    offset = 0
    for part in axis.parts:
        for places, weights in mixed_terms(part, merged, chosen):
            yield tuple(offset + place for place in places), weights
        offset += part.size


def _product(outer: Terms, inner: Terms, size: int) -> Terms:
    places = tuple(first * size + second for first in outer[0] for second in inner[0])
    return places, tuple(first * second for first in outer[1] for second in inner[1])
