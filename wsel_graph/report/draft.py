"""A rule file as text, drafted for two models: what happens to them, as rules and comments to change.

The file is complete: every stage, every kind of coupled group and every tensor that the engine could not decide about
has its place in it. For a pair that fits without rules the draft gives the same plan as the default rules; for one
that is refused it holds rules under which a plan is found, marked CHECK.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.matching.structure import structure
from wsel_graph.matching.subjects import Subjects
from wsel_graph.plan import Kept, LayerMap, Plan
from wsel_graph.report.lines import (
    LISTED,
    count,
    folded,
    group_lines,
    group_rule,
    keep_rule,
    literal,
    pinned_stubs,
    quoted,
    several,
    some,
    wrapped,
)
from wsel_graph.report.settle import Decisions
from wsel_graph.selection.model import Unmatched


@dataclass(frozen=True)
class Drafting:
    """What a draft is about; the plan is None as long as there is none.

    >>> from torch import nn
    >>> from wsel_graph.coupling.graph import trace
    >>> model = trace(nn.Linear(4, 2), (1, 4))
    >>> lines = Drafting(model, model, Decisions(keep={"bias": "no counterpart"}), None).text().splitlines()
    >>> print(*(line for line in lines if "bias" in line), sep=chr(10))
      # CHECK bias [2]: no counterpart
      - keep: "bias"
    """

    student: ModelGraph
    teacher: ModelGraph
    decisions: Decisions
    plan: Plan | None
    unmatched: Unmatched = "error"

    def text(self) -> str:
        """The rule file."""
        lines = [
            *self._head(),
            "",
            "version: 1",
            f"unmatched: {self.unmatched}  # keep: student tensors that nothing explains keep their own values",
            "",
            *self._layers(),
            "",
            *self._components(),
            "",
            *self._elements(),
        ]
        return "\n".join(lines) + "\n"

    def _head(self) -> Iterator[str]:
        ours, theirs = _parameters(self.student), _parameters(self.teacher)
        yield f"# Selection rules for a student of {ours:,} parameters and a teacher of {theirs:,}."
        if self.decisions.none:
            yield "# As it stands, this file says what happens without any: change what you want changed."
        elif self.decisions.refused:
            yield "# This pair is refused, even with the rules that are marked CHECK. What still stands against it:"
            yield from wrapped(self.decisions.refused, "#   ")
        else:
            yield "# Without rules this pair is refused. The rules that settle it are marked CHECK: they are guesses."
        yield "# `wsel-graph rules check` shows what every rule governs, before anything is copied."

    # -- step 1

    def _layers(self) -> Iterator[str]:
        yield "# Step 1: which teacher blocks fill the student's, by stage (a run of repeated blocks; numbered from 0)."
        yield "# take: first | last | middle | uniform | merge | teacher blocks one by one, such as [0, 2, 5]"
        layers = self.plan.layers if self.plan is not None else ()
        yield "layers:" if layers else "# No stage of the student has a counterpart: there is nothing to choose."
        for layer in layers:
            yield from self._layer(layer)

    def _layer(self, layer: LayerMap) -> Iterator[str]:
        sources = self._sources.get(layer.stage, ())
        yield from wrapped(f"{len(layer.blocks)} of the teacher's {layer.teacher_depth} blocks: {layer}", "  # ")
        yield f"  - stage: {quoted(literal(layer.stage))}"
        yield "    take: first"
        if sources:
            yield f"    # from: {several(map(literal, sources))}  # the teacher's stage"

    @cached_property
    def _sources(self) -> Mapping[str, tuple[str, ...]]:
        """The teacher stages that fill each student stage."""
        found: dict[str, dict[str, None]] = {}
        ours, theirs = Subjects(structure(self.student), "student"), Subjects(structure(self.teacher), "teacher")
        sources = (source for copy in self.plan.copies for source in copy.sources) if self.plan is not None else ()
        for copy in sources:
            stage, other = ours.of_tensor(copy.student).stage, theirs.of_tensor(copy.teacher).stage
            if stage and other:
                found.setdefault(stage, {})[other] = None
        return {stage: tuple(others) for stage, others in found.items()}

    # -- step 2

    def _components(self) -> Iterator[str]:
        yield "# Step 2: which teacher tensor fills which student tensor, and which keep the student's own values."
        if self.plan is not None:
            yield from self._paired(self.plan)
        rules = [*self._pairs(), *self._keeps()]
        yield "components:" if rules else "# components:"
        yield from rules
        yield '  # - keep: "head.*"                # these keep the student\'s own values'
        yield "  # - require: {operator: linear}   # an error unless every linear is initialised"

    def _paired(self, plan: Plan) -> Iterator[str]:
        filled = dict.fromkeys(copy.student for copy in plan.copies)
        yield f"# {len(filled)} student tensors are filled by what the two graphs have in common, such as"
        for copy in plan.copies[:LISTED]:
            sizes = list(copy.student_shape), list(copy.teacher_shape)
            yield f"#   {copy.student} {sizes[0]} <- {copy.teacher} {sizes[1]}"
        for reason, kept in _by_reason(item for item in plan.kept if item.student not in self.decisions.keep).items():
            yield from wrapped(f"{count(kept, 'tensor')} kept, {reason}: {some(k.student for k in kept)}", "# ")
        if unused := self._unused():
            yield from wrapped(f"{count(unused, 'teacher tensor')} not used: {some(unused)}", "# ")

    def _unused(self) -> list[str]:
        copies = self.plan.copies if self.plan is not None else ()
        taken = {source.teacher for copy in copies for source in copy.sources}
        return [name for name in self.teacher.own_names if name not in taken]

    def _pairs(self) -> Iterator[str]:
        for name, pairing in self.decisions.pairs.items():
            others = f"; or {some(map(quoted, pairing.others))}" if pairing.others else ""
            yield from wrapped(f"CHECK {self._shape(name)}: several teacher tensors fit equally well{others}", "  # ")
            yield f"  - pair: {{student: {quoted(name)}, teacher: {quoted(pairing.teacher)}}}"

    def _keeps(self) -> Iterator[str]:
        reasons: dict[str, list[str]] = {}
        for name, reason in self.decisions.keep.items():
            reasons.setdefault(reason, []).append(name)
        for reason, names in reasons.items():
            yield from wrapped(f"CHECK {some(map(self._shape, names))}: {reason}", "  # ")
            if candidates := self._candidates(names[0]):
                pair = f"or pair: {{student: {quoted(names[0])}, teacher: {quoted(candidates[0])}}}"
                others = "".join(f", or {quoted(name)}" for name in candidates[1:LISTED])
                yield from wrapped(pair + others, "  #   ")
            yield from keep_rule(folded(names, self._names))

    @cached_property
    def _names(self) -> dict[str, str]:
        """Every name of every student tensor, with the tensor's first name."""
        return {name: state.name for state in self.student.captured.states for name in state.names}

    def _candidates(self, name: str) -> list[str]:
        """For a tensor that nothing explains: unused teacher tensors of its last name that are as large at least."""
        if name not in self.decisions.missing:
            return []
        shape, last = self.student.tensors[name].shape, name.rpartition(".")[2]
        shapes = {other: self.teacher.tensors[other].shape for other in self._unused()}
        return [
            other
            for other, theirs in shapes.items()
            if other.rpartition(".")[2] == last and len(theirs) == len(shape)
            if all(small <= large for small, large in zip(shape, theirs, strict=True))
        ]

    def _shape(self, name: str) -> str:
        return f"{name} {list(self.student.tensors[name].shape)}" if name in self.student.tensors else name

    # -- step 3

    def _elements(self) -> Iterator[str]:
        yield "# Step 3: which elements of an axis. What several tensors share (a coupled group) is chosen once."
        yield "# take: uniform | consecutive | random | elements one by one, such as [0, 2, 4]"
        yield from group_lines(self.plan.choices if self.plan is not None else ())
        yield "elements:"
        for rule in self.decisions.groups:
            yield from group_rule(rule)
        yield from pinned_stubs(self.plan.choices if self.plan is not None else (), self.decisions)
        yield from (
            "  # - where: {role: heads}   # special rules stand above general ones",
            "  #   take: consecutive",
            "  - take: uniform",
            "    unit: whole        # flat: heads and their channels are one run of channels, like the paper",
            "    consistent: true   # false: an ablation that breaks the network",
            "    rescale: none      # variance, norm, attention or a list: keep scales at the new width",
            "    grow: error        # where the student is larger: keep (the rest is its own) or tile (repeat)",
        )


def _by_reason(items: Iterable[Kept]) -> dict[str, list[Kept]]:
    found: dict[str, list[Kept]] = {}
    for item in items:
        found.setdefault(item.reason, []).append(item)
    return found


def _parameters(graph: ModelGraph) -> int:
    return sum(state.tensor.numel() for state in graph.captured.states if state.kind == "parameter")
