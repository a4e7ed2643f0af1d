"""Linears on unfolded patches, seen as the convolutions that they are."""

from __future__ import annotations

import itertools

from wsel_graph.axes import children
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.matching.sides import Side


def unfolded_patches(graph: ModelGraph, side: Side, rank: int) -> Side | None:
    """A linear on unfolded patches as a convolution has it: (out, channel, height, width), as far as these exist.

    Which factor of the input axis is which follows from the dims of the model's input that they come from; the
    kernel dims of `unfold` (im2col) come in the order of the spatial dims.
    """
    if len(side.dims) != 2 or side.rows is not None or side.tails or side.at or rank < 3:
        return None
    out, into = side.dims
    factors = children(graph.tensors[side.tensor].axes[into])
    kernels = itertools.count(2)
    origins = [next(kernels) if graph.pins_on(factor) == {"kernel"} else graph.input_dim(factor) for factor in factors]
    known = [origin for origin in origins if origin is not None]
    if len(factors) != rank - 1 or len(set(known)) < len(factors):
        return None
    order = sorted(range(len(factors)), key=lambda place: known[place])
    shift = len(factors) - 1 if into < out else 0
    dims = (out + shift, *(into + place for place in order))
    return Side(side.tensor, dims, split=(into, tuple(factor.size for factor in factors)))
