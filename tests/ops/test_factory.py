"""Tensors made in the forward pass: equal elements are free, values of their own are anchored."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.equivariance import Case, broadcastable, case, check_drawn, floats, one, positive, shapes, sizes
from tests.ops.notation import said, shown

aten = torch.ops.aten


def of_shape(op: Any, *rest: Any) -> st.SearchStrategy[Case]:
    return shapes().map(lambda s: case(op, list(s), *rest))


def like(op: Any, *rest: Any, make: Any = floats) -> st.SearchStrategy[Case]:
    return shapes().map(lambda s: case(op, make(*s), *rest))


def new(op: Any, *rest: Any) -> st.SearchStrategy[Case]:
    return st.tuples(shapes(), shapes()).map(lambda s: case(op, floats(*s[0]), list(s[1]), *rest))


def counted(op: Any, *rest: Any) -> st.SearchStrategy[Case]:
    return sizes.map(lambda n: case(op, n, *rest))


def paired(op: Any) -> st.SearchStrategy[Case]:
    return shapes().flatmap(
        lambda s: st.tuples(broadcastable(s), broadcastable(s)).map(lambda p: case(op, floats(*p[0]), positive(*p[1])))
    )


VALUE_CASES: dict[str, st.SearchStrategy[Case]] = {
    "aten::zeros": of_shape(aten.zeros.default),
    "aten::ones": of_shape(aten.ones.default),
    "aten::full": of_shape(aten.full.default, 2.0),
    "aten::scalar_tensor": one(lambda: case(aten.scalar_tensor.default, 2.0)),
    "aten::zeros_like": like(aten.zeros_like.default),
    "aten::ones_like": like(aten.ones_like.default),
    "aten::full_like": like(aten.full_like.default, 2.0),
    "aten::new_zeros": new(aten.new_zeros.default),
    "aten::new_ones": new(aten.new_ones.default),
    "aten::new_full": new(aten.new_full.default, 2.0),
    "aten::arange": counted(aten.arange.default),
    "aten::linspace": sizes.map(lambda n: case(aten.linspace.default, 0, 1, n)),
    "aten::logspace": sizes.map(lambda n: case(aten.logspace.default, 0, 1, n)),
    "aten::range": counted(aten.range.step, 8),
    "aten::tril_indices": counted(aten.tril_indices.default, 3),
    "aten::triu_indices": counted(aten.triu_indices.default, 3),
    "aten::fft_fftfreq": counted(aten.fft_fftfreq.default),
    "aten::fft_rfftfreq": counted(aten.fft_rfftfreq.default),
    "aten::hann_window": counted(aten.hann_window.default),
    "aten::hamming_window": counted(aten.hamming_window.default),
    "aten::blackman_window": counted(aten.blackman_window.default),
    "aten::bartlett_window": counted(aten.bartlett_window.default),
    "aten::kaiser_window": counted(aten.kaiser_window.default),
    "aten::rand": of_shape(aten.rand.default),
    "aten::randn": of_shape(aten.randn.default),
    "aten::randint": shapes().map(lambda s: case(aten.randint.default, 9, list(s))),
    "aten::randperm": counted(aten.randperm.default),
    "aten::rand_like": like(aten.rand_like.default),
    "aten::randn_like": like(aten.randn_like.default),
    "aten::randint_like": like(aten.randint_like.default, 9),
    "aten::normal": st.one_of(
        paired(aten.normal.Tensor_Tensor),
        like(aten.normal_.default),
        of_shape(aten.normal.float_float).map(lambda c: case(aten.normal.float_float, 0.0, 1.0, c.args[0])),
    ),
    "aten::normal_functional": like(aten.normal_functional.default),
    "aten::uniform": like(aten.uniform_.default),
    "aten::exponential": like(aten.exponential_.default),
    "aten::random": like(aten.random_.to, 9),
    "aten::bernoulli": st.one_of(
        like(aten.bernoulli.default, make=lambda *s: torch.rand(s)), like(aten.bernoulli_.float, 0.5)
    ),
    "aten::poisson": like(aten.poisson.default, make=positive),
    "aten::binomial": paired(aten.binomial.default).map(
        lambda c: case(c.op, c.args[0].abs().ceil(), c.args[1].clamp(max=1))
    ),
    "aten::cauchy": like(aten.cauchy_.default),
    "aten::log_normal": like(aten.log_normal_.default),
    "aten::geometric": like(aten.geometric_.default, 0.5),
    "aten::_standard_gamma": like(aten._standard_gamma.default, make=positive),
    "aten::_sample_dirichlet": shapes(min_dims=1).map(lambda s: case(aten._sample_dirichlet.default, positive(*s))),
    "aten::multinomial": shapes(min_dims=1, max_dims=2).map(lambda s: case(aten.multinomial.default, positive(*s), 1)),
    "aten::eye": st.one_of(counted(aten.eye.default), st.tuples(sizes, sizes).map(lambda s: case(aten.eye.m, *s))),
}

# No two runs of these need agree on a value: only the axes are compared.
EMPTY_CASES: dict[str, tuple[Case, str]] = {
    "aten::empty": (case(aten.empty.memory_format, [2, 3]), "-> a b"),
    "aten::empty_permuted": (case(aten.empty_permuted.default, [2, 3], [1, 0]), "-> a b"),
    "aten::empty_strided": (case(aten.empty_strided.default, [2, 3], [1, 2]), "-> a b"),
    "aten::empty_like": (case(aten.empty_like.default, floats(2, 3)), "a b -> c d"),
    "aten::new_empty": (case(aten.new_empty.default, floats(4), [2, 3]), "a -> b c"),
    "aten::new_empty_strided": (case(aten.new_empty_strided.default, floats(4), [2, 3], [1, 2]), "a -> b c"),
}

CASES = {**VALUE_CASES, **EMPTY_CASES}


@pytest.mark.parametrize("name", sorted(VALUE_CASES))
@given(data=st.data())
def test_rule_holds(name, data):
    check_drawn(name, VALUE_CASES, data)


@pytest.mark.parametrize(("call", "expected"), EMPTY_CASES.values(), ids=EMPTY_CASES)
def test_memory_that_nobody_wrote_is_free(call, expected):
    assert shown(call) == expected


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(case(aten.full.default, [2, 3], 1.0), "-> a b", id="full"),
        pytest.param(case(aten.zeros_like.default, floats(3)), "a -> b", id="only the shape of the operand counts"),
        pytest.param(case(aten.arange.default, 3), "-> A", id="arange"),
        pytest.param(case(aten.randn_like.default, floats(3)), "a -> B", id="noise knows only the shape"),
        pytest.param(case(aten.uniform_.default, floats(3)), "A -> A", id="noise written in place"),
        pytest.param(case(aten.eye.default, 3), "-> a a", id="eye"),
        pytest.param(case(aten.eye.m, 3, 4), "-> a (a + 1)", id="eye, not square"),
    ],
)
def test_notation(call, expected):
    assert shown(call) == expected


def write_into_zeros(x: torch.Tensor) -> Any:
    table = torch.zeros(2, 5)
    table[:, 1:4] = x
    return table


def test_what_is_written_into_zeros_is_coupled():
    assert said(write_into_zeros, (2, 3)) == "a b -> a (1 + b + 1)"
