"""Scaled dot product attention: `... h l e, ... h s e, ... h s v -> ... h l v`."""

from __future__ import annotations

import torch

from wsel_graph.ops.call import Axes, Axis, Call, Outputs, Value
from wsel_graph.ops.contraction import contract
from wsel_graph.ops.registry import propagates

aten = torch.ops.aten


@propagates(
    aten.scaled_dot_product_attention, aten._scaled_dot_product_flash_attention_for_cpu,
    aten._scaled_dot_product_flash_attention, aten._scaled_dot_product_efficient_attention,
    aten._scaled_dot_product_cudnn_attention, aten._scaled_dot_product_attention_math,
    aten._scaled_dot_product_fused_attention_overrideable,
)  # fmt: skip
def scaled_dot_product_attention(call: Call) -> Outputs:
    """Queries meet keys over `e`; weights meet values over `s`; heads run along."""
    query, key, value = call["query"], call["key"], call["value"]
    contract(call, query.axes[-1], key.axes[-1])
    contract(call, key.axes[-2], value.axes[-2])
    keys, values = (_per_query_head(call, query, other) for other in (key, value))
    batch = call.broadcast(query.axes[:-2], keys, values)
    if call.get("is_causal", False):
        for axis in (query.axes[-2], key.axes[-2]):
            call.pin(axis, "position")
    if call.get("dropout_p"):  # a random mask over heads, queries and keys, whatever the mode
        call.anchor(*batch, query.axes[-2], key.axes[-2])
    mask = call.get("attn_mask", call.get("attn_bias"))
    if isinstance(mask, Value):
        call.broadcast((*batch, query.axes[-2], key.axes[-2]), mask.axes)
    for axis in batch[1:]:
        call.role(axis, "heads")
    call.role(query.axes[-1], "head_dim")
    call.role(value.axes[-1], "head_dim")
    output = (*batch, query.axes[-2], value.axes[-1])
    return [output, *(_statistics(call, output, shape, key.axes[-2]) for shape in call.shapes[1:])]


def _statistics(call: Call, output: Axes, shape: tuple[int, ...], keys: Axis) -> Axes:
    """One number per query (`logsumexp`), or per query and key (the weights); else random state and the like."""
    for axes in (output[:-1], (*output[:-1], keys)):
        if shape == tuple(axis.size for axis in axes):
            return axes
    return call.pinned_axes(shape)


def _per_query_head(call: Call, query: Value, other: Value) -> Axes:
    """Batch axes of keys or values; with grouped queries, `(heads rep)` stands for each shared head."""
    axes = list(other.axes[:-2])
    if call.get("enable_gqa", False) and axes[-1].size != query.axes[-3].size:
        heads, _ = call.split(query.axes[-3], query.axes[-3].size // axes[-1].size)
        call.unify(heads, axes[-1])
        axes[-1] = query.axes[-3]
    return tuple(axes)
