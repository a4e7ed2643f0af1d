"""The solver against brute force: run a rearrangement on numbers and on axes, and compare where elements go."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import Script, TensorVerbs, axes, scripts
from wsel_graph.axes import UNIT, Atom, Axis, AxisSolver, atoms, concat, fixed, format_axes, positions, product
from wsel_graph.axes.expr import EMPTY
from wsel_graph.errors import AxisConflictError

Axes = tuple[Axis, ...]


class AxisVerbs:
    """The steps of a script on axes, as the propagation rules state them."""

    def __init__(self, solver: AxisSolver) -> None:
        self.solver = solver

    def reshape(self, x: Axes, sizes: tuple[int, ...]) -> Axes:
        return tuple(self.solver.reshape(x, sizes))

    def permute(self, x: Axes, order: tuple[int, ...]) -> Axes:
        return tuple(x[dim] for dim in order)

    def slice(self, x: Axes, dim: int, start: int, stop: int) -> Axes:
        right = self.solver.cut(x[dim], start)[1]
        return (*x[:dim], self.solver.cut(right, stop - start)[0], *x[dim + 1 :])

    def stride(self, x: Axes, dim: int, step: int, phase: int) -> Axes:
        head, tail = self.solver.split(x[dim], step)
        self.slice((tail,), 0, phase, phase + 1)
        return (*x[:dim], head, *x[dim + 1 :])

    def cat(self, x: Axes, y: Axes, dim: int) -> Axes:
        for d in range(len(x)):
            if d != dim:
                self.solver.unify(x[d], y[d])
        return (*x[:dim], concat(x[dim], y[dim]), *x[dim + 1 :])

    def add(self, x: Axes, y: Axes) -> Axes:
        for one, other in zip(x, y, strict=True):
            self.solver.unify(one, other)
        return x


def solve(script: Script, solver: AxisSolver | None = None) -> tuple[AxisSolver, list[Axes]]:
    """The resolved axes of every value of a script."""
    solver = solver or AxisSolver()
    inputs = [tuple(solver.fresh(size) for size in shape) for shape in script.shapes]
    values = script.run(inputs, AxisVerbs(solver))
    return solver, [tuple(solver.resolve(axis) for axis in value) for value in values]


def free_atoms(solver: AxisSolver, values: list[Axes]) -> list[Atom]:
    """Every atom that is not pinned, in order."""
    found = dict.fromkeys(atom for value in values for axis in value for atom in atoms(axis))
    return [atom for atom in found if atom not in solver.pinned]


def shuffled(free: Sequence[Atom], seed: int) -> dict[Atom, list[int]]:
    """A random order for every atom."""
    rng = random.Random(seed)
    return {atom: rng.sample(range(atom.size), atom.size) for atom in free}


def permuted(tensor: torch.Tensor, value: Axes, picks: dict[Atom, list[int]]) -> torch.Tensor:
    """The tensor with every dim in the order that the picks give its axis."""
    for dim, axis in enumerate(value):
        tensor = tensor.index_select(dim, torch.tensor(list(positions(axis, picks)), dtype=torch.int64))
    return tensor


def numbered(script: Script) -> list[torch.Tensor]:
    """Input arrays of large numbers that no sum confuses."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(1 << 40, shape, generator=generator) for shape in script.shapes]


def check_script(script: Script, seed: int, solver: AxisSolver | None = None) -> int:
    """Assert that the script commutes with a permutation of all free atoms; the number of those."""
    solver, values = solve(script, solver)
    free = free_atoms(solver, values)
    picks = shuffled(free, seed)
    inputs = numbered(script)
    moved = [permuted(tensor, value, picks) for tensor, value in zip(inputs, values, strict=False)]
    expected, found = script.run(inputs, TensorVerbs()), script.run(moved, TensorVerbs())
    for before, after, value in zip(expected, found, values, strict=True):
        assert torch.equal(permuted(before, value, picks), after)
    return len(free)


