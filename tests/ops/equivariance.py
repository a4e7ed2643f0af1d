"""Brute-force oracle for propagation rules: permute atoms at random, and run the operator on real tensors.

A rule claims: whatever order the elements of an unpinned atom take, in all operands that hold the atom, the results
are the old ones in the order that their axes name. `check_equivariance` runs the rule on fresh axes, draws one
order for every atom, and compares both ways in float64. Index tensors are moved like any other; their values stay.

A rule must hold for any axes, so the operands' axes may first be entangled: split, cut, pinned, or made equal to each
other at random. That only ever takes freedom away, hence the claim must still hold.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.utils import _pytree as pytree

from wsel_graph.axes import Atom, Axis, AxisSolver, atoms, fixed, positions
from wsel_graph.capture.schemas import bind, written_parameters
from wsel_graph.coupling.propagate import out_parameters
from wsel_graph.ops import Axes, Call, Outputs, Value, find_rule
from wsel_graph.ops.pointwise import is_pointwise, pointwise
from wsel_graph.ops.registry import RULES, PropagationRule, rule_names

TOLERANCE = 1e-9
"""Largest accepted difference, relative to the largest element, in float64."""


@dataclass(frozen=True)
class Case:
    """One operator call on real tensors."""

    op: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        arguments = [*map(_show, self.args), *(f"{k}={_show(v)}" for k, v in self.kwargs.items())]
        return f"{self.op}({', '.join(arguments)})"


def _show(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_show, value))}]"
    return repr(value)


def case(op: Any, *args: Any, **kwargs: Any) -> Case:
    """`op(*args, **kwargs)`, to be checked later."""
    return Case(op, args, kwargs)


@dataclass(frozen=True)
class Followed:
    """What a rule said about one call; axes are resolved."""

    operands: tuple[tuple[Tensor, Axes], ...]
    results: tuple[Axes, ...]
    solver: AxisSolver
    values: list[Any]  # what the operator returned
    left: Mapping[str, Any]  # the arguments as the operator left them

    @property
    def axes(self) -> list[Axis]:
        """All axes, operands first."""
        return [axis for _, axes in self.operands for axis in axes] + [axis for axes in self.results for axis in axes]


def rule_of(op: Any) -> PropagationRule:
    """The rule that a walk over a graph would use."""
    rule = find_rule(op)
    if rule is None:
        assert is_pointwise(op), f"{op} has no rule"
        return pointwise
    return rule


def registered_name(op: Any) -> str:
    """The name under which the rule of an overload stands in the table."""
    return next(name for name in rule_names(op) if name in RULES)


# -- running an operator


def _arguments(call: Case) -> dict[str, Any]:
    return bind(call.op, call.args, call.kwargs)


def _run(op: Any, arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Results (none for an operator that gives a plain number), and the arguments as the operator left them."""
    own = pytree.tree_map_only(Tensor, torch.clone, dict(arguments))
    torch.default_generator.manual_seed(0)
    positional = [own[a.name] for a in op._schema.arguments if not a.kwarg_only]
    named = {a.name: own[a.name] for a in op._schema.arguments if a.kwarg_only}
    result = op(*positional, **named)
    if isinstance(result, Tensor):
        return [result], own
    return list(result) if isinstance(result, (list, tuple)) else [], own


def _written(op: Any, arguments: Mapping[str, Any]) -> dict[str, Tensor]:
    """Arguments whose elements the operator changes; one that only changes the shape returns the argument."""
    if torch.Tag.inplace_view in op.tags:
        return {}
    return {name: arguments[name] for name in written_parameters(op) if isinstance(arguments[name], Tensor)}


# -- running its rule


