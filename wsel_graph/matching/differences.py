"""What two matched networks compute differently, though it changes no tensor's counterpart.

Activation functions, ways to pool, flips, shifts and running sums. A student that differs there is started all the
same, and is told so. Nothing is said where a function may only be written in another way: with
several operators, or as a clamp.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wsel_graph.matching.components import ComponentGraph, Node

_ACTIVATIONS = frozenset(
    {
        "relu", "gelu", "sigmoid", "hardsigmoid", "hardtanh", "tanh", "elu", "celu", "leaky_relu", "softplus", "mish",
        "threshold", "hardshrink", "softshrink", "sin",
    }
)  # fmt: skip
"""Operators that the activation functions of `torch.nn.functional` run."""

_HARD = frozenset({"hardtanh", "hardsigmoid"})
"""`relu6(x + 3) / 6` is the second, written with the first."""

_AVERAGE, _LARGEST = "an average", "a maximum"

_MOVES = {
    "mean": _AVERAGE, "avg_pool1d": _AVERAGE, "avg_pool2d": _AVERAGE, "avg_pool3d": _AVERAGE,
    "_adaptive_avg_pool2d": _AVERAGE, "_adaptive_avg_pool3d": _AVERAGE, "adaptive_avg_pool1d": _AVERAGE,
    "adaptive_avg_pool2d": _AVERAGE, "adaptive_avg_pool3d": _AVERAGE,
    "amax": _LARGEST, "max": _LARGEST, "max_pool1d": _LARGEST, "max_pool2d": _LARGEST, "max_pool3d": _LARGEST,
    "max_pool2d_with_indices": _LARGEST, "max_pool3d_with_indices": _LARGEST, "adaptive_max_pool1d": _LARGEST,
    "adaptive_max_pool2d": _LARGEST, "adaptive_max_pool3d": _LARGEST, "amin": "a minimum", "min": "a minimum",
    "flip": "a flip", "roll": "a roll", "cumsum": "a running sum", "cumprod": "a running product",
}  # fmt: skip
"""Operators that bring positions together or move them, as they are told."""

_WRITTEN = {
    "sigmoid": "silu or sigmoid",
    "hardsigmoid": "hardswish or hardsigmoid",
    "hardtanh": "relu6 or hardtanh",
}


def difference_notes(student: ComponentGraph, teacher: ComponentGraph, pairs: Mapping[int, int]) -> tuple[str, ...]:
    """A line for every pair of functions that meet, with how often and where first.

    Args:
        pairs: Student nodes, and the teacher nodes that correspond.
    """
    places: dict[tuple[str, str], list[Node]] = {}
    for number, other in pairs.items():
        node = student.nodes[number]
        for found in _differences(node, teacher.nodes[other], pairs):
            places.setdefault(found, []).append(node)
    return tuple(
        f"the student applies {ours} where the teacher applies {theirs} {_count(len(nodes))}, first before "
        f"{_told(nodes[0])}"
        for (ours, theirs), nodes in places.items()
    )


def _differences(node: Node, other: Node, pairs: Mapping[int, int]) -> Iterator[tuple[str, str]]:
    """What differs on the ways from one component to a node; of several such ways, those that have no equal."""
    for source in dict.fromkeys(edge.source for edge in node.inputs):
        ours = [edge for edge in node.inputs if edge.source == source]
        theirs = [edge for edge in other.inputs if edge.source == pairs.get(source)]
        for edge in list(ours):
            if (equal := next((each for each in theirs if each.tags == edge.tags), None)) is not None:
                ours.remove(edge)
                theirs.remove(equal)
        if len(ours) == len(theirs) == 1:
            yield from _exchanged(ours[0].tags, theirs[0].tags)


def _exchanged(ours: frozenset[str], theirs: frozenset[str]) -> Iterator[tuple[str, str]]:
    """The two functions, where ways differ in one each, or in one that the other lacks, and in nothing else."""
    one, other = ours - theirs - {"act"}, theirs - ours - {"act"}
    if one | other <= _ACTIVATIONS | _MOVES.keys():
        yield from _exchanged_activations(one & _ACTIVATIONS, other & _ACTIVATIONS, ours, theirs)
        if "norm" not in ours | theirs:
            yield from _exchanged_moves(*({_MOVES[tag] for tag in tags & _MOVES.keys()} for tags in (ours, theirs)))


def _exchanged_moves(ours: set[str], theirs: set[str]) -> Iterator[tuple[str, str]]:
    one, other = ours - theirs, theirs - ours
    if one != other and max(len(one), len(other)) < 2:
        yield next(iter(one), "nothing of the kind"), next(iter(other), "nothing of the kind")


def _exchanged_activations(
    one: frozenset[str], other: frozenset[str], ours: frozenset[str], theirs: frozenset[str]
) -> Iterator[tuple[str, str]]:
    if not one | other or max(len(one), len(other)) > 1 or one | other == _HARD:
        return
    if any(not own and "act" in tags for own, tags in ((one, ours), (other, theirs))):
        return  # it has another one, or this one with others
    yield _shown(one), _shown(other)


def _shown(activation: frozenset[str]) -> str:
    name = next(iter(activation), "")
    return _WRITTEN.get(name, name) or "no activation function (or one written as a clamp or product)"


def _count(places: int) -> str:
    return "at one place" if places == 1 else f"at {places} places"


def _told(node: Node) -> str:
    return node.tensors[0] if node.slots else f"graph node {node.fx}"