@given(scripts(), st.integers(0, 9))
def test_permuting_inputs_permutes_outputs_as_their_axes_say(script: Script, seed: int) -> None:
    check_script(script, seed)


FIXED_SCRIPT = Script(((12,), (4,)), (("reshape", 0, (3, 4, 1)), ("slice", 2, 1, 0, 2), ("reshape", 3, (6, 1, 1))))


class NoCuts(AxisSolver):
    """A wrong solver: a slice leaves the axis free."""

    def cut(self, axis: Axis, offset: int) -> tuple[Axis, Axis]:
        return self.fresh(offset), self.fresh(axis.size - offset)


class SwappedSplit(AxisSolver):
    """A wrong solver: a reshape reads the factors in the wrong order."""

    def split(self, axis: Axis, tail: int) -> tuple[Axis, Axis]:
        tail_axis, head_axis = super().split(axis, axis.size // tail)
        return head_axis, tail_axis


@pytest.mark.parametrize("wrong", [NoCuts, SwappedSplit])
def test_the_oracle_catches_a_wrong_solver(wrong: type[AxisSolver]) -> None:
    assert check_script(FIXED_SCRIPT, 0) > 0
    with pytest.raises(AssertionError):
        check_script(FIXED_SCRIPT, 0, wrong())


@given(scripts())
def test_the_same_script_gives_the_same_axes(script: Script) -> None:
    first, second = (solve(script) for _ in range(2))
    texts = [[format_axes(value, {}) for value in values] for _, values in (first, second)]
    assert texts[0] == texts[1]
    assert [m.reason for m in first[0].pinned.values()] == [m.reason for m in second[0].pinned.values()]


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Axis, Axis]:
    """Two structurings of as many positions; atoms may occur in both, and more than once."""
    size = draw(st.sampled_from((12, 24, 6, 8, 9, 5)))
    pool: list[Atom] = []
    return draw(axes(size, pool)), draw(axes(size, pool))


@given(pairs(), st.integers(0, 9))
def test_unified_axes_move_alike(pair: tuple[Axis, Axis], seed: int) -> None:
    solver = AxisSolver()
    solver.unify(*pair)
    left, right = (solver.resolve(axis) for axis in pair)
    picks = shuffled(free_atoms(solver, [(left, right)]), seed)
    assert list(positions(left, picks)) == list(positions(right, picks))


@given(pairs())
def test_unifying_again_changes_nothing(pair: tuple[Axis, Axis]) -> None:
    solver = AxisSolver()
    solver.unify(*pair)
    before = [solver.resolve(axis) for axis in pair], dict(solver.pinned)
    solver.unify(*pair)
    assert ([solver.resolve(axis) for axis in pair], solver.pinned) == before


@given(axes(24), st.sampled_from((1, 2, 3, 4, 6, 8, 12, 24)), st.integers(0, 9))
def test_a_split_axis_is_head_and_tail(axis: Axis, tail: int, seed: int) -> None:
    solver = AxisSolver()
    pair = product(*solver.split(axis, tail))
    picks = shuffled(free_atoms(solver, [(solver.resolve(pair), solver.resolve(axis))]), seed)
    assert list(positions(solver.resolve(pair), picks)) == list(positions(solver.resolve(axis), picks))


@given(axes(24), st.integers(0, 24), st.integers(0, 9))
def test_a_cut_axis_is_left_and_right(axis: Axis, offset: int, seed: int) -> None:
    solver = AxisSolver()
    left, right = solver.cut(axis, offset)
    assert (left.size, right.size) == (offset, 24 - offset)
    both = solver.resolve(concat(left, right))
    picks = shuffled(free_atoms(solver, [(both, solver.resolve(axis))]), seed)
    assert list(positions(both, picks)) == list(positions(solver.resolve(axis), picks))


