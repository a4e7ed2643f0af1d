"""Propagation rules: per operator, how the axes of its outputs follow from the axes of its inputs."""

from wsel_graph.ops import (
    attention,
    contraction,
    convolution,
    factory,
    indexing,
    joins,
    normalization,
    order,
    parts,
    pointwise,
    recurrent,
    reduction,
    spatial,
    spectral,
    values,
    views,
)
from wsel_graph.ops.call import Axes as Axes
from wsel_graph.ops.call import Call as Call
from wsel_graph.ops.call import Outputs as Outputs
from wsel_graph.ops.call import Value as Value
from wsel_graph.ops.registry import Unsupported as Unsupported
from wsel_graph.ops.registry import find_rule as find_rule
from wsel_graph.ops.registry import propagates as propagates
from wsel_graph.ops.registry import qualified_name as qualified_name

FAMILIES = (
    attention, contraction, convolution, factory, indexing, joins, normalization, order, parts,
    pointwise, recurrent, reduction, spatial, spectral, values, views,
)  # fmt: skip
"""The modules that hold the built-in rules; importing them registers the rules."""
