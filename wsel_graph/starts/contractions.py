"""Operators that are linear in a parameter, read off the graph as rows times a matrix.

Every linear layer, matrix product and `einsum` with a parameter, and every convolution (grouped, dilated or transposed
too), is `targets = rows @ matrix.T` for rows that are cut out of its input. In that form, the best weights for given
targets are a least squares problem, whatever the operator is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import fx
from torch.nn import functional as F

from wsel_graph.capture.program import Program
from wsel_graph.capture.schemas import bind
from wsel_graph.ops.contraction import parse_equation
from wsel_graph.starts.parameters import Seen, schema_name, seen_parameter


class Form(Protocol):
    """How an operator's input and output are laid out as rows.

    `groups` matrices of `outputs` x `inputs` work side by side, on rows of their own. Row numbers count the positions
    of the operator's output, row-major, zero-based; the channels of an output row are `(groups outputs)`.
    """

    groups: int
    inputs: int
    outputs: int

    def rows(self, data: torch.Tensor, picked: torch.Tensor | None = None) -> torch.Tensor:
        """Input rows `(groups, rows, inputs)`: all of them, or those of the given numbers."""
        ...

    def channels(self, output: torch.Tensor) -> torch.Tensor:
        """Output rows `(rows, groups * outputs)`."""
        ...

    def matrix(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight that the operator sees as `(groups, outputs, inputs)`."""
        ...

    @property
    def feature_dims(self) -> tuple[int, ...]:
        """The dims of the output that hold channels, zero-based."""
        ...


@dataclass(frozen=True, slots=True)
class Product:
    """A product of an activation and a parameter; letters name the dims of data, weight and output."""

    data: tuple[str, ...]
    weight: tuple[str, ...]
    output: tuple[str, ...]
    sizes: tuple[int, ...]  # of the weight's dims

    @property
    def _group(self) -> list[str]:
        return [x for x in self.weight if x in self.data and x in self.output]

    @property
    def _feature(self) -> list[str]:
        return [x for x in self.weight if x in self.output and x not in self.data]

    @property
    def _contracted(self) -> list[str]:
        return [x for x in self.weight if x in self.data and x not in self.output]

    @property
    def _row(self) -> list[str]:
        return [x for x in self.output if x not in self.weight]

    def _size(self, letters: Sequence[str]) -> int:
        return math.prod(self.sizes[self.weight.index(x)] for x in letters)

    @property
    def groups(self) -> int:
        """Matrices side by side."""
        return self._size(self._group)

    @property
    def inputs(self) -> int:
        """Columns of each."""
        return self._size(self._contracted)

    @property
    def outputs(self) -> int:
        """Rows of each."""
        return self._size(self._feature)

    def rows(self, data: torch.Tensor, picked: torch.Tensor | None = None) -> torch.Tensor:
        """See `Form`."""
        order = [self.data.index(x) for x in (*self._group, *self._row, *self._contracted)]
        found = data.permute(order).reshape(self.groups, -1, self.inputs)
        return found if picked is None else found[:, picked]

    def channels(self, output: torch.Tensor) -> torch.Tensor:
        """See `Form`."""
        order = [self.output.index(x) for x in (*self._row, *self._group, *self._feature)]
        return output.permute(order).reshape(-1, self.groups * self.outputs)

    def matrix(self, weight: torch.Tensor) -> torch.Tensor:
        """See `Form`."""
        order = [self.weight.index(x) for x in (*self._group, *self._feature, *self._contracted)]
        return weight.permute(order).reshape(self.groups, self.outputs, self.inputs)

    @property
    def feature_dims(self) -> tuple[int, ...]:
        """See `Form`."""
        return tuple(self.output.index(x) for x in (*self._group, *self._feature))

    @property
    def sound(self) -> bool:
        """Whether every letter plays one of the four parts: nothing is summed on one side alone or repeated."""
        unique = all(len(set(letters)) == len(letters) for letters in (self.data, self.weight, self.output))
        known = set(self.data) <= {*self.weight, *self.output} and set(self.weight) <= {*self.data, *self.output}
        return unique and known and set(self.output) <= {*self.data, *self.weight} and bool(self._contracted)


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution over any number of spatial dims.

    A transposed one is a plain one over an input that is spread out with zeros, with its kernel turned around.
    """

    shape: tuple[int, ...]  # of the weight
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    transposed: bool
    surplus: tuple[int, ...]  # `output_padding`

    @property
    def _kernel(self) -> tuple[int, ...]:
        return self.shape[2:]

    @property
    def inputs(self) -> int:
        """Input channels of one group times the kernel's size."""
        channels = self.shape[0] // self.groups if self.transposed else self.shape[1]
        return channels * math.prod(self._kernel)

    @property
    def outputs(self) -> int:
        """Output channels of one group."""
        return self.shape[1] if self.transposed else self.shape[0] // self.groups

    @property
    def feature_dims(self) -> tuple[int, ...]:
        """See `Form`."""
        return (1,)

    def rows(self, data: torch.Tensor, picked: torch.Tensor | None = None) -> torch.Tensor:
        """See `Form`. Patches are cut at the given positions only, so they are never all in memory."""
        padded = self._spread(data) if self.transposed else F.pad(data, _pads(self.padding))
        stride = (1,) * len(self.stride) if self.transposed else self.stride
        view = padded
        for dim, (size, step, hole) in enumerate(zip(self._kernel, stride, self.dilation, strict=True), start=2):
            view = view.unfold(dim, hole * (size - 1) + 1, step)[..., ::hole]
        spatial = view.shape[2 : 2 + len(self._kernel)]
        places = torch.arange(data.shape[0] * math.prod(spatial), device=data.device) if picked is None else picked
        index = torch.unravel_index(places, (data.shape[0], *spatial))
        patches = view.movedim(1, 1 + len(spatial))[tuple(index)]  # (rows, channels, *kernel)
        return patches.reshape(len(places), self.groups, self.inputs).transpose(0, 1)

    def _spread(self, data: torch.Tensor) -> torch.Tensor:
        """The input with zeros between its elements, and with the margins of the plain convolution."""
        pads = []
        for dim, step in enumerate(self.stride, start=2):
            zeros = data.new_zeros((*data.shape[: dim + 1], step - 1, *data.shape[dim + 1 :]))
            length = (data.shape[dim] - 1) * step + 1
            data = torch.cat((data.unsqueeze(dim + 1), zeros), dim + 1).flatten(dim, dim + 1).narrow(dim, 0, length)
        for size, hole, cut, more in zip(self._kernel, self.dilation, self.padding, self.surplus, strict=True):
            margin = hole * (size - 1) - cut
            pads.append((margin, margin + more))
        return F.pad(data, [amount for pair in reversed(pads) for amount in pair])

    def channels(self, output: torch.Tensor) -> torch.Tensor:
        """See `Form`."""
        return output.movedim(1, -1).reshape(-1, output.shape[1])

    def matrix(self, weight: torch.Tensor) -> torch.Tensor:
        """See `Form`."""
        if not self.transposed:
            return weight.reshape(self.groups, self.outputs, self.inputs)
        turned = weight.flip(tuple(range(2, weight.dim())))
        split = turned.reshape(self.groups, -1, self.outputs, *self._kernel).transpose(1, 2)
        return split.reshape(self.groups, self.outputs, self.inputs)