@given(pairs(), st.data())
def test_marks_survive_every_refinement(pair: tuple[Axis, Axis], data: st.DataObject) -> None:
    solver = AxisSolver(node="first")
    marked = list(dict.fromkeys(atoms(pair[0])))
    pinned = [atom for atom in marked if data.draw(st.booleans())]
    for atom in pinned:
        solver.pin(atom, "label")
    for atom in marked:
        solver.anchor(atom, "sine")
    solver.unify(*pair)
    solver.cut(pair[0], pair[0].size // 2)
    assert all(inner in solver.pinned for atom in pinned for inner in atoms(solver.resolve(atom)))
    assert all(inner in solver.anchored for atom in marked for inner in atoms(solver.resolve(atom)))


# -- not too strict: what people write keeps the freedom that it has


def notation(solver: AxisSolver, *found: Axis) -> str:
    """Axes as text, atoms numbered by their order, pinned ones in capitals."""
    resolved = [solver.resolve(axis) for axis in found]
    order = list(dict.fromkeys(atom for axis in resolved for atom in atoms(axis)))
    names = {atom: chr(ord("A" if atom in solver.pinned else "a") + i) for i, atom in enumerate(order)}
    return format_axes(resolved, names)


def parts(solver: AxisSolver, axis: Axis, *sizes: int) -> list[Axis]:
    """Consecutive parts of an axis."""
    found = []
    for size in sizes:
        part, axis = solver.cut(axis, size)
        found.append(part)
    return found


def qkv_by_view(s: AxisSolver) -> Sequence[Axis]:
    """`qkv.view(3, heads, d)`, taken apart; scores sum over d, one output axis `(heads d)`."""
    qkv = s.fresh(36)
    three, heads, d = s.reshape([qkv], [3, 4, 3])
    parts(s, three, 1, 1, 1)
    return [qkv, product(heads, d)]


def qkv_by_chunk(s: AxisSolver) -> Sequence[Axis]:
    qkv = s.fresh(36)
    q, k, v = (s.reshape([part], [4, 3]) for part in parts(s, qkv, 12, 12, 12))
    for one, other in zip(q, k, strict=True):
        s.unify(one, other)
    s.unify(q[0], v[0])
    return [qkv, product(*v)]


def qkv_heads_outside(s: AxisSolver) -> Sequence[Axis]:
    """`qkv.view(heads, 3 * d).chunk(3)`: as in GPT-NeoX."""
    qkv = s.fresh(36)
    heads, rest = s.reshape([qkv], [4, 9])
    q, k, v = parts(s, rest, 3, 3, 3)
    s.unify(q, k)
    return [qkv, product(heads, v)]


def grouped_queries(s: AxisSolver) -> Sequence[Axis]:
    """Eight query heads share two heads of keys: `repeat_interleave`."""
    q, k = s.fresh(24), s.fresh(6)
    (q_heads, q_d), (k_heads, k_d) = s.reshape([q], [8, 3]), s.reshape([k], [2, 3])
    s.unify(q_heads, product(k_heads, s.fresh(4)))
    s.unify(q_d, k_d)
    return [q, k]


def rotate_half(s: AxisSolver) -> Sequence[Axis]:
    """`cat(-x2, x1)` added to x: both halves of head_dim are one atom."""
    x = s.fresh(8)
    first, second = parts(s, x, 4, 4)
    s.unify(x, concat(second, first))
    return [x]


def rotate_interleaved(s: AxisSolver) -> Sequence[Axis]:
    """`stack(-x[1::2], x[::2]).flatten()` added to x: pairs move together."""
    x = s.fresh(8)
    pairs, two = s.split(x, 2)
    parts(s, two, 1, 1)
    s.unify(x, product(pairs, fixed(2)))
    return [x]


def gate_and_up(s: AxisSolver) -> Sequence[Axis]:
    """SwiGLU."""
    fused = s.fresh(12)
    gate, up = parts(s, fused, 6, 6)
    s.unify(gate, up)
    return [fused, gate]


def gates_of_lstm(s: AxisSolver) -> Sequence[Axis]:
    stacked, hidden = s.fresh(20), s.fresh(5)
    for part in parts(s, stacked, 5, 5, 5, 5):
        s.unify(part, hidden)
    return [stacked, hidden]


def concat_of_concats(s: AxisSolver) -> Sequence[Axis]:
    """DenseNet: every layer reads all before; the widest reader sees all boundaries."""
    x, y, z = s.fresh(4), s.fresh(3), s.fresh(2)
    first, second = s.fresh(7), s.fresh(9)
    s.unify(first, concat(x, y))
    s.unify(second, concat(concat(x, y), z))
    return [second, first]


def concat_times_place(s: AxisSolver) -> Sequence[Axis]:
    """`((a + b) c) == ((a c) + (b c))`: flatten after concatenation, into a linear."""
    a, b, c = s.fresh(2), s.fresh(3), s.fresh(4)
    flat = s.fresh(20)
    s.unify(flat, product(concat(a, b), c))
    left, right = parts(s, flat, 8, 12)
    other = s.fresh(8)
    s.unify(other, left)
    return [flat, left, right, other]


def interleaved_slices(s: AxisSolver) -> Sequence[Axis]:
    """`x[::3]`, `x[1::3]` and `x[2::3]` joined."""
    x = s.fresh(12)
    heads = []
    for phase in range(3):
        head, tail = s.split(x, 3)
        parts(s, tail, phase, 1)
        heads.append(head)
    return [x, concat(*heads)]


def shuffle(s: AxisSolver) -> Sequence[Axis]:
    x = s.fresh(12)
    groups, inner = s.reshape([x], [3, 4])
    return [x, *s.reshape([inner, groups], [12])]


def shuffle_and_residual(s: AxisSolver) -> Sequence[Axis]:
    """`(g c) == (c g)` with 3 groups of 4: no independent permutation is left."""
    x = s.fresh(12)
    groups, inner = s.reshape([x], [3, 4])
    s.unify(x, product(inner, groups))
    return [x]


def square_shuffle_and_residual(s: AxisSolver) -> Sequence[Axis]:
    """`(g c) == (c g)` with 4 groups of 4: both factors move alike."""
    x = s.fresh(16)
    groups, inner = s.reshape([x], [4, 4])
    s.unify(x, product(inner, groups))
    return [x]


def common_divisor(s: AxisSolver) -> Sequence[Axis]:
    """Heads of 6 channels and groups of 4: the leading halves stay free."""
    x = s.fresh(24)
    s.reshape([x], [4, 6])
    s.reshape([x], [8, 3])
    return [x]


def unaligned(s: AxisSolver) -> Sequence[Axis]:
    """`(2 3)` read as `(3 2)`."""
    x = s.fresh(6)
    s.reshape([x], [2, 3])
    s.reshape([x], [3, 2])
    return [x]


def window_partition(s: AxisSolver) -> Sequence[Axis]:
    """`b (nh wh) (nw ww) c -> (b nh nw) (wh ww) c`, and back."""
    start = [s.fresh(2), s.fresh(4), s.fresh(4), s.fresh(5)]
    b, nh, wh, nw, ww, c = s.reshape(start, [2, 2, 2, 2, 2, 5])
    windows, places, _ = s.reshape([b, nh, nw, wh, ww, c], [8, 4, 5])
    return [windows, places, *start]


def unequal_parts(s: AxisSolver) -> Sequence[Axis]:
    x = s.fresh(9)
    parts(s, x, 2, 7)
    parts(s, x, 4, 5)
    return [x]


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (qkv_by_view, "(3 a b) (a b)"),
        (qkv_by_chunk, "((2 a b) + (a c)) (a c)"),
        (qkv_heads_outside, "(a ((2 b) + c)) (a c)"),
        (grouped_queries, "(a b c) (a c)"),
        (rotate_half, "(2 a)"),
        (rotate_interleaved, "(a 2)"),
        (gate_and_up, "(2 a) a"),
        (gates_of_lstm, "(4 a) a"),
        (concat_of_concats, "(a + b + c) (a + b)"),
        (concat_times_place, "((a + b) c) (a c) (b c) (a c)"),
        (interleaved_slices, "(a 3) (3 a)"),
        (shuffle, "(a b) (b a)"),
        (shuffle_and_residual, "(A B)"),
        (square_shuffle_and_residual, "(a a)"),
        (common_divisor, "(a b c)"),
        (unaligned, "(A B)"),
        (window_partition, "(a b c) (d e) a (b d) (c e) f"),
        (unequal_parts, "(a + b + c)"),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
def test_freedom_that_is_kept(build: Callable[[AxisSolver], Sequence[Axis]], expected: str) -> None:
    solver = AxisSolver()
    assert notation(solver, *build(solver)) == expected


# -- corners


def test_a_conflict_of_sizes_names_the_node_and_both_sizes() -> None:
    solver = AxisSolver(node="add_3")
    with pytest.raises(AxisConflictError) as caught:
        solver.unify(solver.fresh(4), solver.fresh(5))
    assert str(caught.value) == "add_3: an axis of size 4 cannot equal one of size 5"


@pytest.mark.parametrize("tail", [0, 4, -2])
def test_a_split_that_cannot_be_is_refused(tail: int) -> None:
    solver = AxisSolver()
    with pytest.raises(AxisConflictError) as caught:
        solver.split(solver.fresh(6), tail)
    assert str(caught.value) == f"an axis of size 6 has no row-major factor of size {tail}"


def test_size_one_never_couples() -> None:
    solver = AxisSolver()
    assert solver.fresh(1, pinned="label") == UNIT
    solver.unify(solver.fresh(1), UNIT)
    assert solver.reshape([solver.fresh(1), UNIT], [1, 1, 1]) == [UNIT] * 3
    assert not solver.pinned
    assert not solver.ties


def test_size_zero_never_couples() -> None:
    solver = AxisSolver()
    atom = solver.fresh(3)
    assert solver.fresh(0, anchored="sine") == EMPTY
    solver.unify(product(atom, solver.fresh(0)), EMPTY)
    assert solver.cut(EMPTY, 0) == (EMPTY, EMPTY)
    assert [axis.size for axis in solver.reshape([atom, EMPTY], [2, 0])] == [2, 0]
    assert solver.resolve(atom) is atom


def test_cutting_off_nothing_or_everything_keeps_the_axis() -> None:
    solver = AxisSolver()
    axis = solver.fresh(6)
    assert solver.cut(axis, 0) == (EMPTY, axis)
    assert solver.cut(axis, 6) == (axis, EMPTY)
    assert solver.split(axis, 1) == (axis, UNIT)
    assert solver.split(axis, 6) == (UNIT, axis)
    assert solver.resolve(axis) is axis


def test_a_pinned_axis_gives_pinned_parts_with_its_reason() -> None:
    solver = AxisSolver(node="input")
    axis = solver.fresh(12, pinned="input")
    solver.node = "slice"
    for part in (*solver.cut(axis, 5), *solver.split(axis, 4)):
        assert [solver.pinned[atom].reason for atom in atoms(solver.resolve(part))] == ["input"]


def test_the_first_reason_is_kept() -> None:
    solver = AxisSolver(node="one")
    axis = solver.fresh(4, pinned="label")
    solver.node = "two"
    solver.pin(axis, "opaque")
    assert [(mark.reason, mark.node) for mark in solver.pinned.values()] == [("label", "one")]


def test_meeting_fixed_positions_fixes_what_has_no_reason_yet() -> None:
    solver = AxisSolver()
    table, free = solver.fresh(4, pinned="position"), solver.fresh(3)
    solver.unify(concat(table, free), fixed(7))
    assert notation(solver, table, free) == "A 3"
    assert [mark.reason for mark in solver.pinned.values()] == ["position"]


def test_a_shifted_self_reference_is_fixed_at_once() -> None:
    solver = AxisSolver()
    b, c, d, e = (solver.fresh(size) for size in (2, 3, 7, 8))
    solver.unify(concat(b, c, d), concat(c, UNIT, e))
    assert notation(solver, concat(b, c, d), concat(c, UNIT, e)) == "(5 + a) (5 + a)"


def test_a_cut_inside_a_concat_fixes_the_part_that_is_cut() -> None:
    solver = AxisSolver()
    a, b, c = solver.fresh(4), solver.fresh(2), solver.fresh(2)
    solver.cut(product(concat(a, b), c), 1)
    assert notation(solver, a, b, c) == "4 a 2"


def test_a_cut_inside_a_factor_fixes_the_leading_factor_only() -> None:
    solver = AxisSolver()
    heads, d = solver.fresh(3), solver.fresh(4)
    solver.cut(product(heads, d), 6)
    assert notation(solver, heads, d) == "3 (a + b)"


def test_a_cut_inside_a_very_long_product_pins_it() -> None:
    solver = AxisSolver()
    axis = product(solver.fresh(100), solver.fresh(4))
    left, right = solver.cut(axis, 6)
    assert solver.is_pinned(axis)
    assert (left.size, right.size) == (6, 394)


def test_every_tie_says_which_node_made_it() -> None:
    solver = AxisSolver(node="linear")
    x, weight = solver.fresh(6), solver.fresh(6)
    solver.unify(x, weight)
    solver.node = "view"
    solver.split(x, 2)
    assert [tie.node for tie in solver.ties] == ["linear", "view"]
    assert (solver.ties[0].left, solver.ties[0].right) == (x, weight)


# -- long chains stay fast and shallow

SECONDS = 5.0


def chained(solver: AxisSolver, step: int) -> list[Axis]:
    """5,000 axes, each unified with the next, from either end."""
    chain = [solver.fresh(6) for _ in range(5000)]
    for left, right in list(itertools.pairwise(chain))[::step]:
        solver.unify(left, right)
    return chain


def taken_apart(solver: AxisSolver, count: int) -> Axis:
    """An axis from which one part after another is cut off the front."""
    axis = rest = solver.fresh(2 * count)
    for _ in range(count - 1):
        rest = solver.cut(rest, 2)[1]
    return axis


def two_long_concats(solver: AxisSolver, count: int) -> Axis:
    """Parts of 6 against parts of 4."""
    axis = concat(*(solver.fresh(6) for _ in range(2 * count)))
    solver.unify(axis, concat(*(solver.fresh(4) for _ in range(3 * count))))
    return axis


def dense(solver: AxisSolver, count: int) -> Axis:
    """A concat that grows by one part per layer and is read by every layer."""
    axis = solver.fresh(8)
    for _ in range(count):
        solver.unify(solver.fresh(axis.size), axis)
        axis = concat(axis, solver.fresh(8))
    return axis


@pytest.mark.parametrize("step", [1, -1])
def test_a_chain_of_unions_is_one_axis(step: int) -> None:
    start = time.perf_counter()
    solver = AxisSolver()
    chain = chained(solver, step)
    assert {solver.resolve(axis) for axis in chain} == {chain[0]}
    solver.split(chain[-1], 3)
    assert len({solver.resolve(axis) for axis in chain}) == 1
    assert time.perf_counter() - start < SECONDS


@pytest.mark.parametrize("build", [taken_apart, two_long_concats, dense])
def test_a_thousand_parts_are_fast_and_shallow(build: Callable[[AxisSolver, int], Axis]) -> None:
    start = time.perf_counter()
    solver = AxisSolver()
    axis = solver.resolve(build(solver, 1000))
    assert len(list(atoms(axis))) >= 1000
    assert time.perf_counter() - start < SECONDS
