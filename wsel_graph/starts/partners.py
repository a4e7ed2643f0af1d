"""Pair the student's operators with the teacher's, and say for each what it is to compute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from wsel_graph.capture.replay import Program
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.plan import Copy, Plan
from wsel_graph.starts.channels import Channels, paired_channels
from wsel_graph.starts.contractions import Contraction, contraction
from wsel_graph.starts.gains import Gain, gain
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
    """

    uses: dict[str, list[Operator]] = field(default_factory=dict)
    odd: dict[str, str] = field(default_factory=dict)


def operators(program: Program) -> Operators:
    """All contractions, norms and gains of a model."""
    found = Operators()
    for number, node in enumerate(program.nodes):
        seen = contraction(program, number) or gain(program, number)
        if isinstance(seen, str):
            found.odd |= dict.fromkeys(_parameters(node.all_input_nodes), seen)
        elif isinstance(seen, Contraction):
            found.uses.setdefault(seen.weight.name, []).append(seen)
        elif isinstance(seen, Gain):
            name = seen.scale.name if seen.scale is not None else (seen.statistics or ("",))[0]
            found.uses.setdefault(name, []).append(seen)
    return found


def _parameters(nodes: Iterable[object]) -> Iterable[str]:
    return (node.meta["state"] for node in nodes if getattr(node, "op", "") == "get_attr" and "state" in node.meta)  # type: ignore[attr-defined]


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
    """One parameter of the student, with all its uses in order of execution."""

    name: str
    uses: tuple[Use, ...]


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
        if reasons := [one for one in made if isinstance(one, str)]:
            kept[name] = reasons[0]
        else:
            found.append(Pairing(name, tuple(one for one in made if isinstance(one, Use))))
    return found, kept


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
