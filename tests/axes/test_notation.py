"""Axis notation: printing, reading, and every error message with its caret."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import axes
from wsel_graph.axes import Atom, Axis, atoms, concat, fixed, format_axes, parse_axes, positions, product
from wsel_graph.errors import NotationError

SIZES = {"a": 2, "b": 3, "heads": 6, "head_dim": 4, "one": 1, "none": 0, "x'": 5, "w.v": 7}
A, B, C = Atom(2), Atom(3), Atom(5)


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        pytest.param(A, "a", id="atom"),
        pytest.param(product(A, B), "(a b)", id="merge"),
        pytest.param(concat(A, B), "(a + b)", id="end to end"),
        pytest.param(product(fixed(3), A, B), "(3 a b)", id="fixed factor"),
        pytest.param(concat(A, A), "(2 a)", id="equal parts"),
        pytest.param(concat(product(A, B), product(A, B), C), "((2 a b) + c)", id="equal runs"),
        pytest.param(concat(fixed(3), A), "(3 + a)", id="fixed part"),
        pytest.param(product(concat(A, B), C), "((a + b) c)", id="distributed"),
        pytest.param(concat(product(concat(A, A), B), product(concat(A, A), B)), "(2 (2 a) b)", id="nested runs"),
        pytest.param(product(A, fixed(2)), "(a 2)", id="fixed tail"),
        pytest.param(fixed(1), "1", id="unit"),
        pytest.param(fixed(0), "0", id="empty"),
        pytest.param(fixed(7), "7", id="fixed"),
        pytest.param(product(fixed(2), fixed(3)), "6", id="fixed product"),
    ],
)
def test_printing(axis: Axis, expected: str) -> None:
    assert format_axes([axis], {A: "a", B: "b", C: "c"}) == expected


def test_atoms_of_one_name_are_numbered_in_order() -> None:
    assert (
        format_axes([product(A, B), concat(B, A)], {A: "hidden", B: "hidden"})
        == "(hidden1 hidden2) (hidden2 + hidden1)"
    )
    assert format_axes([A, B], {}) == "channels1 channels2"


def test_a_numbered_name_never_meets_a_given_one() -> None:
    assert format_axes([A, B, C], {A: "a", B: "a", C: "a1"}) == "a2 a3 a1"


def moved(axis: Axis, names: dict[str, Atom], seed: int) -> list[int]:
    """Where the positions go when every named atom is rotated by an amount of its own."""
    turns = {atom: [(i + seed + n) % atom.size for i in range(atom.size)] for n, atom in enumerate(names.values())}
    return list(positions(axis, turns))


@st.composite
def tensors(draw: st.DrawFn) -> list[Axis]:
    """The axes of a tensor; atoms may occur in several of them."""
    pool: list[Atom] = []
    return [draw(axes(draw(st.sampled_from((12, 6, 4, 1, 0))), pool)) for _ in range(draw(st.integers(0, 3)))]


@given(tensors(), st.integers(0, 5))
def test_reading_what_was_printed_gives_the_same_axes(tensor: list[Axis], seed: int) -> None:
    found = list(dict.fromkeys(atom for axis in tensor for atom in atoms(axis)))
    labels = {f"n{i}": atom for i, atom in enumerate(found)}
    text = format_axes(tensor, {atom: label for label, atom in labels.items()})
    back = parse_axes(text, {label: atom.size for label, atom in labels.items()})
    assert [axis.size for axis in back] == [axis.size for axis in tensor]
    renamed = dict(zip(labels, _in_order(labels, text, back), strict=True))
    assert [moved(axis, renamed, seed) for axis in back] == [moved(axis, labels, seed) for axis in tensor]
    assert format_axes(back, {atom: label for label, atom in renamed.items()}) == text


def _in_order(labels: dict[str, Atom], text: str, back: tuple[Axis, ...]) -> list[Atom]:
    """The atom that each label was read as: labels and atoms first occur in the same order."""
    read = list(dict.fromkeys(atom for axis in back for atom in atoms(axis)))
    words = list(dict.fromkeys(word for word in text.replace("(", " ").replace(")", " ").split() if word in labels))
    by_label = dict(zip(words, read, strict=True))
    return [by_label[label] for label in labels]


def test_equal_names_are_one_atom() -> None:
    first, second = parse_axes("(3 a b) (b + a)", SIZES)
    assert list(dict.fromkeys(atoms(first))) == list(reversed(list(atoms(second))))


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("", []), ("   ", []), ("a", [2]), (" a  b ", [2, 3]), ("(a)", [2]), ("((a))", [2]), ("one", [1]),
        ("none", [0]),
        ("x' w.v", [5, 7]), ("(a+b)", [5]), ("(3 heads head_dim) 0 1", [72, 0, 1]), ("(a(b))", [6]), ("(2 a + 3)", [7]),
        ("(a none)", [0]), ("(a + none)", [2]), ("(one one)", [1]),
    ],
)  # fmt: skip
def test_sizes_of_what_is_read(text: str, sizes: list[int]) -> None:
    assert [axis.size for axis in parse_axes(text, SIZES)] == sizes


MESSAGES = {
    "plus outside": ("a b + c", """
        '+' joins axes inside parentheses only: write (a + b)
            a b + c
                ^"""),
    "never closed": ("b (a (b)", """
        this '(' is never closed
            b (a (b)
              ^"""),
    "never closed at the end": ("(a (", """
        this '(' is never closed
            (a (
               ^"""),
    "never closed after plus": ("(a +", """
        this '(' is never closed
            (a +
            ^"""),
    "closes nothing": ("a b) a", """
        this ')' closes nothing
            a b) a
               ^"""),
    "empty parentheses": ("a ()", """
        an axis is missing before ')'
            a ()
               ^"""),
    "nothing after plus": ("(a + )", """
        an axis is missing before ')'
            (a + )
                 ^"""),
    "nothing before plus": ("(+ a)", """
        an axis is missing before '+'
            (+ a)
             ^"""),
    "two plus": ("(a + + b)", """
        an axis is missing before '+'
            (a + + b)
                 ^"""),
    "glued": ("(3heads head_dim)", """
        a space is missing: write '3 heads'
            (3heads head_dim)
              ^^^^^"""),
    "sign": ("a  - b", """
        '-' is not part of axis notation; use names, numbers, ( ) and +
            a  - b
               ^"""),
    "unknown name": ("(a width) b", """
        no size for axis 'width'; sizes are given for: a, b
            (a width) b
               ^^^^^"""),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), MESSAGES.values(), ids=MESSAGES)
def test_messages_point_at_the_fault(text: str, message: str) -> None:
    with pytest.raises(NotationError) as caught:
        parse_axes(text, {"a": 2, "b": 3})
    assert str(caught.value) == textwrap.dedent(message).strip("\n")


def test_message_without_any_size() -> None:
    with pytest.raises(NotationError) as caught:
        parse_axes("a", {})
    assert str(caught.value).startswith("no size for axis 'a'; sizes are given for: none\n")


def test_message_of_a_negative_size() -> None:
    with pytest.raises(NotationError) as caught:
        parse_axes("b a", {"a": -1, "b": 2})
    assert str(caught.value) == "the size of axis 'a' is -1, below 0\n    b a\n      ^"


@given(st.text(alphabet="ab 12()+-_'", max_size=12))
def test_any_text_is_read_or_refused_with_a_caret(text: str) -> None:
    try:
        read = parse_axes(text, {"a": 2, "b": 3, "ab": 4, "_": 5})
    except NotationError as error:
        shown, caret = str(error).splitlines()[-2:]
        assert shown == f"    {text}"
        assert 0 <= caret.index("^") - 4 <= len(text)
    else:
        assert all(axis.size >= 0 for axis in read)
