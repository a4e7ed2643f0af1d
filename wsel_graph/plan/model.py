"""The plan: frozen data that says which teacher elements every student tensor receives.

Nothing else is needed to apply it: no graph, no rules, no model code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wsel_graph.errors import UnknownNameError
from wsel_graph.notebook import card
from wsel_graph.plan.copies import Copy
from wsel_graph.plan.explain import explain_copy
from wsel_graph.plan.outline import Outline
from wsel_graph.plan.parts import Choice, Feature, Kept, LayerMap
from wsel_graph.plan.provenance import Provenance


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that initialising one student from one teacher needs."""

    copies: tuple[Copy, ...]  # one or more per student tensor that is filled
    kept: tuple[Kept, ...]  # one per student tensor that keeps its own values
    choices: tuple[Choice, ...]  # one per coupled group: the elements it takes
    layers: tuple[LayerMap, ...]  # one per stage of repeated blocks
    notes: tuple[str, ...] = ()  # what the user should know besides
    compensate: tuple[str, ...] = ()  # student weights that rules ask to fit on calibration data; first names
    recalibrate: tuple[str, ...] = ()  # running means of the batch norms whose statistics rules ask to estimate anew
    features: tuple[Feature, ...] = ()  # what can be compared while the student learns from the teacher
    outlines: tuple[Outline, ...] = field(default=(), compare=False)  # student and teacher, for reports
    provenance: Provenance | None = field(default=None, compare=False)  # what made it; plans that do the same are equal

    def save(self, path: str | Path) -> None:
        """Write the plan to a JSON file, which `load_plan` reads; the file is there whole or not at all.

        Raises:
            OSError: If the file cannot be written.
        """
        from wsel_graph.plan.serial import save_plan  # which needs the classes of this module

        save_plan(self, path)

    def explain(self, name: str) -> str:
        """Where the values of one student tensor come from, in words.

        Raises:
            UnknownNameError: If the plan does not know the tensor.
        """
        if own := [explain_copy(copy, self.choices) for copy in self.copies if copy.student == name]:
            return "\n".join((*own, *self._afterwards(name)))
        for kept in self.kept:
            if kept.student == name:
                return f"{name} {list(kept.shape)} keeps the student's own values: {kept.reason}"
        raise UnknownNameError(f"the plan knows no student tensor named {name!r}")

    def __repr__(self) -> str:
        return f"Plan({len(self.copies)} copies, {len(self.kept)} kept, {len(self.choices)} choices)"

    def __str__(self) -> str:
        from wsel_graph.plan.tables import as_text  # which needs the classes of this module

        return as_text(self)

    def _repr_html_(self) -> str:
        from wsel_graph.plan.tables import as_html, headline

        return card("Plan", headline(self), *as_html(self))

    def _afterwards(self, name: str) -> Iterator[str]:
        """What calibration data is to do to a tensor once it is filled."""
        if name in self.compensate:
            yield "  then compensated on calibration data (regression)"
        if name in self.recalibrate:
            yield "  then estimated anew on calibration data, with the other running statistics of its batch norm"
