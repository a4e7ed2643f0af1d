"""What rescaling asks about an axis of either model: how its width changes, and what rules want done about it."""

from __future__ import annotations

from functools import cached_property

from wsel_graph.axes import Atom, Axis, atoms
from wsel_graph.planner.choose import Chooser
from wsel_graph.planner.joint import Joint
from wsel_graph.planner.runs import sizes


class Widths:
    """Answers from the choices that were made."""

    def __init__(self, chooser: Chooser) -> None:
        self._chooser = chooser

    @cached_property
    def ways(self) -> frozenset[str]:
        """All ways to rescale that rules ask for anywhere."""
        return frozenset().union(*(settings.rescale for settings in self._chooser.decided.values()))

    def asked(self, axis: Axis, way: str) -> bool:
        """Whether a rule asks for a way to rescale of something that the axis is made of."""
        return any(way in self._chooser.settings(run).rescale for _, run in self._chooser.runs(axis))

    def leaves_out(self, atom: Atom) -> bool:
        """Whether the student takes fewer elements of an atom, alone or in a flat run."""
        return self._chooser.joint(atom) in self._reduced

    @cached_property
    def _reduced(self) -> frozenset[Joint]:
        reduced = (run for run in self._chooser.decided if self._chooser.reduction(run) > 1)
        return frozenset(joint for run in reduced for joint in run)

    def grows(self, axis: Axis) -> bool:
        """Whether the student has more elements of the axis than the teacher."""
        return any(small > large for small, large in (sizes(run) for _, run in self._chooser.runs(axis)))

    def mixes(self, axis: Axis) -> bool:
        """Whether the axis is selected in one run with others, so that it does not stay what it is."""
        flat = {joint for run in self._chooser.decided if len(run) > 1 for joint in run}
        return any(self._chooser.joint(atom) in flat for atom in atoms(axis))

    def variance(self, axis: Axis) -> float:
        """By how much the axis becomes smaller, where rules ask to keep the variance of sums over it; else 1."""
        ratio = 1.0
        for _, run in self._chooser.runs(axis):
            if "variance" in self._chooser.settings(run).rescale:
                ratio *= self._chooser.reduction(run)
        return ratio
