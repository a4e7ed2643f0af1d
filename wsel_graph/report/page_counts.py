"""How much of a student comes from the teacher, counted from the plan alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wsel_graph.plan import Outline, Plan
from wsel_graph.report.page_data import outlines_of

FATES = {
    "copied": "selected from the teacher",
    "adapted": "averaged or resampled from the teacher",
    "kept": "the student's own values",
}
"""What becomes of parameters, in words."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Parameter elements of the student, those that keep their own values, and elements of the teacher."""

    total: int
    kept: int
    teacher: int

    @property
    def percent(self) -> str:
        """Share that comes from the teacher; 100 % only where nothing is kept.

        >>> Counts(100_000, 1, 0).percent, Counts(4, 0, 0).percent
        ('99.99 %', '100 %')
        """
        if not self.kept:
            return "100 %"
        return f"{math.floor(10_000 * (self.total - self.kept) / max(1, self.total)) / 100:.2f} %"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Parameters of the student that follow each other and have one fate: `copied`, `adapted` or `kept`."""

    label: str
    fate: str
    count: int


def stretches(plan: Plan) -> tuple[Stretch, ...]:
    """All parameters of the student in order, by what became of them; neighbours of one section and fate together."""
    outline = outlines_of(plan)[0][0]
    labels = _labels(outline)
    fates: dict[str, list[tuple[str, int]]] = {}
    for copy in plan.copies:
        if copy.parameter:
            made = any(source.mix or source.resize for source in copy.sources) or bool(copy.also)
            fates.setdefault(copy.student, []).append(("adapted" if made else "copied", math.prod(copy.target_shape)))
    for name, shape in {copy.student: copy.student_shape for copy in plan.copies if copy.parameter}.items():
        if (left := math.prod(shape) - sum(count for _, count in fates[name])) > 0:
            fates[name].append(("kept", left))
    fates |= {item.student: [("kept", math.prod(item.shape))] for item in plan.kept if item.parameter}
    found: list[Stretch] = []
    for name in [*(name for name in labels if name in fates), *(name for name in fates if name not in labels)]:
        for fate, count in fates[name]:
            label = labels.get(name, name)
            if found and (found[-1].label, found[-1].fate) == (label, fate):
                count += found.pop().count
            found.append(Stretch(label, fate, count))
    return tuple(found)


def _labels(outline: Outline) -> dict[str, str]:
    """For every tensor, the name of its section."""
    found: dict[str, str] = {}
    for section in outline.sections:
        alone = Outline("", outline.kinds, (section,))
        for held in alone.tensors():
            found.setdefault(held.name, section.stage or section.blocks[0].path or held.name)
    return found | {held.name: held.name for held in outline.unused}


def counts(plan: Plan) -> Counts:
    """How much there is; of a teacher without an outline only what is taken from is known."""
    found = stretches(plan)
    teacher = {held.name: math.prod(held.shape) for held in outlines_of(plan)[0][1].tensors()}
    kept = sum(own.count for own in found if own.fate == "kept")
    return Counts(sum(own.count for own in found), kept, sum(teacher.values()))
