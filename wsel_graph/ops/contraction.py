"""Sums of products: linear layers, matrix products, `einsum`."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from wsel_graph.ops.call import UNIT, Axes, Axis, Call, Outputs, Value
from wsel_graph.ops.registry import Unsupported, propagates

aten = torch.ops.aten


def contract(call: Call, left: Axis, right: Axis) -> None:
    """The two axes are multiplied elementwise and summed."""
    call.unify(left, right)
    call.consume(left)


@propagates(aten.linear)
def linear(call: Call) -> Outputs:
    """`... i, o i, o -> ... o`."""
    x, weight, bias = call["input"], call["weight"], call["bias"]
    contract(call, x.axes[-1], weight.axes[-1])
    out = (*x.axes[:-1], *weight.axes[:-1])
    return out if bias is None else call.broadcast(out, bias.axes)


def matrix_product(call: Call, left: Value, right: Value) -> Axes:
    """`... n k, ... k m -> ... n m`, with one-dimensional operands as in `torch.matmul`."""
    a: Sequence[Axis] = left.axes if left.dim > 1 else (UNIT, *left.axes)
    b: Sequence[Axis] = right.axes if right.dim > 1 else (*right.axes, UNIT)
    contract(call, a[-1], b[-2])
    batch = call.broadcast(a[:-2], b[:-2])
    if batch and not (left.state or right.state):
        _name_attention(call, batch, a, b)
    rows = a[-2:-1] if left.dim > 1 else ()
    columns = b[-1:] if right.dim > 1 else ()
    return (*batch, *rows, *columns)


def _name_attention(call: Call, batch: Axes, a: Sequence[Axis], b: Sequence[Axis]) -> None:
    """A batched product of two activations is how attention is written out."""
    for axis in batch:
        call.role(axis, "heads")
    for axis in (a[-1], b[-1]):
        call.role(axis, "head_dim")


@propagates(aten.matmul, aten.mm, aten.bmm, aten.mv, aten.dot, aten.vdot, aten._int_mm)
def product_of_two(call: Call) -> Outputs:
    """The two tensor operands in order."""
    left, right = call.tensors
    return matrix_product(call, left, right)


@propagates(aten.addmm, aten.baddbmm, aten.addmv, aten._addmm_activation)
def add_product(call: Call) -> Outputs:
    """`self + left @ right`, `self` broadcast."""
    addend, left, right = call.tensors
    return call.broadcast(matrix_product(call, left, right), addend.axes)


@propagates(aten.addbmm)
def add_summed_product(call: Call) -> Outputs:
    """`self + sum over the batch of left @ right`."""
    addend, left, right = call.tensors
    result = matrix_product(call, left, right)
    call.consume(result[0])
    return call.broadcast(result[1:], addend.axes)


@propagates("aten::_grouped_mm")
def grouped_product(call: Call) -> Outputs:
    """Products per group; where a stack of matrices is flattened, `offs` says where each group ends."""
    left, right, offsets, bias = call["self"], call["mat2"], call["offs"], call["bias"]
    if offsets is None:
        return matrix_product(call, left, right)
    if bias is not None:
        raise Unsupported("grouped matrix product with a bias")
    contract(call, left.axes[-1], right.axes[-2])
    group = _pin_groups(call, left, right, offsets)
    return (*group, left.axes[-2], right.axes[-1])


def _pin_groups(call: Call, left: Value, right: Value, offsets: Value) -> Axes:
    """Pin what `offs` cuts and counts; the axis of groups where the result has one."""
    flattened = {(2, 3): left.axes[0], (3, 2): right.axes[1], (2, 2): left.axes[1]}[left.dim, right.dim]
    stacks = [value.axes[0] for value in (left, right) if value.dim == 3]
    for axis in (flattened, offsets.axes[0], *stacks):
        call.pin(axis, "opaque")
    return () if stacks else (offsets.axes[0],)


@propagates(aten.outer, aten.ger)
def outer(call: Call) -> Outputs:
    """`n, m -> n m`."""
    left, right = call.tensors
    return (*left.axes, *right.axes)


@propagates(aten.addr)
def add_outer(call: Call) -> Outputs:
    """`self + outer(n, m)`, `self` broadcast."""
    addend, left, right = call.tensors
    return call.broadcast((*left.axes, *right.axes), addend.axes)


@propagates(aten.linalg_vecdot)
def vecdot(call: Call) -> Outputs:
    """Elementwise product summed over one dim."""
    axes = list(call.broadcast(call["x"].axes, call["y"].axes))
    call.consume(axes.pop(call["dim"]))
    return tuple(axes)


@propagates(aten._pdist_forward)
def distances_within(call: Call) -> Outputs:
    """`n k -> n (n - 1) / 2`: the pairs are taken in order."""
    x = call["self"]
    call.pin(x.axes[0], "opaque")
    call.consume(x.axes[1])
    return call.pinned_axes(call.shape)


@propagates(aten.cdist, aten._cdist_forward, aten._euclidean_dist)
def distances(call: Call) -> Outputs:
    """`... n k, ... m k -> ... n m`."""
    x, y = call.tensors[:2]
    contract(call, x.axes[-1], y.axes[-1])
    return (*call.broadcast(x.axes[:-2], y.axes[:-2]), x.axes[-2], y.axes[-2])


@propagates(aten.bilinear)
def bilinear(call: Call) -> Outputs:
    """`... i, ... j, o i j, o -> ... o`."""
    x, y, weight, bias = call["input1"], call["input2"], call["weight"], call["bias"]
    contract(call, x.axes[-1], weight.axes[1])
    contract(call, y.axes[-1], weight.axes[2])
    if bias is not None:
        call.unify(bias.axes[0], weight.axes[0])
    return (*call.broadcast(x.axes[:-1], y.axes[:-1]), weight.axes[0])


@propagates(aten._trilinear)
def trilinear(call: Call) -> Outputs:
    """Product of three tensors, unsqueezed at given dims, summed over given dims (how `bilinear` is taken apart)."""
    operands = []
    for value, places in zip(call.tensors, (call["expand1"], call["expand2"], call["expand3"]), strict=True):
        axes = list(value.axes)
        for place in sorted(places):
            axes.insert(place, UNIT)
        operands.append(axes)
    axes = list(call.broadcast(*operands))
    summed = {dim % len(axes) for dim in call["sumdim"]}
    call.consume(*(axes[dim] for dim in summed))
    return tuple(axis for dim, axis in enumerate(axes) if dim not in summed)


@propagates(aten.einsum)
def einsum(call: Call) -> Outputs:
    """The equation names the axes."""
    inputs, output = parse_equation(call["equation"], [value.dim for value in call["tensors"]])
    named: dict[str, Axis] = {}
    for letters, value in zip(inputs, call["tensors"], strict=True):
        for letter, axis in zip(letters, value.axes, strict=True):
            if named.get(letter, UNIT).size == 1:
                named[letter] = axis
            elif axis.size != 1:
                call.unify(named[letter], axis)
    call.consume(*(axis for letter, axis in named.items() if letter not in output))
    _name_einsum_attention(call, inputs, output, named)
    return tuple(named[letter] for letter in output)


def _name_einsum_attention(call: Call, inputs: list[list[str]], output: list[str], named: dict[str, Axis]) -> None:
    values = call["tensors"]
    if len(values) != 2 or values[0].state or values[1].state:
        return
    shared = set(inputs[0]) & set(inputs[1])
    for letter in named:
        if letter in shared:
            call.role(named[letter], "heads" if letter in output else "head_dim")


def parse_equation(equation: str, ranks: list[int]) -> tuple[list[list[str]], list[str]]:
    """Letters per operand and of the output; an ellipsis becomes letters `.0`, `.1`, ... counted from the right."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    inputs = [_letters(term, rank) for term, rank in zip(left.split(","), ranks, strict=True)]
    counts = [letter for letters in inputs for letter in letters]
    dots = sorted({letter for letter in counts if letter.startswith(".")}, key=lambda name: -int(name[1:]))
    if arrow:
        return inputs, _expand_dots(right, dots)
    return inputs, dots + sorted({x for x in counts if counts.count(x) == 1 and not x.startswith(".")})


def _letters(term: str, rank: int) -> list[str]:
    missing = rank - len(term.replace("...", ""))
    return _expand_dots(term, [f".{i}" for i in reversed(range(missing))])


def _expand_dots(term: str, dots: list[str]) -> list[str]:
    before, ellipsis, after = term.partition("...")
    return [*before, *(dots if ellipsis else []), *after]
