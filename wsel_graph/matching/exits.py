"""Where blocks end: the node whose value a block passes on to what comes after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wsel_graph.matching.blocks import NodePairs, PairedStage
from wsel_graph.matching.components import ComponentGraph
from wsel_graph.matching.structure import Structure


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of one block.

    Attributes:
        node: Name of the graph node.
        module: Path of the module that runs it.
    """

    node: str
    module: str


@dataclass(frozen=True, slots=True)
class PairedExits:
    """The ends of the blocks of one stage.

    Attributes:
        student: Of every student block; None where none or several values leave a block.
        teacher: Of every teacher block.
        partners: Which teacher block fills which student block; a student block with several is their average.
        paired: Student blocks whose end corresponds to the end of the first teacher block that fills them.
    """

    stage: str
    student: tuple[Exit | None, ...]
    teacher: tuple[Exit | None, ...]
    partners: tuple[tuple[int, int], ...]
    paired: frozenset[int]

    @property
    def runs(self) -> dict[int, list[int]]:
        """The teacher blocks that fill each student block."""
        found: dict[int, list[int]] = {}
        for ours, theirs in self.partners:
            found.setdefault(ours, []).append(theirs)
        return found


def paired_exits(student: Structure, teacher: Structure, nodes: NodePairs) -> tuple[PairedExits, ...]:
    """The ends of the blocks of all paired stages."""
    return tuple(_stage(student.components, teacher.components, nodes, stage) for stage in nodes.stages)


def _stage(student: ComponentGraph, teacher: ComponentGraph, nodes: NodePairs, stage: PairedStage) -> PairedExits:
    ours = [_last_value(student, block) for block in stage.student]
    theirs = [_last_value(teacher, block) for block in stage.teacher]
    paired = {s for s, t in stage.partners if (own := ours[s]) is not None and nodes.pairs.get(own) == theirs[t]}
    return PairedExits(
        stage.name,
        tuple(_exit(student, number) for number in ours),
        tuple(_exit(teacher, number) for number in theirs),
        stage.partners,
        frozenset(paired),
    )


def _last_value(graph: ComponentGraph, block: Sequence[int]) -> int | None:
    """The only node of a block that something outside of it reads, or that the model returns."""
    own = set(block)
    leaving = [
        number
        for number in block
        if number not in graph.roots
        and (graph.results_of(number) or any(reader not in own for reader, _ in graph.consumers[number]))
    ]
    return leaving[0] if len(leaving) == 1 else None


def _exit(graph: ComponentGraph, number: int | None) -> Exit | None:
    return None if number is None else Exit(graph.nodes[number].fx, graph.nodes[number].module)
