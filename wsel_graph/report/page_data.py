"""What the HTML page knows, as frozen data that becomes one JSON document.

Everything that repeats is written once: blocks by their kind, index lists and forms of copies by number, tensors by
number in the order of the outline. A plan for a thousand blocks is then a few hundred kilobytes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from wsel_graph.plan import Copy, Indices, Outline, Plan, describe_indices, describe_mix, describe_resize
from wsel_graph.report.by_names import outlines_by_names

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Model:
    """One model. Tensors are numbered as `Outline.tensors` gives them first, then come those of `extra`."""

    outline: Outline
    connected: bool  # whether the outline knows what reads what
    extra: tuple[tuple[str, tuple[int, ...]], ...]  # further tensors of the plan, with shapes


@dataclass(frozen=True, slots=True)
class Form:
    """What equal copies have in common.

    Attributes:
        taken: For every teacher dim, the number of the index list.
        filled: For every student dim, the number of the index list; empty where all of the tensor is filled.
        order: The student dim that every teacher dim goes to, where that can be told.
        resized: Teacher dims that are resampled: no element of theirs goes to one element.
        mixed: Teacher dims whose elements are averaged or summed, each with the elements of every result.
        says: What else is done to the values, in words.
        added: Whether the values are added to those of the copy before: averages.
    """

    taken: tuple[int, ...]
    filled: tuple[int, ...]
    order: tuple[int, ...]
    resized: tuple[int, ...]
    mixed: tuple[tuple[int, tuple[tuple[int, ...], ...]], ...]
    says: tuple[str, ...]
    added: bool


@dataclass(frozen=True, slots=True)
class Group:
    """A coupled group: what it chose, and its members as tensor, dim, tensor, dim, ... of the student."""

    role: str
    status: str
    sizes: tuple[int, int]  # teacher, student
    method: str
    rule: str
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tied:
    """Why two places are coupled: the operators between them, in words. Places are tensor and dim."""

    role: str
    first: tuple[int, int]
    last: tuple[int, int]
    links: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What compensation did to one tensor, in words."""

    tensor: int
    says: str
    fitted: bool


@dataclass(frozen=True, slots=True)
class PageData:
    """The whole document; numbers are places in its own tuples."""

    student: Model
    teacher: Model
    lists: tuple[tuple[Any, ...], ...]  # (start, count, step), or (list of elements,)
    list_words: tuple[str, ...]
    forms: tuple[Form, ...]
    copies: tuple[tuple[int, int, int], ...]  # student tensor, teacher tensor, form
    reasons: tuple[str, ...]
    kept: tuple[tuple[int, int], ...]  # student tensor, reason
    groups: tuple[Group, ...]
    layers: tuple[tuple[str, str], ...]  # stage, where the rule is written
    chains: tuple[Tied, ...] = ()
    fitted: tuple[Fitted, ...] = ()


def outlines_of(plan: Plan) -> tuple[tuple[Outline, Outline], bool]:
    """Student and teacher in outline, and whether they show what reads what."""
    if len(plan.outlines) == 2:
        return (plan.outlines[0], plan.outlines[1]), True
    return outlines_by_names(plan), False


def page_data(plan: Plan, fitted: Sequence[tuple[str, str, bool]] = ()) -> PageData:
    """Everything that the page shows of a plan.

    Args:
        fitted: For student tensors, what compensation did: (name, words, whether values were changed).
    """
    (ours, theirs), connected = outlines_of(plan)
    filled = [copy.student for copy in plan.copies]
    student_shapes = {copy.student: copy.student_shape for copy in plan.copies}
    student_shapes |= {kept.student: kept.shape for kept in plan.kept}
    teacher_shapes = {source.teacher: source.teacher_shape for copy in plan.copies for source in copy.sources}
    student, numbers = _model(ours, connected, student_shapes)
    teacher, others = _model(theirs, connected, teacher_shapes)
    lists: Pool[Indices] = Pool()
    forms: Pool[Form] = Pool()
    copies = [
        (numbers[copy.student], others[source.teacher], forms.number(_form(source, lists, added=source is not copy)))
        for copy in plan.copies
        for source in copy.sources
    ]
    reasons: Pool[str] = Pool()
    kept = [(numbers[item.student], reasons.number(item.reason)) for item in plan.kept]
    asked = dict.fromkeys(plan.compensate, "to be compensated on calibration data")
    asked |= dict.fromkeys(plan.recalibrate, "to be estimated anew on calibration data")
    later = fitted or [(name, says, False) for name, says in asked.items() if name in filled]
    return PageData(
        student,
        teacher,
        tuple(map(_list, lists.numbers)),
        tuple(map(list_words, lists.numbers)),
        tuple(forms.numbers),
        tuple(copies),
        tuple(reasons.numbers),
        tuple(kept),
        tuple(
            Group(
                choice.role,
                choice.status,
                (choice.teacher_size, choice.student_size),
                choice.method,
                choice.rule,
                tuple(number for place in choice.members for number in _place(place, numbers)),
            )
            for choice in plan.choices
        ),
        tuple((layer.stage, layer.rule) for layer in plan.layers),
        tuple(Tied(own.role, _place(own.first, numbers), _place(own.last, numbers), own.links) for own in ours.chains),
        tuple(Fitted(numbers[name], says, changed) for name, says, changed in later if name in numbers),
    )


