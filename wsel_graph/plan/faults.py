"""What is wrong with a plan by itself, before any tensor is looked at. Every fault is found, none is raised here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from wsel_graph.plan.model import Choice, Copy, Feature, Indices, LayerMap, Mix, Plan
from wsel_graph.plan.runs import meet

ONCE = {"uniform", "consecutive", "random", "whole"}
"""Element methods that take every element once at most."""

Place = tuple[str, int]
"""A field of the plan, and which of its items."""


def plan_faults(plan: Plan) -> Iterator[tuple[Place, str]]:
    """Every fault, with its place.

    >>> from wsel_graph.plan.model import Kept
    >>> twice = Kept("a", (2,), "wished", True)
    >>> list(plan_faults(Plan((), (twice, twice), (), ())))
    [(('kept', 1), 'a is kept twice')]
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


# -- one copy


def copy_faults(copy: Copy) -> Iterator[str]:
    """Everything that is wrong with one copy and what is added to it."""
    for part in copy.sources:
        yield from merge_faults(copy, part)
        yield from index_faults(part)


def form_fault(copy: Copy) -> str | None:
    """What is wrong with one copy by itself, before its elements are looked at."""
    if min((0, *copy.student_shape, *copy.teacher_shape)) < 0:
        return f"a size below 0: student {list(copy.student_shape)}, teacher {list(copy.teacher_shape)}"
    if len(copy.indices) != len(copy.teacher_shape):
        return (
            f"{len(copy.indices)} index lists for a teacher tensor of {len(copy.teacher_shape)} dims, "
            f"{list(copy.teacher_shape)}"
        )
    if copy.region is not None and len(copy.region) != len(copy.student_shape):
        return (
            f"{len(copy.region)} index lists in the region of a student tensor of {len(copy.student_shape)} dims, "
            f"{list(copy.student_shape)}"
        )
    for mix in copy.mix:
        sizes = [list(map(len, lists)) for lists in (mix.indices, mix.weights)]
        if sizes[0] != sizes[1] or 0 in sizes[0]:
            return f"the merged dim {mix.dim} needs one weight for every element, and an element at least in each"
    return None


def merge_faults(copy: Copy, part: Copy) -> Iterator[str]:
    """Everything that would keep the sums of one of the sources of a copy from being right."""
    if part is not copy and (part.also or _target(part) != _target(copy)):
        yield f"{copy.student}: what is added from teacher {part.teacher} does not go to the same place as the rest"
    if (fault := form_fault(part)) is not None:
        yield f"{copy.student}: {fault}"
        return
    dims = [mix.dim for mix in part.mix]
    resized = {resize.dim for resize in part.resize}
    for number, mix in enumerate(part.mix):
        if not 0 <= mix.dim < len(part.indices) or mix.dim in dims[:number] or mix.dim in resized:
            yield (
                f"{copy.student}: dim {mix.dim} of teacher {part.teacher} cannot be merged: there is no such dim, "
                "or it is merged twice or resampled too"
            )
            continue
        yield from _mix_faults(part, mix)


def _target(copy: Copy) -> tuple[object, ...]:
    return copy.student, copy.student_shape, copy.target_shape, copy.region, copy.parameter


def _mix_faults(copy: Copy, mix: Mix) -> Iterator[str]:
    large, needed = copy.teacher_shape[mix.dim], len(copy.indices[mix.dim])
    if len(mix.indices) != needed:
        yield f"{copy.student}: {len(mix.indices)} merged elements of dim {mix.dim}, the index list has {needed}"
    if any(not 0 <= element < large for own in mix.indices for element in own):
        yield f"{copy.student}: dim {mix.dim} merges elements outside the teacher's 0..{large - 1}"
    if not all(math.isfinite(weight) for own in mix.weights for weight in own):
        yield f"{copy.student}: a weight of the merged dim {mix.dim} is not finite"


