"""In which order the rows of a table are read: relative positions forwards or backwards, a grid by rows or by columns.

Two tables of one size that are looked up by other numbers, or turned round before they are used, mean other things row
by row. That is compared where the numbers are known without running the model, for as many positions in both models.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import fx

from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.matching import operators as ops
from wsel_graph.matching.components import ComponentGraph, Slot
from wsel_graph.matching.constants import LARGEST, constant_value, known_values
from wsel_graph.matching.reading import numel

_LOOKUPS = frozenset({"aten::embedding", "aten::index", "aten::index_select"})
_TURNS = frozenset({"aten::flip", "aten::roll"})


def tables_in_another_order(
    student: tuple[ModelGraph, ComponentGraph], teacher: tuple[ModelGraph, ComponentGraph], pairs: Mapping[int, int]
) -> set[int]:
    """Paired student tables whose rows are read in another order than those of their counterparts."""
    found = set()
    for ours, theirs in pairs.items():
        node, other = student[1].nodes[ours], teacher[1].nodes[theirs]
        slots = dict(other.slots)
        if node.label == other.label == "table" and any(
            name in slots and _differ(student[0], slot, teacher[0], slots[name]) for name, slot in node.slots
        ):
            found.add(ours)
    return found


def _differ(student: ModelGraph, ours: Slot, teacher: ModelGraph, theirs: Slot) -> bool:
    """Whether any dim of fixed meaning and equal size is read in two known orders."""
    return any(
        ours.shape[dim] == theirs.shape[other]
        and student.pins_of(ours.tensor, dim)
        and _unequal(list(_orders(student, ours.tensor, dim)), list(_orders(teacher, theirs.tensor, other)))
        for dim, other in zip(_dims(ours), _dims(theirs), strict=False)
    )


def _dims(slot: Slot) -> tuple[int, ...]:
    return tuple(range(len(slot.shape))) if slot.dims is None else slot.dims


def _unequal(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> bool:
    """Whether two models that read a table equally often, for as many positions, read it in other orders."""
    pairs = list(zip(ours, theirs, strict=False))
    return len(ours) == len(theirs) and any(a.shape == b.shape and not torch.equal(a, b) for a, b in pairs)


def _orders(graph: ModelGraph, tensor: str, dim: int) -> Iterator[torch.Tensor]:
    """For every use of a tensor, the elements of one of its dims as they are read; dims that do not count left out."""
    known = known_values(graph.captured)
    shape = graph.tensors[tensor].shape
    rows = torch.arange(shape[dim], device="cpu").view(-1, *([1] * (len(shape) - dim - 1))).expand(shape)
    todo: list[tuple[fx.Node, Any]] = [
        (node, rows)
        for node in graph.captured.graph.nodes
        if node.op == "get_attr" and graph.tensors.get(node.meta.get("state", "")) is graph.tensors[tensor]
    ]
    while todo:
        source, numbers = todo.pop(0)
        for user in source.users:
            moved = _moved(user, source, numbers, known)
            if moved is not None:
                todo.append((user, moved))
            elif isinstance(numbers, torch.Tensor):
                yield _counting(numbers)


def _counting(numbers: torch.Tensor) -> torch.Tensor:
    """The numbers without the dims along which they stay the same."""
    for dim in reversed(range(numbers.dim())):
        first = numbers.narrow(dim, 0, 1)
        if torch.equal(first.expand_as(numbers), numbers):
            numbers = first.squeeze(dim)
    return numbers


def _moved(node: fx.Node, source: fx.Node, numbers: Any, known: Mapping[str, torch.Tensor]) -> Any:
    """The numbers after an operator that only picks and moves elements; None after any other, or where it is open."""
    name = ops.name_of(node.target)
    if node.target is operator.getitem:
        return numbers[node.args[1]]
    if node.args[0] is not source or not isinstance(numbers, torch.Tensor) or numel(node.meta.get("value")) > LARGEST:
        return None
    if ops.keeps_place(name):
        return numbers
    if name not in _LOOKUPS | _TURNS and not ops.is_layout(node.target):
        return None
    try:
        return _run(node, source, numbers, known)
    except Exception:
        return None  # integers that only running the model shows, or a view that integers do not have


def _run(node: fx.Node, source: fx.Node, numbers: torch.Tensor, known: Mapping[str, torch.Tensor]) -> Any:
    def value(operand: fx.Node) -> torch.Tensor:
        found = numbers if operand is source else constant_value(operand, known)
        if found is None:
            raise ValueError(operand.name)
        return found

    args: Any
    args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), value)
    name = ops.name_of(node.target)
    if name in ("aten::view", "aten::_unsafe_view", "aten::reshape"):
        return numbers.reshape(args[1])
    if name == "aten::embedding":
        return numbers[tuple(args[1:2])]
    return node.target(*args, **kwargs)  # type: ignore[operator]
