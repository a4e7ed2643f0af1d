"""Views of a whole tensor: reshapes, orders of dims, complex numbers, windows."""

from __future__ import annotations

import math

import torch

from wsel_graph.axes import fixed
from wsel_graph.ops.call import Axes, Axis, Call, Outputs, Value
from wsel_graph.ops.registry import Unsupported, propagates

aten = torch.ops.aten


@propagates(
    aten.view.default, aten._unsafe_view, aten.reshape, aten._reshape_alias, aten.flatten, aten.unflatten, aten.squeeze,
    aten.unsqueeze, aten.ravel, aten.view_as, aten.atleast_1d, aten.atleast_2d, aten.atleast_3d,
)  # fmt: skip
def reshape(call: Call) -> Outputs:
    """Row-major order is kept; only the grouping of dims changes."""
    x: Value = call.tensors[0]
    return tuple(call.solver.reshape(x.axes, call.shape))


@propagates(aten.view.dtype)
def reinterpret(call: Call) -> Outputs:
    """Bytes read as another type: fine when the element size stays."""
    x = call["self"]
    if x.shape != call.shape:
        raise Unsupported("view(dtype) that changes the number of elements")
    return tuple(x.axes)


@propagates(aten.view_as_complex)
def view_as_complex(call: Call) -> Outputs:
    """The last axis holds real and imaginary part."""
    x = call["self"]
    call.unify(x.axes[-1], fixed(2))
    return tuple(x.axes[:-1])


@propagates(aten.view_as_real)
def view_as_real(call: Call) -> Outputs:
    """A last axis of real and imaginary part."""
    return (*call["self"].axes, fixed(2))


@propagates(aten.as_strided)
def as_strided(call: Call) -> Outputs:
    """A row-major reading of all elements of a row-major tensor is a reshape; anything else is not followed.

    PyTorch itself restrides pooled channels-last activations this way.
    """
    x, size, stride = call["self"], call["size"], call["stride"]
    row_major = all(stride[i] == math.prod(size[i + 1 :]) for i in range(len(size)) if size[i] != 1)
    if x.contiguous and row_major and math.prod(size) == math.prod(x.shape) and call["storage_offset"] is None:
        return tuple(call.solver.reshape(x.axes, size))
    call.pin_all(x)
    return call.pinned_axes(call.shape)


# -- order of dims


@propagates(aten.permute)
def permute(call: Call) -> Outputs:
    """Dims in the order given."""
    x = call["self"]
    return tuple(x.axes[dim] for dim in call["dims"])


@propagates(aten.transpose, aten.swapaxes, aten.swapdims)
def transpose(call: Call) -> Outputs:
    """Two dims change places."""
    axes = list(call["self"].axes)
    first, second = list(call.arguments.values())[1:3]
    if axes:
        axes[first], axes[second] = axes[second], axes[first]
    return tuple(axes)


@propagates(aten.t, aten.mT, aten.adjoint, aten.matrix_H, aten.mH)
def transpose_last(call: Call) -> Outputs:
    """The last two dims change places; a vector stays as it is."""
    axes = call["self"].axes
    return (*axes[:-2], *reversed(axes[-2:]))


@propagates(aten.numpy_T)
def reverse(call: Call) -> Outputs:
    """All dims in reverse."""
    return tuple(reversed(call["self"].axes))


@propagates(aten.movedim, aten.moveaxis)
def movedim(call: Call) -> Outputs:
    """Some dims move to new places, the others keep their order."""
    axes = call["self"].axes
    source, target = ([d] if isinstance(d, int) else d for d in list(call.arguments.values())[1:3])
    moved = {t % len(axes): s % len(axes) for s, t in zip(source, target, strict=True)}
    rest = iter(d for d in range(len(axes)) if d not in moved.values())
    return tuple(axes[moved[d] if d in moved else next(rest)] for d in range(len(axes)))


# -- windows


@propagates(aten.unfold)
def unfold(call: Call) -> Outputs:
    """Sliding windows over one dim; the place in the window becomes the last dim."""
    x = call["self"]
    if not x.dim:
        return (call.pinned(call.shape[0], "kernel"),)
    dim = call["dimension"] % x.dim
    windows, kernel = _windows(call, x.axes[dim], call.shape[dim])
    return (*x.axes[:dim], windows, *x.axes[dim + 1 :], kernel)


def _windows(call: Call, axis: Axis, count: int) -> tuple[Axis, Axis]:
    size, step = call["size"], call["step"]
    if size == step or count == 1:  # no overlap: the windows lie side by side
        return call.split(call.span(axis, 0, count * size), size)
    call.pin(axis, "position")
    return call.pinned(count, "position"), call.pinned(size, "kernel")


@propagates(aten.unfold_backward)
def fold(call: Call) -> Outputs:
    """Windows added up where they came from."""
    windows, dim = call["grad_in"], call["dim"]
    axes = list(windows.axes[:-1])
    for axis in (axes[dim], windows.axes[-1]):
        call.pin(axis, "position")
    axes[dim] = call.pinned(call.shape[dim], "position")
    return tuple(axes)


def with_axis(x: Value, dim: int, *replacement: Axis) -> Axes:
    """The axes of `x` with the one at `dim` replaced."""
    dim %= x.dim
    return (*x.axes[:dim], *replacement, *x.axes[dim + 1 :])
