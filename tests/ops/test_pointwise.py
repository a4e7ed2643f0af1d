"""Elementwise operators, one by one, with broadcast operands."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.equivariance import (
    Case,
    broadcastable,
    case,
    check,
    check_drawn,
    floats,
    integers,
    masks,
    one,
    positive,
    shapes,
)
from wsel_graph.ops.pointwise import is_pointwise

aten = torch.ops.aten


def broadcast(op: Any, *makers: Any, rest: tuple[Any, ...] = (), in_place: bool = False) -> st.SearchStrategy[Case]:
    """`op` on operands that broadcast against each other; the first one has the full shape when written to."""

    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        shape = draw(shapes())
        own = [shape if i == 0 and in_place else draw(broadcastable(shape)) for i in range(len(makers))]
        return case(op, *(make(*s) for make, s in zip(makers, own, strict=True)), *rest)

    return draw_case()


def complexes(*shape: int) -> torch.Tensor:
    return torch.complex(floats(*shape), floats(*shape))


@st.composite
def prelus(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=2))
    return case(aten.prelu.default, floats(*shape), floats(draw(st.sampled_from((1, shape[1])))))


CASES: dict[str, st.SearchStrategy[Case]] = {
    "aten::hardswish": broadcast(aten.hardswish_.default, floats),
    "aten::hardsigmoid": broadcast(aten.hardsigmoid.default, floats),
    "aten::hardtanh": broadcast(aten.hardtanh_.default, floats),
    "aten::celu": broadcast(aten.celu.default, floats),
    "aten::rrelu_with_noise": one(
        lambda: case(aten.rrelu_with_noise.default, floats(2, 3), floats(2, 3), 0.1, 0.3, False)
    ),
    "aten::_prelu_kernel": broadcast(aten._prelu_kernel.default, floats, floats, in_place=True),
    "aten::prelu": prelus(),
    "aten::log_sigmoid_forward": broadcast(aten.log_sigmoid_forward.default, floats),
    "aten::masked_fill": st.one_of(
        broadcast(aten.masked_fill.Scalar, floats, masks, rest=(2.0,)),
        broadcast(aten.masked_fill_.Scalar, floats, masks, rest=(2.0,), in_place=True),
        broadcast(aten.masked_fill.Tensor, floats, masks, rest=(torch.tensor(3.0, dtype=torch.float64),)),
    ),
    "aten::where": st.one_of(
        broadcast(aten.where.self, masks, floats, floats),
        broadcast(aten.where.ScalarOther, masks, floats, rest=(0.0,)),
    ),
    "aten::isclose": broadcast(aten.isclose.default, positive, positive, rest=(0.5,)),
    "aten::polar": broadcast(aten.polar.default, positive, floats),
    "aten::complex": broadcast(aten.complex.default, floats, floats),
    "aten::real": broadcast(aten.real.default, complexes),
    "aten::imag": broadcast(aten.imag.default, complexes),
    "aten::true_divide": broadcast(aten.true_divide.Tensor, floats, positive),
    "aten::floor_divide": broadcast(aten.floor_divide.default, floats, positive),
    "aten::__and__": broadcast(aten.__and__.Tensor, masks, masks),
    "aten::__or__": broadcast(aten.__or__.Tensor, masks, masks),
    "aten::__iand__": broadcast(aten.__iand__.Tensor, masks, masks, in_place=True),
    "aten::__ior__": broadcast(aten.__ior__.Tensor, masks, masks, in_place=True),
    "aten::dropout": broadcast(aten.dropout.default, floats, rest=(0.5, False)),
    "aten::alpha_dropout": broadcast(aten.alpha_dropout.default, floats, rest=(0.5, False)),
    "aten::feature_dropout": broadcast(aten.feature_dropout.default, floats, rest=(0.5, False)),
    "aten::native_dropout": broadcast(aten.native_dropout.default, floats, rest=(0.5, False)),
    "aten::contiguous": broadcast(aten.contiguous.default, floats),
    "aten::clone": broadcast(aten.clone.default, floats),
    "aten::_to_copy": broadcast(aten._to_copy.default, floats),
    "aten::detach": broadcast(aten.detach.default, floats),
    "aten::alias": broadcast(aten.alias.default, floats),
    "aten::lift": broadcast(aten.lift.default, floats),
    "aten::lift_fresh": broadcast(aten.lift_fresh.default, floats),
    "aten::copy": st.one_of(
        broadcast(aten.copy.default, floats, floats, in_place=True),
        broadcast(aten.copy_.default, floats, floats, in_place=True),
    ),
    "aten::fill": st.one_of(
        broadcast(aten.fill_.Scalar, floats, rest=(2.0,)),
        broadcast(aten.fill_.Tensor, floats, rest=(torch.tensor(3.0),)),
    ),
    "aten::zero": broadcast(aten.zero_.default, floats),
    "aten::resolve_conj": broadcast(aten.resolve_conj.default, complexes),
    "aten::resolve_neg": broadcast(aten.resolve_neg.default, floats),
    "aten::_conj": broadcast(aten._conj.default, complexes),
    "aten::_neg_view": broadcast(aten._neg_view.default, floats),
    "aten::conj": broadcast(aten.conj.default, complexes),
    "aten::_conj_physical": broadcast(aten._conj_physical.default, complexes),
    "aten::_autocast_to_reduced_precision": broadcast(
        aten._autocast_to_reduced_precision.default, floats, rest=(False, False, torch.bfloat16, torch.bfloat16)
    ),
    "aten::_autocast_to_full_precision": broadcast(
        aten._autocast_to_full_precision.default, floats, rest=(False, False)
    ),
    "aten::_fw_primal": broadcast(aten._fw_primal.default, floats, rest=(0,)),
    "aten::to": st.one_of(
        broadcast(aten.to.dtype, floats, rest=(torch.float64,)),
        broadcast(aten.to.other, floats, floats),
    ),
    "aten::type_as": broadcast(aten.type_as.default, floats, floats),
    "aten::add": st.one_of(
        broadcast(aten.add.Tensor, floats, floats),
        broadcast(aten.add.Scalar, floats, rest=(2,)),
        broadcast(aten.add_.Tensor, floats, floats, in_place=True),
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
@given(data=st.data())
def test_rule_holds(name, data):
    check_drawn(name, CASES, data)


# -- operators that PyTorch tags: every one that runs on one, two or three tensors


def tagged_overloads() -> list[Any]:
    """Functional and in-place overloads with the tag, whose other arguments all have defaults or are numbers."""
    names = sorted({name.split(".")[0] for name in torch._C._dispatch_get_all_op_names() if name.startswith("aten::")})
    found = []
    for name in names:
        packet = getattr(aten, name.removeprefix("aten::"), None)
        overloads = [getattr(packet, o) for o in packet.overloads()] if packet is not None else []
        found += [
            o
            for o in overloads
            if torch.Tag.pointwise in o.tags and "backward" not in name and "out" not in str(o).lower()
        ]
    return found


def _fill_in(op: Any, kind: str) -> Case | None:
    """Arguments by type: tensors of `kind` that broadcast, the number 2 for the others without a default."""
    made: list[Any] = []
    keywords = {}
    for argument in op._schema.arguments:
        text = str(argument.type)
        if text in ("Tensor", "Optional[Tensor]"):
            made.append(_operand(kind, (2, 3, 4) if not made else (3, 1)))
        elif argument.kwarg_only and not argument.has_default_value():
            keywords[argument.name] = _plain(text)
        elif not argument.has_default_value():
            made.append(_plain(text))
        elif text == "Optional[number]":
            made.append(1)
    return case(op, *made, **keywords)


def _plain(text: str) -> Any:
    return "floor" if "str" in text else 2


def _operand(kind: str, shape: tuple[int, ...]) -> torch.Tensor:
    return {"float": positive(*shape), "int": integers(3, *shape) + 1, "bool": masks(*shape)}[kind]


@pytest.mark.parametrize("op", tagged_overloads(), ids=str)
def test_tagged_operators_are_elementwise(op):
    for kind in ("float", "int", "bool"):
        torch.default_generator.manual_seed(0)
        call = _fill_in(op, kind)
        try:
            op(*call.args, **call.kwargs)
        except (RuntimeError, NotImplementedError):
            continue  # not for this type
        check(_fill_in(op, kind))
        return
    pytest.fail(f"{op} ran on no type")


@pytest.mark.parametrize(
    "op",
    [
        pytest.param(aten.rsub.Tensor, id="tag on another overload"),
        pytest.param(aten.eq_.Tensor, id="tag on the functional form"),
        pytest.param(aten.gelu_.default, id="in place"),
        pytest.param(aten.mul.Tensor, id="tagged"),
    ],
)
def test_pointwise_is_recognised(op):
    assert is_pointwise(op)


@pytest.mark.parametrize("op", [aten.cumsum.default, aten.squeeze_.dim, aten.index_put_.default], ids=str)
def test_other_operators_are_not_pointwise(op):
    assert not is_pointwise(op)
