"""Fourier transforms and matrix decompositions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.equivariance import Case, case, check_drawn, dims_of, floats, one, positive, seldom, shapes, sizes
from tests.ops.notation import said, shown

aten = torch.ops.aten


def complexes(*shape: int) -> torch.Tensor:
    return torch.complex(floats(*shape), floats(*shape))


@st.composite
def transforms(draw: st.DrawFn, op: Any, make: Any, *rest: Any) -> Case:
    shape = draw(shapes(min_dims=1))
    dims = sorted({d % len(shape) for d in draw(dims_of(len(shape), min_size=1))})
    return case(op, make(*shape), dims, 0, *rest)


@st.composite
def inverse_transforms(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1))
    dims = sorted({d % len(shape) for d in draw(dims_of(len(shape), min_size=1))})
    return case(aten._fft_c2r.default, complexes(*shape), dims, 0, max(1, 2 * (shape[dims[-1]] - 1)))


def well_conditioned(*shape: int) -> torch.Tensor:
    """Symmetric positive definite matrices."""
    x = floats(*shape)
    return x @ x.mT + 3 * torch.eye(shape[-1], dtype=x.dtype)


def square(op: Any, *rest: Any, **named: Any) -> st.SearchStrategy[Case]:
    return st.tuples(shapes(max_dims=2), sizes).map(
        lambda s: case(op, well_conditioned(*s[0], s[1], s[1]), *rest, **named)
    )


def rectangular(op: Any, *rest: Any) -> st.SearchStrategy[Case]:
    return shapes(min_dims=2).map(lambda s: case(op, floats(*s), *rest))


@st.composite
def solves(draw: st.DrawFn, op: Any, **named: Any) -> Case:
    batch, n = draw(shapes(max_dims=1)), draw(sizes)
    return case(op, well_conditioned(*batch, n, n), floats(*batch, n, draw(sizes)), **named)


@st.composite
def reversed_solves(draw: st.DrawFn, op: Any) -> Case:
    batch, n = draw(shapes(max_dims=1)), draw(sizes)
    return case(op, floats(*batch, n, draw(sizes)), well_conditioned(*batch, n, n))


@st.composite
def triangular_solves(draw: st.DrawFn) -> Case:
    """On either side; batch dims of one operand may be broadcast or missing."""
    batch, n, sides, left = draw(shapes(max_dims=2)), draw(sizes), draw(sizes), draw(st.booleans())
    other = [1 if draw(seldom) else size for size in batch][draw(st.integers(0, len(batch))) :]
    known = floats(*other, *((n, sides) if left else (sides, n)))
    op = aten.linalg_solve_triangular.default
    return case(op, well_conditioned(*batch, n, n), known, upper=draw(st.booleans()), left=left)


def factorised(op: Any, with_right_side: bool) -> st.SearchStrategy[Case]:
    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        n = draw(sizes)
        factors, pivots, _ = torch.linalg.lu_factor_ex(well_conditioned(n, n))
        return case(op, factors, pivots, *([floats(n, 2)] if with_right_side else []))

    return draw_case()


@st.composite
def reflections(draw: st.DrawFn, op: Any, with_other: bool) -> Case:
    n = draw(sizes)
    reflectors, tau = torch.geqrf(floats(n, n))
    return case(op, reflectors, tau, *([floats(n, 2)] if with_other else []))


@st.composite
def vector_products(draw: st.DrawFn, op: Any) -> Case:
    shape = list(draw(shapes(min_dims=1)))
    dim = draw(st.integers(0, len(shape) - 1))
    shape[dim] = 3
    other = [1 if d != dim and draw(seldom) else size for d, size in enumerate(shape)]
    named = {} if op is aten.cross.default and draw(st.booleans()) and 3 not in shape[:dim] else {"dim": dim}
    return case(op, floats(*shape), floats(*(other if op is aten.linalg_cross.default else shape)), **named)


CASES: dict[str, st.SearchStrategy[Case]] = {
    "aten::_fft_r2c": st.one_of(
        transforms(aten._fft_r2c.default, floats, True), transforms(aten._fft_r2c.default, floats, False)
    ),
    "aten::_fft_c2c": transforms(aten._fft_c2c.default, complexes, True),
    "aten::_fft_c2r": inverse_transforms(),
    "aten::stft": one(lambda: case(aten.stft.default, floats(2, 16), 4, window=positive(4), return_complex=True)),
    "aten::istft": one(
        lambda: case(aten.istft.default, complexes(2, 3, 6), 4, window=torch.ones(4, dtype=torch.float64))
    ),
    "aten::linalg_inv_ex": square(aten.linalg_inv_ex.default),
    "aten::linalg_matrix_exp": square(aten.linalg_matrix_exp.default),
    "aten::linalg_matrix_power": square(aten.linalg_matrix_power.default, 3),
    "aten::_linalg_svd": st.one_of(
        rectangular(aten._linalg_svd.default, True), rectangular(aten._linalg_svd.default, False, False)
    ),
    "aten::linalg_qr": rectangular(aten.linalg_qr.default),
    "aten::_linalg_det": square(aten._linalg_det.default),
    "aten::_linalg_slogdet": square(aten._linalg_slogdet.default),
    "aten::linalg_lu": rectangular(aten.linalg_lu.default),
    "aten::linalg_lu_factor_ex": rectangular(aten.linalg_lu_factor_ex.default),
    "aten::linalg_cholesky_ex": square(aten.linalg_cholesky_ex.default),
    "aten::cholesky": square(aten.cholesky.default),
    "aten::cholesky_inverse": square(aten.cholesky_inverse.default),
    "aten::_linalg_eigh": square(aten._linalg_eigh.default),
    "aten::linalg_eig": square(aten.linalg_eig.default),
    "aten::_linalg_eigvals": square(aten._linalg_eigvals.default),
    "aten::linalg_pinv": st.one_of(
        rectangular(aten.linalg_pinv.default, 1e-9),
        one(lambda: case(aten.linalg_pinv.atol_rtol_tensor, floats(2, 3, 4), atol=positive(2) * 1e-9)),
    ),
    "aten::geqrf": rectangular(aten.geqrf.default),
    "aten::_linalg_solve_ex": st.one_of(
        solves(aten._linalg_solve_ex.default),
        st.tuples(sizes, sizes).map(
            lambda s: case(aten._linalg_solve_ex.default, well_conditioned(s[0], s[1], s[1]), floats(*s))
        ),
    ),
    "aten::linalg_solve_triangular": triangular_solves(),
    "aten::triangular_solve": reversed_solves(aten.triangular_solve.default),
    "aten::cholesky_solve": reversed_solves(aten.cholesky_solve.default),
    "aten::linalg_lstsq": solves(aten.linalg_lstsq.default),
    "aten::linalg_lu_solve": factorised(aten.linalg_lu_solve.default, True),
    "aten::lu_unpack": factorised(aten.lu_unpack.default, False),
    "aten::linalg_householder_product": reflections(aten.linalg_householder_product.default, False),
    "aten::ormqr": reflections(aten.ormqr.default, True),
    "aten::cross": vector_products(aten.cross.default),
    "aten::linalg_cross": vector_products(aten.linalg_cross.default),
}


@pytest.mark.parametrize("name", sorted(CASES))
@given(data=st.data())
def test_rule_holds(name, data):
    check_drawn(name, CASES, data)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(case(aten._fft_r2c.default, floats(2, 3, 8), [2], 0, True), "a b C -> a b D", id="fft"),
        pytest.param(case(aten._linalg_det.default, floats(2, 3, 3)), "a B C -> a, a D E, a F", id="det"),
        pytest.param(case(aten.linalg_cross.default, floats(2, 3), floats(2, 3)), "a B, a B -> a B", id="cross"),
        pytest.param(
            case(aten.linalg_solve_triangular.default, floats(2, 6, 3, 3), floats(6, 3, 5), upper=False),
            "a b C D, b E f -> a b G f",
            id="triangular",
        ),
        pytest.param(
            case(aten.linalg_solve_triangular.default, floats(6, 3, 3), floats(6, 5, 3), upper=False, left=False),
            "a B C, a d E -> a d F",
            id="triangular from the right",
        ),
    ],
)
def test_notation(call, expected):
    assert shown(call) == expected


def filter_globally(x: torch.Tensor, weight: torch.Tensor) -> Any:
    spectrum = torch.fft.rfft2(x, dim=(1, 2)) * torch.view_as_complex(weight)
    return torch.fft.irfft2(spectrum, s=x.shape[1:3], dim=(1, 2))


def test_channels_of_a_global_filter_stay_free():
    assert said(filter_globally, (2, 4, 4, 5), (4, 3, 5, 2)) == "a B C d, E F d 2 -> a G H d"
