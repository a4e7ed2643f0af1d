"""Concatenation, stacking, repeats, padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.equivariance import Case, case, check_drawn, dim_of, floats, seldom, shapes, sizes
from tests.ops.notation import said, shown

aten = torch.ops.aten


def cats(op: Any) -> st.SearchStrategy[Case]:
    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        shape = draw(shapes(min_dims=1))
        dim = draw(dim_of(len(shape)))
        at = dim % len(shape)
        lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
        tensors = [floats(*shape[:at], n, *shape[at + 1 :]) for n in lengths]
        if draw(seldom):  # empty vectors may stand anywhere
            tensors.insert(draw(st.integers(0, len(tensors))), floats(0))
        return case(op, tensors, dim)

    return draw_case()


@st.composite
def stacks(draw: st.DrawFn) -> Case:
    shape = draw(shapes())
    tensors = [floats(*shape) for _ in range(draw(st.integers(1, 4)))]
    return case(aten.stack.default, tensors, draw(dim_of(len(shape) + 1)))


@st.composite
def block_diags(draw: st.DrawFn) -> Case:
    return case(
        aten.block_diag.default, [floats(*s) for s in draw(st.lists(shapes(max_dims=2), min_size=1, max_size=3))]
    )


@st.composite
def expansions(draw: st.DrawFn) -> tuple[tuple[int, ...], list[int]]:
    """A shape, and one that it can be expanded to."""
    target = draw(shapes())
    kept = target[draw(st.integers(0, len(target))) :]
    return tuple(draw(st.sampled_from((size, 1))) for size in kept), list(target)


@st.composite
def expands(draw: st.DrawFn) -> Case:
    shape, target = draw(expansions())
    skipped = len(target) - len(shape)
    keep = draw(st.booleans())
    asked = [-1 if keep and i >= skipped and shape[i - skipped] == n else n for i, n in enumerate(target)]
    return case(aten.expand.default, floats(*shape), asked)


@st.composite
def repeats(draw: st.DrawFn) -> Case:
    shape = draw(shapes(max_dims=3))
    counts = draw(st.lists(st.integers(0, 3), min_size=len(shape), max_size=len(shape) + 1))
    return case(aten.repeat.default, floats(*shape), counts)


@st.composite
def tiles(draw: st.DrawFn) -> Case:
    return case(aten.tile.default, floats(*draw(shapes(max_dims=3))), draw(st.lists(st.integers(1, 3), max_size=4)))


@st.composite
def interleaves(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1))
    dim = draw(st.none() | dim_of(len(shape)))
    return case(aten.repeat_interleave.self_int, floats(*shape), draw(st.integers(1, 3)), dim)


@st.composite
def meshgrids(draw: st.DrawFn) -> Case:
    tensors = [floats(n) for n in draw(st.lists(sizes, min_size=2, max_size=4))]
    return case(aten.meshgrid.indexing, tensors, indexing=draw(st.sampled_from(("ij", "xy"))))


@st.composite
def constant_pads(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1))
    amounts: list[int] = []
    for size in reversed(shape[draw(st.integers(0, len(shape))) :]):
        before = draw(st.integers(-size + 1, 2))
        amounts += [before, draw(st.integers(-min(size, size + before) + 1, 2))]
    return case(aten.constant_pad_nd.default, floats(*shape), amounts, 0.5)


@st.composite
def pads(draw: st.DrawFn) -> Case:
    mode = draw(st.sampled_from(("constant", "reflect", "circular", "replicate")))
    return case(aten.pad.default, floats(2, 3, 4), [draw(st.integers(0, 3)), draw(st.integers(0, 3))], mode)


CASES: dict[str, st.SearchStrategy[Case]] = {
    "aten::cat": cats(aten.cat.default),
    "aten::concat": cats(aten.concat.default),
    "aten::concatenate": cats(aten.concatenate.default),
    "aten::stack": stacks(),
    "aten::block_diag": block_diags(),
    "aten::expand": expands(),
    "aten::expand_as": expansions().map(lambda e: case(aten.expand_as.default, floats(*e[0]), floats(*e[1]))),
    "aten::broadcast_to": expansions().map(lambda e: case(aten.broadcast_to.default, floats(*e[0]), e[1])),
    "aten::repeat": repeats(),
    "aten::tile": tiles(),
    "aten::repeat_interleave.self_int": interleaves(),
    "aten::meshgrid": meshgrids(),
    "aten::constant_pad_nd": constant_pads(),
    "aten::pad": pads(),
}


@pytest.mark.parametrize("name", sorted(CASES))
@given(data=st.data())
def test_rule_holds(name, data):
    check_drawn(name, CASES, data)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(case(aten.cat.default, [floats(2, 3), floats(4, 3)], 0), "a b, c b -> (a + c) b", id="cat"),
        pytest.param(case(aten.cat.default, [floats(0), floats(4, 3)], 1), "0, a b -> a b", id="cat, empty vector"),
        pytest.param(case(aten.stack.default, [floats(5), floats(5)], -1), "a, a -> a 2", id="stack"),
        pytest.param(
            case(aten.block_diag.default, [floats(2, 3), floats(4)]), "a b, c -> (a + 1) (b + c)", id="blocks"
        ),
        pytest.param(case(aten.expand.default, floats(1, 3), [2, 4, 3]), "1 a -> b c a", id="expand"),
        pytest.param(case(aten.repeat.default, floats(3), [2, 2]), "a -> b (c a)", id="repeat"),
        pytest.param(case(aten.repeat_interleave.self_int, floats(3), 2, 0), "a -> (a b)", id="repeat_interleave"),
        pytest.param(case(aten.constant_pad_nd.default, floats(3), [2, 1]), "a -> (b + a + 1)", id="pad"),
        pytest.param(case(aten.constant_pad_nd.default, floats(5), [-1, -2]), "(1 + a + b) -> a", id="crop"),
        pytest.param(case(aten.meshgrid.default, [floats(2), floats(3)]), "a, b -> a b, a b", id="meshgrid"),
    ],
)
def test_notation(call, expected):
    assert shown(call) == expected


def share_keys(keys: torch.Tensor, queries: torch.Tensor) -> Any:
    shared = keys[:, :, None].expand(2, 3, 4, 5, 6).reshape(2, 12, 5, 6)
    return (queries * shared).sum(-1)


def share_by_interleaving(keys: torch.Tensor, queries: torch.Tensor) -> Any:
    return (queries * keys.repeat_interleave(4, dim=1)).sum(-1)


def add_class_token(x: torch.Tensor, token: torch.Tensor) -> Any:
    return torch.cat((token.expand(2, -1, -1), x), dim=1)


def widen_shortcut(x: torch.Tensor, shortcut: torch.Tensor) -> Any:
    return x + torch.nn.functional.pad(shortcut, (0, 0, 1, 1))


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        pytest.param(
            share_keys, [(2, 3, 5, 6), (2, 12, 5, 6)], "a b c d, a (b e) c d -> a (b e) c", id="shared heads by expand"
        ),
        pytest.param(
            share_by_interleaving,
            [(2, 3, 5, 6), (2, 12, 5, 6)],
            "a b c d, a (b e) c d -> a (b e) c",
            id="shared heads by repeat_interleave",
        ),
        pytest.param(add_class_token, [(2, 4, 3), (1, 1, 3)], "a b c, 1 1 c -> a (1 + b) c", id="class token"),
        pytest.param(widen_shortcut, [(4, 3), (2, 3)], "(1 + a + 1) b, a b -> (1 + a + 1) b", id="padded shortcut"),
    ],
)
def test_chains(function, shapes, expected):
    assert said(function, *shapes) == expected
