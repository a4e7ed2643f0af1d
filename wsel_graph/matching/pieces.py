"""From paired nodes to pieces: which region of which teacher tensor fills which region of a student tensor."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from wsel_graph.matching.blocks import NodePairs
from wsel_graph.matching.components import Node, Slot
from wsel_graph.matching.patches import unfolded_patches
from wsel_graph.matching.sides import Piece, Side
from wsel_graph.matching.structure import Structure

Use = tuple[int, str, Slot]
"""Where a tensor is used: the node, the name of the slot, the slot."""
Element = tuple[tuple[int, int], ...]
"""One element of a stack: own dims, each with the element."""


@dataclass(slots=True)
class Found:
    """Pieces by student tensor, and why tensors have none."""

    pieces: dict[str, tuple[Piece, ...]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    candidates: dict[str, tuple[str, ...]] = field(default_factory=dict)  # teacher tensors that fit equally well
    also: dict[str, tuple[tuple[Piece, ...], ...]] = field(default_factory=dict)  # of further blocks, to be averaged
    notes: list[str] = field(default_factory=list)  # tensors whose uses correspond to different teacher tensors


class PieceFinder:
    """Turns node pairs into pieces; a tensor with several uses follows its first."""

    def __init__(self, student: Structure, teacher: Structure) -> None:
        self._student, self._teacher = student, teacher
        self._uses: dict[str, list[Use]] = {}
        for number, node in enumerate(student.components.nodes):
            for name, slot in node.slots:
                self._uses.setdefault(slot.tensor, []).append((number, name, slot))

    def find(self, nodes: NodePairs) -> Found:
        """Pieces for every student tensor that a component holds."""
        found = Found()
        pairs = nodes.pairs
        for tensor, uses in self._uses.items():
            if (stacked := self._stacked(uses, pairs)) is not None:
                self._find_stacked(tensor, stacked, nodes, found)
                continue
            chosen = self._settled(uses, pairs)
            result = self._pieces(chosen, pairs) if not isinstance(chosen, int) else nodes.reasons.get(chosen, "")
            also = () if isinstance(chosen, int) or isinstance(result, str) else self._further(chosen, nodes, result)
            result = also if isinstance(also, str) else result
            if isinstance(chosen, int) and (names := self._candidates(nodes.candidates.get(chosen, ()), uses, chosen)):
                found.candidates[tensor] = names
                found.reasons[tensor] = f"several places of the teacher fit equally well: {', '.join(names)}"
            elif isinstance(result, str):
                found.reasons[tensor] = result or "the teacher has no counterpart"
            else:
                found.pieces[tensor] = result
                if also and not isinstance(also, str):
                    found.also[tensor] = also
                found.notes.extend(self._disagreement(tensor, uses, pairs))
        return found

    def _stacked(self, uses: list[Use], pairs: Mapping[int, int]) -> dict[Element, list[Use]] | None:
        """The uses of every element of a stack, where the teacher has a tensor for each; None for other tensors."""
        others = [dict(self._teacher.components.nodes[pairs[n]].slots).get(name) for n, name, _ in uses if n in pairs]
        if not all(slot.at for _, _, slot in uses) or not others or any(other and other.at for other in others):
            return None
        found: dict[Element, list[Use]] = {}
        for use in uses:
            found.setdefault(use[2].at, []).append(use)
        return found

    def _find_stacked(self, tensor: str, stacked: Mapping[Element, list[Use]], nodes: NodePairs, found: Found) -> None:
        """Pieces for a stack, those of every element, such as those of every expert."""
        shape = self._student.graph.tensors[tensor].shape
        pieces: list[Piece] = []
        for uses in stacked.values():
            chosen = self._settled(uses, nodes.pairs)
            made = nodes.reasons.get(chosen, "") if isinstance(chosen, int) else self._pieces(chosen, nodes.pairs)
            if not isinstance(made, str) and any(number in nodes.also for number, _, _ in uses):
                made = "it is a stack, and the teacher's blocks that would be averaged hold a tensor for each element"
            if isinstance(made, str):
                found.reasons[tensor] = made or "the teacher has no counterpart"
                return
            pieces.extend(made)
        count = math.prod(shape[dim] for dim, _ in next(iter(stacked)))
        if len(stacked) < count or len({tuple(dim for dim, _ in at) for at in stacked}) > 1:
            found.reasons[tensor] = (
                f"only {len(stacked)} of the {count} elements of this stack take part on the example inputs: give "
                "larger example inputs, so that every one is used"
            )
            return
        found.pieces[tensor] = tuple(pieces)

    def _further(
        self, uses: list[Use], nodes: NodePairs, pieces: tuple[Piece, ...]
    ) -> tuple[tuple[Piece, ...], ...] | str:
        """The pieces of every further block that is averaged, or why there are none."""
        counts = {len(nodes.also.get(number, ())) for number, _, _ in uses}
        if len(counts) > 1:
            return "its parts lie in blocks that are averages of different numbers of blocks"
        found = []
        for place in range(counts.pop()):
            again = self._pieces(uses, {number: nodes.also[number][place] for number, _, _ in uses})
            if isinstance(again, str) or [p.student for p in again] != [p.student for p in pieces]:
                return "the blocks that would be averaged hold it in different forms"
            found.append(again)
        return tuple(found)

    def _disagreement(self, tensor: str, uses: list[Use], pairs: Mapping[int, int]) -> list[str]:
        """A note when the uses of a shared tensor correspond to several teacher tensors."""
        nodes = self._teacher.components.nodes
        slots = [(name, dict(nodes[pairs[node]].slots)) for node, name, slot in uses if node in pairs and not slot.rows]
        others = dict.fromkeys(held[name].tensor for name, held in slots if name in held)
        if len(others) < 2:
            return []
        return [f"{tensor} is used {len(slots)} times, where the teacher has {len(others)} tensors: the first is taken"]

    def _candidates(self, others: Iterable[int], uses: list[Use], number: int) -> tuple[str, ...]:
        slot = next(name for node, name, _ in uses if node == number)
        held = [dict(self._teacher.components.nodes[other].slots) for other in others]
        return tuple(dict.fromkeys(slots[slot].tensor for slots in held if slot in slots))

    def forced(self, student: str, teacher: str) -> tuple[Piece, ...] | str:
        """The pieces for a pairing of whole tensors that a rule asks for, or why there are none."""
        other = next((s for node in self._teacher.components.nodes for _, s in node.slots if s.tensor == teacher), None)
        if student not in self._uses or other is None:
            whole = Slot(student, None), Slot(teacher, None)
        else:
            whole = replace(self._uses[student][0][2], rows=None, at=()), replace(other, rows=None, at=())
        made = self._piece(*whole)
        return made if isinstance(made, str) else (made,)

    def _settled(self, uses: list[Use], pairs: Mapping[int, int]) -> list[Use] | int:
        """One paired use of every part of a tensor, or a node that has no pair."""
        if whole := [use for use in uses if use[2].rows is None]:
            return next(([use] for use in whole if use[0] in pairs), whole[0][0])
        parts: dict[tuple[int, ...] | None, Use] = {}
        for use in uses:
            if use[2].rows not in parts or (use[0] in pairs and parts[use[2].rows][0] not in pairs):
                parts[use[2].rows] = use
        unpaired = [number for number, _, _ in parts.values() if number not in pairs]
        return unpaired[0] if unpaired else list(parts.values())

    def _pieces(self, uses: list[Use], pairs: Mapping[int, int]) -> tuple[Piece, ...] | str:
        pieces: list[Piece] = []
        if (fault := self._gap(uses)) is not None:
            return fault
        for number, name, slot in uses:
            if (rivals := self._rivals(slot)) is not None:
                return rivals
            node = self._teacher.components.nodes[pairs[number]]
            other = dict(node.slots).get(name)
            if other is None:
                return f"the teacher's {node.label} at {_place(node)} has no {name}"
            made = self._piece(slot, other)
            if isinstance(made, str):
                return made
            pieces.append(made)
        return self._joined(pieces)

    def _rivals(self, slot: Slot) -> str | None:
        """Why a tensor cannot be told from others that take part in one computed weight; None when it can."""
        several = any(len(self._uses[other]) > 1 for other in slot.rivals)
        if not slot.rivals or not (several or slot.again):
            return None
        return (
            f"{' and '.join(slot.rivals)} take part in one computed weight in the same way, and some of them in "
            "several places, so that which is which cannot be told"
        )

    def _gap(self, uses: list[Use]) -> str | None:
        """Why parts do not make up their tensor; None when they do."""
        slot = uses[0][2]
        if slot.rows is None:
            return None
        rows = sorted(row for _, _, own in uses for row in own.rows or ())
        shape = self._student.graph.tensors[slot.tensor].shape
        dim = slot.dims[slot.feature] if slot.dims is not None and slot.feature is not None else 0
        if rows == list(range(shape[dim])):
            return None
        return f"only {len(set(rows))} of the {shape[dim]} elements of its dim {dim} take part, or some do twice"

    def _piece(self, ours: Slot, theirs: Slot) -> Piece | str:
        small = _side(ours, self._student.graph.tensors[ours.tensor].shape)
        large = _side(theirs, self._teacher.graph.tensors[theirs.tensor].shape)
        shapes = self._student.graph.tensors[ours.tensor].shape, self._teacher.graph.tensors[theirs.tensor].shape
        if bool(ours.at) != bool(theirs.at):
            small, large = _element(small, ours), _element(large, theirs)
        if ours.groups != theirs.groups:
            small, large = _together(small, ours), _together(large, theirs)
        if len(small.dims) != len(large.dims):
            small, large = _without_units(small, shapes[0]), _without_units(large, shapes[1])
        if len(small.dims) != len(large.dims):
            small = unfolded_patches(self._student.graph, small, len(large.dims)) or small
            large = unfolded_patches(self._teacher.graph, large, len(small.dims)) or large
        if len(small.dims) != len(large.dims):
            return (
                f"it has {len(small.dims)} axes {list(shapes[0])}, the teacher's {theirs.tensor} has "
                f"{len(large.dims)} {list(shapes[1])}"
            )
        return Piece(small, large)

    def _joined(self, pieces: list[Piece]) -> tuple[Piece, ...]:
        """The parts of one fused tensor, filled in order by all the parts of another, are one piece."""
        ours, theirs = [piece.student for piece in pieces], [piece.teacher for piece in pieces]
        if len(pieces) == 1 or not (self._fused(ours, self._student) and self._fused(theirs, self._teacher)):
            return tuple(pieces)
        return (Piece(replace(ours[0], rows=None), replace(theirs[0], rows=None)),)

    def _fused(self, sides: list[Side], model: Structure) -> bool:
        """Whether these are all the parts of one tensor, in order."""
        one = len({(side.tensor, side.dims) for side in sides}) == 1
        return one and _covers(sides, model.graph.tensors[sides[0].tensor].shape)


def _covers(sides: list[Side], shape: tuple[int, ...]) -> bool:
    """Whether parts are runs that, laid end to end, make up the whole dim."""
    rows = [side.rows for side in sides if side.rows is not None]
    if len(rows) != len(sides):
        return False
    end_to_end = [element for _, elements in rows for element in elements]
    return end_to_end == list(range(shape[rows[0][0]]))


def _side(slot: Slot, shape: tuple[int, ...]) -> Side:
    dims = slot.dims if slot.dims is not None else tuple(range(len(shape)))
    rows = None
    if slot.rows is not None and slot.feature is not None:
        rows = (dims[slot.feature], slot.rows)
    return Side(slot.tensor, dims, rows)


def _element(side: Side, slot: Slot) -> Side:
    """One element of a stack, as its component sees it."""
    return replace(side, dims=tuple(dim for dim in side.dims if dim not in dict(slot.at)), at=slot.at)


def _together(side: Side, slot: Slot) -> Side:
    """A part whose dims are put together as its component sees them."""
    if slot.groups is None:
        return side
    ends = list(itertools.accumulate(slot.groups))
    runs = [side.dims[end - count : end] for end, count in zip(ends, slot.groups, strict=True)]
    return replace(side, dims=tuple(run[0] for run in runs), tails=tuple(run[1:] for run in runs))


def _without_units(side: Side, shape: tuple[int, ...]) -> Side:
    if side.tails:
        return side
    return replace(side, dims=tuple(dim for dim in side.dims if shape[dim] != 1))


def _place(node: Node) -> str:
    return node.tensors[0] if node.tensors else node.fx