def follow(call: Case, *, rule: PropagationRule | None = None, first_only: bool = False, entangle: int = 0) -> Followed:
    """Run a rule on fresh axes for every tensor operand.

    Args:
        call: The operator call.
        rule: A rule to try in place of the registered one.
        first_only: Whether only the first result is used by anyone.
        entangle: Seed for structure put into the operands' axes first; 0 puts none.
    """
    solver = AxisSolver(node="call")
    arguments = _arguments(call)
    values, left = _run(call.op, arguments)
    tensors = [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, Tensor)]
    fresh = [tuple(solver.fresh(size) for size in tensor.shape) for tensor in tensors]
    if entangle:
        _entangle(solver, [axis for axes in fresh for axis in axes], random.Random(entangle))
    own = {id(tensor): axes for tensor, axes in zip(tensors, fresh, strict=True)}
    shown = {name: _as_values(arguments[name], own) for name in arguments if name not in out_parameters(call.op)}
    shapes = tuple(tuple(value.shape) if isinstance(value, Tensor) else () for value in values)
    used: Callable[[int], bool] = (lambda i: i == 0) if first_only else (lambda i: True)
    outputs = (rule or rule_of(call.op))(Call(call.op, shown, shapes, used, solver, [], []))
    several = _several(outputs, shapes)
    for tensor in _written(call.op, arguments).values():
        _couple_written(solver, own[id(tensor)], several)
    return Followed(
        tuple((t, tuple(map(solver.resolve, axes))) for t, axes in zip(tensors, fresh, strict=True)),
        tuple(tuple(map(solver.resolve, axes)) for axes in several),
        solver,
        values,
        left,
    )


def _as_values(value: Any, own: Mapping[int, Axes]) -> Any:
    if isinstance(value, Tensor):
        filled = value.numel() == 0 or bool((value == value.flatten()[0]).all())
        mask = value.dtype in (torch.bool, torch.uint8)
        flags = {"constant": False, "state": False, "mask": mask, "filled": filled, "contiguous": value.is_contiguous()}
        return Value(own[id(value)], tuple(value.shape), **flags)
    if isinstance(value, (list, tuple)):
        return [_as_values(item, own) for item in value]
    return value


def _couple_written(solver: AxisSolver, target: Axes, results: Sequence[Axes]) -> None:
    """As a walk over a graph does: memory that is written to is the result of the same shape."""
    for axes in results:
        if [axis.size for axis in axes] == [axis.size for axis in target]:
            for axis, other in zip(target, axes, strict=True):
                solver.unify(axis, other)


def _several(outputs: Outputs, shapes: Sequence[tuple[int, ...]]) -> list[Axes]:
    several = outputs if isinstance(outputs, list) else [outputs]
    claimed = [tuple(axis.size for axis in axes) for axes in several]
    assert claimed == list(shapes), f"the rule gave sizes {claimed} to results of shapes {list(shapes)}"
    return several


def _entangle(solver: AxisSolver, axes: list[Axis], rng: random.Random) -> None:
    for axis in axes:
        divisors = [d for d in range(2, axis.size) if axis.size % d == 0]
        peers = [other for other in axes if other.size == axis.size]
        match rng.randrange(12):
            case 0 | 1 if divisors:
                solver.split(axis, rng.choice(divisors))
            case 2 | 3 if axis.size > 1:
                solver.cut(axis, rng.randrange(1, axis.size))
            case 4 | 5:
                solver.unify(axis, rng.choice(peers))
            case 6:
                solver.pin(axis, "opaque")
            case 7:
                solver.unify(axis, fixed(axis.size))


# -- the oracle


def check_equivariance(op: Any, *args: Any, **kwargs: Any) -> Followed:
    """Check the registered rule of `op` on this call, and return what it said."""
    return check(Case(op, args, kwargs))


def check(call: Case, *, rule: PropagationRule | None = None, first_only: bool = False, entangle: int = 0) -> Followed:
    """Check a rule on one call; see `follow` for the arguments.

    Raises:
        AssertionError: If the results on permuted operands are not the permuted results.
    """
    said = follow(call, rule=rule, first_only=first_only, entangle=entangle)
    orders = draw_orders(said)
    arguments = _arguments(call)
    own = {id(tensor): axes for tensor, axes in said.operands}
    moved = pytree.tree_map_only(Tensor, lambda t: permute(t, own[id(t)], orders), arguments)
    values, left = _run(call.op, moved)
    for before, after, axes in list(zip(said.values, values, said.results, strict=True))[: 1 if first_only else None]:
        if isinstance(before, Tensor):
            _compare(permute(before, axes, orders), after, call)
    for name, tensor in _written(call.op, arguments).items():
        if tensor.shape == left[name].shape:  # else it was replaced
            _compare(permute(said.left[name], own[id(tensor)], orders), left[name], call)
    return said