def index_faults(copy: Copy) -> Iterator[str]:
    """Elements outside the tensors, written twice, or of another number than there is room for."""
    if form_fault(copy) is not None:
        return
    yield from _resize_faults(copy)
    sizes = copy.block_shape
    if copy.view is None:
        if len(sizes) != len(copy.target_shape):
            yield f"{copy.student}: a block of {len(sizes)} dims for {len(copy.target_shape)} dims"
        for dim, (size, small) in enumerate(zip(sizes, copy.target_shape, strict=False)):
            if size != small:
                yield f"{copy.student} dim {dim}: {size} elements for a size of {small}"
    elif not math.prod(copy.view.shape) == math.prod(sizes) == math.prod(copy.target_shape):
        yield f"{copy.student}: a block of {list(sizes)} elements does not fill {list(copy.target_shape)}"
    elif sorted(copy.view.order) != list(range(len(copy.view.shape))) or min((0, *copy.view.shape)) < 0:
        yield f"{copy.student}: {list(copy.view.order)} is no order of the dims of {list(copy.view.shape)}"
    yield from _outside(f"{copy.student} dim", copy.indices, copy.teacher_shape, "the teacher's")
    if copy.region is not None:
        yield from _outside(f"the region of {copy.student}, dim", copy.region, copy.student_shape, "the student's")
        for dim, indices in enumerate(copy.region):
            if isinstance(indices, tuple) and len(set(indices)) < len(indices):
                yield f"the region of {copy.student}, dim {dim}: an element stands there twice"


def _resize_faults(copy: Copy) -> Iterator[str]:
    dims = [resize.dim for resize in copy.resize]
    for number, resize in enumerate(copy.resize):
        if not 0 <= resize.dim < len(copy.indices) or resize.dim in dims[:number]:
            yield f"{copy.student}: dim {resize.dim} of teacher {copy.teacher} cannot be resampled, or is so twice"
        elif len(copy.indices[resize.dim]) != resize.teacher_size or len(resize.teacher_grid) != len(
            resize.student_grid
        ):
            yield (
                f"{copy.student}: {len(copy.indices[resize.dim])} elements of dim {resize.dim} of teacher "
                f"{copy.teacher} for a resampling of {resize.teacher_size}"
            )
        if min((resize.lead, resize.trail, *(size - 1 for size in (*resize.teacher_grid, *resize.student_grid)))) < 0:
            yield f"{copy.student}: the resampling of dim {resize.dim} has a size below 1"
    if not math.isfinite(copy.scale):
        yield f"{copy.student}: the scale is {copy.scale}"


def _outside(where: str, lists: tuple[Indices, ...], shape: tuple[int, ...], whose: str) -> Iterator[str]:
    for dim, (indices, large) in enumerate(zip(lists, shape, strict=True)):
        extremes = indices if isinstance(indices, tuple) else (*indices[:1], *indices[-1:])
        if extremes and (min(extremes) < 0 or max(extremes) >= large):
            yield f"{where} {dim}: elements outside {whose} 0..{large - 1}"


# -- the plan as a whole


def _twice(plan: Plan, sound: dict[int, Copy]) -> Iterator[tuple[Place, str]]:
    """Elements that are written twice, or kept and written."""
    before: dict[str, list[Copy]] = {}
    for number, copy in sound.items():
        if (other := next((c for c in before.get(copy.student, ()) if _overlap(c, copy)), None)) is not None:
            said = f"fills elements of {copy.student} that the copy from {other.teacher} fills too"
            yield ("copies", number), said
        before.setdefault(copy.student, []).append(copy)
    filled, seen = {copy.student for copy in plan.copies}, set[str]()
    for number, kept in enumerate(plan.kept):
        if kept.student in filled:
            yield ("kept", number), f"{kept.student} is kept, and a copy fills it"
        elif kept.student in seen:
            yield ("kept", number), f"{kept.student} is kept twice"
        seen.add(kept.student)


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
    yield from _outside(where, (feature.indices,), (feature.teacher.size,), "the teacher's")
    yield from _outside(where, (filled,), (feature.student.size,), "the student's")
