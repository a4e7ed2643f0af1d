"""Operators that look at values and give no tensor."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.equivariance import Case, case, check_drawn, floats, masks, one, shapes
from tests.ops.notation import shown

aten = torch.ops.aten


def compared(same: bool) -> st.SearchStrategy[Case]:
    def make(shape: tuple[int, ...]) -> Case:
        x = floats(*shape)
        return case(aten.allclose.default, x, x.clone() if same else floats(*shape))

    return shapes().map(make)


CASES: dict[str, st.SearchStrategy[Case]] = {
    "aten::_local_scalar_dense": one(lambda: case(aten._local_scalar_dense.default, floats(1, 1))),
    "aten::item": one(lambda: case(aten.item.default, floats())),
    "aten::is_nonzero": one(lambda: case(aten.is_nonzero.default, floats(1))),
    "aten::_assert_async": one(lambda: case(aten._assert_async.msg, torch.ones(1), "message")),
    "aten::_assert_scalar": one(lambda: case(aten._assert_scalar.default, True, "message")),
    "aten::_assert_tensor_metadata": one(lambda: case(aten._assert_tensor_metadata.default, floats(2, 3), [2, 3])),
    "aten::_linalg_check_errors": one(
        lambda: case(aten._linalg_check_errors.default, torch.zeros(3, dtype=torch.int32), "inv", is_matrix=False)
    ),
    "aten::equal": shapes().map(lambda s: case(aten.equal.default, masks(*s), masks(*s))),
    "aten::allclose": st.one_of(compared(True), compared(False)),
}


@pytest.mark.parametrize("name", sorted(CASES))
@given(data=st.data())
def test_rule_holds(name, data):
    check_drawn(name, CASES, data)


def test_what_is_compared_is_coupled():
    assert shown(case(aten.equal.default, floats(2, 3), floats(2, 3))) == "a b, a b ->"
    assert shown(case(aten.item.default, floats(1, 1))) == "1 1 ->"