def draw_orders(said: Followed) -> dict[Atom, list[int]]:
    """An order other than the present one for every atom that is neither pinned nor anchored."""
    free = dict.fromkeys(a for axis in said.axes for a in atoms(axis) if not _is_marked(said.solver, a))
    rng = random.Random(len(free))
    return {atom: _derange(atom.size, rng) for atom in free}


def _is_marked(solver: AxisSolver, atom: Atom) -> bool:
    return atom in solver.pinned or atom in solver.anchored


def _derange(size: int, rng: random.Random) -> list[int]:
    order = rng.sample(range(size), size)
    return order if order != list(range(size)) else order[1:] + order[:1]


def permute(tensor: Tensor, axes: Axes, orders: Mapping[Atom, Sequence[int]]) -> Tensor:
    """The tensor with its elements in the order that `orders` gives to its axes."""
    for dim, axis in enumerate(axes):
        order = positions(axis, orders)
        if not isinstance(order, range):
            tensor = tensor.index_select(dim, torch.tensor(order))
    return tensor


def _compare(expected: Tensor, actual: Tensor, call: Case) -> None:
    exact = not (expected.is_floating_point() or expected.is_complex())
    scale = 1.0 if exact or not expected.numel() else float(expected.abs().nan_to_num(0, 0, 0).max()) or 1.0
    absolute = 0.0 if exact else TOLERANCE * scale
    torch.testing.assert_close(
        actual, expected, rtol=0, atol=absolute, equal_nan=True, msg=lambda text: f"{call}\n{text}"
    )


# -- checking what hypothesis draws


def check_drawn(name: str, cases: Mapping[str, st.SearchStrategy[Case]], data: st.DataObject) -> None:
    """Draw a call for the rule registered as `name`, and check it with and without entangled axes."""
    torch.default_generator.manual_seed(0)
    call = data.draw(cases[name])
    assert registered_name(call.op) == name
    check(call, first_only=data.draw(st.booleans()), entangle=data.draw(st.integers(0, 1000)))


def one(call: Callable[[], Case]) -> st.SearchStrategy[Case]:
    """A strategy of one call, made anew for each example."""
    return st.builds(call)


# -- strategies


SIZES = (1, 2, 3, 4, 6)

sizes = st.sampled_from(SIZES)
seldom = st.sampled_from((False, False, False, True))


def shapes(min_dims: int = 0, max_dims: int = 4) -> st.SearchStrategy[tuple[int, ...]]:
    """Tensor shapes; sizes repeat, share factors, or are 1."""
    return st.lists(sizes, min_size=min_dims, max_size=max_dims).map(tuple)


def dim_of(rank: int) -> st.SearchStrategy[int]:
    """A dim, counted from either end."""
    return st.integers(-rank, rank - 1)


def dims_of(rank: int, min_size: int = 0) -> st.SearchStrategy[list[int]]:
    """Distinct dims, each counted from either end."""
    return st.lists(dim_of(rank), min_size=min_size, max_size=rank, unique_by=lambda d: d % rank)


def floats(*shape: int) -> Tensor:
    """Normal float64 values."""
    return torch.randn(shape, dtype=torch.float64)


def positive(*shape: int) -> Tensor:
    """Float64 values above 0.1."""
    return torch.rand(shape, dtype=torch.float64) + 0.1


def masks(*shape: int) -> Tensor:
    """Booleans, more true than false."""
    return torch.rand(shape) < 0.7


def integers(high: int, *shape: int) -> Tensor:
    """Integers from 0, below `high`."""
    return torch.randint(high, shape)


@st.composite
def broadcastable(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that broadcasts to `shape`: leading dims left out, some others 1."""
    kept = shape[draw(st.integers(0, len(shape))) :] if draw(st.booleans()) else shape
    return tuple(draw(st.sampled_from((size, size, 1))) for size in kept)
