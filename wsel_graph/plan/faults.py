"""What is wrong with a plan by itself, before any tensor is looked at. Every fault is found, none is raised here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wsel_graph.plan.copies import Copy
from wsel_graph.plan.copy_faults import copy_faults, outside
from wsel_graph.plan.model import Plan
from wsel_graph.plan.parts import Choice, Feature, LayerMap
from wsel_graph.plan.runs import meet

ONCE = {"uniform", "consecutive", "random", "whole"}
"""Element methods that take every element once at most."""

Place = tuple[str, int]
"""A field of the plan, and which of its items."""


def plan_faults(plan: Plan) -> Iterator[tuple[Place, str]]:
    """Every fault, with its place.

    >>> copy = Copy("a", "b", (2,), (4,), (range(2),), True)
    >>> list(plan_faults(Plan((copy, copy), (), (), ())))
    [(('copies', 1), 'fills elements of a that the copy from b fills too')]
    """
    sound: dict[int, Copy] = {}
    for number, copy in enumerate(plan.copies):
        faults = list(copy_faults(copy))
        yield from ((("copies", number), fault) for fault in faults)
        if not faults:
            sound[number] = copy
    yield from _twice(plan, sound)
    yield from _repeated(plan, sound)
    yield from _shapes(plan)
    yield from _unknown(plan)
    for number, layer in enumerate(plan.layers):
        yield from ((("layers", number), fault) for fault in _layer_faults(layer))
    for number, feature in enumerate(plan.features):
        yield from ((("features", number), fault) for fault in _feature_faults(feature))


def _twice(plan: Plan, sound: dict[int, Copy]) -> Iterator[tuple[Place, str]]:
    """Elements that are written twice, or kept and written."""
    before: dict[str, list[Copy]] = {}
    for number, copy in sound.items():
        if (other := next((c for c in before.get(copy.student, ()) if _overlap(c, copy)), None)) is not None:
            said = f"fills elements of {copy.student} that the copy from {other.teacher} fills too"
            yield ("copies", number), said
        before.setdefault(copy.student, []).append(copy)
    filled = {copy.student for copy in plan.copies}
    for number, kept in enumerate(plan.kept):  # kept for two reasons is kept all the same
        if kept.student in filled:
            yield ("kept", number), f"{kept.student} is kept, and a copy fills it"


def _repeated(plan: Plan, sound: dict[int, Copy]) -> Iterator[tuple[Place, str]]:
    """Teacher elements that a copy takes twice, though all of its groups are chosen by methods that never do."""
    methods: dict[str, set[str]] = {}
    for choice in plan.choices:
        for member in choice.members:
            methods.setdefault(member.rpartition(":")[0], set()).add(choice.method)
    known: dict[int, bool] = {}  # lists are shared between copies
    for number, copy in sound.items():
        own = methods.get(copy.student, set())
        if own and own <= ONCE:
            for dim, indices in enumerate(copy.indices):
                if isinstance(indices, tuple) and _twice_in(indices, known):
                    how = ", ".join(sorted(own))
                    yield ("copies", number), f"{copy.student} dim {dim}: a teacher element is taken twice, by {how}"


def _twice_in(indices: tuple[int, ...], known: dict[int, bool]) -> bool:
    if id(indices) not in known:
        known[id(indices)] = len(set(indices)) < len(indices)
    return known[id(indices)]


def _overlap(first: Copy, second: Copy) -> bool:
    """Whether two sound copies to one tensor write a common element."""
    if first.student_shape != second.student_shape or 0 in (*first.target_shape, *second.target_shape):
        return False
    whole = tuple(map(range, first.student_shape))
    return all(meet(a, b) for a, b in zip(first.region or whole, second.region or whole, strict=True))


def _shapes(plan: Plan) -> Iterator[tuple[Place, str]]:
    """Tensors that have one shape here and another there."""
    known: dict[tuple[str, str], tuple[tuple[int, ...], object]] = {}
    sides = [("copies", n, "student", c.student, c.student_shape, c.parameter) for n, c in enumerate(plan.copies)]
    sides += [
        ("copies", number, "teacher", part.teacher, part.teacher_shape, True)
        for number, copy in enumerate(plan.copies)
        for part in copy.sources
    ]
    for section, number, side, name, shape, parameter in sides:
        other = known.setdefault((side, name), (shape, parameter))
        if other[0] != shape:
            yield (section, number), f"{side} {name} is {list(shape)} here and {list(other[0])} before"
        elif other[1] != parameter:
            yield (section, number), f"{name} is a parameter in one copy and a buffer in another"
    for number, kept in enumerate(plan.kept):
        if min((0, *kept.shape)) < 0:
            yield ("kept", number), f"{kept.student}: a size below 0: {list(kept.shape)}"


def _unknown(plan: Plan) -> Iterator[tuple[Place, str]]:
    """Names that no copy and no kept tensor has."""
    shapes = {kept.student: kept.shape for kept in plan.kept}
    shapes |= {copy.student: copy.student_shape for copy in plan.copies}
    filled = {copy.student for copy in plan.copies}
    for section in ("compensate", "recalibrate"):
        for number, name in enumerate(getattr(plan, section)):
            if name not in filled:
                yield (section, number), f"no copy fills {name}"
    for number, choice in enumerate(plan.choices):
        if fault := _choice_fault(choice, shapes):
            yield ("choices", number), fault


def _choice_fault(choice: Choice, shapes: dict[str, tuple[int, ...]]) -> str:
    if min(choice.teacher_size, choice.student_size) < 0:
        return f"a size below 0: {choice.teacher_size} -> {choice.student_size}"
    return next(_odd_members(choice.members, shapes), "")


def _odd_members(members: Iterable[str], shapes: dict[str, tuple[int, ...]]) -> Iterator[str]:
    for member in members:
        name, _, dim = member.rpartition(":")
        if name not in shapes:
            yield f"{member} is a place of a tensor that is neither filled nor kept"
        elif not (dim.isdecimal() and dim.isascii() and len(dim) < 9 and int(dim) < len(shapes[name])):
            yield f"{member}: {name} {list(shapes[name])} has no dim {dim}"


def _layer_faults(layer: LayerMap) -> Iterator[str]:
    odd = [pair for pair in layer.pairs if pair[0] < 0 or not 0 <= pair[1] < layer.teacher_depth]
    if odd:
        yield f"{layer.stage}: {list(odd[0])} is no (student block, teacher block) of {layer.teacher_depth} blocks"
    if layer.influence and len(layer.influence) != layer.teacher_depth:
        yield f"{layer.stage}: {len(layer.influence)} influences of {layer.teacher_depth} blocks"


def _feature_faults(feature: Feature) -> Iterator[str]:
    if feature.problem:
        return
    filled = range(feature.student.size) if feature.filled is None else feature.filled
    if len(filled) != len(feature.indices):
        yield f"{feature.stage} {feature.block}: {len(feature.indices)} teacher channels for {len(filled)}"
    where = f"{feature.stage} {feature.block}: channels"
    yield from outside(where, (feature.indices,), (feature.teacher.size,), "the teacher's")
    yield from outside(where, (filled,), (feature.student.size,), "the student's")
