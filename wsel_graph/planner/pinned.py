"""What becomes of a pinned axis that has another size in the student, by the reason why it is pinned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.coupling.groups import CoupledGroup
from wsel_graph.planner.joint import shorten

Fate = Literal["interpolate", "keep", "error"]

RESIZABLE = ("position", "kernel", "input")
"""Reasons whose axes can be resampled at all."""

_ADVICE = {
    "input": "Give the student the teacher's input channels or length",
    "kernel": "Give the student the teacher's kernel size",
    "position": "Give the student the teacher's resolution or sequence length",
    "vocabulary": "Give the student the teacher's vocabulary",
    "opaque": "Give the student the teacher's size here",
}

_CHANNELS = ("aten::convolution",)
"""Operators whose input features are channels of a signal: a sum of channels is of the same kind as a channel."""


def fate(pinned: CoupledGroup, wish: str | None, names: Iterable[str], student: ModelGraph) -> Fate:
    """Whether a pinned axis of another size is resampled, kept at the student's own values, or refused.

    Labels have no counterpart: kept. Positions and kernels are resampled. Input channels are summed or repeated, where
    convolutions alone read them; features of a table row, or lengths, are not mixed unless a rule asks for it.

    Args:
        wish: The `resize` setting that governs the group; None leaves it to the reason.
        names: The student's tensors that have the axis.
    """
    if wish == "keep" or (wish is None and pinned.pinned == "label"):
        return "keep"
    if wish == "error" or pinned.pinned not in RESIZABLE:
        return "error"
    if wish is None and pinned.pinned == "input" and not all(reads_channels(student, name) for name in names):
        return "error"
    return "interpolate"


def reads_channels(graph: ModelGraph, name: str) -> bool:
    """Whether a tensor is the weight of a convolution."""
    use = graph.uses.get(name)
    return use is not None and use.operator in _CHANNELS and use.argument == "weight"


def reads_features(graph: ModelGraph, name: str) -> bool:
    """Whether a tensor multiplies input features: the weight of a convolution or of a linear."""
    use = graph.uses.get(name)
    linear = ("aten::linear", "aten::addmm", "aten::mm", "aten::matmul", "aten::bmm")
    return use is not None and (reads_channels(graph, name) or use.operator in linear)


def is_feature_weight(graph: ModelGraph, name: str) -> bool:
    """Whether a tensor is the weight of a linear or a convolution: only there are sums over inputs to make up for."""
    use = graph.uses.get(name)
    added = use is not None and (use.argument == "bias" or (use.operator, use.argument) == ("aten::addmm", "self"))
    return not added and len(graph.tensors[name].shape) > 1 and reads_features(graph, name)


def pinned_message(pinned: CoupledGroup, places: Sequence[str], small: int, large: int) -> str:
    """What to say when the axis cannot be adapted, with the rule that would settle it."""
    names = list(dict.fromkeys(place.rpartition(":")[0] for place in places))
    keep = ", ".join(map(repr, names))
    settle = "take: {tokens: map.json}" if pinned.pinned == "vocabulary" else "resize: keep"
    where = (
        "{role: vocabulary}" if pinned.pinned == "vocabulary" else f'{{role: {pinned.pinned}, student: "{names[0]}"}}'
    )
    return (
        f"{shorten(places)}: size {small} in the student, {large} in the teacher, and the axis is pinned "
        f"({pinned.pinned}, at graph node {pinned.marked_at}), so it cannot be selected from. "
        f"{_ADVICE.get(str(pinned.pinned), _ADVICE['opaque'])}, or keep the student's own values with keep=[{keep}], "
        f"or name the teacher's elements with overrides={{{places[0]!r}: [...]}}, or write in `elements` of a rule "
        f"file:\n  - where: {where}\n    {settle}"
    )


def larger_message(role: str, roles: Sequence[str], places: Sequence[str], sizes: tuple[int, int], flat: bool) -> str:
    """What to say when the student is larger where elements are chosen, with the rule that would settle it.

    Args:
        role: Name of the axis.
        roles: Roles of its factors.
        sizes: Student and teacher size.
        flat: Whether the flat unit might help.
    """
    hint = ", or select merged axes as one with unit='flat'" if flat else ""
    where = roles[0] if len(roles) == 1 else f"[{', '.join(roles)}]"
    return (
        f"the student is larger than the teacher on the coupled axis {role}: {sizes[0]} > {sizes[1]} "
        f"(student {shorten(places)}). Weight selection takes a subset: give the student at "
        f"most the teacher's size, or exchange student and teacher{hint}. To fill the larger axis all the same, write "
        f"in `elements` of a rule file (tile repeats the teacher's elements, keep leaves the rest to the student):\n"
        f"  - where: {{role: {where}}}\n    grow: tile"
    )


def unmergeable_message(take: str, role: str, places: Sequence[str], why: str) -> str:
    """What to say when the elements of an axis cannot be averaged, with the rule that would settle it.

    Args:
        why: What stands against it, in words that follow the name of the axis.
    """
    name = places[0].rpartition(":")[0]
    return (
        f"take: {take} cannot merge the coupled axis {role} (student {shorten(places)}): it {why}, so averages and "
        "sums would not give the same function even where elements are equal. Merge other axes, and write above that "
        f'rule in `elements`:\n  - where: {{role: {role}, student: "{name}"}}\n    take: uniform'
    )


def nothing_to_repeat_message(role: str, places: Sequence[str], small: int) -> str:
    """What to say when an axis that the teacher lacks should be repeated."""
    return (
        f"{shorten(places)}: the student has {small} elements on the coupled axis {role}, and the teacher has no such "
        "axis, so there is nothing for `grow: tile` to repeat. Write `grow: keep`, which fills the first element."
    )
