"""Rescaling that keeps exact what the elements left out do not take part in: `rescale: norm` and `rescale: attention`.

Both take the elements that are left out to be zero in the teacher.

A norm over D elements of which the student keeps S divides by the root of a sum of squares that is the same in both,
`y = gain * scale * x / sqrt(Q + extra)`, with scale `sqrt(D)` in the teacher and `sqrt(S)` in the student. So the
student's gain is the teacher's times `sqrt(D / S)`: exact where `S * eps_student == D * eps_teacher`, otherwise off by
a share of at most `|eps_teacher - eps_student * S / D| / (2 * mean square of the teacher's elements)`.

Scores of queries and keys are sums over a head's channels times a number that depends on how many there are, mostly
`1 / sqrt(head_dim)`. So queries are multiplied by the teacher's number over the student's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import fx

from wsel_graph.axes import atoms
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.plan import Copy
from wsel_graph.planner.logits import Product, products
from wsel_graph.planner.norms import Norm, Norms
from wsel_graph.planner.operands import Reader, moves, takes_shape_only
from wsel_graph.planner.readers import rows
from wsel_graph.planner.sources import NotLinear, Operand, Tracer, Weight
from wsel_graph.planner.splits import NotSplit, scaled_rows
from wsel_graph.planner.widths import Widths

EXACT = 1e-12
"""Factors and epsilons whose shares differ by less are the same."""


@dataclass
class Rescaling:
    """Rescales the copies of one plan; `notes` says what could not be done, and how exact it is.

    Args:
        copies: In order; they are replaced one tensor at a time.
        widths: How axes change, and what rules ask for.
    """

    copies: list[Copy]
    student: Reader
    teacher: Reader
    widths: Widths
    notes: list[str] = field(default_factory=list)

    def _sources(self) -> Mapping[str, set[str]]:
        """The teacher tensors that fill each student tensor."""
        found: dict[str, set[str]] = {}
        for copy in self.copies:
            found.setdefault(copy.student, set()).update(source.teacher for source in copy.sources)
        return found

    # -- norms

    def norms(self) -> None:
        """Multiply the gains of norms."""
        ours, theirs = (Norms(reader, self.widths.leaves_out) for reader in (self.student, self.teacher))
        kinds: dict[tuple[Norm, Norm], list[str]] = {}
        done: set[str] = set()
        for number, copy in enumerate(self.copies):
            small = _of(ours, copy.student)
            large = [_of(theirs, source.teacher) for source in copy.sources]
            if not small or not any(self.widths.asked(axis, "norm") for axis in small[0].axes):
                continue
            if fault := self._no_factor(copy, small, large):
                self.notes.append(f"rescale: norm: {copy.student} is left as it is: {fault}")
                continue
            self.copies[number] = copy.times(large[0][0].scale / small[0].scale)
            if copy.student not in done:
                kinds.setdefault((_kind(small[0]), _kind(large[0][0])), []).append(copy.student)
                done.add(copy.student)
        self.notes.extend(_exactness(*pair, names) for pair, names in kinds.items())
        self._left(ours)

    def _no_factor(self, copy: Copy, small: Sequence[Norm], large: Sequence[Sequence[Norm]]) -> str:
        """Why the gain that a copy fills has no factor; empty where it has one."""
        if not _alike(small) or len(_consumers(self.student, copy.student)) != len(small):
            return "it is used in several places that are not alike"
        for source, norms in zip(copy.sources, large, strict=True):
            if not _alike(norms):
                return f"the scale of the teacher's norm at {source.teacher} is not known"
            if _kind(norms[0]) != _kind(large[0][0]):
                return f"it averages {copy.teacher} and {source.teacher}, whose norms differ in scale or epsilon"
        return ""

    def _left(self, ours: Norms) -> None:
        """Notes on what has no gain, and on averages that are no part of a norm."""
        filled = {copy.student for copy in self.copies}
        wanted = [norm for norm in ours.found if any(self.widths.asked(axis, "norm") for axis in norm.axes)]
        bare = [norm.node for norm in wanted if norm.gain is None and norm.scale != 1]
        odd = [node for node, axes in ours.unknown if any(self.widths.asked(axis, "norm") for axis in axes)]
        kept = [str(norm.gain) for norm in wanted if norm.gain is not None and norm.gain not in filled]
        for nodes, why in (
            (bare, "has no gain of its own to multiply"),
            (odd, "averages over an axis that is selected from, and is no norm whose scale is known"),
            (kept, "is not filled from the teacher"),
        ):
            if nodes:
                more = f" and {len(nodes) - 1} more like it" if len(nodes) > 1 else ""
                self.notes.append(f"rescale: norm: {nodes[0]}{more} {why}: left as it is")

    # -- attention

    def attention(self) -> None:
        """Multiply what makes queries, or else keys, so that scores keep the teacher's scale."""
        ours, theirs = Tracer(self.student), Tracer(self.teacher)
        known = list(products(self.teacher))
        faults: dict[str, list[tuple[str, str]]] = {}
        seen = False
        for product in products(self.student):
            if not self.widths.asked(product.axis, "attention"):
                continue
            seen = True
            try:
                self._scores(product, ours, self._counterparts(product, ours, known, theirs))
            except (NotLinear, NotSplit) as fault:
                if self.widths.grows(product.axis) or any(map(self.widths.leaves_out, atoms(product.axis))):
                    alike = re.sub(r"_\d+\b|\.\d+\b", "", str(fault))  # blocks fail alike, at places of their own
                    faults.setdefault(alike, []).append((product.node.name, str(fault)))
        for places in faults.values():
            more = f" and {len(places) - 1} more" if len(places) > 1 else ""
            node, why = places[0]
            self.notes.append(f"rescale: attention: the scores at {node}{more} are left as they are: {why}")
        if not seen and self._asked_for_heads():
            self.notes.append(
                "rescale: attention: no scores of queries and keys were found that have a number as their scale"
            )

    def _asked_for_heads(self) -> bool:
        groups = [group for group in self.student.graph.groups if group.role == "head_dim"]
        asked = (group for group in groups if self.widths.asked(group.atom, "attention"))
        return any(self.widths.leaves_out(group.atom) for group in asked)

    def _counterparts(self, product: Product, ours: Tracer, known: Sequence[Product], theirs: Tracer) -> float:
        """The number by which the teacher multiplies the scores that a product of the student corresponds to."""
        sources = self._sources()
        wanted = [
            {other for name in _tensors(ours.trace(side)) for other in sources.get(name, ())} for side in product.sides
        ]
        found: list[float] = []
        fault: NotLinear | None = None
        for other in known:
            try:
                operands = [theirs.trace(side) for side in other.sides]
            except NotLinear as error:
                fault = fault or error
                continue
            held = [_tensors(operand) for operand in operands]
            if all(wanted[i] & held[i] for i in (0, 1)) or all(wanted[i] & held[1 - i] for i in (0, 1)):
                found.append(other.scale * operands[0].factor * operands[1].factor)
        if not found:
            raise NotLinear("the teacher's scores could not be found" if fault is None else f"in the teacher, {fault}")
        if any(not math.isclose(number, found[0], rel_tol=1e-9) for number in found):
            raise NotLinear("several scores of the teacher correspond, and differ in scale")
        return found[0]

    def _scores(self, product: Product, tracer: Tracer, wanted: float) -> None:
        """Multiply one side of a product so that its scores are multiplied by the wanted number in all."""
        operands = [tracer.trace(side) for side in product.sides]
        factor = wanted / (product.scale * operands[0].factor * operands[1].factor)
        if math.isclose(factor, 1, rel_tol=EXACT):
            return
        if self.widths.grows(product.axis):
            raise NotLinear("the student has more channels there than the teacher")
        if self.widths.mixes(product.axis):
            raise NotLinear("heads and their channels are selected as one run; write unit: whole")
        fault: NotLinear | NotSplit | None = None
        for side, operand in zip(product.sides, operands, strict=True):
            try:
                self.copies = self._folded(product, side, operand, factor)
                return
            except (NotLinear, NotSplit) as error:
                fault = fault or error
        raise fault or NotLinear("no operand")

    def _folded(self, product: Product, side: fx.Node, operand: Operand, factor: float) -> list[Copy]:
        """The copies with a factor on all that makes one operand."""
        copies = self.copies
        for origin in sorted(operand.origins, key=lambda origin: origin.node.name):  # sets of nodes have no order
            numbers = rows(origin, operand, side, product.node)
            for weight in origin.weights:
                name = weight.name
                if len(_consumers(self.student, name)) > 1:
                    raise NotLinear(f"{name} is used in several places")
                if not any(copy.student == name for copy in copies):
                    raise NotLinear(f"{name} is not filled from the teacher")
                copies = _multiplied(copies, weight, numbers, factor)
        return copies