class Pool(Generic[T]):
    """Numbers for values, from 0: equal ones get the same."""

    def __init__(self) -> None:
        self.numbers: dict[T, int] = {}

    def number(self, value: T) -> int:
        """The number of a value, a new one if it is new."""
        return self.numbers.setdefault(value, len(self.numbers))


def _model(outline: Outline, connected: bool, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Model, dict[str, int]]:
    numbers: Pool[str] = Pool()
    for held in outline.tensors():
        numbers.number(held.name)
    extra = tuple((name, shape) for name, shape in shapes.items() if name not in numbers.numbers)
    for name, _ in extra:
        numbers.number(name)
    return Model(outline, connected, extra), numbers.numbers


def _place(place: str, numbers: Mapping[str, int]) -> tuple[int, int]:
    name, _, dim = place.rpartition(":")
    return numbers.get(name, -1), int(dim)


def list_words(indices: Indices) -> str:
    """An index list in words: runs of neighbours where these are few, else how it begins and ends.

    >>> list_words((0, 1, 2, 6, 7, 8)), list_words((0, 2, 5)), list_words(range(0, 8, 2))
    ('0:3, 6:9', '0, 2, 5', '0:8:2')
    """
    if isinstance(indices, range):
        return describe_indices(indices)
    starts = [i for i, own in enumerate(indices) if not i or own != indices[i - 1] + 1]
    if len(starts) > min(12, len(indices) / 2):
        return ", ".join(map(str, indices if len(indices) <= 12 else (*indices[:8], "...", indices[-1])))
    ends = [*starts[1:], len(indices)]
    return ", ".join(f"{indices[a]}:{indices[b - 1] + 1}" for a, b in zip(starts, ends, strict=True))


def _list(indices: Indices) -> tuple[Any, ...]:
    return (indices.start, len(indices), indices.step) if isinstance(indices, range) else (list(indices),)


def _form(copy: Copy, lists: Pool[Indices], added: bool) -> Form:
    says = [describe_resize(resize) for resize in copy.resize] + [describe_mix(mix) for mix in copy.mix]
    if copy.scale != 1:
        says.append(f"multiplied by {copy.scale:.6g}")
    return Form(
        tuple(map(lists.number, copy.indices)),
        tuple(map(lists.number, copy.region or ())),
        _order(copy),
        tuple(resize.dim for resize in copy.resize),
        tuple((mix.dim, mix.indices) for mix in copy.mix),
        tuple(says),
        added,
    )


def _order(copy: Copy) -> tuple[int, ...]:
    """Where the teacher's dims go; -1 for those that are taken apart, or stand for no dim."""
    dims = range(len(copy.teacher_shape))
    if copy.view is None:
        return tuple(dim if dim < len(copy.student_shape) else -1 for dim in dims)
    whole = copy.view.shape == copy.block_shape and len(copy.view.order) == len(dims)
    if not whole:
        return (-1,) * len(dims)
    place = [copy.view.order.index(dim) for dim in dims]
    return tuple(
        to if to < len(copy.student_shape) and copy.block_shape[dim] == copy.target_shape[to] else -1
        for dim, to in zip(dims, place, strict=True)
    )
