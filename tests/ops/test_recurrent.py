"""RNN, LSTM and GRU: stacked, bidirectional, projected, batch first, with states given or zero."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.equivariance import Case, case, check_drawn, floats, shapes
from tests.ops.notation import said, shown

aten = torch.ops.aten

GATES = {aten.lstm.input: 4, aten.gru.input: 3, aten.rnn_tanh.input: 1, aten.rnn_relu.input: 1}

sizes = st.sampled_from((1, 2, 3, 4))


def weights(gates: int, inner: int, hidden: int, projection: int | None, biased: bool) -> list[torch.Tensor]:
    """Parameters of one layer in one direction, as `nn.LSTM` orders them."""
    state = projection or hidden
    found = [floats(gates * hidden, inner), floats(gates * hidden, state)]
    found += [floats(gates * hidden), floats(gates * hidden)] if biased else []
    return found + ([floats(projection, hidden)] if projection else [])


@st.composite
def networks(draw: st.DrawFn, op: Any) -> Case:
    gates, layers, directions = GATES[op], draw(st.integers(1, 2)), draw(st.integers(1, 2))
    time, batch, inner, hidden = (draw(sizes) for _ in range(4))
    projection = draw(st.integers(1, hidden - 1)) if gates == 4 and hidden > 1 and draw(st.booleans()) else None
    biased, batch_first = draw(st.booleans()), draw(st.booleans())
    out = projection or hidden
    params = []
    for layer in range(layers):
        for _ in range(directions):
            params += weights(gates, inner if layer == 0 else directions * out, hidden, projection, biased)
    make = floats if draw(st.booleans()) else lambda *shape: torch.zeros(shape, dtype=torch.float64)
    states = [make(layers * directions, batch, width) for width in ((out, hidden) if gates == 4 else (hidden,))]
    x = floats(batch, time, inner) if batch_first else floats(time, batch, inner)
    flags = (biased, layers, 0.0, False, directions == 2, batch_first)
    return case(op, x, states if gates == 4 else states[0], params, *flags)


@st.composite
def packings(draw: st.DrawFn) -> Case:
    time, features = draw(sizes), draw(shapes(max_dims=2))
    lengths = sorted(draw(st.lists(st.integers(1, time), min_size=1, max_size=3)), reverse=True)
    batch_first = draw(st.booleans())
    lead = (len(lengths), time) if batch_first else (time, len(lengths))
    return case(aten._pack_padded_sequence.default, floats(*lead, *features), torch.tensor(lengths), batch_first)


CASES: dict[str, st.SearchStrategy[Case]] = {
    **{f"{op._schema.name}.input": networks(op) for op in GATES},
    "aten::_pack_padded_sequence": packings(),
}


@pytest.mark.parametrize("name", sorted(CASES))
@given(data=st.data())
def test_rule_holds(name, data):
    check_drawn(name, CASES, data)


def one_layer(op: Any, inner: int, hidden: int) -> Case:
    zeros = torch.zeros(1, 3, hidden, dtype=torch.float64)
    states = [zeros, zeros.clone()] if GATES[op] == 4 else zeros
    flags = (True, 1, 0.0, False, False, False)
    return case(op, floats(5, 3, inner), states, weights(GATES[op], inner, hidden, None, True), *flags)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(
            one_layer(aten.gru.input, 2, 4), "A b c, 1 b d, (3 e) c, (3 e) e, (3 e), (3 e) -> A b e, 1 b e", id="gru"
        ),
        pytest.param(
            one_layer(aten.lstm.input, 2, 4),
            "A b c, 1 b d, 1 b e, (4 f) c, (4 f) f, (4 f), (4 f) -> A b f, 1 b f, 1 b f",
            id="lstm",
        ),
    ],
)
def test_notation(call, expected):
    assert shown(call) == expected


def bidirectional(x: torch.Tensor, *params: torch.Tensor) -> Any:
    zeros = torch.zeros(2, 3, 4)
    return torch.gru(x, zeros, list(params), False, 1, 0.0, False, True, False)[0]


def stacked(x: torch.Tensor, *params: torch.Tensor) -> Any:
    zeros = torch.zeros(2, 3, 4)
    return torch.rnn_tanh(x, zeros, list(params), False, 2, 0.0, False, False, False)[0]


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        pytest.param(
            bidirectional,
            [(5, 3, 2), (12, 2), (12, 4), (12, 2), (12, 4)],
            "A b c, (3 d) c, (3 d) d, (3 e) c, (3 e) e -> A b (d + e)",
            id="both directions",
        ),
        pytest.param(
            stacked, [(5, 3, 2), (4, 2), (4, 4), (4, 4), (4, 4)], "A b c, d c, d d, e d, e e -> A b e", id="two layers"
        ),
    ],
)
def test_chains(function, shapes, expected):
    assert said(function, *shapes) == expected