def rescaled(
    copies: list[Copy], student: ModelGraph, teacher: ModelGraph, widths: Widths
) -> tuple[list[Copy], tuple[str, ...]]:
    """The copies with scales that rules ask for, and notes for the user."""
    if not widths.ways & {"norm", "attention"}:
        return copies, ()
    work = Rescaling(copies, Reader(student), Reader(teacher), widths)
    if "norm" in widths.ways:
        work.norms()
    if "attention" in widths.ways:
        work.attention()
    return work.copies, tuple(work.notes)


def _multiplied(copies: Iterable[Copy], weight: Weight, rows: Sequence[int] | None, factor: float) -> list[Copy]:
    """The copies with a factor on the features of a weight that have these numbers."""
    found: list[Copy] = []
    for copy in copies:
        if copy.student != weight.name:
            found.append(copy)
        elif rows is None or weight.dim is None:
            found.append(copy.times(factor))
        else:
            found.extend(scaled_rows(copy, weight.dim, {row - weight.start for row in rows}, factor))
    return found


def _tensors(operand: Operand) -> set[str]:
    return {weight.name for origin in operand.origins for weight in origin.weights}


def _consumers(reader: Reader, name: str) -> list[fx.Node]:
    """The operators that use a parameter, changes of layout passed through."""
    todo = [node for node in reader.nodes if node.op == "get_attr" and node.meta.get("state") == name]
    found: dict[fx.Node, None] = {}
    while todo:
        for user in todo.pop().users:
            if moves(user):
                todo.append(user)
            elif not takes_shape_only(user):
                found[user] = None
    return list(found)


