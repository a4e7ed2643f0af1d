"""Linear layers, matrix products, einsum, distances."""

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
    dim_of,
    floats,
    shapes,
    sizes,
)
from tests.ops.notation import said, shown

aten = torch.ops.aten


@st.composite
def linears(draw: st.DrawFn) -> Case:
    lead, k, n = draw(shapes(max_dims=3)), draw(sizes), draw(sizes)
    if draw(st.integers(0, 5)) == 0:
        return case(aten.linear.default, floats(*lead, k), floats(k))
    return case(aten.linear.default, floats(*lead, k), floats(n, k), floats(n) if draw(st.booleans()) else None)


@st.composite
def matmuls(draw: st.DrawFn) -> Case:
    batch, n, k, m = draw(shapes(max_dims=2)), *(draw(sizes) for _ in range(3))
    left = draw(st.sampled_from([(k,), (n, k), (*draw(broadcastable(batch)), n, k)]))
    right = draw(st.sampled_from([(k,), (k, m), (*draw(broadcastable(batch)), k, m)]))
    return case(aten.matmul.default, floats(*left), floats(*right))


def product(op: Any, pattern: str, make: Any = floats, **named: Any) -> st.SearchStrategy[Case]:
    """`op` on tensors whose dims are named by letters: equal letters have equal sizes."""

    def build(drawn: dict[str, int]) -> Case:
        return case(op, *(make(*(drawn[letter] for letter in term)) for term in pattern.split()), **named)

    return st.fixed_dictionaries(dict.fromkeys(sorted(set(pattern) - {" "}), sizes)).map(build)


def plus_product(op: Any, shape: str, pattern: str) -> st.SearchStrategy[Case]:
    """`op(addend, left, right)`; the addend broadcasts to `shape`."""

    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        sized = {letter: draw(sizes) for letter in sorted(set(shape + pattern) - {" "})}
        addend = draw(broadcastable(tuple(sized[letter] for letter in shape)))
        return case(op, floats(*addend), *(floats(*(sized[letter] for letter in term)) for term in pattern.split()))

    return draw_case()


def int8(*shape: int) -> torch.Tensor:
    return torch.randint(-3, 4, shape, dtype=torch.int8)


def small_bfloat16(*shape: int) -> torch.Tensor:
    """Integers small enough for sums of products to be exact."""
    return torch.randint(-2, 3, shape).bfloat16()