def _pads(padding: Sequence[int]) -> list[int]:
    return [amount for size in reversed(padding) for amount in (size, size)]


@dataclass(frozen=True, slots=True, eq=False)
class Contraction:
    """One operator that multiplies an activation with a parameter.

    Attributes:
        number: Its graph node.
        data: The graph node of the activation.
        weight: The parameter as the operator sees it.
        bias: What the operator itself adds, one value per channel; None where it adds nothing.
        form: Rows and matrix.
    """

    number: int
    data: int
    weight: Seen
    bias: Seen | None
    form: Product | Convolution


Found = Contraction | str | None


Operand = tuple[fx.Node, tuple[str, ...]]
"""A tensor and the names of its dims."""

COMPUTED = "its weight is computed from parameters"


def _product(
    program: Program, node: fx.Node, one: Operand, other: Operand, output: Sequence[str], bias: object
) -> Found:
    """The contraction, when exactly one operand is a parameter and every dim has one size wherever it occurs."""
    parameters = [seen_parameter(program, operand) for operand, _ in (one, other)]
    fixed = [program.is_fixed(operand) for operand, _ in (one, other)]
    if all(fixed) or not any(fixed):
        return None
    data, weight, seen = (other, one, parameters[0]) if fixed[0] else (one, other, parameters[1])
    if seen is None:
        return COMPUTED
    sizes: dict[str, int] = {}
    for tensor, letters in (data, weight, (node, output)):
        for letter, size in zip(letters, tensor.meta["value"].shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                return "its operands are broadcast against each other"
    form = Product(data[1], weight[1], tuple(output), tuple(sizes[x] for x in weight[1]))
    if not form.sound:
        return "its equation is no product of rows and a matrix"
    return _contraction(program, node, data[0], seen, bias, form)


def _contraction(
    program: Program, node: fx.Node, data: fx.Node, weight: Seen, bias: object, form: Product | Convolution
) -> Found:
    added = None if bias is None else seen_parameter(program, bias)
    if bias is not None and (added is None or added.numbers.shape != (form.groups * form.outputs,)):
        return "its bias is no parameter with one value per channel"
    return Contraction(program.numbers[node], program.numbers[data], weight, added, form)


def _linear(program: Program, node: fx.Node) -> Found:
    bound = bind(node.target, node.args, node.kwargs)
    rows = [f"n{i}" for i in range(len(node.meta["value"].shape) - 1)]
    weight = (bound["weight"], ("o", "i"))
    if len(bound["weight"].meta["value"].shape) != 2:
        return "its weight is a vector"
    return _product(program, node, (bound["input"], (*rows, "i")), weight, (*rows, "o"), bound.get("bias"))


def _addmm(program: Program, node: fx.Node) -> Found:
    bound = bind(node.target, node.args, node.kwargs)
    if bound.get("beta", 1) != 1 or bound.get("alpha", 1) != 1:
        return "it scales what it adds"
    return _product(program, node, (bound["mat1"], ("n", "i")), (bound["mat2"], ("i", "o")), ("n", "o"), bound["self"])


def _matmul(program: Program, node: fx.Node) -> Found:
    left, right = (value for value in node.args if isinstance(value, fx.Node))
    ranks = [len(operand.meta["value"].shape) for operand in (left, right)]
    batch = [f"b{i}" for i in reversed(range(max(*ranks, 2) - 2))]
    one = [*batch[len(batch) - (ranks[0] - 2) :], "n", "i"] if ranks[0] > 1 else ["i"]
    other = [*batch[len(batch) - (ranks[1] - 2) :], "i", "o"] if ranks[1] > 1 else ["i"]
    output = [*batch, *(["n"] if ranks[0] > 1 else []), *(["o"] if ranks[1] > 1 else [])]
    return _product(program, node, (left, tuple(one)), (right, tuple(other)), output, None)


def _einsum(program: Program, node: fx.Node) -> Found:
    equation, operands = node.args
    if len(operands) != 2:  # type: ignore[arg-type]
        return "it has more than two operands" if any(map(program.is_fixed, operands)) else None  # type: ignore[arg-type]
    ranks = [len(operand.meta["value"].shape) for operand in operands]  # type: ignore[union-attr]
    inputs, output = parse_equation(str(equation), ranks)
    one, other = zip(operands, map(tuple, inputs), strict=True)  # type: ignore[arg-type]
    return _product(program, node, one, other, output, None)


def _convolution(program: Program, node: fx.Node) -> Found:
    bound = bind(node.target, node.args, node.kwargs)
    if program.is_fixed(bound["input"]):
        return None
    seen = seen_parameter(program, bound["weight"])
    if seen is None:
        return COMPUTED if program.is_fixed(bound["weight"]) else None
    shape = tuple(bound["weight"].meta["value"].shape)
    if len(bound["input"].meta["value"].shape) != len(shape):
        return "its input has no batch dim"
    rank = len(shape) - 2
    stride, padding, dilation, surplus = (
        tuple(values) * (rank if len(values) == 1 else 1)
        for values in (bound["stride"], bound["padding"], bound["dilation"], bound["output_padding"])
    )
    form = Convolution(shape, stride, padding, dilation, bound["groups"], bool(bound["transposed"]), surplus)
    return _contraction(program, node, bound["input"], seen, bound.get("bias"), form)


_READERS: dict[str, Callable[[Program, fx.Node], Found]] = {
    "aten::linear": _linear,
    "aten::addmm": _addmm,
    "aten::mm": _matmul,
    "aten::bmm": _matmul,
    "aten::matmul": _matmul,
    "aten::mv": _matmul,
    "aten::einsum": _einsum,
    "aten::convolution": _convolution,
    "aten::_convolution": _convolution,
}


def contraction(program: Program, number: int) -> Found:
    """How a graph node multiplies an activation with a parameter.

    Returns:
        None where it does not; a text where it does in a way that cannot be put in rows, with the reason.
    """
    node = program.nodes[number]
    reader = _READERS.get(schema_name(node)) if node.op == "call_function" else None
    return None if reader is None else reader(program, node)
