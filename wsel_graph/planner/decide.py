"""What one run of joint groups takes, under the settings that govern it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.coupling.groups import CoupledGroup
from wsel_graph.coupling.merging import Unmergeable
from wsel_graph.errors import PlanError
from wsel_graph.planner.elements import Elements, Method, method_name
from wsel_graph.planner.flat import Run
from wsel_graph.planner.joint import Joint, Joints, shorten
from wsel_graph.planner.merge import Merged, features_by, merge
from wsel_graph.planner.pinned import (
    fate,
    larger_message,
    nothing_to_repeat_message,
    pinned_message,
    unmergeable_message,
)
from wsel_graph.planner.runs import groups, pinned, role, sizes
from wsel_graph.planner.scores import top_elements
from wsel_graph.planner.settings import Settings
from wsel_graph.planner.tokens import token_rows
from wsel_graph.planner.unfit import Unfit, tensors_at
from wsel_graph.selection.model import Merge, Score, TokenMap


@dataclass(frozen=True, slots=True)
class Chosen:
    """What one run takes.

    Attributes:
        name: For reports: the method, or `whole`, `kept`, `interpolated`, `tiled`, ...
        taken: Teacher elements.
        filled: Student elements that receive them; None for all.
        method: The element method, where every dim could draw its own elements.
        subset: Whether some of the teacher's elements are taken, once each, and the others left out.
        kept: Why tensors on the axis keep the student's own values; empty where they do not.
        merged: The clusters whose averages take the place of single elements; `taken` are their representatives.
    """

    name: str
    taken: Sequence[int]
    filled: Sequence[int] | None = None
    method: Method | None = None
    subset: bool = False
    kept: str = ""
    merged: Merged | None = None


class Decider:
    """Decides about one run at a time, each by itself."""

    def __init__(
        self,
        joints: Joints,
        elements: Elements,
        graphs: tuple[ModelGraph, ModelGraph],
        found: Mapping[Joint, set[Run]],
    ) -> None:
        self._joints, self._elements, self._graphs, self._found = joints, elements, graphs, found

    def decide(self, run: Run, settings: Settings, *, overridden: bool) -> Chosen:
        """What one run takes.

        Args:
            overridden: Whether an override names the run.
        Raises:
            Unfit: If the student's tensors on this axis cannot be filled as asked.
            PlanError: If what is asked for is not for such a run.
        """
        small, large = sizes(run)
        places = self._joints.places(run[-1])
        if whole_at := next((joint.whole_at for joint in run if joint.whole_at), ""):
            self._check_whole(run, whole_at, overridden or isinstance(settings.take, tuple))
            return Chosen("whole", range(large))
        if isinstance(settings.take, TokenMap):
            return Chosen("tokens", *token_rows(settings.take, places, small, large))
        if small == large and (not settings.named or isinstance(settings.take, Merge)):
            return Chosen("whole", range(large))
        if (fixed := pinned(self._joints, run)) is not None and not settings.named:
            return self._adapted(run, fixed, settings)
        if small > large:
            return self._grown(run, settings)
        if isinstance(settings.take, Score):
            return self._scored(run, settings.take)
        if isinstance(settings.take, Merge):
            return self._merged(run, settings.take, settings.places.get("take", ""))
        method = settings.take
        elements = self._elements.choose(method, large, small, min(places), settings.seed)
        return Chosen(method_name(method) + _flat_word(run), elements, None, method, True)

    def _role(self, run: Run) -> str:
        return role(self._joints, run)

    def _scored(self, run: Run, score: Score) -> Chosen:
        """By the teacher's weights or activations; a run of several axes has no members of its own."""
        if len(run) > 1:
            raise PlanError(f"take: {score} ranks single axes: write unit: whole for {self._role(run)}")
        small, _ = sizes(run)
        theirs = self._joints.groups(run[0])[len(run[0].student) :]
        elements = top_elements(self._graphs[1], theirs, score.by, small, self._elements.statistics)
        return Chosen(f"score {score.by}", elements, subset=True)

    def _merged(self, run: Run, take: Merge, asked_at: str) -> Chosen:
        """Averages of alike elements; the graph says where the axis allows it."""
        if len(run) > 1:
            raise PlanError(f"take: {take} merges along single axes: write unit: whole for {self._role(run)}")
        (small, _), (ours, theirs) = sizes(run), groups(self._joints, run)
        features = self._elements.features.get(take.by) or features_by(take.by, self._elements.statistics)
        try:
            merged = merge(self._graphs[1], theirs, small, features)
            if odd := [group for group in ours if group.pinned or group.anchored not in (None, "output")]:
                raise Unmergeable(f"is {odd[0].status} in the student")
        except Unmergeable as fault:
            places = self._joints.places(run[-1])
            message = unmergeable_message(str(take), self._role(run), places, str(fault))
            message = f"{asked_at}: {message}" if asked_at else message
            raise Unfit(message, tensors_at(places), f"its axis {self._role(run)} {fault}") from None
        return Chosen(f"merge {take.by}", merged.representatives, merged=merged)

    def _adapted(self, run: Run, fixed: CoupledGroup, settings: Settings) -> Chosen:
        (small, large), places = sizes(run), self._joints.places(run[-1])
        names, why = tensors_at(places), f"{fixed.pinned} axis of size {small}, the teacher's has {large}"
        match fate(fixed, settings.resize, names, self._graphs[0]):
            case "interpolate":
                return Chosen("interpolated", range(large))
            case "keep":
                return Chosen("kept", range(large), kept=why)
        raise Unfit(pinned_message(fixed, places, small, large), names, why)

    def _grown(self, run: Run, settings: Settings) -> Chosen:
        (small, large), places = sizes(run), self._joints.places(run[-1])
        if settings.grow == "tile":
            if not all(joint.teacher for joint in run):
                message = nothing_to_repeat_message(self._role(run), places, small)
                raise Unfit(message, tensors_at(places), f"the teacher has no axis to repeat for {self._role(run)}")
            return Chosen("tiled" + _flat_word(run), [element % large for element in range(small)])
        if settings.grow == "keep":
            return Chosen("grown" + _flat_word(run), range(large), range(large))
        merged = any(len(other) > 1 for other in self._found.get(run[0], ()))
        flat, roles = merged and settings.unit != "flat", [self._role((joint,)) for joint in run]
        message = larger_message(self._role(run), roles, places, (small, large), flat)
        raise Unfit(message, tensors_at(places), f"larger than the teacher on {self._role(run)}: {small} > {large}")

    def _check_whole(self, run: Run, whole_at: str, named: bool) -> None:
        small, large = sizes(run)
        both = all(joint.student and joint.teacher for joint in run)
        if named or (both and small != large):
            name = whole_at.rpartition(":")[0]
            message = (
                f"{shorten(self._joints.places(run[-1]))}: size {small} in the student, {large} in the teacher, and "
                f"all elements are needed at {whole_at}, which the two models build differently. Build it the same "
                f"way, or pass keep=[{name!r}]."
            )
            raise Unfit(message, [name], "built differently in the teacher")


def _flat_word(run: Run) -> str:
    return ", flat" if len(run) > 1 else ""
