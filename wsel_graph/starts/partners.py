"""Pair the student's operators with the teacher's, and say for each what it is to compute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import fx

from wsel_graph.capture.program import Program
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.plan import Copy, Plan
from wsel_graph.starts.channels import Channels, paired_channels
from wsel_graph.starts.contractions import Contraction, contraction
from wsel_graph.starts.gains import Gain, gain
from wsel_graph.starts.parameters import seen_parameter
from wsel_graph.starts.positions import same_positions
from wsel_graph.starts.targets import Operator, feature_dims


@dataclass(frozen=True)
class Side:
    """One model: its graph with axes, and its program."""

    graph: ModelGraph
    program: Program

    def name(self, number: int) -> str:
        """Name of a graph node."""
        return self.program.nodes[number].name


@dataclass
class Operators:
    """The operators of one model by the parameter that tells which is which.

    Attributes:
        uses: For a weight or scale, every operator that uses it, in order of execution.
        odd: Parameters that are used in a way that cannot be fitted, with the reason.
        readers: For every parameter and buffer, the graph nodes that read it, through whatever views.
    """

    uses: dict[str, list[Operator]] = field(default_factory=dict)
    odd: dict[str, str] = field(default_factory=dict)
    readers: dict[str, set[int]] = field(default_factory=dict)


def operators(program: Program) -> Operators:
    """All contractions, norms and gains of a model."""
    found = Operators()
    for number, node in enumerate(program.nodes):
        _note_reader(program, node, found.readers)
        seen = contraction(program, number) or gain(program, number)
        if isinstance(seen, str):
            found.odd |= dict.fromkeys(_parameters(program, node.all_input_nodes), seen)
        elif isinstance(seen, Contraction):
            found.uses.setdefault(seen.weight.name, []).append(seen)
        elif isinstance(seen, Gain):
            name = seen.scale.name if seen.scale is not None else (seen.statistics or ("",))[0]
            found.uses.setdefault(name, []).append(seen)
    return found


def _note_reader(program: Program, node: fx.Node, readers: dict[str, set[int]]) -> None:
    """Note a node under every parameter that it reads; a view only where it is a result of the model."""
    if seen_parameter(program, node) is not None and node not in program.captured.outputs:
        return
    for operand in node.all_input_nodes:
        if (seen := seen_parameter(program, operand)) is not None:
            readers.setdefault(seen.name, set()).add(program.numbers[node])


def _parameters(program: Program, nodes: Iterable[fx.Node]) -> Iterable[str]:
    """The parameters among nodes, and those that fixed ones among them are computed from."""
    waiting, seen = [node for node in nodes if program.is_fixed(node)], set[fx.Node]()
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting.extend(node.all_input_nodes)
            if "state" in node.meta:
                yield str(node.meta["state"])


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """One operator of the student, and what its parameter was selected from.

    Attributes:
        operator: The student's.
        partners: The teacher's operators, by the tensor that the plan names.
        channels: Which of their channels the student's stand for.
    """

    operator: Operator
    partners: Mapping[str, Operator]
    channels: Channels


@dataclass(frozen=True, slots=True)
class Pairing:
    """One parameter of the student, with all its uses in order of execution.

    Attributes:
        name: The parameter.
        uses: Its operators.
        private: The parameters and buffers that nothing but these operators reads.
    """

    name: str
    uses: tuple[Use, ...]
    private: frozenset[str] = frozenset()


def pairings(plan: Plan, student: Side, teacher: Side) -> tuple[list[Pairing], dict[str, str]]:
    """Everything that may be fitted, and why the rest may not; both in order of the student's execution."""
    ours, theirs = operators(student.program), operators(teacher.program)
    copies: dict[str, list[Copy]] = {}
    for copy in plan.copies:
        copies.setdefault(copy.student, []).append(copy)
    found: list[Pairing] = []
    kept: dict[str, str] = {name: reason for name, reason in ours.odd.items() if name in copies}
    for name, uses in ours.uses.items():
        if name not in copies:
            continue
        made = [_use(place, uses, copies[name], theirs, (student, teacher)) for place in range(len(uses))]
        reasons = [one for one in made if isinstance(one, str)]
        if reason := _shared(name, ours, student) or next(iter(reasons), ""):
            kept[name] = reason
        else:
            numbers = {use.number for use in uses}
            private = frozenset(one for one, readers in ours.readers.items() if readers <= numbers)
            found.append(Pairing(name, tuple(one for one in made if isinstance(one, Use)), private))
    return found, kept


def _shared(name: str, found: Operators, side: Side) -> str:
    """Why a parameter cannot be fitted where it is used: others would change with it; nothing where it can."""
    uses = found.uses[name]
    if others := found.readers.get(name, set()) - {use.number for use in uses}:
        return f"{side.name(min(others))} reads it too, in another way"
    first = uses[0]
    if isinstance(first, Contraction) and not all(_same_part(first, use) for use in uses[1:]):
        return "its uses differ in the part of it that they see, or in what they add"
    return ""


def _same_part(one: Contraction, other: Operator) -> bool:
    if not isinstance(other, Contraction):
        return False
    matrices = [use.form.matrix(use.weight.numbers) for use in (one, other)]
    if one.bias is None or other.bias is None:
        return one.bias is other.bias and torch.equal(*matrices)
    biases = one.bias.name == other.bias.name and torch.equal(one.bias.numbers, other.bias.numbers)
    return biases and torch.equal(*matrices)


def _use(
    place: int, uses: list[Operator], copies: list[Copy], theirs: Operators, sides: tuple[Side, Side]
) -> Use | str:
    operator = uses[place]
    partners: dict[str, Operator] = {}
    for copy in copies:
        other = theirs.uses.get(copy.teacher)
        if other is None:
            return f"the teacher's {copy.teacher}: {theirs.odd.get(copy.teacher, 'no operator of this kind uses it')}"
        if len(other) != len(uses):
            return f"used {len(uses)} times, the teacher's {copy.teacher} {len(other)} times"
        partners[copy.teacher] = other[place]
    if any(isinstance(partner, Gain) != isinstance(operator, Gain) for partner in partners.values()):
        return "the teacher computes it in another way"
    numbers = [(sides[0], operator.number), *((sides[1], partner.number) for partner in partners.values())]
    if any(side.program.is_drawn(number) for side, number in numbers):
        return "it depends on random numbers, which the two models draw apart"
    channels = paired_channels(operator, copies, partners)
    if isinstance(channels, str):
        return channels
    if not all(_aligned(sides, operator, partner) for partner in partners.values()):
        return "the teacher lays out positions in another way"
    return Use(operator, partners, channels)


def _aligned(sides: tuple[Side, Side], operator: Operator, partner: Operator) -> bool:
    ours, theirs = (
        (side.graph, side.name(one.number), feature_dims(one))
        for side, one in zip(sides, (operator, partner), strict=True)
    )
    return same_positions(ours, theirs)
