"""One function, two implementations that lay out in another order what sizes and axes do not tell apart.

Every pair must be equal after `initialize`, or refused: these were filled in silence, with other results.
"""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wsel_graph as ws
from tests.matching.test_faults import X, assert_transplanted
from tests.matching.test_flow import Code

HEADS = {"neighbours": lambda t: t.repeat_interleave(2, 1), "tiled": lambda t: t.repeat(1, 2, 1, 1)}
"""How each of two key heads is given to two query heads."""


def grouped_queries(given: str) -> Code:
    def run(m: Code, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (-1, 2)).transpose(1, 2) for t in (m.q(x), m.k(x), m.v(x)))
        y = F.scaled_dot_product_attention(q, *map(HEADS[given], (k, v)))
        return m.out(y.transpose(1, 2).flatten(2))

    return Code(run, q=nn.Linear(4, 8), k=nn.Linear(4, 4), v=nn.Linear(4, 4), out=nn.Linear(8, 3))


def test_query_heads_that_share_a_key_head_in_another_order() -> None:
    """`(kv rep)` and `(rep kv)`: keys pair kv with kv, queries in order kv with rep."""
    student, teacher = grouped_queries("tiled"), grouped_queries("neighbours")
    message = "the factors of dim 0 of student q.weight stand in another order than those of teacher q.weight"
    with pytest.raises(ws.WselError, match=re.escape(message)):
        ws.plan(student, teacher, X.float())
    for given in HEADS:
        plan = ws.plan(grouped_queries(given), grouped_queries(given), X.float())
        assert plan.kept == ()
        assert_transplanted(grouped_queries(given), grouped_queries(given), X)
