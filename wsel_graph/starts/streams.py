"""Residual streams: let what an operator adds make the stream right, not only what it adds itself like the teacher's.

What a block of the student adds to its residual stream can repair what blocks before it left out. So the last
operator of a branch is fitted to the difference between the teacher's stream after the sum and the student's own stream
before it. Which point of the teacher's stream that is follows from who reads the student's sum: the input of the
component that this reader was selected from. Where teacher blocks were skipped, that is the stream after the skipped
blocks, and the student's block learns to stand in for all of them.

Between the operator and the sum, channels may be scaled and shifted one by one, by a product or by a batch norm. A
batch norm there is a last operator too: it is fitted to the same difference, after the operator before it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import fx

from wsel_graph.capture.program import Program
from wsel_graph.starts.frontier import Batch
from wsel_graph.starts.gains import Gain, gain
from wsel_graph.starts.parameters import VIEWS, schema_name
from wsel_graph.starts.targets import Operator, check_positions, output_rows

_SAME = frozenset({"aten::clone", "aten::dropout", "aten::_to_copy", "aten::contiguous", "aten::detach", "aten::alias"})
_SUMS = frozenset({"aten::add", "aten::add_"})


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """How an operator's output reaches the sum with a residual stream.

    Attributes:
        start: A contraction or a batch norm.
        layout: The graph nodes between the two that move elements about.
        gains: The products with one value per channel, and batch norms, between the two; in order.
        sum: The graph node of the sum.
        other: The graph node that it is added to.
        dim: The dim of the sum that holds channels, zero-based.
        order: For every channel of the sum, the operator's channel.
    """

    start: Operator
    layout: tuple[int, ...]
    gains: tuple[Gain, ...]
    sum: int
    other: int
    dim: int
    order: torch.Tensor

    def numbers(self, node: Callable[[int], fx.Node]) -> torch.Tensor:
        """For every element of the sum, the element of the operator's output (flat) that it comes from."""
        shape = shape_of(node(self.start.number))
        return _moved(node, self.layout, torch.arange(shape.numel(), device="cpu").reshape(shape))

    def places(self, channels: torch.Tensor) -> torch.Tensor:
        """Where these channels of the operator are in the sum; every one is there once."""
        return self.order.argsort()[torch.searchsorted(self.order.sort().values, channels)]

    def living(self, program: Program, channels: torch.Tensor) -> torch.Tensor:
        """Which of these channels of the operator the gains let through, bool."""
        line = self.line(program)
        if line is None:
            return torch.ones(len(channels), dtype=torch.bool, device="cpu")
        return ((line[0] != 0) & line[0].isfinite() & line[1].isfinite()).cpu()[self.places(channels)]

    def line(self, program: Program) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Slope and offset of what the gains make of every channel of the sum; None where there are none."""
        found = None
        for one in self.gains:
            slope, offset = one.line(program)
            found = (slope, offset) if found is None else (found[0] * slope, found[1] * slope + offset)
        return found


def _moved(node: Callable[[int], fx.Node], layout: tuple[int, ...], tensor: torch.Tensor) -> torch.Tensor:
    for number in layout:
        step = node(number)
        tensor = step.target(tensor, *step.args[1:], **step.kwargs)  # type: ignore[operator]
    return tensor


def branch(program: Program, start: Operator) -> Branch | None:
    """The way from an operator to the sum that it is the last one before; None where there is none."""
    layout: list[int] = []
    gains: list[tuple[Gain, int]] = []  # each with the number of layout steps before it
    node = program.nodes[start.number]
    while len(node.users) == 1:
        (user,) = node.users
        name = schema_name(user)
        scaled = _gain(program, user)
        if name in _SUMS:
            return _ending(program, start, (tuple(layout), tuple(gains)), node, user)
        if scaled is not None:
            gains.append((scaled, len(layout)))
        elif user.target is operator.getitem and user.args[1] == 0:
            pass  # of an operator with several results, the first
        elif name in VIEWS and user.args[0] is node:
            layout.append(program.numbers[user])
        elif name not in _SAME:
            return None
        node = user
    return None


def _gain(program: Program, node: fx.Node) -> Gain | None:
    """A product with one value per channel, or a batch norm in evaluation mode."""
    found = gain(program, program.numbers[node]) if node.op == "call_function" else None
    return found if found is not None and (found.statistics is not None or found.product) else None


_Steps: TypeAlias = tuple[tuple[int, ...], tuple[tuple[Gain, int], ...]]
"""Layout, and gains with the number of layout steps before each."""


def _ending(program: Program, start: Operator, steps: _Steps, node: fx.Node, total: fx.Node) -> Branch | None:
    operands = [value for value in total.args if isinstance(value, fx.Node)]
    shapes = {tuple(value.meta["value"].shape) for value in (*operands, total)}
    if len(set(operands)) != 2 or len(shapes) != 1 or total.kwargs.get("alpha", 1) != 1:
        return None
    other = next(value for value in operands if value is not node)
    layout, gains = steps
    channels = _moved(program.nodes.__getitem__, layout, _channels(program, start))
    dims = [dim for dim in range(channels.dim()) if bool((channels != channels.narrow(dim, 0, 1)).any())]
    if program.is_fixed(other) or len(dims) != 1:
        return None
    if not all(_channel_by_channel(program, one, layout[before:], dims[0]) for one, before in gains):
        return None
    order = channels.movedim(dims[0], 0).flatten(1)[:, 0]
    ends = program.numbers[total], program.numbers[other]
    return Branch(start, layout, tuple(one for one, _ in gains), *ends, dims[0], order)


def _channel_by_channel(program: Program, one: Gain, layout: tuple[int, ...], dim: int) -> bool:
    """Whether a gain's channels, after these steps, are those of this dim, in their order."""
    shape = shape_of(program.nodes[one.number])
    (own,) = one.feature_dims
    numbers = torch.arange(shape[own], device="cpu").reshape([-1 if other == own else 1 for other in range(len(shape))])
    found = _moved(program.nodes.__getitem__, layout, numbers.expand(shape)).movedim(dim, -1)
    return found.shape[-1] == shape[own] and bool((found == torch.arange(shape[own], device="cpu")).all())


