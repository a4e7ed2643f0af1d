"""What the user wants of matching: layer rules, component rules, and names that keep their own values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from wsel_graph.errors import MatchError
from wsel_graph.matching.layers import LayerMethod
from wsel_graph.matching.structure import Structure
from wsel_graph.matching.subjects import Subjects
from wsel_graph.selection.model import ComponentRule, LayerRule


@dataclass(frozen=True, slots=True)
class Wishes:
    """Rules in order of priority.

    Attributes:
        keep: Globs of student tensor names that keep the student's own values; they come before all rules.
        unmatched: `error` or `keep`: what becomes of student tensors that nothing explains.
        source: The user's rule file: its rules are reported when they govern nothing, those that it extends are not.
        influence: By stage of the teacher, by the number of segments that make a block, how much every block changes
            its stream; empty when that is not known.
    """

    keep: tuple[str, ...] = ()
    layers: tuple[LayerRule, ...] = ()
    components: tuple[ComponentRule, ...] = ()
    unmatched: str = "error"
    source: str = ""
    influence: Mapping[str, Mapping[int, Sequence[float]]] = field(default_factory=dict)


@dataclass(slots=True)
class Governing:
    """Which rule governs what in two given models, and which rules were used."""

    wishes: Wishes
    student: Structure
    teacher: Structure
    used: set[int] = field(default_factory=set)  # ids of rules

    # -- layers

    def method(self, stage: str) -> LayerMethod:
        """How the blocks of a student stage are chosen."""
        rule = self._layer_rule(stage)
        return rule.take if rule is not None else "first"

    def layer_rule(self, stage: str) -> str:
        """Where the rule that governs a student stage is written; empty where none does."""
        rule = self._layer_rule(stage)
        return "" if rule is None else rule.at.short

    def influence(self, theirs: int, length: int) -> Sequence[float] | None:
        """How much every block of a teacher stage, given by item number, changes its stream; None when not known."""
        return self.wishes.influence.get(self.teacher.stage_names[theirs], {}).get(length)

    @property
    def takes_other_layers(self) -> bool:
        """Whether some stage of the student is filled from other blocks than the first ones of any stage."""
        rules = [self._layer_rule(stage) for stage in self.student.stage_names.values()]
        return any(rule is not None and (rule.take != "first" or rule.source_stage is not None) for rule in rules)

    def may_fill(self, ours: int, theirs: int) -> bool:
        """Whether a teacher item may fill a student item."""
        stage, other = self.student.stage_names.get(ours), self.teacher.stage_names.get(theirs)
        if stage is None or other is None:
            return True
        rule = self._layer_rule(stage)
        return rule is None or rule.draws_from(other)

    def _layer_rule(self, stage: str) -> LayerRule | None:
        rule = next((rule for rule in self.wishes.layers if rule.matches(stage)), None)
        if rule is not None:
            self.used.add(id(rule))
        return rule

    # -- components

    def ignored(self) -> dict[int, str]:
        """Teacher nodes that may not be used, with the reason."""
        rules = [rule for rule in self.wishes.components if rule.action == "ignore"]
        subjects = Subjects(self.teacher, "teacher")
        found: dict[int, str] = {}
        for number, node in enumerate(self.teacher.components.nodes if rules else ()):
            subject = subjects.of_node(number) if node.slots else None
            rule = next((rule for rule in rules if subject is not None and rule.selector.matches(subject)), None)
            if rule is not None:
                self.used.add(id(rule))
                found[number] = f"the teacher's {node.tensors[0]} is ignored by {rule.at.short}"
        return found

    def component_rules(self) -> dict[str, ComponentRule]:
        """The rule that governs each student tensor, by its first name."""
        rules = [rule for rule in self.wishes.components if rule.action != "ignore"]
        subjects = Subjects(self.student, "student")
        found: dict[str, ComponentRule] = {}
        for name in self.student.graph.own_names if rules else ():
            subject = subjects.of_tensor(name)
            rule = next((rule for rule in rules if rule.selector.matches(subject)), None)
            if rule is not None:
                self.used.add(id(rule))
                found[name] = rule
        return found

    def kept_by_name(self) -> dict[str, str]:
        """Tensors whose names match a glob of `keep`, with the reason."""
        found: dict[str, str] = {}
        for state in self.student.graph.captured.states:
            globs = (glob for glob in self.wishes.keep if any(fnmatchcase(name, glob) for name in state.names))
            if (glob := next(globs, None)) is not None:
                found[state.name] = f"asked for by keep: {glob}"
        return found

    def notes(self) -> list[str]:
        """A line for every rule of the user's own file that governs nothing."""
        rules: Iterable[LayerRule | ComponentRule] = (*self.wishes.layers, *self.wishes.components)
        unused = [rule for rule in rules if rule.at.file == self.wishes.source and id(rule) not in self.used]
        return [f"{rule.at.short}: this rule matches nothing in these models" for rule in unused]


def forced_teacher(rule: ComponentRule, names: Iterable[str], teacher: Structure) -> str:
    """The teacher tensor that a `pair` rule names for a student tensor.

    Args:
        names: Every name of the student tensor.
    Raises:
        MatchError: If the teacher has no such tensor.
    """
    wanted = [other for name in names if (other := rule.counterpart(name)) is not None]
    found = next((teacher.graph.tensors[other].name for other in wanted if other in teacher.graph.tensors), None)
    if found is None:
        raise MatchError(
            f"{rule.at}: the rule pairs {next(iter(names))} with {wanted[0] if wanted else 'nothing'}, and the teacher "
            "has no such tensor. Correct the teacher's side of the rule."
        )
    return found
