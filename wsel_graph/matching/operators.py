"""What the component graph makes of every operator: a component, a join, or nothing but an edge.

Sources: the schemas of PyTorch's ATen operators (`torch.ops.aten.*._schema`).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch

from wsel_graph.ops.pointwise import is_pointwise


@dataclass(frozen=True, slots=True)
class Form:
    """A component: its label, the argument that carries data, and the parameter slots by argument name."""

    label: str
    data: str
    slots: tuple[tuple[str, str], ...]  # argument, slot


def _form(label: str, data: str, *arguments: str, **renamed: str) -> Form:
    return Form(label, data, (*((name, name) for name in arguments), *renamed.items()))


_STATISTICS = ("weight", "bias", "running_mean", "running_var")
_BATCH_NORM = _form("batch_norm", "input", *_STATISTICS)
_CONV = _form("conv", "input", "weight", "bias")
_NORM = _form("norm", "input", "weight", "bias")

FORMS: dict[str, Form] = {
    "aten::linear": _form("linear", "input", "weight", "bias"),
    "aten::addmm": _form("linear", "mat1", mat2="weight", self="bias"),
    "aten::convolution": _CONV,
    "aten::_convolution": _CONV,
    "aten::native_layer_norm": _NORM,
    "aten::layer_norm": _NORM,
    "aten::rms_norm": _NORM,
    "aten::_fused_rms_norm": _NORM,
    "aten::native_group_norm": _NORM,
    "aten::group_norm": _NORM,
    "aten::instance_norm": _BATCH_NORM,
    "aten::native_batch_norm": _BATCH_NORM,
    "aten::batch_norm": _BATCH_NORM,
    "aten::_native_batch_norm_legit": _BATCH_NORM,
    "aten::_native_batch_norm_legit_no_training": _BATCH_NORM,
    "aten::_batch_norm_no_update": _BATCH_NORM,
    "aten::cudnn_batch_norm": _BATCH_NORM,
    "aten::embedding": _form("embedding", "indices", "weight"),
    "aten::lstm": _form("recurrent", "input"),
    "aten::gru": _form("recurrent", "input"),
    "aten::rnn_tanh": _form("recurrent", "input"),
    "aten::rnn_relu": _form("recurrent", "input"),
}
"""Operators that always are components."""

PRODUCTS = frozenset({"aten::matmul", "aten::mm", "aten::bmm", "aten::mv", "aten::einsum", "aten::baddbmm"})
"""Contractions: of two activations a join, of an activation and a parameter a linear component."""

SUMS_OF_PRODUCTS = frozenset({"aten::addcmul", "aten::addcmul_"})
"""A sum of an operand and the product of two others."""

MIXES = frozenset({"aten::lerp", "aten::lerp_"})
"""A weighted sum of two operands."""

CUTS = frozenset(
    {
        "aten::slice", "aten::narrow", "aten::select", "aten::split", "aten::split_with_sizes", "aten::chunk",
        "aten::tensor_split", "aten::unbind", "aten::unsafe_split", "aten::unsafe_chunk", "aten::glu",
        "aten::unsafe_split_with_sizes",
    }
)  # fmt: skip
"""Operators that take a part of their input."""

_SAME_PLACE = frozenset({"aten::clone", "aten::contiguous", "aten::_to_copy", "aten::lift_fresh", "aten::dropout"})
_RESHAPES = frozenset({"aten::_unsafe_view", "aten::reshape"})
_ADDITIVE = frozenset({"aten::add", "aten::sub", "aten::add_", "aten::sub_", "aten::rsub"})
_MULTIPLICATIVE = frozenset({"aten::mul", "aten::div", "aten::mul_", "aten::div_", "aten::true_divide"})
_LINEAR = _ADDITIVE | _MULTIPLICATIVE | SUMS_OF_PRODUCTS | MIXES | frozenset(
    {
        "aten::neg", "aten::where", "aten::masked_fill", "aten::masked_fill_", "aten::copy_", "aten::copy",
        "aten::dropout", "aten::clamp", "aten::fill_", "aten::zero_",
    }
)  # fmt: skip
_NORMALISES = ("rsqrt", "var", "var_mean", "std", "std_mean", "norm", "linalg_vector_norm", "native_layer_norm")
_SAME_ACTIVATION = {"silu": "sigmoid", "hardswish": "hardsigmoid", "log_sigmoid_forward": "sigmoid"}


def name_of(op: Any) -> str:
    """`aten::linear`, without the overload; the operator's text when it has no schema."""
    schema = getattr(op, "_schema", None)
    return str(schema.name) if schema is not None else str(op)


def is_factory(name: str) -> bool:
    """Whether an operator takes no more than shape and type from its operand."""
    return name.startswith("aten::new_") or name.endswith("_like")


def operand_word(name: str, place: int) -> str:
    """How a parameter goes through an operator: its name, and its place where operands may not be exchanged."""
    return join_label(name) if commutes(name) else f"{name} {place}"


def commutes(name: str) -> bool:
    """Whether the operands of an operator may be exchanged."""
    return name in ("aten::add", "aten::add_", "aten::mul", "aten::mul_")


def join_label(name: str) -> str:
    """What a join of several activations is called: signs and the in-place form do not matter."""
    if name in _ADDITIVE:
        return "add"
    if name in _MULTIPLICATIVE:
        return "mul"
    return name.partition("::")[2].removesuffix("_")


def is_additive(name: str) -> bool:
    """Whether an operator sums its operands."""
    return name in _ADDITIVE


def is_multiplicative(name: str) -> bool:
    """Whether an operator multiplies its operands element by element."""
    return name in _MULTIPLICATIVE


@functools.lru_cache(maxsize=4096)
def is_layout(op: Any) -> bool:
    """Whether an operator only rearranges, cuts or copies the elements of its first operand."""
    name = name_of(op)
    if name in _SAME_PLACE or name in _RESHAPES or name in CUTS:
        return True
    schema = getattr(op, "_schema", None)
    alias = [a.alias_info for a in schema.arguments if a.alias_info is not None] if schema is not None else []
    return bool(alias) and not any(info.is_write for info in alias)


def keeps_place(name: str) -> bool:
    """Whether a layout operator leaves every element where it is, so that it need not be run."""
    return name in _SAME_PLACE


@functools.lru_cache(maxsize=4096)
def tags_of(op: Any) -> frozenset[str]:
    """What passing through an operator says about an edge: `norm`, `act`, and names that tell operands apart."""
    name = name_of(op)
    short = name.partition("::")[2].removesuffix("_")
    if short in _NORMALISES:
        return frozenset({"norm"})
    if name in _LINEAR or is_layout(op):
        return frozenset({"neg"}) if short == "neg" else frozenset()
    if not is_pointwise_op(op) and short not in _SAME_ACTIVATION:
        return frozenset({short})
    return frozenset({"act", _SAME_ACTIVATION.get(short, short)})


def operand_tags(name: str, argument: str) -> frozenset[str]:
    """How an operator takes an operand: what is subtracted or divided by is told from what is not."""
    subtracted = "other" if "sub" in name and "rsub" not in name else "self"
    if name in _ADDITIVE and "sub" in name and argument == subtracted:
        return frozenset({"neg"})
    return frozenset({"inverse"}) if name in _MULTIPLICATIVE and "div" in name and argument == "other" else frozenset()


def is_pointwise_op(op: Any) -> bool:
    """Whether an operator is elementwise."""
    return getattr(op, "_schema", None) is not None and is_pointwise(op) and torch.Tag.inplace_view not in op.tags
