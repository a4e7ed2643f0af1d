"""What two matched networks compute differently, though it changes no tensor's counterpart: activation functions.

A student that applies another one is started all the same, and is told so. Nothing is said where a function may only
be written in another way: with several operators, or as a clamp.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wsel_graph.matching.components import ComponentGraph, Edge, Node

_ACTIVATIONS = frozenset(
    {
        "relu", "gelu", "sigmoid", "hardsigmoid", "hardtanh", "tanh", "elu", "celu", "leaky_relu", "softplus", "mish",
        "threshold", "hardshrink", "softshrink", "sin",
    }
)  # fmt: skip
"""Operators that the activation functions of `torch.nn.functional` run."""

_HARD = frozenset({"hardtanh", "hardsigmoid"})
"""`relu6(x + 3) / 6` is the second, written with the first."""

_WRITTEN = {
    "": "no activation function (or one written as a clamp or product)",
    "sigmoid": "silu or sigmoid",
    "hardsigmoid": "hardswish or hardsigmoid",
    "hardtanh": "relu6 or hardtanh",
}


def activation_notes(student: ComponentGraph, teacher: ComponentGraph, pairs: Mapping[int, int]) -> tuple[str, ...]:
    """A line for every pair of activation functions that meet, with how often and where first.

    Args:
        pairs: Student nodes, and the teacher nodes that correspond.
    """
    places: dict[tuple[str, str], list[Node]] = {}
    for number, other in pairs.items():
        node = student.nodes[number]
        for found in _differences(node, teacher.nodes[other], pairs):
            places.setdefault(found, []).append(node)
    return tuple(
        f"the student applies {_WRITTEN.get(ours, ours)} where the teacher applies {_WRITTEN.get(theirs, theirs)} "
        f"{_count(len(nodes))}, first before {_told(nodes[0])}"
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
        if len(ours) == len(theirs) == 1 and (found := _exchanged(ours[0], theirs[0])):
            yield found


def _exchanged(edge: Edge, other: Edge) -> tuple[str, str] | None:
    """The two functions, where edges differ in one each, or in one that the other lacks, and in nothing else."""
    ours, theirs = edge.tags - other.tags - {"act"}, other.tags - edge.tags - {"act"}
    if not ours | theirs or max(len(ours), len(theirs)) > 1 or not ours | theirs <= _ACTIVATIONS:
        return None
    if ours | theirs == _HARD:
        return None
    if any(not own and "act" in tags for own, tags in ((ours, edge.tags), (theirs, other.tags))):
        return None  # it has another one, or this one with others
    return next(iter(ours), ""), next(iter(theirs), "")


def _count(places: int) -> str:
    return "at one place" if places == 1 else f"at {places} places"


def _told(node: Node) -> str:
    return node.tensors[0] if node.slots else f"graph node {node.fx}"