def shape_of(node: fx.Node) -> torch.Size:
    """Of an operator's result, of the first where it has several."""
    value = node.meta["value"]
    return torch.Size((value[0] if isinstance(value, (tuple, list)) else value).shape)


def _channels(program: Program, start: Operator) -> torch.Tensor:
    """At every place of an operator's output, the number of its channel."""
    shape = shape_of(program.nodes[start.number])
    places = output_rows(start, torch.arange(shape.numel(), device="cpu").reshape(shape))
    flat = torch.empty(shape.numel(), dtype=torch.int64, device="cpu")
    flat[places] = torch.arange(places.shape[1], device="cpu").expand(places.shape)
    return flat.reshape(shape)


@dataclass(frozen=True, slots=True, eq=False)
class StreamTarget:
    """What an operator has to add so that a stream becomes what it is in the teacher later on.

    Attributes:
        own: The operator's channels that have a target, zero-based, ascending.
        ours: The student's branch.
        stream: The teacher's graph node whose value the sum is to become.
        before: The teacher's graph node that it is added to there; None for the student's own stream, which repairs
            what the student's stream lacks already.
        dim: The dim of both that holds channels, zero-based.
        theirs: Their channel for every entry of `own`.
    """

    own: torch.Tensor
    ours: Branch
    stream: int
    before: int | None
    dim: int
    theirs: torch.Tensor

    @property
    def teacher_nodes(self) -> tuple[int, ...]:
        """See `Target`."""
        return (self.stream,) if self.before is None else (self.before, self.stream)

    def rows(self, batch: Batch) -> torch.Tensor:
        """See `Target`."""
        run, branch = batch.student, self.ours
        missing = self._missing(batch)
        if (line := branch.line(run.program)) is not None:
            missing = (missing - line[1]) / line[0]
        numbers = branch.numbers(run.node).movedim(branch.dim, -1).reshape(-1)
        shape = shape_of(run.node(branch.start.number))
        flat = missing.new_zeros(shape.numel())
        flat[numbers.to(flat.device)] = missing.reshape(-1)
        return output_rows(branch.start, flat.reshape(shape))[:, self.own]

    def magnitude(self, batch: Batch) -> float:
        """See `Target`."""
        after = batch.teacher_run.value(self.stream).movedim(self.dim, -1)[..., self.theirs].double()
        if (line := self.ours.line(batch.student.program)) is not None:
            places = self.ours.places(self.own).to(after.device)
            after = (after.abs() + line[1][places].abs()) / line[0][places]
        return float(after.square().sum()) / max(1, after[..., 0].numel())

    def _missing(self, batch: Batch) -> torch.Tensor:
        """Float64, laid out as the student's sum with its channels last."""
        branch = self.ours
        entry = torch.zeros(int(branch.order.max()) + 1, dtype=torch.int64, device="cpu")
        entry[self.own] = self.theirs
        chosen = entry[branch.order]  # the teacher's channel for every channel of the sum

        def selected(node: int) -> torch.Tensor:
            value = batch.teacher_run.value(node)
            return value.index_select(self.dim, chosen.to(value.device)).movedim(self.dim, -1).double()

        after = selected(self.stream)
        if self.before is not None:
            return after - selected(self.before)
        name = branch.start.name if isinstance(branch.start, Gain) else branch.start.weight.name
        own = batch.student.value(branch.other).movedim(branch.dim, -1).double()
        check_positions(name, own[..., 0].numel(), after[..., 0].numel())
        return after.reshape(own.shape) - own
