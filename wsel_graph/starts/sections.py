"""Cut a student's graph into sections to look at: its blocks, and what comes before, between and after them.

A section is a run of graph nodes in order of execution. Its parameters are those that these nodes use first.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import fx

from wsel_graph.capture.program import Program
from wsel_graph.capture.returns import Returned
from wsel_graph.matching.borders import stage_borders
from wsel_graph.matching.layering import layer_length
from wsel_graph.matching.structure import Structure, structure
from wsel_graph.plan import Feature, Plan, Tap
from wsel_graph.starts.contractions import Contraction
from wsel_graph.starts.partners import Side, operators


@dataclass(frozen=True, slots=True)
class Section:
    """A run of graph nodes.

    Attributes:
        name: What messages call it, such as `blocks 1`.
        first: Its first graph node, zero-based.
        last: Its last graph node.
        output: The graph node whose value stands for the section.
        stage: The stage that it is a block of; empty for what lies outside of stages.
        copied: How the output corresponds to the teacher's block that this one was copied from.
        spanned: The same for the last teacher block that it stands in for, where that is another one.
        shown: The module that returns the output; None where none does.
        parameters: Names of the parameters that it uses first.
    """

    name: str
    first: int
    last: int
    output: int
    stage: str = ""
    copied: Feature | None = None
    spanned: Feature | None = None
    shown: Returned | None = None
    parameters: tuple[str, ...] = ()


def tapped(program: Program, tap: Tap) -> int | None:
    """The graph node of a tap in a recording that may differ from the plan's: found by module, then by name."""
    names = {node.name: number for number, node in enumerate(program.nodes)}
    for entry in program.captured.returned:
        if (entry.module, entry.place, entry.call) == (tap.module, tap.place, tap.call) and tap.module:
            return names.get(entry.node)
    return None if tap.module else names.get(tap.node)


def sections(student: Side, plan: Plan | None, matched: Collection[int] = ()) -> tuple[Section, ...]:
    """All sections of a student that have parameters or are blocks, in order of execution.

    Args:
        student: The student's graph.
        plan: Says which blocks of the teacher its blocks came from.
        matched: Graph nodes of operators with a counterpart in the teacher, which stand for a section rather than
            others.
    """
    program = student.program
    own = structure(student.graph)
    features = () if plan is None else plan.features
    blocks = list(_planned(program, own, features)) or list(_unplanned(own))
    blocks.sort(key=lambda block: block.last)
    cut = list(_filled(program, blocks, matched))
    return tuple(_with_parameters(program, cut))


# -- blocks


def _planned(program: Program, own: Structure, features: Sequence[Feature]) -> Iterator[Section]:
    starts = _starts(own)
    spans = {(feature.stage, feature.block): feature for feature in features if feature.spanned}
    end = {stage: starts[stage] for stage in starts}
    for feature in features:
        number = None if feature.spanned else tapped(program, feature.student)
        if number is None:
            continue
        start = end.get(feature.stage, number)
        spanned = spans.get((feature.stage, feature.block))
        name = f"{feature.stage} {feature.block}"
        yield Section(name, start, number, number, feature.stage, _usable(feature), _usable(spanned))
        end[feature.stage] = number + 1


def _usable(feature: Feature | None) -> Feature | None:
    return None if feature is None or feature.problem else feature


def _starts(own: Structure) -> dict[str, int]:
    """For every stage, the first node after what its first block starts from."""
    return {stage: 0 if borders[0] is None else borders[0].node + 1 for stage, borders in stage_borders(own).items()}


def _unplanned(own: Structure) -> Iterator[Section]:
    """Without a plan, a block is as many segments as repeat."""
    found = stage_borders(own)
    for item, stage in own.stage_names.items():
        length = layer_length(own.items[item], own.items[item])
        start, block = _starts(own)[stage], 0
        for place, border in enumerate(found[stage][1:], 1):
            if place % length == 0 and border is not None:
                yield Section(f"{stage} {block}", start, border.node, border.node, stage)
                start = border.node + 1
            block += place % length == 0


# -- what lies outside of blocks


def _filled(program: Program, blocks: Sequence[Section], matched: Collection[int]) -> Iterator[Section]:
    """The blocks, with what lies before, between and after them."""
    done, before = 0, ""
    for block in blocks:
        start = max(block.first, done)
        if start > done:
            name = f"between {before} and {block.stage}" if before else f"before {block.stage}"
            yield from _outside(program, name, (done, start - 1), matched)
        yield replace(block, first=min(start, block.last))
        done, before = block.last + 1, block.stage
    if done < len(program.nodes):
        if blocks:
            yield from _outside(program, f"after {before}", (done, len(program.nodes) - 1), matched)
        else:
            yield from _by_operator(program)


def _outside(program: Program, name: str, ends: tuple[int, int], matched: Collection[int]) -> Iterator[Section]:
    """One section that its last operator with parameters stands for; none where there is no such operator.

    A matched one stands for it rather than others, a contraction or norm rather than a table.
    """
    inside = range(ends[0], ends[1] + 1)
    made = [number for number, _ in _operators(program) if number in inside]
    known = [number for number in made if number in matched]
    if found := known or made or [number for number in inside if _has_parameters(program, program.nodes[number])]:
        yield Section(name, *ends, found[-1])


def _has_parameters(program: Program, node: fx.Node) -> bool:
    return not program.is_fixed(node) and any(_states(program, node))


def _by_operator(program: Program) -> Iterator[Section]:
    """For a model without stages: one section per contraction, with what follows it."""
    made = [(number, name) for number, name in _operators(program, contractions=True)]
    ends = [number - 1 for number, _ in made[1:]] + [len(program.nodes) - 1]
    first = 0
    for (number, name), last in zip(made, ends, strict=True):
        yield Section(name, first, last, number)
        first = last + 1


def _operators(program: Program, *, contractions: bool = False) -> list[tuple[int, str]]:
    found = {
        use.number: name
        for name, uses in operators(program).uses.items()
        for use in uses
        if isinstance(use, Contraction) or not contractions
    }
    return sorted(found.items())


# -- parameters and modules


def _with_parameters(program: Program, cut: Iterable[Section]) -> Iterator[Section]:
    kinds = {state.name: state.kind for state in program.captured.states}
    taken: set[str] = set()
    shown: Mapping[str, list[Returned]] = program.captured.returned_by
    for section in cut:
        used: dict[str, None] = {}
        for node in program.nodes[section.first : section.last + 1]:
            if not program.is_fixed(node):
                used |= dict.fromkeys(_states(program, node))
        own = tuple(name for name in used if kinds.get(name) == "parameter" and name not in taken)
        taken |= set(own)
        output = program.nodes[section.output]
        parts = [user for user in output.users if user.target is operator.getitem and user.args[1] == 0]
        entries = [entry for node in (output, *parts) for entry in shown.get(node.name, ()) if entry.module]
        yield replace(section, parameters=own, shown=next((one for one in entries if _shows(section, one)), None))


def _shows(section: Section, entry: Returned) -> bool:
    """Whether a module is the one that the plan names, where it names one."""
    if section.copied is None:
        return True
    tap = section.copied.student
    return (entry.module, entry.place, entry.call) == (tap.module, tap.place, tap.call)


def _states(program: Program, node: fx.Node) -> Iterator[str]:
    """The states that a node reads, itself or through operators that read nothing else."""
    for operand in node.all_input_nodes:
        if operand.op == "get_attr" and "state" in operand.meta:
            yield operand.meta["state"]
        elif operand.op == "call_function" and program.is_fixed(operand):
            yield from _states(program, operand)
