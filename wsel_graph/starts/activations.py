"""A student's activations, section by section, beside the teacher's and a fresh start's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from wsel_graph.capture.inputs import Inputs
from wsel_graph.capture.program import Program, correspondence
from wsel_graph.capture.replay import Recordings
from wsel_graph.coupling.graph import trace
from wsel_graph.errors import DiagnosisError
from wsel_graph.plan import Plan
from wsel_graph.starts.agreement import (
    Agreement,
    Look,
    Rows,
    feature_look,
    look_at,
    operator_looks,
    operator_rows,
    rectified_looks,
    section_rows,
)
from wsel_graph.starts.diagnosis import BlockRow, OperatorRow
from wsel_graph.starts.partners import Side, operators, pairings
from wsel_graph.starts.sections import Section, sections


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What was seen of one section."""

    section: Section
    output: Look
    spanned: Look | None
    fresh: Look | None
    operators: tuple[tuple[str, Look], ...]
    rectified: tuple[Look, ...]


class Activations:
    """The models as recordings, and the sections of the student."""

    def __init__(
        self, student: nn.Module, teacher: nn.Module | None, plan: Plan | None, ours: list[Inputs], theirs: list[Inputs]
    ) -> None:
        self.batches = (ours, theirs)
        self.model = student
        models = [student] if teacher is None else [student, teacher]
        graphs = [trace(model, own[0]) for model, own in zip(models, self.batches, strict=False)]
        self.recordings = [
            Recordings(model, own[0], graph.captured)
            for model, own, graph in zip(models, self.batches, graphs, strict=False)
        ]
        sides = [Side(graph, made.base) for graph, made in zip(graphs, self.recordings, strict=True)]
        self.pairings = pairings(plan, sides[0], sides[1])[0] if plan is not None else []
        self._uses = {use.operator.number: use for pairing in self.pairings for use in pairing.uses}
        self.program: Program = sides[0].program
        self.sections = sections(sides[0], plan, self._uses)
        self._problems = {
            (feature.stage, feature.block): feature.problem
            for feature in (() if plan is None else plan.features)
            if not feature.spanned
        }

    def blocks(self, fresh: nn.Module | None) -> list[BlockRow]:
        """All rows, without gradients."""
        matched = list(operator_looks(self.pairings))
        rectified = list(rectified_looks(self.program))
        seen = [self._seen(section, matched, rectified, fresh is not None) for section in self.sections]
        looks = [look for one in seen for look in (one.output, one.spanned) if look is not None]
        look_at([*looks, *(look for _, look in matched), *rectified], self.recordings, self.batches)
        if fresh is not None:
            look_at([one.fresh for one in seen if one.fresh is not None], [self._beside(fresh)], self.batches[:1])
        return [self._row(one) for one in seen]

    def _seen(
        self, section: Section, matched: Sequence[tuple[str, Look]], rectified: Sequence[Look], fresh: bool
    ) -> _Seen:
        inside = range(section.first, section.last + 1)
        rows, output = self._output(section)
        spanned = None
        if section.spanned is not None and len(self.recordings) > 1:
            spanned = feature_look(section, section.spanned, self.recordings[1].base)
        return _Seen(
            section,
            output,
            spanned,
            Look(section.output, rows) if fresh else None,
            tuple((name, look) for name, look in matched if look.number in inside),
            tuple(look for look in rectified if look.number in inside),
        )

    def _output(self, section: Section) -> tuple[Rows, Look]:
        """What stands for a section, beside the teacher's where something corresponds."""
        if section.copied is not None and len(self.recordings) > 1:
            found = feature_look(section, section.copied, self.recordings[1].base)
            if found is not None:
                return found.rows, found
        use = None if section.stage else self._uses.get(section.output)
        if use is not None:
            found = next(look for _, look in operator_looks(self.pairings) if look.number == section.output)
            return found.rows, Look(found.number, found.rows, Agreement(), found.target, found.teacher_nodes)
        made = {own.number: own for uses in operators(self.program).uses.values() for own in uses}
        operator = None if section.stage else made.get(section.output)
        rows = section_rows(section) if operator is None else operator_rows(operator)
        return rows, Look(section.output, rows)

    def _beside(self, fresh: nn.Module) -> Recordings:
        recorded = Recordings(fresh, self.batches[0][0])
        if correspondence(self.program, recorded.base) is not None:
            raise DiagnosisError(
                "fresh runs other operators than the student: make it as the student was made, with the same options"
            )
        return recorded

    def _row(self, seen: _Seen) -> BlockRow:
        section, found = seen.section, seen.output.found
        alive = [look.found.alive for look in seen.rectified if look.found.alive is not None]
        return BlockRow(
            name=section.name,
            stage=section.stage,
            student=found.scale,
            teacher=found.teacher_scale,
            fresh=None if seen.fresh is None else seen.fresh.found.scale,
            explained=found.explained,
            spanned=None if seen.spanned is None else seen.spanned.found.explained,
            operators=tuple(self._operator(name, look) for name, look in seen.operators),
            dead=sum(int((~one).sum()) for one in alive),
            units=sum(one.numel() for one in alive),
            problem=self._problem(section),
        )

    def _problem(self, section: Section) -> str:
        if len(self.recordings) < 2 or section.copied is not None or not section.stage:
            return ""
        stage, _, block = section.name.rpartition(" ")
        return self._problems.get((stage, int(block)), "the plan pairs it with no block of the teacher")

    def _operator(self, name: str, look: Look) -> OperatorRow:
        node = self.program.nodes[look.number].name
        return OperatorRow(name, node, look.found.scale, look.found.teacher_scale, look.found.explained)