@st.composite
def grouped_products(draw: st.DrawFn) -> Case:
    ranks = draw(st.sampled_from([(3, 3), (2, 3), (3, 2), (2, 2)]))
    groups, n, k, m = draw(st.sampled_from((1, 2, 3))), *(8 * draw(st.sampled_from((1, 2))) for _ in range(3))
    if ranks == (3, 3):
        return case(aten._grouped_mm.default, small_bfloat16(groups, n, k), small_bfloat16(groups, k, m))
    length = {(2, 3): n, (3, 2): m, (2, 2): k}[ranks]
    ends = torch.tensor([*(i * length // groups for i in range(1, groups)), length], dtype=torch.int32)
    left = (n, k) if ranks[0] == 2 else (groups, n, k)
    right = (k, m) if ranks[1] == 2 else (groups, k, m)
    return case(aten._grouped_mm.default, small_bfloat16(*left), small_bfloat16(*right), ends)


EQUATIONS = (
    "ii->i",
    "ii",
    "iji,j->ij",
    "ij,jk->ik",
    "bij,bjk->bik",
    "bhid,bhjd->bhij",
    "ij,jk",
    "ij->ji",
    "ij->",
    "ij->j",
    "...i,oi->...o",
    "...ij,...jk->...ik",
    "i...,i...->...",
    "b...,b->...b",
    "ij,ij->",
    "i,j->ij",
    "ijk,jl,kl->il",
    " b i j , b j -> b i",
    "...,...->...",
    "Bj,jA",
    "a...b,b...c",
)


@st.composite
def einsums(draw: st.DrawFn) -> Case:
    equation = draw(st.sampled_from(EQUATIONS))
    sized = {letter: draw(sizes) for letter in sorted({x for x in equation if x.isalpha()})}
    dots = draw(shapes(max_dims=2))
    operands = []
    for term in equation.replace(" ", "").split("->")[0].split(","):
        before, _, after = term.partition("...")
        middle = draw(broadcastable(dots)) if "..." in term else ()
        own_sizes = {
            letter: 1 if draw(st.integers(0, 7)) == 0 else sized[letter] for letter in dict.fromkeys(before + after)
        }
        own = [own_sizes[letter] for letter in before + after]  # an axis of size 1 broadcasts
        operands.append(floats(*own[: len(before)], *middle, *own[len(before) :]))
    return case(aten.einsum.default, equation, operands)


@st.composite
def vecdots(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1))
    return case(aten.linalg_vecdot.default, floats(*shape), floats(*shape), dim=draw(dim_of(len(shape))))


@st.composite
def distances(draw: st.DrawFn, op: Any, *rest: Any) -> Case:
    batch, n, m, k = draw(shapes(max_dims=2)), *(draw(sizes) for _ in range(3))
    other = draw(broadcastable(batch)) if op is aten.cdist.default else batch
    return case(op, floats(*batch, n, k), floats(*other, m, k), *rest)


@st.composite
def bilinears(draw: st.DrawFn) -> Case:
    lead, i, j, o = draw(shapes(max_dims=2)), *(draw(sizes) for _ in range(3))
    return case(
        aten.bilinear.default,
        floats(*lead, i),
        floats(*lead, j),
        floats(o, i, j),
        floats(o) if draw(st.booleans()) else None,
    )


CASES: dict[str, st.SearchStrategy[Case]] = {
    "aten::linear": linears(),
    "aten::matmul": matmuls(),
    "aten::mm": product(aten.mm.default, "nk km"),
    "aten::bmm": product(aten.bmm.default, "bnk bkm"),
    "aten::mv": product(aten.mv.default, "nk k"),
    "aten::dot": product(aten.dot.default, "k k"),
    "aten::vdot": product(aten.vdot.default, "k k"),
    "aten::_int_mm": product(aten._int_mm.default, "nk km", int8),
    "aten::addmm": st.one_of(plus_product(aten.addmm.default, "nm", "nk km"), product(aten.addmm_.default, "nm nk km")),
    "aten::baddbmm": st.one_of(
        plus_product(aten.baddbmm.default, "bnm", "bnk bkm"), product(aten.baddbmm_.default, "bnm bnk bkm")
    ),
    "aten::addmv": plus_product(aten.addmv.default, "n", "nk k"),
    "aten::_addmm_activation": plus_product(aten._addmm_activation.default, "nm", "nk km"),
    "aten::addbmm": plus_product(aten.addbmm.default, "nm", "bnk bkm"),
    "aten::_grouped_mm": grouped_products(),
    "aten::outer": product(aten.outer.default, "n m"),
    "aten::ger": product(aten.ger.default, "n m"),
    "aten::addr": plus_product(aten.addr.default, "nm", "n m"),
    "aten::linalg_vecdot": vecdots(),
    "aten::_pdist_forward": product(aten._pdist_forward.default, "nk"),
    "aten::cdist": distances(aten.cdist.default),
    "aten::_cdist_forward": distances(aten._cdist_forward.default, 1.0, None),
    "aten::_euclidean_dist": distances(aten._euclidean_dist.default),
    "aten::bilinear": bilinears(),
    "aten::_trilinear": product(
        aten._trilinear.default, "ni oij nj", expand1=[1, 3], expand2=[0], expand3=[1, 2], sumdim=[2, 3]
    ),
    "aten::einsum": einsums(),
}


@pytest.mark.parametrize("name", sorted(CASES))
@given(data=st.data())
def test_rule_holds(name, data):
    check_drawn(name, CASES, data)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(
            case(aten.linear.default, floats(2, 3), floats(4, 3), floats(4)), "a b, c b, c -> a c", id="linear"
        ),
        pytest.param(
            case(aten.matmul.default, floats(2, 1, 3, 4), floats(5, 4, 6)), "a 1 b c, d c e -> a d b e", id="matmul"
        ),
        pytest.param(case(aten.matmul.default, floats(4), floats(5, 4, 6)), "a, b a c -> b c", id="vector first"),
        pytest.param(
            case(aten.addbmm.default, floats(3, 4), floats(2, 3, 5), floats(2, 5, 4)),
            "a b, c a d, c d b -> a b",
            id="addbmm",
        ),
        pytest.param(
            case(aten.einsum.default, "bhid,bhjd->bhij", [floats(2, 3, 4, 5), floats(2, 3, 6, 5)]),
            "a b c d, a b e d -> a b c e",
            id="attention",
        ),
        pytest.param(case(aten.einsum.default, "ii->i", [floats(3, 3)]), "a a -> a", id="diagonal"),
        pytest.param(case(aten.cdist.default, floats(3, 4), floats(5, 4)), "a b, c b -> a c", id="cdist"),
        pytest.param(
            case(
                aten._grouped_mm.default,
                small_bfloat16(8, 16),
                small_bfloat16(2, 16, 32),
                torch.tensor([4, 8], dtype=torch.int32),
            ),
            "A b, C b d, E -> A d",
            id="experts",
        ),
    ],
)
def test_notation(call, expected):
    assert shown(call) == expected


def tensordot(x: torch.Tensor, y: torch.Tensor) -> Any:
    return torch.tensordot(x, y, dims=([2, 0], [0, 1]))


def kronecker(x: torch.Tensor, y: torch.Tensor) -> Any:
    return torch.kron(x, y)


def expert_mixture(x: torch.Tensor, up: torch.Tensor, down: torch.Tensor, router: torch.Tensor) -> Any:
    weights = (x @ router).softmax(-1)
    hidden = torch.einsum("td,edf->tef", x, up).relu()
    return torch.einsum("tef,efd,te->td", hidden, down, weights)


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        pytest.param(tensordot, [(2, 3, 4), (4, 2, 5)], "a b c, c a d -> b d", id="tensordot"),
        pytest.param(kronecker, [(2, 3), (4, 5)], "a b, c d -> (a c) (b d)", id="kron"),
        pytest.param(
            expert_mixture, [(6, 4), (3, 4, 5), (3, 5, 4), (4, 3)], "a b, c b d, c d e, b c -> a e", id="dense experts"
        ),
    ],
)
def test_chains(function, shapes, expected):
    assert said(function, *shapes) == expected


def test_products_into_a_given_tensor():
    check(case(aten.mm.out, floats(2, 3), floats(3, 4), out=floats(2, 4)))
    assert shown(case(aten.mm.out, floats(2, 3), floats(3, 4), out=floats(2, 4))) == "a b, b c, a c -> a c"
