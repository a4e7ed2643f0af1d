"""What every selection rule of a file governs in two given models, before anything is copied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.errors import MatchError, PlanError
from wsel_graph.matching.pairs import Matching, match
from wsel_graph.matching.structure import Structure, structures
from wsel_graph.matching.subjects import Subjects
from wsel_graph.matching.wishes import Governing, Wishes
from wsel_graph.plan import Plan
from wsel_graph.planner.elements import Elements
from wsel_graph.planner.joint import Joint, Joints
from wsel_graph.planner.settings import Governor, subjects_of
from wsel_graph.planner.values import Asked, Values, asked
from wsel_graph.report.settle import aligned
from wsel_graph.selection.model import ComponentRule, ElementRule, LayerRule, RuleFile
from wsel_graph.selection.reading import component_words, element_words, layer_words, value_words
from wsel_graph.selection.source import Place


@dataclass(frozen=True, slots=True)
class Governed:
    """One rule, and what it governs.

    Attributes:
        at: Where it is written.
        says: The rule on one line.
        what: What it governs: `stage`, `tensor`, `teacher component` or `group`.
        names: Stages, tensors, or a place of every coupled group, in order.
        kinds: For coupled groups, how many of each role.
    """

    at: Place
    says: str
    what: str
    names: tuple[str, ...]
    kinds: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """What a rule file leads to.

    Attributes:
        rules: Every rule, in order of priority.
        unexplained: Student tensors that nothing explains, each with the reason.
        refused: Why no plan can be made; empty when one can.
        plan: The plan, or None.
    """

    rules: tuple[Governed, ...]
    unexplained: tuple[tuple[str, str], ...]
    refused: str
    plan: Plan | None


def check_rules(student: ModelGraph, teacher: ModelGraph, rules: RuleFile, planned: Callable[[], Plan]) -> Check:
    """See what a rule file does to two models; reads shapes only.

    Args:
        planned: Makes the plan by these rules.
    """
    wishes = Wishes((), rules.layers, rules.components, rules.unmatched, rules.source)
    governing = Governing(wishes, *structures(student, teacher))
    refused, matching, plan = "", None, None
    try:
        matching = match(student, teacher, wishes)
        plan = planned()
    except (MatchError, PlanError) as error:
        refused = str(error)
    governed = (
        *_layers(rules.layers, governing.student),
        *_components(rules.components, governing),
        *_elements(rules, student, teacher, matching),
        *_values(rules, student, matching, plan),
    )
    return Check(governed, () if matching is None else matching.unexplained, refused, plan)


# -- step by step


def _layers(rules: Sequence[LayerRule], student: Structure) -> list[Governed]:
    own: dict[int, list[str]] = {}
    for stage in student.stage_names.values():
        number = next((i for i, rule in enumerate(rules) if rule.matches(stage)), None)
        if number is not None:
            own.setdefault(number, []).append(stage)
    return [Governed(rule.at, layer_words(rule), "stage", tuple(own.get(i, ()))) for i, rule in enumerate(rules)]


def _components(rules: Sequence[ComponentRule], governing: Governing) -> list[Governed]:
    found = governing.component_rules()
    ignored = _ignored([rule for rule in rules if rule.action == "ignore"], governing.teacher)
    governed = []
    for rule in rules:
        if rule.action == "ignore":
            governed.append(Governed(rule.at, component_words(rule), "teacher component", tuple(ignored[id(rule)])))
        else:
            names = tuple(name for name, own in found.items() if own is rule)
            governed.append(Governed(rule.at, component_words(rule), "tensor", names))
    return governed


def _ignored(rules: Sequence[ComponentRule], teacher: Structure) -> dict[int, list[str]]:
    """Teacher components by the id of the rule that ignores them, each under its first tensor's name."""
    own: dict[int, list[str]] = {id(rule): [] for rule in rules}
    subjects = Subjects(teacher, "teacher")
    for number, node in enumerate(teacher.components.nodes if rules else ()):
        subject = subjects.of_node(number) if node.slots else None
        rule = next((rule for rule in rules if subject is not None and rule.selector.matches(subject)), None)
        if rule is not None:
            own[id(rule)].append(node.tensors[0])
    return own


def _elements(rules: RuleFile, student: ModelGraph, teacher: ModelGraph, matching: Matching | None) -> list[Governed]:
    """Which coupled groups each element rule sets anything of; groups of tensors that do not fit are left out."""
    own: dict[int, list[tuple[str, str]]] = {}
    joints = None if matching is None else aligned(student, teacher, dict(matching.pieces))[1]
    if joints is not None and matching is not None:
        for joint in joints.all:
            governor = Governor(Elements(rules=rules.elements, source=rules.source))
            group = _settle(governor, joints, joint, student, teacher, matching)
            for number in governor.used:
                own.setdefault(number, []).append(group)
    return [_group_rule(rule, own.get(number, ())) for number, rule in enumerate(rules.elements)]


def _settle(
    governor: Governor, joints: Joints, joint: Joint, student: ModelGraph, teacher: ModelGraph, matching: Matching
) -> tuple[str, str]:
    """Have the governor look up the settings of one joint group; gives its role and its first place."""
    groups, count = joints.groups(joint), len(joint.student)
    pinned = next((group for group in groups if group.pinned is not None), None)
    sides = groups[:count], groups[count:]
    reason = None if pinned is None else pinned.pinned
    governor.settings(lambda: subjects_of(student, teacher, sides, matching.subjects), reason, None)
    return (pinned or groups[0]).role, joints.places(joint)[0]


def _group_rule(rule: ElementRule, groups: Iterable[tuple[str, str]]) -> Governed:
    listed = list(groups)
    kinds = tuple(Counter(role for role, _ in listed).items())
    return Governed(rule.at, element_words(rule), "group", tuple(place for _, place in listed), kinds)


def _values(rules: RuleFile, student: ModelGraph, matching: Matching | None, plan: Plan | None) -> list[Governed]:
    """Which tensors each value rule sets anything of; without a plan, of all that have a counterpart."""
    values = Values(rules.values, rules.source)
    found = Asked()
    if matching is not None:
        names = (name for name, _ in matching.pieces) if plan is None else (copy.student for copy in plan.copies)
        found = asked(values, student, dict.fromkeys(names), matching.subjects)
    return [
        Governed(rule.at, value_words(rule), "tensor", found.governed.get(number, ()))
        for number, rule in enumerate(rules.values)
    ]
