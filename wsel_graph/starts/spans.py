"""Which target every operator of the student has: an output of the teacher, or what its residual stream lacks.

The point of the teacher's stream that a sum of the student is to become is the input of what the reader of the sum was
selected from. Where the plan skips teacher blocks, that lies after the skipped ones: the student's block learns to
stand in for all of them.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence

import torch

from wsel_graph.capture.program import Program
from wsel_graph.capture.results import paired_results
from wsel_graph.starts.contractions import Contraction
from wsel_graph.starts.gains import Gain, gain
from wsel_graph.starts.parameters import schema_name
from wsel_graph.starts.partners import Pairing, Side, Use
from wsel_graph.starts.positions import same_positions
from wsel_graph.starts.settings import Aims
from wsel_graph.starts.streams import Branch, StreamTarget, branch
from wsel_graph.starts.targets import Operator, OutputTarget, Target, direct_target


class Spans:
    """Finds targets.

    Args:
        found: All pairings of the two models.
        student: The student.
        teacher: The teacher.
        aims: What operators are fitted to.
    """

    def __init__(self, found: Sequence[Pairing], student: Side, teacher: Side, aims: Aims) -> None:
        self._student, self._teacher, self._aims = student, teacher, aims
        self._readers: dict[int, list[Use]] = {}
        self._branch_starts: list[int] = []
        ours, theirs = ([_maker(side.program, n) for n in side.program.outputs] for side in (student, teacher))
        pairs = paired_results(student.program.captured, teacher.program.captured)
        self._results = {ours[s]: theirs[t] for s, t in pairs.items()} if len(ours) == len(theirs) else {}
        for use in sorted((use for pairing in found for use in pairing.uses), key=lambda use: use.operator.number):
            self._readers.setdefault(_maker(student.program, use.operator.data), []).append(use)
            if isinstance(use.operator, Contraction) and branch(student.program, use.operator) is not None:
                self._branch_starts.append(use.operator.number)

    def target(self, use: Use) -> Target:
        """What one operator of the student is to compute."""
        made = use.operator
        ends = isinstance(made, Contraction) or made.statistics is not None
        if ends and (found := self._stream(use, made)) is not None:
            return found
        if isinstance(made, Gain) and (moved := self._moved_norm(use)) is not None:
            return moved
        return direct_target(use.channels, use.partners)

    # -- norms

    def _moved_norm(self, use: Use) -> OutputTarget | None:
        """The norm at the end of a block whose next teacher blocks are skipped: that of the last skipped one."""
        if len(use.partners) > 1:
            return None
        ((name, partner),) = use.partners.items()
        after = self._teacher_gain(self._source(use.operator.number, partner.number))
        if after is None or after.number == partner.number:
            return None
        return direct_target(use.channels, {name: after})

    def _teacher_gain(self, number: int) -> Gain | None:
        return gain(self._teacher.program, _maker(self._teacher.program, number))

    # -- streams

    def _stream(self, use: Use, made: Operator) -> StreamTarget | None:
        """What the sum after an operator lacks; None where one of the two models has no such sum."""
        partner = next(iter(use.partners.values()))
        if len(use.partners) > 1:
            return None
        ours, theirs = branch(self._student.program, made), branch(self._teacher.program, partner)
        if ours is None or theirs is None or ours.other >= made.number:
            return None
        stream = self._source(ours.sum, theirs.sum)
        sides = (self._student, ours.sum, ours.dim), (self._teacher, stream, theirs.dim)
        if not same_positions(*((side.graph, side.name(number), (dim,)) for side, number, dim in sides)):
            return None
        repaired = self._repaired(ours)
        if stream == theirs.sum and not repaired:
            return None  # nothing was skipped: what the teacher's operator adds is all
        channels = _stream_channels(use, ours, theirs)
        if channels is None:
            return None
        alive = ours.living(self._student.program, use.channels.own)
        if not bool(alive.any()):
            return None
        before = None if repaired else theirs.other
        if before is not None and self._teacher.program.is_written_over(before):
            return None  # what is held of it is not what was added
        return StreamTarget(use.channels.own[alive], ours, stream, before, theirs.dim, channels[alive])

    def _repaired(self, ours: Branch) -> bool:
        if self._aims.repair == "last":
            return not any(number > ours.sum for number in self._branch_starts)
        return self._aims.repair == "always"

    def _source(self, value: int, default: int) -> int:
        """The teacher's graph node that a value of the student stands for: what its reader's partner reads.

        A value that is a result of the model stands for the teacher's result.
        """
        if not self._aims.stand_in:
            return default
        for use in self._readers.get(value, ()):
            partner = next(iter(use.partners.values()))
            read = partner.data
            if isinstance(use.operator, Gain):
                after = self._teacher_gain(self._source(use.operator.number, partner.number))
                read = partner.data if after is None else after.data
            if self._alike(read, default):
                return read
        result = self._results.get(value, default)
        return result if self._alike(result, default) else default

    def _alike(self, one: int, other: int) -> bool:
        """Whether two teacher nodes are points of one stream: made by one kind of operator, with the same axes."""
        program = self._teacher.program
        makers = [program.nodes[_maker(program, number)] for number in (one, other)]
        axes = [self._teacher.graph.axes_at(node.name) for node in makers]
        return schema_name(makers[0]) == schema_name(makers[1]) and axes[0] == axes[1]


def _maker(program: Program, number: int) -> int:
    """The operator behind a node: where it has several results, their node is another."""
    node = program.nodes[number]
    return program.numbers[node.args[0]] if node.target is operator.getitem else number  # type: ignore[index]


def _stream_channels(use: Use, ours: Branch, theirs: Branch) -> torch.Tensor | None:
    """The channel of the teacher's stream for every own channel; None where some have no one channel there."""
    places: Mapping[int, int] = {int(channel): place for place, channel in enumerate(theirs.order)}
    if len(places) != len(theirs.order) or len(set(ours.order.tolist())) != len(ours.order):
        return None
    if not set(use.channels.theirs.tolist()) <= places.keys():
        return None
    return torch.tensor([places[channel] for channel in use.channels.theirs.tolist()], device="cpu")
