"""Scaled dot product attention: masks, causal order, shared key heads, and the fused forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.equivariance import Case, broadcastable, case, check_drawn, floats, masks, sizes
from tests.ops.notation import said, shown

aten = torch.ops.aten

Operands = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def queries_keys_values(batch: tuple[int, ...], key_batch: tuple[int, ...], dims: tuple[int, ...]) -> Operands:
    length, key_length, width, value_width = dims
    return (
        floats(*batch, length, width),
        floats(*key_batch, key_length, width),
        floats(*key_batch, key_length, value_width),
    )


@st.composite
def attentions(draw: st.DrawFn, op: Any) -> Case:
    batch = draw(st.sampled_from(((), (2,), (2, 3), (3, 2))))
    dims = tuple(draw(sizes) for _ in range(4))
    operands = queries_keys_values(batch, batch, dims)
    kind = draw(st.sampled_from(("none", "causal", "bool", "float")))
    if kind == "causal":
        return case(op, *operands, is_causal=True)
    mask_shape = draw(broadcastable((*batch, *dims[:2])))
    mask = {"none": None, "bool": masks, "float": floats}[kind]
    return case(op, *operands, attn_mask=mask(*mask_shape) if mask is not None and len(mask_shape) >= 2 else None)


@st.composite
def shared_heads(draw: st.DrawFn) -> Case:
    heads, shared, dims = (
        draw(st.sampled_from((1, 2, 3))),
        draw(st.sampled_from((1, 2, 3))),
        [draw(sizes) for _ in range(4)],
    )
    operands = queries_keys_values((2, heads * shared), (2, heads), tuple(dims))
    return case(aten.scaled_dot_product_attention.default, *operands, enable_gqa=True)


@st.composite
def flash_attentions(draw: st.DrawFn) -> Case:
    length, key_length, width = draw(sizes), draw(sizes), draw(sizes)
    operands = queries_keys_values((2, 3), (2, 3), (length, key_length, width, width))
    op = aten._scaled_dot_product_flash_attention_for_cpu.default
    if draw(st.booleans()):
        return case(op, *operands, 0.0, True)
    mask = floats(*draw(st.sampled_from(((length, key_length), (2, 1, length, key_length), (1, 3, 1, key_length)))))
    return case(op, *operands, attn_mask=mask if draw(st.booleans()) else None)


CASES: dict[str, st.SearchStrategy[Case]] = {
    "aten::scaled_dot_product_attention": st.one_of(
        attentions(aten.scaled_dot_product_attention.default), shared_heads()
    ),
    "aten::_scaled_dot_product_attention_math": attentions(aten._scaled_dot_product_attention_math.default),
    "aten::_scaled_dot_product_flash_attention_for_cpu": flash_attentions(),
}


@pytest.mark.parametrize("name", sorted(CASES))
@given(data=st.data())
def test_rule_holds(name, data):
    check_drawn(name, CASES, data)


def attention(*operands: torch.Tensor, **options: Any) -> Case:
    return case(aten.scaled_dot_product_attention.default, *operands, **options)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(
            attention(floats(2, 3, 4, 5), floats(2, 3, 6, 5), floats(2, 3, 6, 7)),
            "a b c d, a b e d, a b e f -> a b c f",
            id="plain",
        ),
        pytest.param(
            attention(floats(2, 3, 4, 5), floats(2, 3, 4, 5), floats(2, 3, 4, 5), is_causal=True),
            "a b C d, a b E d, a b E f -> a b C f",
            id="causal",
        ),
        pytest.param(
            attention(floats(2, 6, 4, 5), floats(2, 3, 7, 5), floats(2, 3, 7, 5), enable_gqa=True),
            "a (b c) d e, a b f e, a b f g -> a (b c) d g",
            id="shared key heads",
        ),
        pytest.param(
            attention(floats(3, 4, 5), floats(3, 6, 5), floats(3, 6, 7), attn_mask=floats(3, 4, 6)),
            "a b c, a d c, a d e, a b d -> a b e",
            id="mask",
        ),
    ],
)
def test_notation(call, expected):
    assert shown(call) == expected


def written_out(x: torch.Tensor, qkv: torch.Tensor, out: torch.Tensor) -> Any:
    query, key, value = (x @ qkv.t()).reshape(2, 5, 3, 4, 6).permute(2, 0, 3, 1, 4).unbind(0)
    weights = (query @ key.transpose(-2, -1)).softmax(-1)
    return (weights @ value).transpose(1, 2).reshape(2, 5, 24) @ out.t()


def test_written_out_attention():
    assert said(written_out, (2, 5, 7), (72, 7), (7, 24)) == "a b c, (3 d e) c, f (d e) -> a b f"
