"""What differs between two plans, in words: tensors that differ in the same way stand together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from wsel_graph.plan.copies import Copy, Indices, describe_indices, describe_mix, describe_resize
from wsel_graph.plan.model import Plan
from wsel_graph.plan.parts import Choice, LayerMap

LISTED = 4
"""How many names a line lists."""

ABSENT = "not there"

Choices = tuple[Mapping[str, Choice], Mapping[str, Choice]]
"""The choices of both plans by their places."""

Said = tuple[str, str]
"""What kind of thing differs (`tensor`, `stage`, `note`), and how."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which two plans differ.

    Attributes:
        kind: What the names are: `tensor`, `stage` or `note`.
        what: In words, the first plan before the arrow.
        names: Where it is so, in the order of the first plan.
    """

    kind: str
    what: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        count = f"{len(self.names)} {self.kind}{'s' * (len(self.names) > 1)}"
        more = f", and {len(self.names) - LISTED} more" if len(self.names) > LISTED else ""
        return f"{count}: {self.what}\n  {', '.join(name or '(top level)' for name in self.names[:LISTED])}{more}"


@dataclass(frozen=True, slots=True)
class PlanDifference:
    """How two plans differ. `print` it; false where both do the same.

    Attributes:
        differences: In what the plans do.
        origin: In where they come from: rules, models, versions. Plans of other origin may do the same.
    """

    differences: tuple[Difference, ...]
    origin: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.differences)

    def __str__(self) -> str:
        head = [] if self.differences else ["the plans do the same"]
        return "\n".join([*head, *map(str, self.differences), *self.origin])


def diff_plans(first: Plan, second: Plan) -> PlanDifference:
    """What differs between two plans, tensor by tensor and choice by choice.

    Args:
        first: The plan to start from.
        second: The plan to compare it with.
    Returns:
        What differs, in words; false where the plans do the same. Print it.

    >>> copy = lambda indices: Copy("a", "b", (2,), (4,), (indices,), True)
    >>> print(diff_plans(Plan((copy(range(2)),), (), (), ()), Plan((copy(range(0, 4, 2)),), (), (), ())))
    1 tensor: dim 0: elements 0:2 -> 0:4:2
      a
    """
    found: dict[Said, dict[str, None]] = {}
    parts = (_layers, _tensors, _choices, _rest)
    for said, name in (item for part in parts for item in part(first, second)):
        found.setdefault(said, {})[name] = None
    differences = tuple(Difference(kind, what, tuple(names)) for (kind, what), names in found.items())
    return PlanDifference(differences, tuple(_origin(first, second)))


# -- stages, lists of names, and where the plans come from


def _layers(first: Plan, second: Plan) -> Iterator[tuple[Said, str]]:
    ours, theirs = ({layer.stage: layer for layer in plan.layers} for plan in (first, second))
    for stage in dict.fromkeys((*ours, *theirs)):
        before, after = ours.get(stage), theirs.get(stage)
        if before != after:
            yield ("stage", f"blocks {_blocks(before)} -> {_blocks(after)}"), stage


def _blocks(layer: LayerMap | None) -> str:
    return ABSENT if layer is None else f"{layer} of {layer.teacher_depth}"


def _rest(first: Plan, second: Plan) -> Iterator[tuple[Said, str]]:
    for what in ("compensate", "recalibrate"):
        ours, theirs = getattr(first, what), getattr(second, what)
        yield from ((("tensor", f"to {what} -> left as selected"), name) for name in ours if name not in theirs)
        yield from ((("tensor", f"left as selected -> to {what}"), name) for name in theirs if name not in ours)
    for note in dict.fromkeys((*first.notes, *second.notes)):
        if (note in first.notes) != (note in second.notes):
            yield ("note", "only in the first plan" if note in first.notes else "only in the second plan"), note
    ours, theirs = ({(f.stage, f.block): f for f in plan.features} for plan in (first, second))
    for stage, block in dict.fromkeys((*ours, *theirs)):
        if ours.get((stage, block)) != theirs.get((stage, block)):
            yield ("block", "is compared with the teacher in another way while learning"), f"{stage} {block}"


def _origin(first: Plan, second: Plan) -> Iterator[str]:
    ours, theirs = first.provenance, second.provenance
    if ours is None or theirs is None:
        if ours != theirs:
            yield f"the {'first' if ours is None else 'second'} plan does not say where it comes from"
        return
    if ours.wsel_graph != theirs.wsel_graph:
        yield f"made by wsel_graph {ours.wsel_graph} -> {theirs.wsel_graph}"
    if ours.rules != theirs.rules:
        names = f"{ours.rules.source} -> {theirs.rules.source}"
        options = " -> ".join(_options(rules.options) for rules in (ours.rules, theirs.rules))
        yield f"made with other rules or options ({names}; {options})"
    for side, before, after in (
        ("student", ours.student, theirs.student),
        ("teacher", ours.teacher, theirs.teacher),
    ):
        if before != after:
            how = "parameters" if before.parameters != after.parameters else "dtypes, buffers or operators"
            yield f"made for another {side} ({before.model} -> {after.model}, other {how})"


def _options(options: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in options.items()) or "no options"


# -- choices


def _choices(first: Plan, second: Plan) -> Iterator[tuple[Said, str]]:
    """Groups that are told differently; those whose elements differ too are told with the tensors."""
    ours, theirs = _by_place(first), _by_place(second)
    for place in dict.fromkeys((*ours, *theirs)):
        before, after = ours.get(place), theirs.get(place)
        if before is None or after is None:
            only = "second" if before is None else "first"
            role = (before or after or _NONE).role
            yield ("tensor", f"{role}: a coupled group in the {only} plan only"), place.rpartition(":")[0]
            continue
        name = place.rpartition(":")[0]
        if before.role != after.role:
            yield ("tensor", f"role {before.role} -> {after.role}"), name
        if before.status != after.status:
            yield ("tensor", f"{before.role}: {before.status} -> {after.status}"), name
        if before.method != after.method:
            yield ("tensor", _methods(before, after)), name


def _methods(before: Choice, after: Choice) -> str:
    return f"{before.role} elements {before.method} -> {after.method}"


_NONE = Choice("", "", 0, 0, "", ())


def _by_place(plan: Plan) -> dict[str, Choice]:
    return {place: choice for choice in plan.choices for place in choice.members}


# -- tensors


def _tensors(first: Plan, second: Plan) -> Iterator[tuple[Said, str]]:
    ours, theirs = _by_name(first.copies), _by_name(second.copies)
    kept = [{kept.student: kept for kept in plan.kept} for plan in (first, second)]
    choices = _by_place(first), _by_place(second)
    for name in dict.fromkeys((*ours, *kept[0], *theirs, *kept[1])):
        before, after = ours.get(name), theirs.get(name)
        if before is not None and after is not None:
            yield from ((("tensor", what), name) for what in _copies(before, after, choices))
        elif kept[0].get(name) != kept[1].get(name) or before != after:
            states = [
                "filled" if copies else f"kept ({own.reason})" if own else ABSENT
                for copies, own in ((before, kept[0].get(name)), (after, kept[1].get(name)))
            ]
            shapes = " (of another shape)" if states[0] == states[1] else ""
            yield ("tensor", f"{states[0]} -> {states[1]}{shapes}"), name


def _by_name(copies: Iterable[Copy]) -> dict[str, list[Copy]]:
    found: dict[str, list[Copy]] = {}
    for copy in copies:
        found.setdefault(copy.student, []).append(copy)
    return found


def _shortened(name: str) -> str:
    """The name with block numbers left out, so that alike tensors are told together."""
    return ".".join("*" if part.isdecimal() else part for part in name.split("."))


def _copies(before: list[Copy], after: list[Copy], choices: Choices) -> Iterator[str]:
    """How the copies to one tensor differ."""
    if before == after:
        return
    if len(before) != len(after):
        yield f"filled by {len(before)} copies -> {len(after)}"
        return
    for ours, theirs in zip(before, after, strict=True):
        if ours != theirs:
            yield from _copy(ours, theirs, choices)


def _copy(ours: Copy, theirs: Copy, choices: Choices) -> Iterator[str]:
    if ours.teacher != theirs.teacher:
        yield _renamed(ours.teacher, theirs.teacher)
    for side in ("student", "teacher"):
        shapes = [list(getattr(copy, f"{side}_shape")) for copy in (ours, theirs)]
        if shapes[0] != shapes[1]:
            yield f"{side} shape {shapes[0]} -> {shapes[1]}"
    if len(ours.indices) == len(theirs.indices):
        for dim, (mine, other) in enumerate(zip(ours.indices, theirs.indices, strict=True)):
            if mine != other:
                yield _elements(ours, dim, mine, other, choices)
    wholes: list[tuple[str, Callable[[Copy], object]]] = [
        ("fills", lambda copy: "all" if copy.region is None else ", ".join(map(describe_indices, copy.region))),
        ("laid out", lambda copy: "as it is" if copy.view is None else f"{copy.view.shape} in order {copy.view.order}"),
        ("resampling", lambda copy: ", ".join(map(describe_resize, copy.resize)) or "none"),
        ("multiplied by", lambda copy: f"{copy.scale:.6g}"),
        ("merged", lambda copy: ", ".join(map(describe_mix, copy.mix)) or "nothing"),
        ("added", lambda copy: ", ".join(_shortened(other.teacher) for other in copy.also) or "nothing"),
    ]
    fields = ("region", "view", "resize", "scale", "mix", "also")
    for field, (what, words) in zip(fields, wholes, strict=True):
        if getattr(ours, field) != getattr(theirs, field):
            a, b = words(ours), words(theirs)
            yield f"{what}: {a} -> {b}" if a != b else f"{what}: {a}, with other elements"
    if ours.parameter != theirs.parameter:
        yield "a parameter in one plan, a buffer in the other"


def _renamed(before: str, after: str) -> str:
    """Another teacher tensor; where one part of the name differs, all tensors of a block say the same."""
    ours, theirs = before.split("."), after.split(".")
    odd = [place for place, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b]
    if len(ours) == len(theirs) and len(odd) == 1:
        stop = odd[0] + 1
        before, after = ".".join(ours[:stop]), ".".join(theirs[:stop])
    return f"taken from {before} -> {after}"


def _elements(copy: Copy, dim: int, a: Indices, b: Indices, choices: Choices) -> str:
    place = f"{copy.student}:{dim}"
    before, after = (known.get(place) if copy.view is None else None for known in choices)
    if before is not None and after is not None and before.method != after.method:
        return _methods(before, after)  # as it is told of the group
    head = f"{before.role} elements" if before is not None else f"dim {dim}: elements"
    return f"{head} {describe_indices(a)} -> {describe_indices(b)}"
