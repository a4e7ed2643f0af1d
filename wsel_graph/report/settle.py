"""What it takes for a pair of models to be planned: rules that settle one refusal after another.

A draft starts without any. Tensors that nothing explains get a pairing where candidates are known, else they keep
their own values; so do tensors whose axes do not correspond. For coupled groups of sizes that do not fit, a rule about
the group is tried first, and only where that does not help do its tensors keep their own values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.errors import MatchError, PlanError
from wsel_graph.matching.pairs import Matching, match
from wsel_graph.matching.sides import Piece
from wsel_graph.matching.wishes import Wishes
from wsel_graph.plan import Plan
from wsel_graph.planner.join import join
from wsel_graph.planner.joint import Joint, Joints, shorten
from wsel_graph.planner.unfit import Unfit, tensors_at
from wsel_graph.selection.model import RuleFile

MOST_ATTEMPTS = 40
"""How often a plan is tried before a draft is given out with what still stands against it."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """A pairing to check: the teacher tensor that was written down, and others that fit as well."""

    teacher: str
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupRule:
    """A rule about coupled groups that do not fit as they are.

    Attributes:
        role: Their role.
        sizes: Elements of the student and of the teacher.
        tensors: A student tensor of every such group.
        key: What the rule sets: `resize` or `grow`.
    """

    role: str
    sizes: tuple[int, int]
    tensors: tuple[str, ...]
    key: str


@dataclass(frozen=True, slots=True)
class Decisions:
    """The rules that a draft needs, each with its reason.

    Attributes:
        keep: Student tensors that keep their own values, with the reason.
        pairs: Pairings by student tensor.
        groups: Rules about coupled groups.
        missing: Those of them that nothing explained.
        refused: Why the pair is refused even so; empty when a plan is found.
    """

    keep: Mapping[str, str] = field(default_factory=dict)
    pairs: Mapping[str, Pairing] = field(default_factory=dict)
    groups: tuple[GroupRule, ...] = ()
    missing: frozenset[str] = frozenset()
    refused: str = ""

    @property
    def none(self) -> bool:
        """Whether the default rules are enough."""
        return not (self.keep or self.pairs or self.groups or self.refused)

    def keeping(self, reasons: Mapping[str, str]) -> Decisions:
        """These, with more tensors that keep their own values; who keeps is not paired."""
        pairs = {name: pairing for name, pairing in self.pairs.items() if name not in reasons}
        return replace(self, keep={**self.keep, **reasons}, pairs=pairs)


Attempt = Callable[[Decisions], tuple[RuleFile, Callable[[], Plan]]]
"""Writes decisions as rules, and gives these rules with a way to plan by them."""


def settle(student: ModelGraph, teacher: ModelGraph, attempt: Attempt) -> tuple[Decisions, Plan | None]:
    """The decisions under which the pair can be planned, and the plan; None when no decision helps."""
    decisions = Decisions()
    refused: MatchError | PlanError | None = None
    for _ in range(MOST_ATTEMPTS):
        rules, planned = attempt(decisions)
        try:
            return decisions, planned()
        except (MatchError, PlanError) as error:
            refused = error
        after = _settled(student, teacher, decisions, rules, refused)
        if after == decisions:
            break
        decisions = after
    return replace(decisions, refused=str(refused)), None


def _settled(
    student: ModelGraph, teacher: ModelGraph, decisions: Decisions, rules: RuleFile, refused: Exception
) -> Decisions:
    """The decisions with one more kind of refusal settled; unchanged when nothing is known that would."""
    wishes = Wishes((), rules.layers, rules.components, "error", rules.source)
    try:
        matching = match(student, teacher, wishes)
    except MatchError:  # a pairing of tensors that cannot be paired
        text = str(refused)
        return decisions.keeping({name: _brief(text) for name in decisions.pairs if f"pairs {name} " in text})
    if matching.unexplained:
        return _explained(decisions, matching)
    misfits, joints = aligned(student, teacher, dict(matching.pieces))
    if misfits or joints is None:
        return decisions.keeping(misfits)
    return _fitting(decisions, joints, refused)


# -- what nothing explains


def _explained(decisions: Decisions, matching: Matching) -> Decisions:
    pairs: dict[str, Pairing] = {}
    used = {piece.teacher.tensor for _, pieces in matching.pieces for piece in pieces}
    for name, candidates in matching.candidates.items():
        if name in dict(matching.unexplained) and name not in decisions.pairs:
            chosen = next((other for other in candidates if other not in used), candidates[0])
            used.add(chosen)
            pairs[name] = Pairing(chosen, tuple(other for other in candidates if other != chosen))
    keep = {name: reason for name, reason in matching.unexplained if name not in pairs}
    missing = decisions.missing.union(keep)
    return replace(decisions, pairs={**decisions.pairs, **pairs}, missing=missing).keeping(keep)


# -- axes that do not correspond


def aligned(
    student: ModelGraph, teacher: ModelGraph, found: Mapping[str, tuple[Piece, ...]]
) -> tuple[dict[str, str], Joints | None]:
    """Tensors whose axes cannot be aligned, with the reason, and the joint groups of the others.

    Args:
        found: The pieces of every student tensor.
    Returns:
        The joint groups are None where none can be made.
    """
    pieces, misfits = dict(found), dict[str, str]()
    while True:
        try:
            joints = join(student, teacher, (piece for own in pieces.values() for piece in own))
        except Unfit as error:
            culprits = [name for name in error.tensors if name in pieces]
            if not culprits:
                return misfits, None
            for name in culprits:
                misfits[name] = error.why
                del pieces[name]
        else:
            return misfits, joints


# -- sizes that do not fit


def _fitting(decisions: Decisions, joints: Joints, refused: Exception) -> Decisions:
    """A rule for the groups that a refusal is about; where it is there already, their tensors keep their own values."""
    if not isinstance(refused, Unfit):
        return decisions
    named = _named(joints, str(refused))
    if named is None or named.whole_at:
        return decisions.keeping(dict.fromkeys(refused.tensors, refused.why))
    alike = [joint for joint in joints.all if _kind(joints, joint) == _kind(joints, named)]
    rule = _rule(joints, named, alike)
    if rule not in decisions.groups:
        return replace(decisions, groups=(*decisions.groups, rule))
    without = replace(decisions, groups=tuple(other for other in decisions.groups if other != rule))
    tensors = tensors_at(place for joint in alike for place in joints.places(joint))
    return without.keeping(dict.fromkeys(tensors, refused.why))


def _named(joints: Joints, refused: str) -> Joint | None:
    """The joint group whose places a refusal lists: of those that do not fit, the one with the longest list."""
    listed = [(shorten(joints.places(joint)), joint) for joint in joints.all]
    named = [(text, joint) for text, joint in listed if text in refused and (_differs(joint) or joint.whole_at)]
    return max(named, key=lambda item: len(item[0]))[1] if named else None


def _differs(joint: Joint) -> bool:
    return joint.student_size != joint.teacher_size


def _kind(joints: Joints, joint: Joint) -> tuple[str, int, int]:
    groups = joints.groups(joint)
    role = next((group.role for group in groups if group.pinned is not None), groups[0].role)
    return role, joint.student_size, joint.teacher_size


def _rule(joints: Joints, named: Joint, alike: Iterable[Joint]) -> GroupRule:
    role, *sizes = _kind(joints, named)
    first = tuple(tensors_at(joints.places(joint)[0] for joint in alike))
    pinned = any(group.pinned is not None for group in joints.groups(named))
    return GroupRule(role, (sizes[0], sizes[1]), first, "resize" if pinned else "grow")


def _brief(refused: str) -> str:
    """The first sentence of a refusal, on one line."""
    return refused.split("\n")[0].split(". ")[0].rstrip(".:")