def _of(norms: Norms, name: str) -> list[Norm]:
    return [norm for norm in norms.found if norm.gain == name]


def _alike(norms: Sequence[Norm]) -> bool:
    """Whether the norms that share a gain are of one scale."""
    first = norms[0] if norms else None
    return first is not None and all(_kind(norm) == _kind(first) for norm in norms)


def _kind(norm: Norm) -> Norm:
    """A norm without its place: all that matters for its scale."""
    return replace(norm, gain=None, axes=(), node="")


def _exactness(small: Norm, large: Norm, names: Sequence[str]) -> str:
    """What was done to some gains, and where it is exact."""
    gains = f"{names[0]} and {len(names) - 1} more gains are" if len(names) > 1 else f"{names[0]} is"
    factor = large.scale / small.scale
    kept = f"{small.count} of {large.count} elements"
    where = "equal the mean of those that are kept" if large.centred else "are zero"
    text = f"rescale: norm: {gains} multiplied by {factor:.6g} ({kept}): exact where the elements left out {where}"
    off = abs(large.extra - small.extra) / (2 * large.count)
    if off <= EXACT * large.extra:
        return text
    return (
        f"{text} and the student's epsilon is {large.extra / small.count:.6g}; it is {small.extra / small.count:.6g}, "
        f"so that outputs are off by a share of up to {off:.3g} over the mean square of the teacher's elements"
    )
