"""Embeddings, advanced indexing, gathers and scatters, masks, searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.equivariance import (
    Case,
    broadcastable,
    case,
    check,
    check_drawn,
    dim_of,
    floats,
    integers,
    masks,
    one,
    seldom,
    shapes,
    sizes,
)
from tests.ops.notation import said, shown

aten = torch.ops.aten

# -- tables


@st.composite
def lookups(draw: st.DrawFn) -> Case:
    rows = draw(sizes)
    return case(aten.embedding.default, floats(rows, draw(sizes)), integers(rows, *draw(shapes(max_dims=2))))


@st.composite
def bags(draw: st.DrawFn, op: Any, per_sample: bool = True) -> Case:
    count, mode = draw(st.integers(1, 5)), draw(st.integers(0, 2))
    offsets = torch.tensor(sorted({0, *draw(st.lists(st.integers(0, count), max_size=3))}))
    weights = floats(count) if mode == 0 and per_sample and draw(st.booleans()) else None
    return case(op, floats(4, draw(sizes)), integers(4, count), offsets, False, mode, False, weights)


# -- `x[...]`


@st.composite
def indexed(draw: st.DrawFn) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
    """A tensor, and an index list for it: index tensors that broadcast, masks, and whole dims between them."""
    shape = draw(shapes(min_dims=1))
    places = draw(shapes(max_dims=2))
    items: list[torch.Tensor | None] = []
    dim = 0
    while dim < len(shape) and (not items or draw(st.booleans())):
        kind = draw(st.sampled_from(("whole", "places", "places", "mask")))
        taken = draw(st.integers(1, len(shape) - dim)) if kind == "mask" else 1
        items.append(
            None
            if kind == "whole"
            else _mask(draw, shape[dim : dim + taken], places, items)
            if kind == "mask"
            else integers(shape[dim], *draw(broadcastable(places)))
        )
        dim += taken
    if all(item is None for item in items):
        items[0] = integers(shape[0], *places)
    return floats(*shape), items


def _mask(draw: st.DrawFn, shape: tuple[int, ...], places: tuple[int, ...], items: Sequence[Any]) -> torch.Tensor:
    """A mask; beside other indices, with as many true elements as their last dim, if it can."""
    if draw(st.booleans()) or not places:
        chosen = torch.zeros(shape, dtype=torch.bool)
        chosen.view(-1)[torch.randperm(chosen.numel())[: places[-1] if places else 1]] = True
        return chosen
    return masks(*shape)


def readable(drawn: tuple[torch.Tensor, list[Any]]) -> bool:
    """Whether the index tensors fit together: a mask may have the wrong number of true elements."""
    try:
        aten.index(*drawn)
    except (IndexError, RuntimeError):
        return False
    return True


def reads(op: Any) -> st.SearchStrategy[Case]:
    return indexed().filter(readable).map(lambda drawn: case(op, *drawn))


def without_masks(drawn: tuple[torch.Tensor, list[Any]]) -> bool:
    return readable(drawn) and all(item is None or item.dtype is not torch.bool for item in drawn[1])


def writes(op: Any, *rest: Any) -> st.SearchStrategy[Case]:
    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        x, items = draw(indexed().filter(readable))
        values = floats(*draw(broadcastable(tuple(aten.index(x, items).shape))))
        accumulate = draw(st.booleans())
        return case(op, x, items, values, accumulate, *rest)

    return draw_case()


# -- one index tensor


@st.composite
def selections(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1))
    dim = draw(dim_of(len(shape)))
    places = integers(shape[dim], *draw(shapes(max_dims=1)))
    return case(aten.index_select.default, floats(*shape), dim, places)


@st.composite
def gathers(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1, max_dims=3))
    dim = draw(dim_of(len(shape)))
    at = dim % len(shape)
    smaller = [n if not draw(seldom) else draw(st.integers(1, n)) for n in shape]
    smaller[at] = draw(sizes)
    return case(aten.gather.default, floats(*shape), dim, integers(shape[at], *smaller))


@st.composite
def takes_along(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1, max_dims=3))
    if draw(seldom):
        return case(aten.take_along_dim.default, floats(*shape), integers(floats(*shape).numel(), 4))
    dim = draw(dim_of(len(shape)))
    at = dim % len(shape)
    own, places = ([n if not draw(seldom) else 1 for n in shape] for _ in range(2))
    own[at], places[at] = shape[at], draw(sizes)
    return case(aten.take_along_dim.default, floats(*own), integers(shape[at], *places), dim)


@st.composite
def scattered(draw: st.DrawFn) -> tuple[torch.Tensor, int, torch.Tensor, torch.Tensor]:
    """`self`, dim, index and `src`; both may be smaller than `self`, and the index smaller than `src`."""
    shape = draw(shapes(min_dims=1, max_dims=3))
    dim = draw(dim_of(len(shape)))
    at = dim % len(shape)
    index_shape = [n if not draw(seldom) else draw(st.integers(1, n)) for n in shape]
    source_shape = [n + (draw(st.integers(0, 2)) if draw(seldom) else 0) for n in index_shape]
    if len(shape) and index_shape[at] > shape[at]:
        index_shape[at] = shape[at]
    rows = torch.rand(*index_shape).argsort(at)  # no two writes to one place
    return floats(*shape), dim, rows.clamp(max=shape[at] - 1), floats(*source_shape)


def scatters(op: Any, *rest: Any) -> st.SearchStrategy[Case]:
    return scattered().map(lambda drawn: case(op, *drawn, *rest))


@st.composite
def row_writes(draw: st.DrawFn, op: Any, source: str, *rest: Any) -> Case:
    shape = draw(shapes(min_dims=1))
    dim = draw(dim_of(len(shape)))
    at = dim % len(shape)
    count = draw(st.integers(1, shape[at]))
    places = torch.randperm(shape[at])[:count]
    if source == "number":
        return case(op, floats(*shape), dim, places, *rest)
    return case(op, floats(*shape), dim, places, floats(*shape[:at], count, *shape[at + 1 :]), *rest)


@st.composite
def flat_takes(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1))
    x = floats(*shape)
    return case(aten.take.default, x, integers(x.numel(), *draw(shapes(max_dims=2))))


@st.composite
def flat_puts(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1, max_dims=3))
    x = floats(*shape)
    return case(aten.put_.default, x, torch.randperm(x.numel())[:3], floats(min(3, x.numel())))


# -- values


def of_mask(op: Any, *rest: Any) -> st.SearchStrategy[Case]:
    return shapes(min_dims=1, max_dims=3).map(lambda s: case(op, masks(*s), *rest))


def of_integers(op: Any, *rest: Any) -> st.SearchStrategy[Case]:
    return shapes(min_dims=1, max_dims=2).map(lambda s: case(op, integers(3, *s), *rest))


@st.composite
def masked(draw: st.DrawFn, op: Any, with_source: bool) -> Case:
    shape = draw(shapes(min_dims=1, max_dims=3))
    mask = masks(*(shape if with_source else draw(broadcastable(shape))))
    return case(op, floats(*shape), mask, *([floats(mask.numel())] if with_source else []))


@st.composite
def searches(draw: st.DrawFn) -> Case:
    lead, length = draw(shapes(max_dims=2)), draw(sizes)
    sequence = floats(*lead, length)
    sorter = sequence.argsort(-1) if draw(st.booleans()) else None
    sequence = sequence if sorter is not None else sequence.sort(-1).values
    if not lead and draw(st.booleans()):
        return case(aten.searchsorted.Scalar, sequence, 0.3, sorter=sorter)
    wanted = floats(*(lead or draw(shapes(max_dims=2))), *([draw(sizes)] if lead else []))
    return case(aten.searchsorted.Tensor, sequence, wanted, sorter=sorter)


def bucketizes() -> st.SearchStrategy[Case]:
    inside = st.tuples(shapes(), sizes).map(
        lambda s: case(aten.bucketize.Tensor, floats(*s[0]), floats(s[1]).sort().values)
    )
    return st.one_of(inside, sizes.map(lambda n: case(aten.bucketize.Scalar, 0.3, floats(n).sort().values)))


CASES: dict[str, st.SearchStrategy[Case]] = {
    "aten::embedding": lookups(),
    "aten::embedding_renorm": one(lambda: case(aten.embedding_renorm_.default, floats(4, 3), integers(4, 2), 0.5, 2.0)),
    "aten::_embedding_bag": bags(aten._embedding_bag.default),
    "aten::_embedding_bag_forward_only": bags(aten._embedding_bag_forward_only.default),
    "aten::embedding_bag": bags(aten.embedding_bag.default),
    "aten::index": reads(aten.index.Tensor),
    "aten::_unsafe_index": indexed().filter(without_masks).map(lambda d: case(aten._unsafe_index.Tensor, *d)),
    "aten::index_put": st.one_of(writes(aten.index_put.default), writes(aten.index_put_.default)),
    "aten::_index_put_impl": writes(aten._index_put_impl_.default, False),
    "aten::_unsafe_index_put": writes(aten._unsafe_index_put.default),
    "aten::index_select": selections(),
    "aten::gather": gathers(),
    "aten::take_along_dim": takes_along(),
    "aten::scatter": st.one_of(
        scatters(aten.scatter.src),
        scatters(aten.scatter_.src),
        scatters(aten.scatter.src).map(lambda c: case(aten.scatter_.value, *c.args[:3], 2.0)),
    ),
    "aten::scatter_add": scatters(aten.scatter_add_.default),
    "aten::scatter_reduce": scatters(aten.scatter_reduce.two, "amax"),
    "aten::index_add": row_writes(aten.index_add_.default, "rows"),
    "aten::index_copy": row_writes(aten.index_copy.default, "rows"),
    "aten::index_fill": row_writes(aten.index_fill_.int_Scalar, "number", 2.0),
    "aten::index_reduce": row_writes(aten.index_reduce.default, "rows", "amax"),
    "aten::take": flat_takes(),
    "aten::put": flat_puts(),
    "aten::nonzero": of_mask(aten.nonzero.default),
    "aten::nonzero_static": shapes(min_dims=1).map(lambda s: case(aten.nonzero_static.default, masks(*s), size=3)),
    "aten::where.default": of_mask(aten.where.default),
    "aten::unique_dim": of_integers(aten.unique_dim.default, 0, True, True, True),
    "aten::unique_dim_consecutive": of_integers(aten.unique_dim_consecutive.default, 0, True, True),
    "aten::_unique": of_integers(aten._unique.default, True, True),
    "aten::_unique2": of_integers(aten._unique2.default, True, True, True),
    "aten::unique_consecutive": of_integers(aten.unique_consecutive.default, True, True),
    "aten::masked_select": masked(aten.masked_select.default, False),
    "aten::masked_scatter": masked(aten.masked_scatter_.default, True),
    "aten::repeat_interleave.Tensor": sizes.map(lambda n: case(aten.repeat_interleave.Tensor, integers(4, n))),
    "aten::one_hot": shapes(max_dims=3).map(lambda s: case(aten.one_hot.default, integers(4, *s), 5)),
    "aten::bucketize": bucketizes(),
    "aten::searchsorted": searches(),
    "aten::isin": st.one_of(
        shapes(max_dims=3).map(lambda s: case(aten.isin.Tensor_Tensor, integers(4, *s), integers(4, 2))),
        sizes.map(lambda n: case(aten.isin.Scalar_Tensor, 2, integers(4, n))),
        sizes.map(lambda n: case(aten.isin.Tensor_Scalar, integers(4, n), 2)),
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
@given(data=st.data())
def test_rule_holds(name, data):
    check_drawn(name, CASES, data)


@pytest.mark.parametrize(
    "items",
    [
        pytest.param([None, integers(3, 2)], id="one index"),
        pytest.param([integers(2, 2), None, integers(4, 2)], id="apart: to the front"),
        pytest.param([None, integers(3, 5, 1), integers(4, 2)], id="side by side: in place"),
        pytest.param([integers(2), None, integers(4, 2)], id="a number counts as an index"),
        pytest.param([torch.tensor([True, False])], id="mask of one dim"),
        pytest.param([None, masks(3, 4)], id="mask of two dims"),
        pytest.param([torch.tensor([True, True]), integers(3, 2)], id="mask beside an index"),
        pytest.param([torch.tensor([True, True]), None, integers(4, 2)], id="mask apart from an index"),
        pytest.param([torch.zeros(2, dtype=torch.bool)], id="mask of nothing"),
    ],
)
@pytest.mark.parametrize("entangle", [0, 3])
def test_layouts_of_advanced_indexing(items, entangle):
    x = floats(2, 3, 4)
    check(case(aten.index.Tensor, x, items), entangle=entangle)
    check(case(aten.index_put_.default, x, items, torch.rand_like(aten.index(x, items))), entangle=entangle)


def test_a_mask_names_places_in_order_for_the_index_beside_it():
    pair = [torch.tensor([1, 0]), torch.tensor([[True, True]])]
    check(case(aten.index_put_.default, floats(2, 1, 2), pair, floats()))
    check(case(aten.index_put_.default, floats(2, 1, 2), [pair[0], torch.tensor([[True, False]])], floats()))


def test_the_last_of_two_writes_stays():
    said_of = shown(case(aten.index_put_.default, floats(4), [torch.tensor([1, 1])], floats(2)))
    assert said_of == "A, B, B -> A"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param(
            case(aten.embedding.default, floats(4, 3), integers(4, 2, 5)), "A b, c d -> c d b", id="embedding"
        ),
        pytest.param(case(aten.index.Tensor, floats(2, 3, 4), [None, integers(3, 5)]), "a B c, d -> a d c", id="index"),
        pytest.param(
            case(aten.index.Tensor, floats(2, 3, 4), [integers(2, 5), None, integers(4, 5)]),
            "A b C, d, d -> d b",
            id="apart",
        ),
        pytest.param(
            case(aten.index.Tensor, floats(2, 3), [torch.tensor([True, False])]),
            "A b, A -> 1 b",
            id="one row by a mask",
        ),
        pytest.param(
            case(aten.index_put_.default, floats(2, 3), [masks(2, 3)], floats()),
            "a b, a b, () -> a b",
            id="number where a mask is true",
        ),
        pytest.param(
            case(aten.index_put_.default, floats(2, 3, 4), [masks(2, 3)], floats(4)),
            "a b c, a b, c -> a b c",
            id="vector where a mask is true",
        ),
        pytest.param(
            case(aten.index_put_.default, floats(5, 4), [None, integers(4, 3)], floats(5, 3)),
            "a B, C, a C -> a B",
            id="columns written",
        ),
        pytest.param(case(aten.gather.default, floats(2, 5), 1, integers(5, 2, 3)), "a B, a c -> a c", id="gather"),
        pytest.param(
            case(aten.gather.default, floats(4, 5), 1, integers(5, 2, 3)),
            "(a + b) C, a d -> a d",
            id="gather of some rows",
        ),
        pytest.param(case(aten.isin.Tensor_Tensor, integers(4, 3), integers(4, 2)), "a, b -> a", id="isin"),
        pytest.param(
            case(aten.searchsorted.Tensor, floats(2, 4).sort().values, floats(2, 3)), "a B, a c -> a c", id="search"
        ),
    ],
)
def test_notation(call, expected):
    assert shown(call) == expected


TABLE = torch.tensor([[0, 1, 2], [1, 2, 0], [2, 0, 1]])


def relative_position_bias(scores: torch.Tensor, table: torch.Tensor) -> Any:
    return scores + table[TABLE.view(-1)].view(3, 3, -1).permute(2, 0, 1)


def mask_tokens(x: torch.Tensor, token: torch.Tensor) -> Any:
    chosen = torch.tensor([[True, False, True]]).expand(2, 3)
    x = x * 1
    x[chosen] = token
    return x


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        pytest.param(relative_position_bias, [(4, 3, 3), (5, 4)], "a B C, D a -> a B C", id="relative position bias"),
        pytest.param(mask_tokens, [(2, 3, 4), (4,)], "a B c, c -> a B c", id="mask tokens"),
    ],
)
def test_chains(function, shapes, expected):
    assert said(function, *shapes) == expected
