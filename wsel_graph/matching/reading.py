"""Facts about the nodes of a captured graph: what they write, cut and rearrange."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import fx

from wsel_graph.capture.recorder import TensorInfo
from wsel_graph.capture.schemas import bind, written_parameters
from wsel_graph.matching import operators as ops
from wsel_graph.matching.components import ACROSS
from wsel_graph.matching.signature import digest
from wsel_graph.matching.values import Flow, Operand, Value
from wsel_graph.matching.weights import Weights


def trail_of(node: fx.Node, operands: Sequence[Operand]) -> str:
    """A hash of an operator with its settings, and of the trails of its operands."""
    settings = fx.node.map_arg((node.args, dict(node.kwargs)), lambda _: None)
    trails = [(argument, value.trail) for argument, value in operands]
    return digest(str(node.target), settings, trails)


def step_of(node: fx.Node, own: Weights, operands: Sequence[Operand]) -> tuple[object, ...]:
    """What an operator does to a parameter besides its name: its settings, and how its other operands are made up."""
    settings = fx.node.map_arg((node.args, dict(node.kwargs)), lambda _: None)
    made = [
        "" if value is own else value.shown() if isinstance(value, Weights) else f"fixed {value.trail}"
        for _, value in operands
    ]
    return repr(settings), sorted(made) if ops.commutes(ops.name_of(node.target)) else made


def replayed_dims(node: fx.Node) -> object:
    """The dims that a layout operator exchanges; the settings of others may be sizes."""
    return repr(node.args[1:]) if ops.name_of(node.target) in ("aten::permute", "aten::transpose") else ()


def cut_words(node: fx.Node, name: str) -> frozenset[str]:
    """From where a part of an axis is taken: the first position, the second, ..."""
    if name not in ("aten::select", "aten::slice"):
        return frozenset()
    source, result = node.all_input_nodes[0].meta["value"], node.meta["value"]
    if not isinstance(source, TensorInfo) or numel(source) == numel(result):
        return frozenset()
    bound = bind(node.target, node.args, node.kwargs)
    start = bound.get("index") if name == "aten::select" else bound.get("start")
    return frozenset({f"from {start or 0}"})


def compared_with(node: fx.Node) -> frozenset[str]:
    """The number of the part that a comparison picks out: of the experts that a router chose, those equal to 2."""
    if ops.name_of(node.target) != "aten::eq":
        return frozenset()
    other = bind(node.target, node.args, node.kwargs).get("other")
    return frozenset({f"from {other}"}) if isinstance(other, int) and not isinstance(other, bool) else frozenset()


def written_at(target: fx.Node) -> frozenset[str]:
    """From where the part of a memory is taken that a node writes to."""
    found: frozenset[str] = frozenset()
    while target.op == "call_function" and ops.is_layout(target.target) and len(target.all_input_nodes) == 1:
        rank = len(target.all_input_nodes[0].meta["value"].shape)
        dim = bind(target.target, target.args, target.kwargs).get("dim") or 0
        found |= {f"{word} of dim {dim % rank}" for word in cut_words(target, ops.name_of(target.target))}
        target = target.all_input_nodes[0]
    return found


def read_once(node: fx.Node) -> bool:
    """Whether nobody but one operator reads a node."""
    return len(node.users) == 1


def passed_on(value: Value, node: fx.Node) -> Value:
    """A value as the next node passes it on."""
    return replace(value, direct=value.direct and read_once(node)) if isinstance(value, Flow) else value


def written_by(node: fx.Node) -> list[fx.Node]:
    """The operands that a node writes to."""
    bound = bind(node.target, node.args, node.kwargs)
    found = [bound[name] for name in written_parameters(node.target)]
    return [value for value in found if isinstance(value, fx.Node)]


def numel(facts: Any) -> int:
    """Elements of a tensor; 0 where a node gives something else."""
    return torch.Size(facts.shape).numel() if isinstance(facts, TensorInfo) else 0


def replay(node: fx.Node, value: torch.Tensor) -> Any:
    """The operator run on another tensor in the place of its one operand."""
    return node.target(*fx.node.map_arg(node.args, lambda _: value), **node.kwargs)  # type: ignore[operator]


def is_cut_later(node: fx.Node) -> bool:
    """Whether some operator takes a part of this value, with nothing but views and elementwise operators between."""
    todo, seen = list(node.users), set()
    while todo:
        user = todo.pop()
        if user in seen or user.op != "call_function":
            continue
        seen.add(user)
        if ops.name_of(user.target) in ops.CUTS:
            return True
        passes = user.target is operator.getitem or ops.is_layout(user.target) or ops.is_pointwise_op(user.target)
        if passes and len(seen) < 16:
            todo.extend(user.users)
    return False


def as_equation_says(node: fx.Node, operands: list[Operand], weight: Weights) -> tuple[Weights, bool, tuple[int, ...]]:
    """The weight of an einsum in the order (out, in), whether its one axis of output features comes last, all of them.

    Several axes that it makes, or sums over, are seen as one: heads and their channels. Those that it makes are dims of
    the result, counted from the last one, -1; none where the parameter takes part in another way than a linear's.
    """
    inputs, _, output = str(node.args[0]).replace(" ", "").partition("->")
    held = next(place for place, (_, value) in enumerate(operands) if isinstance(value, Weights))
    own, data = inputs.split(",")[held], inputs.split(",")[1 - held]
    out = [letter for letter in output if letter in own and letter not in data]
    into = [letter for letter in data if letter in own and letter not in output]
    if sorted(own) != sorted({*out, *into}) or not out or not into:
        return weight.through(f"einsum {node.args[0]}", same_place=False), False, ()
    order = [own.index(letter) for letter in (*out, *into)]
    turned = weight.rearranged(lambda seen: seen.permute(order)).folded((len(out), len(into)))
    made = tuple(output.index(letter) - len(output) for letter in out)
    return turned, made == (-1,), made if "." not in output[output.index(out[0]) :] else ()


def renamed_equation(equation: str) -> str:
    """An einsum's equation with its letters in the order of their occurrence.

    >>> renamed_equation("bti, oij, btj -> bto")
    'abc,dce,abe->abd'
    """
    letters: dict[str, str] = {}
    plain = equation.replace(" ", "")
    for letter in filter(str.isalpha, plain):
        letters.setdefault(letter, chr(ord("a") + len(letters)))
    return "".join(letters.get(letter, letter) for letter in plain)


def in_order(node: fx.Node, name: str, flows: list[tuple[str, Flow]]) -> list[tuple[str, Flow]]:
    """The operand whose axis comes last in the result comes last; an einsum may name it first."""
    if name != "aten::einsum" or len(flows) != 2:
        return flows
    equation = str(node.args[0]).replace(" ", "")
    inputs, _, output = equation.partition("->")
    first = inputs.split(",")[0]
    return flows[::-1] if output and output[-1] in first else flows


def moves_last_dim(node: fx.Node) -> bool:
    """Whether an operator puts another dim in the place of the last."""
    source = node.all_input_nodes[0].meta["value"]
    last = len(source.shape) - 1 if isinstance(source, TensorInfo) else 0
    bound = bind(node.target, node.args, node.kwargs)
    name = ops.name_of(node.target)
    if name == "aten::permute":
        return bool(bound["dims"][-1] % (last + 1) != last)
    if name in ("aten::t", "aten::mT", "aten::numpy_T"):
        return True
    return name == "aten::transpose" and last in (bound["dim0"] % (last + 1), bound["dim1"] % (last + 1))


def normalised_across(node: fx.Node) -> frozenset[str]:
    """A tag for a softmax along another dim than the last: its operands of the product have changed places."""
    if not ops.name_of(node.target).endswith("softmax"):
        return frozenset()
    rank = len(node.all_input_nodes[0].meta["value"].shape)
    dim = bind(node.target, node.args, node.kwargs)["dim"]
    return frozenset() if dim % rank == rank - 1 else frozenset({ACROSS})
