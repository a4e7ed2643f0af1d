"""Collect statistics: run calibration batches through a recorded graph and look at its activations on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from wsel_graph.axes import Axis
from wsel_graph.capture.inputs import normalize_inputs
from wsel_graph.capture.program import Program
from wsel_graph.capture.replay import Recordings, Run
from wsel_graph.capture.trace import untouched_globals
from wsel_graph.coupling.graph import ModelGraph, paused_garbage_collection, trace
from wsel_graph.coupling.groups import CoupledGroup
from wsel_graph.coupling.moments import Moments
from wsel_graph.coupling.places import Place
from wsel_graph.coupling.statistics import (
    LARGEST_SECOND_MOMENTS,
    GroupStatistics,
    Statistics,
    group_key,
    shapes_of,
)
from wsel_graph.errors import CaptureError, ExampleInputsError, MissingValuesError, PlanError
from wsel_graph.matching.borders import Border, stage_borders
from wsel_graph.matching.structure import structure
from wsel_graph.planner.influence import StageInfluence


def collect(model: nn.Module | Any, batches: Iterable[Any], *, second_moments: bool = False) -> Statistics:
    """Stream calibration batches through a model. The model is not changed; all positions count, padding too.

    Args:
        model: Any module with values, on the device of the batches.
        batches: Inputs of forward calls, each as for `trace`; shapes may differ. The split into batches is of no
            consequence beyond float64 rounding, as long as the model treats its samples one by one and draws no
            random numbers.
        second_moments: Keep the products of all pairs of elements too, which `take: {score: regression}` needs: memory
            and time grow with the square of a group's size. Groups above `LARGEST_SECOND_MOMENTS` go without.
    Raises:
        ExampleInputsError: If there is no batch.
        CaptureError: If the model cannot be traced, or takes another way through its code on some batch.
        PlanError: If the model has no values, or its activations are not finite.
    """
    if isinstance(batches, (torch.Tensor, Mapping, str)):
        raise ExampleInputsError(
            f"statistics take an iterable of batches, got one {type(batches).__name__}: put it in a list"
        )
    todo = iter(batches)
    first = next(todo, None)
    if first is None:
        raise ExampleInputsError("statistics need at least one batch, and there is none")
    graph = trace(model, first)
    _refuse_meta(graph)
    collector = _Collector(graph, Recordings(model, first, graph.captured), second_moments)
    collector.add(first)
    for batch in todo:
        collector.add(batch)
    return collector.result()


def _refuse_meta(graph: ModelGraph) -> None:
    odd = next((state.name for state in graph.captured.states if state.tensor.is_meta), None)
    if odd is not None:
        raise MissingValuesError(
            f"statistics need the model's values, and {odd} is on the meta device: load its weights first"
        )


_Look = Callable[[Run], None]


class _Collector:
    def __init__(self, graph: ModelGraph, recordings: Recordings, products: bool) -> None:
        self._graph, self._recordings = graph, recordings
        self._keys = {group_key(graph, group): group for group in graph.places}
        self._moments = {
            key: [Moments(group.size, products and group.size <= LARGEST_SECOND_MOMENTS) for _ in graph.places[group]]
            for key, group in self._keys.items()
        }
        self._stages = {name: StageInfluence(borders) for name, borders in stage_borders(structure(graph)).items()}
        self._known = {id(recordings.base): graph}
        self._batches = 0

    def add(self, batch: Any) -> None:
        """Run one batch and look at every place on the way."""
        inputs = normalize_inputs(batch)
        program, places = self._recordings.find(inputs)
        looks = sorted(self._looks(self._graph_of(program), places), key=lambda item: item[0])  # stable
        last = {node: number for number, (_, node, _) in enumerate(looks)}
        run = Run(program, inputs, last, places)
        for stage in self._stages.values():
            stage.begin()
        with untouched_globals():
            torch.manual_seed(self._batches)  # models that draw random numbers: the same statistics every time
            for number, (before, node, look) in enumerate(looks):
                run.advance(before)
                look(run)
                if last[node] == number:
                    run.drop(node)
        self._batches += 1

    def _graph_of(self, program: Program) -> ModelGraph:
        """Axes that hold the batch's own sizes; a program that is made anew for every batch is not remembered."""
        if id(program) in self._known:
            return self._known[id(program)]
        with paused_garbage_collection():
            graph = ModelGraph(program.captured)
        if not program.reads_values:
            self._known[id(program)] = graph
        return graph

    def _looks(self, graph: ModelGraph, moved: Mapping[int, int] | None) -> Iterator[tuple[int, int, _Look]]:
        """What to look at: the node before which, the node that holds it, and what to do with it; as in `base`."""
        for key, group, places in self._places(graph, moved):
            for moments, place, first in zip(self._moments[key], places, self._first(key), strict=True):
                yield first.before, first.node, _count(moments, replace(place, node=first.node), group)
        for stage in self._stages.values():
            for number, border in enumerate(stage.borders):
                if border is not None:
                    yield border.node + 1, border.node, _see(stage, number, border)

    def _first(self, key: str) -> tuple[Place, ...]:
        return self._graph.places[self._keys[key]]

    def _places(
        self, graph: ModelGraph, moved: Mapping[int, int] | None
    ) -> Iterator[tuple[str, CoupledGroup, tuple[Place, ...]]]:
        found = {group_key(graph, group): group for group in graph.places}
        for key in self._keys:
            first = self._first(key)
            expected = [(place.node if moved is None else moved.get(place.node, -1), place.dim) for place in first]
            other = found.get(key)
            if other is None or [(place.node, place.dim) for place in graph.places[other]] != expected:
                raise CaptureError(
                    f"on one of the batches the coupled group at {key} shows at other places than on the first: give "
                    "batches of more than one position and sample"
                )
            yield key, other, graph.places[other]

    def result(self) -> Statistics:
        """What was seen so far."""
        self._refuse_infinite()
        groups = {key: self._group(self._graph.places[group], key) for key, group in self._keys.items()}
        influence = {
            name: {length: tuple(block.value for block in blocks) for length, blocks in stage.blocks.items()}
            for name, stage in self._stages.items()
        }
        for name, lengths in influence.items():
            if any(math.isnan(value) for values in lengths.values() for value in values):
                raise PlanError(_not_finite(f"between the blocks of stage {name!r}"))
        return Statistics(shapes_of(self._graph), groups, influence)

    def _refuse_infinite(self) -> None:
        """Name the first place, in order of execution, where activations are not finite."""
        pairs = ((key, self._graph.places[group]) for key, group in self._keys.items())
        odd = [
            place
            for key, places in pairs
            for place, moments in zip(places, self._moments[key], strict=True)
            if not bool(moments.absolute.isfinite().all())
        ]
        if odd:
            raise PlanError(_not_finite(min(odd, key=lambda place: place.node).words))

    def _group(self, places: tuple[Place, ...], key: str) -> GroupStatistics:
        moments = self._moments[key]
        counts = torch.tensor([each.count for each in moments], device="cpu")
        over = counts.clamp(min=1)[:, None].to(torch.float64)
        second = [each.second for each in moments if each.second is not None]
        return GroupStatistics(
            tuple(place.words for place in places),
            counts,
            torch.stack([each.mean for each in moments]),
            torch.stack([each.absolute for each in moments]) / over,
            torch.stack([each.deviation for each in moments]) / over,
            torch.stack(second) / over[:, :, None] if second else None,
        )


def _not_finite(where: str) -> str:
    return (
        f"activations {where} are not finite on these batches: no statistics can be made of them. Check the inputs, "
        "and the model's precision"
    )


def _count(moments: Moments, place: Place, group: CoupledGroup) -> _Look:
    return lambda run: moments.add(run.value(place.node), place.dim, _axis(run, place), group.atom)


def _axis(run: Run, place: Place) -> Axis:
    size = run.value(place.node).shape[place.dim]
    if size != place.axis.size:
        raise CaptureError(
            f"activations {place.words} have {size} elements along dim {place.dim} on one of the batches, the recorded "
            f"graph has {place.axis.size}: give batches whose sizes do not depend on values"
        )
    return place.axis


def _see(stage: StageInfluence, number: int, border: Border) -> _Look:
    return lambda run: stage.see(number, border, run.value(border.node))
