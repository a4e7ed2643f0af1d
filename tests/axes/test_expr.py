"""Axis expressions against brute force: number the positions and watch where they go."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import axes
from wsel_graph.axes import UNIT, Atom, Axis, Concat, Product, atoms, concat, fixed, positions, product, substitute
from wsel_graph.axes.expr import EMPTY


@st.composite
def chosen(draw: st.DrawFn) -> tuple[Axis, dict[Atom, list[int]]]:
    """An axis, and elements taken from some of its atoms, in any order."""
    axis = draw(axes(draw(st.sampled_from((12, 8, 6, 5, 1, 0)))))
    picks = {
        atom: draw(st.lists(st.integers(0, atom.size - 1), unique=True)) for atom in atoms(axis) if draw(st.booleans())
    }
    return axis, picks


def labels(axis: Axis, taken: dict[Atom, list[int]]) -> list[tuple[object, ...]]:
    """Every position of the axis by its coordinates: which part, which element of which atom."""
    if isinstance(axis, Atom):
        return [(axis, i) for i in taken.get(axis, range(axis.size))]
    if isinstance(axis, Concat):
        return [(n, *label) for n, part in enumerate(axis.parts) for label in labels(part, taken)]
    result: list[tuple[object, ...]] = [()]
    for factor in axis.factors:
        result = [(*outer, *inner) for outer in result for inner in labels(factor, taken)]
    return result


@given(chosen())
def test_positions_are_where_the_labels_were(case: tuple[Axis, dict[Atom, list[int]]]) -> None:
    axis, picks = case
    before, after = labels(axis, {}), labels(axis, picks)
    assert [before[position] for position in positions(axis, picks)] == after


@given(axes(12), axes(6))
def test_sizes_add_and_multiply(left: Axis, right: Axis) -> None:
    assert concat(left, right).size == 18
    assert product(left, right).size == 72
    assert len(labels(product(left, right), {})) == 72


def check_normal(axis: Axis) -> None:
    """No compound in a compound of its kind, no compound of one, no unit factor, no empty part."""
    if isinstance(axis, Atom):
        assert axis.size > 1
        return
    inner = axis.factors if isinstance(axis, Product) else axis.parts
    assert len(inner) != 1
    for child in inner:
        assert not isinstance(child, type(axis)) or child == UNIT
        assert child.size > (1 if isinstance(axis, Product) else 0)
        if child != UNIT:
            check_normal(child)


@given(axes(12), axes(4), axes(0), axes(1))
def test_constructors_keep_normal_form(left: Axis, right: Axis, empty: Axis, unit: Axis) -> None:
    check_normal(product(left, unit, right))
    check_normal(concat(left, empty, right, unit))
    check_normal(product(concat(left, unit), concat(right, empty)))


@given(axes(12), axes(6), axes(2))
def test_constructors_are_associative(a: Axis, b: Axis, c: Axis) -> None:
    assert product(a, product(b, c)) == product(product(a, b), c)
    assert concat(a, concat(b, c)) == concat(concat(a, b), c)


@pytest.mark.parametrize("parts", [(), (EMPTY,), (EMPTY, EMPTY)])
def test_nothing_is_empty(parts: tuple[Axis, ...]) -> None:
    assert concat(*parts) == EMPTY
    assert EMPTY.size == 0


def test_a_factor_without_positions_empties_a_product() -> None:
    atom = Atom(3)
    assert product(atom, EMPTY) == EMPTY
    assert product(EMPTY) == EMPTY
    assert list(positions(product(atom, EMPTY), {atom: [1]})) == []


def test_units_vanish_from_products_and_count_in_concats() -> None:
    atom = Atom(3)
    assert product(UNIT, atom, UNIT) is atom
    assert product() == product(UNIT, UNIT) == UNIT
    assert concat(UNIT, UNIT, atom).size == 5
    assert fixed(3) == concat(UNIT, UNIT, UNIT)
    assert fixed(1) == UNIT
    assert fixed(0) == EMPTY


def test_equal_sizes_are_not_equal_axes() -> None:
    first, second = Atom(4), Atom(4)
    assert first != second
    assert product(first, second) != product(second, first)
    assert product(first, second) == product(first, second)


def test_substitute_keeps_the_rest() -> None:
    a, b, c, d = Atom(6), Atom(4), Atom(2), Atom(3)
    axis = concat(product(b, a), b)
    assert substitute(axis, {a: product(c, d)}) == concat(product(b, c, d), b)
    assert substitute(axis, {}) == axis


def test_reading_an_axis_back() -> None:
    h, d = Atom(2), Atom(3)
    name = {h: f"a{h.serial}:2", d: f"a{d.serial}:3"}
    assert repr(concat(product(h, d), fixed(4), d)) == f"(({name[h]} {name[d]}) + () + () + () + () + {name[d]})"
    assert repr(product(fixed(3), h)) == f"(3 {name[h]})"


def test_positions_follow_a_permutation_of_a_large_axis() -> None:
    rows, columns = Atom(300), Atom(200)
    order = random.Random(0).sample(range(300), 300)
    found = positions(product(rows, columns), {rows: order})
    assert list(found) == [200 * row + column for row in order for column in range(200)]
