"""The oracle itself: it must catch rules that claim too much."""

from __future__ import annotations

import pytest
import torch

from tests.ops.equivariance import case, check, check_equivariance, floats, integers
from wsel_graph.ops import Call, Outputs
from wsel_graph.ops.pointwise import pointwise

aten = torch.ops.aten


def rows_pass(call: Call) -> Outputs:
    """A rule that forgets to couple the second operand."""
    return call.tensors[0].axes


def two_free_results(call: Call) -> Outputs:
    return [call.tensors[0].axes, call.tensors[0].axes]


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        pytest.param(case(aten.cumsum.default, floats(3, 4), 1), pointwise, id="scan called elementwise"),
        pytest.param(case(aten.flip.default, floats(2, 3), [1]), pointwise, id="flip called elementwise"),
        pytest.param(case(aten.add.Tensor, floats(3), floats(3)), rows_pass, id="second operand forgotten"),
        pytest.param(case(aten.mul_.Tensor, floats(3), floats(3)), rows_pass, id="in place, operand forgotten"),
        pytest.param(case(aten.copy_.default, floats(3), floats(3)), lambda c: (c.fresh(3),), id="write forgotten"),
        pytest.param(case(aten.sort.default, floats(5)), two_free_results, id="indices of a sort"),
        pytest.param(
            case(aten.embedding.default, floats(4, 3), integers(4, 5)),
            lambda c: (c.tensors[1].axes[0], c.tensors[0].axes[1]),
            id="table rows left free",
        ),
    ],
)
def test_wrong_rules_are_caught(call, rule):
    with pytest.raises(AssertionError):
        check(call, rule=rule)


def test_a_result_that_nobody_uses_is_not_compared():
    check(case(aten.max.dim, floats(3, 4), 1), rule=lambda c: [(c.tensors[0].axes[0],)] * 2, first_only=True)
    with pytest.raises(AssertionError):
        check(case(aten.max.dim, floats(3, 4), 1), rule=lambda c: [(c.tensors[0].axes[0],)] * 2)


def test_wrong_shapes_are_caught():
    with pytest.raises(AssertionError, match=r"sizes \[\(3, 4\)\] to results of shapes \[\(4, 3\)\]"):
        check(case(aten.t.default, floats(3, 4)), rule=lambda c: c.tensors[0].axes)


def test_every_free_atom_is_moved():
    said = check_equivariance(aten.add.Tensor, floats(2, 3), floats(3))
    (_, x), (_, y) = said.operands
    assert (x, y) == (said.results[0], x[1:])
    assert not said.solver.pinned
