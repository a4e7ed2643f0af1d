"""Rescaling by fan-in: `rescale: variance`.

A weight of which only some input features are taken sums fewer terms, so its output loses variance. Multiplying by
`sqrt(teacher's fan-in / student's fan-in)` restores it for independent terms of one variance; for others it is exact
where the terms that are kept have, on average, the variance of all.

Reference: Samragh et al., "Weight subcloning: direct initialization of transformers using larger pretrained ones",
arXiv:2312.09299, section 3 (scaling of the weights).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import fx

from wsel_graph.axes import UNIT, Axis
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.planner.joint import PairedDim
from wsel_graph.planner.norms import one_group
from wsel_graph.planner.pinned import is_feature_weight
from wsel_graph.planner.widths import Widths


def scale(student: ModelGraph, teacher: ModelGraph, dims: Sequence[PairedDim], widths: Widths) -> float:
    """The factor for one piece of a tensor, 1 where nothing is to be rescaled.

    The fan-in is the product of the dims that are summed over. Dims that are resampled or repeated count as unchanged:
    resampling keeps the scale by itself, and of a repeated axis nothing was left out. Norms, biases and tables do not
    sum over features, so they are not rescaled.
    """
    if len(dims) < 2 or "variance" not in widths.ways:
        return 1.0
    return math.sqrt(math.prod(widths.variance(axis) for axis in _summed(student, teacher, dims)))


def _summed(student: ModelGraph, teacher: ModelGraph, dims: Sequence[PairedDim]) -> list[Axis]:
    """The teacher's axes that an operator sums over: all but the output's, which is the first of a piece's dims."""
    piece = dims[0].piece
    letters = _summed_by_einsum(student, piece.student.tensor)
    if letters is not None:
        return [paired.teacher for paired in dims if paired.dim in letters]
    if not is_feature_weight(student, piece.student.tensor):
        return []
    groups = _groups_of_transposed(teacher, piece.teacher.tensor)
    if groups is None:
        return [paired.teacher for paired in dims[1:]]
    # The weight is (in, out per group, kernel): each output sums over the inputs of its own group.
    inputs = next((paired.teacher for paired in dims if paired.dim == 0), UNIT)
    inner = one_group(inputs, groups)
    return [*([] if inner is None else [inner]), *(paired.teacher for paired in dims if paired.dim > 1)]


def _groups_of_transposed(graph: ModelGraph, name: str) -> int | None:
    """The groups of the transposed convolution that a tensor is the weight of; None for other tensors."""
    for node in graph.captured.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if getattr(schema, "name", "") == "aten::convolution" and node.args[6]:
            weight = node.args[1]
            if isinstance(weight, fx.Node) and weight.meta.get("state") == name:
                return int(node.args[8])
    return None


def _summed_by_einsum(graph: ModelGraph, name: str) -> frozenset[int] | None:
    """The dims of a tensor that the einsum which uses it sums over; None where no einsum does."""
    use = graph.uses.get(name)
    if use is None or use.operator != "aten::einsum":
        return None
    for node in graph.captured.graph.nodes:
        operands = node.args[1] if node.op == "call_function" and len(node.args) > 1 else ()
        for place, operand in enumerate(operands if isinstance(operands, (list, tuple)) else ()):
            if isinstance(operand, fx.Node) and operand.meta.get("state") == name:
                inputs, _, output = str(node.args[0]).replace(" ", "").partition("->")
                letters = inputs.split(",")[place]
                return frozenset(dim for dim, letter in enumerate(letters) if letter not in output)
    return frozenset()
