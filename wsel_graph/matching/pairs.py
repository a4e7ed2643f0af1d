"""Match a student with a teacher: by graph structure, and by name where structure leaves a choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.errors import MatchError
from wsel_graph.matching.blocks import ANOTHER_ORDER, ANOTHER_ROW, EXCHANGED, NO_BLOCK, NodePairs, pair_structures
from wsel_graph.matching.chains import coupling_chains
from wsel_graph.matching.differences import difference_notes
from wsel_graph.matching.exits import PairedExits, paired_exits
from wsel_graph.matching.names import crossed_names, named_in_another_order, pieces_by_name, unreached_names
from wsel_graph.matching.outline import outline
from wsel_graph.matching.parts import PART
from wsel_graph.matching.pieces import Found, PieceFinder
from wsel_graph.matching.sides import Piece
from wsel_graph.matching.structure import Structure, structures
from wsel_graph.matching.subjects import Subjects
from wsel_graph.matching.wishes import Governing, Wishes, forced_teacher
from wsel_graph.plan import LayerMap, Outline
from wsel_graph.selection.model import ComponentRule
from wsel_graph.selection.subject import Subject


@dataclass(frozen=True)
class Matching:
    """What fills what.

    Attributes:
        pieces: For every student tensor that is filled, in the order in which the student holds its tensors.
        also: For tensors of merged blocks, the pieces of every further teacher block, in the order of `pieces`.
        kept: Tensors that keep the student's own values, each with the reason.
        unexplained: Tensors that nothing explains, each with the reason.
        candidates: For unexplained tensors, the teacher tensors that fit equally well.
        layers: Which teacher block fills which student block.
        notes: Functions that differ, what was decided by names, and rules that match nothing.
        subjects: Every student tensor's component as selection rules see it, by the tensor's first name.
        required: Tensors that must be filled, each with the place of the rule that says so.
        paired: Tensors that a rule paired, each with the place of that rule.
        numbered: Student tensors of whose results other components take elements by their numbers: of a router's.
        exits: Where the paired blocks of every stage end.
        outlines: Student and teacher as they were seen, for reports.
    """

    pieces: tuple[tuple[str, tuple[Piece, ...]], ...]
    kept: tuple[tuple[str, str], ...]
    unexplained: tuple[tuple[str, str], ...]
    candidates: Mapping[str, tuple[str, ...]]
    layers: tuple[LayerMap, ...]
    notes: tuple[str, ...]
    subjects: Mapping[str, Subject]
    required: Mapping[str, str]
    also: Mapping[str, tuple[tuple[Piece, ...], ...]]
    exits: tuple[PairedExits, ...] = ()
    outlines: tuple[Outline, ...] = ()
    paired: Mapping[str, str] = field(default_factory=dict)
    numbered: frozenset[str] = frozenset()


NO_WISHES = Wishes()


def match(student: ModelGraph, teacher: ModelGraph, wishes: Wishes = NO_WISHES) -> Matching:
    """Find the teacher part for every student tensor.

    Raises:
        MatchError: If a rule asks for what the models do not have.
    """
    governing = Governing(wishes, *structures(student, teacher))
    nodes = pair_structures(governing)
    finder = PieceFinder(governing.student, governing.teacher)
    found = finder.find(nodes)
    differences = difference_notes(governing.student.components, governing.teacher.components, nodes.pairs)
    notes = (*differences, *_by_name(governing, found, nodes.pairs))
    rules = governing.component_rules()
    kept = _kept(governing, rules)
    asked = {*kept, *(name for name, rule in rules.items() if rule.action == "pair")}
    free = {name: pieces for name, pieces in found.pieces.items() if name not in asked}
    notes = (*notes, *crossed_names(free, governing.student, governing.teacher))
    notes = (*notes, *unreached_names(governing.student, governing.teacher))
    _force(governing, rules, finder, found)
    filled = [(name, found.pieces[name]) for name in student.own_names if name in found.pieces and name not in kept]
    missing = [name for name in student.own_names if name not in found.pieces and name not in kept]
    reasons = {name: _with_hint(governing.teacher, name, found.reasons.get(name, "")) for name in missing}
    for name in [name for name in reasons if "label" in student.roles_of(name) and NO_BLOCK in reasons[name]]:
        kept[name] = f"label axis, without a counterpart: {reasons.pop(name)}"
    if wishes.unmatched == "keep":
        kept |= {name: f"unmatched: {reason}" for name, reason in reasons.items()}
        reasons = {}
    required = {name: str(rule.at) for name, rule in rules.items() if rule.action == "require"}
    subjects = Subjects(governing.student, "student")
    return Matching(
        tuple(filled),
        tuple((name, kept[name]) for name in student.own_names if name in kept),
        tuple(reasons.items()),
        found.candidates,
        nodes.layers,
        (*notes, *found.notes, *governing.notes()),
        {name: subjects.of_tensor(name) for name in student.own_names},
        required,
        found.also,
        paired_exits(governing.student, governing.teacher, nodes),
        _outlines(governing, nodes),
        {name: str(rule.at) for name, rule in rules.items() if rule.action == "pair"},
        _numbered(governing.student),
    )


def _outlines(governing: Governing, nodes: NodePairs) -> tuple[Outline, Outline]:
    ours = {stage.student[0][0]: stage.student for stage in nodes.stages}
    theirs = {stage.teacher[0][0]: stage.teacher for stage in nodes.stages}
    student = outline(governing.student, ours)
    chains = tuple(coupling_chains(governing.student.graph, student))
    return replace(student, chains=chains), outline(governing.teacher, theirs)


def _numbered(student: Structure) -> frozenset[str]:
    """Tensors of components whose result is taken apart from several numbers on."""
    words: dict[int, set[str]] = {}
    for node in student.components.nodes:
        for edge in node.inputs:
            words.setdefault(edge.source, set()).update(tag for tag in edge.tags if tag.startswith(PART))
    nodes = student.components.nodes
    return frozenset(tensor for source, found in words.items() if len(found) > 1 for tensor in nodes[source].tensors)


def _kept(governing: Governing, rules: Mapping[str, ComponentRule]) -> dict[str, str]:
    """Tensors that keep their own values: by name, by rule, or because nothing uses them."""
    kept = dict.fromkeys(governing.student.components.unused, "not used by the forward pass")
    kept |= {name: f"asked for by {rule.at.short}" for name, rule in rules.items() if rule.action == "keep"}
    return kept | governing.kept_by_name()


def _force(governing: Governing, rules: Mapping[str, ComponentRule], finder: PieceFinder, found: Found) -> None:
    """Pairings that rules ask for take the place of what was found."""
    aliases = {state.name: state.names for state in governing.student.graph.captured.states}
    for name, rule in rules.items():
        if rule.action != "pair":
            continue
        other = forced_teacher(rule, aliases[name], governing.teacher)
        pieces = finder.forced(name, other)
        if isinstance(pieces, str):
            raise MatchError(f"{rule.at}: the rule pairs {name} with {other}, but {pieces}.")
        found.pieces[name] = pieces
        found.also.pop(name, None)


def _by_name(governing: Governing, found: Found, pairs: Mapping[int, int]) -> tuple[str, ...]:
    """Let equal names decide what structure left open; they say the first blocks, so not where a rule says others."""
    if governing.takes_other_layers:
        return ()
    taken = {piece.teacher.tensor for pieces in found.pieces.values() for piece in pieces}
    nodes = governing.teacher.components.nodes
    taken |= {tensor for number in governing.ignored() for tensor in nodes[number].tensors}
    names = [name for name, reason in found.reasons.items() if reason not in (EXCHANGED, ANOTHER_ROW)]
    named = pieces_by_name(governing.student, governing.teacher, names, taken)
    wrong = named_in_another_order(governing.student, governing.teacher, named, pairs)
    found.reasons |= dict.fromkeys(wrong, ANOTHER_ORDER)
    named = {name: piece for name, piece in named.items() if name not in wrong}
    found.pieces |= {name: (piece,) for name, piece in named.items()}
    if not named:
        return ()
    first = next(iter(named))
    return (f"{len(named)} tensors were paired by equal names, where structure left a choice, such as {first}",)


def _with_hint(teacher: Structure, name: str, reason: str) -> str:
    """The reason, and what became of a teacher tensor of the same name that could not take part."""
    dtypes = {alias: state.tensor.dtype for state in teacher.graph.captured.states for alias in state.names}
    if name in teacher.components.unused:
        return f"{reason} (the teacher's {name} is not used by its forward pass)"
    if name in dtypes and name not in teacher.graph.tensors:
        return f"{reason} (the teacher's {name} is {dtypes[name]}, which carries no values to select: dequantize it)"
    return reason
