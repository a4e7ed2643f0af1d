"""Operators that scale and shift every channel on its own: norms, and products with a vector.

A batch norm in evaluation mode is one too, on top of statistics that belong to the activations of its own network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import fx

from wsel_graph.capture.program import Program
from wsel_graph.capture.replay import Run
from wsel_graph.capture.schemas import bind
from wsel_graph.starts.parameters import Seen, schema_name, seen_parameter

_LAST = frozenset({"aten::layer_norm", "aten::native_layer_norm", "aten::rms_norm", "aten::_fused_rms_norm"})
_SECOND = frozenset({"aten::group_norm", "aten::native_group_norm"})
_BATCH = frozenset(
    {
        "aten::batch_norm", "aten::native_batch_norm", "aten::_native_batch_norm_legit", "aten::_batch_norm_no_update",
        "aten::_native_batch_norm_legit_no_training", "aten::cudnn_batch_norm",
    }
)  # fmt: skip
_PRODUCTS = frozenset({"aten::mul", "aten::mul_"})


@dataclass(frozen=True, slots=True, eq=False)
class Gain:
    """One operator that computes `scale * x + shift` per channel, of its input or of its normalised input.

    Attributes:
        number: Its graph node.
        data: The graph node of its input.
        scale: The parameter that multiplies; None where there is none.
        shift: The parameter that is added; None where there is none.
        statistics: Running mean and variance of a batch norm, whose names they are; None for others.
        feature_dims: The dims of its output that hold channels, zero-based.
        epsilon: What a batch norm adds to the variance.
        product: Whether it is a product, which normalises nothing.
    """

    number: int
    data: int
    scale: Seen | None
    shift: Seen | None
    statistics: tuple[str, str] | None
    feature_dims: tuple[int, ...]
    epsilon: float = 0.0
    product: bool = False

    @property
    def name(self) -> str:
        """The parameter or statistic that messages call it by."""
        return self.scale.name if self.scale is not None else (self.statistics or ("",))[0]

    def line(self, program: Program) -> tuple[torch.Tensor, torch.Tensor]:
        """Slope and offset, float64 `(channels)`, of what a product or a batch norm does with these parameters."""
        tensors = {state.name: state.tensor for state in program.captured.states}
        one = None if self.scale is None else self.scale.read(tensors[self.scale.name]).double().reshape(-1)
        shift = None if self.shift is None else self.shift.read(tensors[self.shift.name]).double().reshape(-1)
        if self.statistics is not None:
            mean, variance = (tensors[name].double() for name in self.statistics)
            slope = (variance + self.epsilon).rsqrt() if one is None else one / (variance + self.epsilon).sqrt()
            return slope, -mean * slope if shift is None else shift - mean * slope
        if one is None:
            raise ValueError("a gain without a scale and statistics")
        return one, torch.zeros_like(one) if shift is None else shift

    def channels(self, output: torch.Tensor) -> torch.Tensor:
        """Output rows `(rows, channels)`, rows in row-major order of the other dims."""
        rows = [dim for dim in range(output.dim()) if dim not in self.feature_dims]
        size = math.prod(output.shape[dim] for dim in self.feature_dims)
        return output.permute(*rows, *self.feature_dims).reshape(-1, size)

    def plain(self, run: Run) -> torch.Tensor:
        """Rows `(rows, channels)` of what is scaled and shifted, a batch norm's before it is normalised.

        The run stands right before the operator.
        """
        node, data = run.node(self.number), run.value(self.data)
        if schema_name(node) in _PRODUCTS or self.statistics is not None:
            return self.channels(data)
        bound = bind(node.target, node.args, node.kwargs)
        given = {name: run.operand(value) if isinstance(value, fx.Node) else value for name, value in bound.items()}
        given |= {"weight": None, "bias": None}
        names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
        found = node.target(*(given[name] for name in names))  # type: ignore[operator]
        return self.channels(found[0] if isinstance(found, tuple) else found)


def gain(program: Program, number: int) -> Gain | None:
    """The norm or product that a graph node is; None where it is neither or has no parameter."""
    node = program.nodes[number]
    name = schema_name(node)
    if node.op != "call_function" or not (name in _PRODUCTS or name in _LAST | _SECOND | _BATCH):
        return None
    bound = bind(node.target, node.args, node.kwargs)
    if name in _PRODUCTS:
        return _product(program, node, bound)
    if program.is_fixed(bound["input"]):
        return None
    scale, shift = (None if bound.get(k) is None else seen_parameter(program, bound[k]) for k in ("weight", "bias"))
    statistics = _statistics(program, bound) if name in _BATCH else None
    if scale is None and statistics is None:
        return None
    if (scale is None) != (bound.get("weight") is None) or (shift is None) != (bound.get("bias") is None):
        return None  # one of them is computed
    rank = len(bound["input"].meta["value"].shape)
    dims = tuple(range(rank - len(bound["normalized_shape"]), rank)) if name in _LAST else (1,)
    epsilon = float(bound.get("eps") or bound.get("epsilon") or 0.0)
    return Gain(number, program.numbers[bound["input"]], scale, shift, statistics, dims, epsilon)


def _statistics(program: Program, bound: dict[str, object]) -> tuple[str, str] | None:
    found = [seen_parameter(program, bound.get(name)) for name in ("running_mean", "running_var")]
    training = bool(bound.get("training", False))
    return None if training or found[0] is None or found[1] is None else (found[0].name, found[1].name)


def _product(program: Program, node: fx.Node, bound: dict[str, object]) -> Gain | None:
    """A product of an activation and a parameter with more than one element in at most one dim."""
    one, other = bound["self"], bound["other"]
    if not (isinstance(one, fx.Node) and isinstance(other, fx.Node)):
        return None
    data, vector = (other, one) if program.is_fixed(one) else (one, other)
    seen = seen_parameter(program, vector)
    if seen is None or program.is_fixed(data) or data.meta["value"].shape != node.meta["value"].shape:
        return None
    shape = seen.numbers.shape
    long = [dim for dim, size in enumerate(shape) if size > 1]
    rank = len(node.meta["value"].shape)
    if len(long) != 1:
        return None
    return Gain(
        program.numbers[node], program.numbers[data], seen, None, None, (long[0] + rank - len(shape),), product=True
    )
