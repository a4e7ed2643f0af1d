"""RNN, LSTM and GRU, kept whole: stacked gates are `(gates hidden)`."""

from __future__ import annotations

import torch

from wsel_graph.axes import fixed
from wsel_graph.ops.call import Axes, Axis, Call, Outputs, Value, concat, product
from wsel_graph.ops.registry import propagates

aten = torch.ops.aten


@propagates(aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input)
def recurrent(call: Call) -> Outputs:
    """Input `l n i` (or `n l i`), output `l n (directions h)`, states `(layers directions) n h`."""
    x, params = call["input"], call["params"]
    states: list[Value] = call["hx"] if isinstance(call["hx"], list) else [call["hx"]]
    directions = 2 if call["bidirectional"] else 1
    batch_dim = 0 if call["batch_first"] else 1
    time, batch = x.axes[1 - batch_dim], x.axes[batch_dim]
    call.pin(time, "position")
    per_cell = _weights_per_cell(call, states)
    axis, hidden = x.axes[2], []
    cells = [params[i : i + per_cell] for i in range(0, len(params), per_cell)]
    for layer in range(0, len(cells), directions):
        outputs = [_cell(call, axis, cell) for cell in cells[layer : layer + directions]]
        hidden.extend(outputs)
        axis = concat(*(out for _, out in outputs))
    last = _states(call, states, hidden, batch)
    output = (batch, time, axis) if batch_dim == 0 else (time, batch, axis)
    return [output, *last]


def _weights_per_cell(call: Call, states: list[Value]) -> int:
    count = 4 if call["has_biases"] else 2
    projected = len(states) == 2 and states[0].shape[-1] != states[1].shape[-1]
    return count + 1 if projected else count


def _cell(call: Call, x: Axis, weights: list[Value]) -> tuple[Axis, Axis]:
    """Couple the weights of one layer in one direction; its cell and output axes."""
    from_input, from_state, *others = weights
    call.unify(x, from_input.axes[1])
    call.consume(x)
    projection = others.pop() if len(others) % 2 else None
    gates = _gates(call)
    hidden = call.fresh(from_input.shape[0] // gates)
    stacked = product(fixed(gates), hidden)
    for value in (from_input, from_state, *others):
        call.unify(value.axes[0], stacked)
    out = hidden
    if projection is not None:
        call.unify(projection.axes[1], hidden)
        out = projection.axes[0]
    call.unify(from_state.axes[1], out)
    call.consume(out)
    call.role(hidden, "hidden")
    return hidden, out


def _gates(call: Call) -> int:
    name = str(call.op._schema.name)
    return 4 if name.endswith("lstm") else 3 if name.endswith("gru") else 1


def _states(call: Call, states: list[Value], hidden: list[tuple[Axis, Axis]], batch: Axis) -> list[Axes]:
    """Initial and final states hold one hidden axis per layer and direction: these become one axis."""
    result: list[Axes] = []
    for kind, state in enumerate(states):
        axis = state.axes[2]
        if not state.filled:
            for cell, out in hidden:
                call.couple(axis, cell if kind == 1 else out)
        call.pin(state.axes[0], "opaque")
        call.broadcast((batch,), (state.axes[1],))
        result.append((state.axes[0], batch, _final(call, kind, axis, hidden)))
    return result


def _final(call: Call, kind: int, axis: Axis, hidden: list[tuple[Axis, Axis]]) -> Axis:
    if not call.used(kind + 1):
        return call.fresh(axis.size)
    axes = [cell if kind == 1 else out for cell, out in hidden]
    for other in axes[1:]:
        call.couple(axes[0], other)
    return axes[0]


@propagates(aten._pack_padded_sequence)
def pack_padded_sequence(call: Call) -> Outputs:
    """`time n *f` (or `n time *f`) -> the steps of all samples in running order, and how many each step has."""
    x, lengths = call["input"], call["lengths"]
    call.pin_all(lengths)
    for axis in x.axes[:2]:
        call.pin(axis, "position")
    return [(call.pinned(call.shape[0], "position"), *x.axes[2:]), call.pinned_axes(call.shapes[1], "position")]
