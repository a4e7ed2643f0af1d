"""Residual streams: let what an operator adds make the stream right, not only what it adds itself like the teacher's.

What a block of the student adds to its residual stream can repair what blocks before it left out. So the last
operator of a branch is fitted to the difference between the teacher's stream after the sum and the student's own stream
before it. Which point of the teacher's stream that is follows from who reads the student's sum: the input of the
component that this reader was selected from. Where teacher blocks were skipped, that is the stream after the skipped
blocks, and the student's block learns to stand in for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import fx

from wsel_graph.capture.program import Program
from wsel_graph.starts.contractions import Contraction
from wsel_graph.starts.frontier import Batch
from wsel_graph.starts.gains import Gain, gain
from wsel_graph.starts.parameters import VIEWS, schema_name
from wsel_graph.starts.targets import check_positions

_SAME = frozenset({"aten::clone", "aten::dropout", "aten::_to_copy", "aten::contiguous", "aten::detach", "aten::alias"})
_SUMS = frozenset({"aten::add", "aten::add_"})


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """How a contraction's output reaches the sum with a residual stream.

    Attributes:
        start: The contraction.
        layout: The graph nodes between the two that move elements about.
        gains: The products with one value per channel between the two.
        sum: The graph node of the sum.
        other: The graph node that it is added to.
        dim: The dim of the sum that holds channels, zero-based.
        order: For every channel of the sum, the contraction's channel.
    """

    start: Contraction
    layout: tuple[int, ...]
    gains: tuple[Gain, ...]
    sum: int
    other: int
    dim: int
    order: torch.Tensor

    def numbers(self, node: Callable[[int], fx.Node]) -> torch.Tensor:
        """For every element of the sum, the element of the contraction's output (flat) that it comes from."""
        shape = tuple(node(self.start.number).meta["value"].shape)
        return _moved(node, self.layout, torch.arange(torch.Size(shape).numel()).reshape(shape))

    def places(self, channels: torch.Tensor) -> torch.Tensor:
        """Where these channels of the contraction are in the sum; every one is there once."""
        return self.order.argsort()[torch.searchsorted(self.order.sort().values, channels)]

    def living(self, program: Program, channels: torch.Tensor) -> torch.Tensor:
        """Which of these channels of the contraction the gains let through, bool."""
        scale = self.scale(program)
        if scale is None:
            return torch.ones(len(channels), dtype=torch.bool)
        return ((scale != 0) & scale.isfinite()).cpu()[self.places(channels)]

    def scale(self, program: Program) -> torch.Tensor | None:
        """What the gains multiply every channel of the sum with, `(channels)`; None where there are none."""
        tensors = {state.name: state.tensor for state in program.captured.states}
        found = None
        for one in self.gains:
            if one.scale is not None:
                own = one.scale.read(tensors[one.scale.name]).double().reshape(-1)
                found = own if found is None else found * own
        return found


def _moved(node: Callable[[int], fx.Node], layout: tuple[int, ...], tensor: torch.Tensor) -> torch.Tensor:
    for number in layout:
        step = node(number)
        tensor = step.target(tensor, *step.args[1:], **step.kwargs)  # type: ignore[operator]
    return tensor


def branch(program: Program, start: Contraction) -> Branch | None:
    """The way from a contraction to the sum that it is the last operator before; None where there is none."""
    layout: list[int] = []
    gains: list[Gain] = []
    node = program.nodes[start.number]
    while len(node.users) == 1:
        (user,) = node.users
        name = schema_name(user)
        scaled = gain(program, program.numbers[user]) if name == "aten::mul" else None
        if name in _SUMS:
            return _ending(program, start, (tuple(layout), tuple(gains)), node, user)
        if scaled is not None:
            gains.append(scaled)
        elif name in VIEWS and user.args[0] is node:
            layout.append(program.numbers[user])
        elif name not in _SAME:
            return None
        node = user
    return None


def _ending(
    program: Program, start: Contraction, steps: tuple[tuple[int, ...], tuple[Gain, ...]], node: fx.Node, total: fx.Node
) -> Branch | None:
    operands = [value for value in total.args if isinstance(value, fx.Node)]
    shapes = {tuple(value.meta["value"].shape) for value in (*operands, total)}
    if len(set(operands)) != 2 or len(shapes) != 1 or total.kwargs.get("alpha", 1) != 1:
        return None
    other = next(value for value in operands if value is not node)
    channels = _moved(program.nodes.__getitem__, steps[0], _channels(program, start))
    dims = [dim for dim in range(channels.dim()) if bool((channels != channels.narrow(dim, 0, 1)).any())]
    if program.is_fixed(other) or len(dims) != 1 or any(one.feature_dims != (dims[0],) for one in steps[1]):
        return None
    order = channels.movedim(dims[0], 0).flatten(1)[:, 0]
    return Branch(start, *steps, program.numbers[total], program.numbers[other], dims[0], order)


def _channels(program: Program, start: Contraction) -> torch.Tensor:
    """At every place of a contraction's output, the number of its channel."""
    shape = tuple(program.nodes[start.number].meta["value"].shape)
    places = start.form.channels(torch.arange(torch.Size(shape).numel()).reshape(shape))
    flat = torch.empty(torch.Size(shape).numel(), dtype=torch.int64)
    flat[places] = torch.arange(places.shape[1]).expand(places.shape)
    return flat.reshape(shape)


@dataclass(frozen=True, slots=True, eq=False)
class StreamTarget:
    """What a contraction has to add so that a stream becomes what it is in the teacher later on.

    Attributes:
        own: The contraction's channels that have a target, zero-based, ascending.
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
        if (scale := branch.scale(run.program)) is not None:
            missing = missing / scale
        numbers = branch.numbers(run.node).movedim(branch.dim, -1).reshape(-1)
        shape = tuple(run.node(branch.start.number).meta["value"].shape)
        flat = missing.new_zeros(torch.Size(shape).numel())
        flat[numbers.to(flat.device)] = missing.reshape(-1)
        return branch.start.form.channels(flat.reshape(shape))[:, self.own]

    def magnitude(self, batch: Batch) -> float:
        """See `Target`."""
        after = batch.teacher_run.value(self.stream).movedim(self.dim, -1)[..., self.theirs].double()
        if (scale := self.ours.scale(batch.student.program)) is not None:
            after = after / scale[self.ours.places(self.own)]
        return float(after.square().sum()) / max(1, after[..., 0].numel())

    def _missing(self, batch: Batch) -> torch.Tensor:
        """Float64, laid out as the student's sum with its channels last."""
        branch = self.ours
        entry = torch.zeros(int(branch.order.max()) + 1, dtype=torch.int64)
        entry[self.own] = self.theirs
        chosen = entry[branch.order]  # the teacher's channel for every channel of the sum

        def selected(node: int) -> torch.Tensor:
            value = batch.teacher_run.value(node)
            return value.index_select(self.dim, chosen.to(value.device)).movedim(self.dim, -1).double()

        after = selected(self.stream)
        if self.before is not None:
            return after - selected(self.before)
        own = batch.student.value(branch.other).movedim(branch.dim, -1).double()
        check_positions(branch.start.weight.name, own[..., 0].numel(), after[..., 0].numel())
        return after.reshape(own.shape) - own
