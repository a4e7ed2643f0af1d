"""One function, two implementations that lay out in another order what sizes and axes do not tell apart.

Every pair must be equal after `initialize`, or refused: these were filled in silence, with other results.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wsel_graph as ws
from tests.matching.test_faults import X, assert_transplanted
from tests.matching.test_flow import Code

HEADS = {"neighbours": lambda t: t.repeat_interleave(2, 1), "tiled": lambda t: t.repeat(1, 2, 1, 1)}
"""How each of two key heads is given to two query heads."""


def grouped_queries(given: str) -> Code:
    def run(m: Code, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (-1, 2)).transpose(1, 2) for t in (m.q(x), m.k(x), m.v(x)))
        y = F.scaled_dot_product_attention(q, *map(HEADS[given], (k, v)))
        return m.out(y.transpose(1, 2).flatten(2))

    return Code(run, q=nn.Linear(4, 8), k=nn.Linear(4, 4), v=nn.Linear(4, 4), out=nn.Linear(8, 3))


def test_query_heads_that_share_a_key_head_in_another_order() -> None:
    """`(kv rep)` and `(rep kv)`: keys pair kv with kv, queries in order kv with rep."""
    student, teacher = grouped_queries("tiled"), grouped_queries("neighbours")
    message = "the factors of dim 0 of student q.weight stand in another order than those of teacher q.weight"
    with pytest.raises(ws.WselError, match=re.escape(message)):
        ws.plan(student, teacher, X.float())
    for given in HEADS:
        plan = ws.plan(grouped_queries(given), grouped_queries(given), X.float())
        assert plan.kept == ()
        assert_transplanted(grouped_queries(given), grouped_queries(given), X)


def pooled(*ways: Callable[[Tensor], Tensor], woven: bool = False) -> Code:
    """What one linear gives, in several ways; another linear reads them side by side."""

    def run(m: Code, x: Tensor) -> Tensor:
        x = m.stem(x).relu()
        parts = [way(x) for way in ways]
        x = m.out(torch.stack(parts, -1).flatten(-2) if woven else torch.cat(parts, -1))
        return m.last(x.relu())

    return Code(run, stem=nn.Linear(4, 4), out=nn.Linear(8, 4), last=nn.Linear(4, 3))


PARTS = {
    "mean and maximum": (lambda x: x.mean(1), lambda x: x.amax(1)),
    "each and all": (lambda x: x, lambda x: x.amax(1, keepdim=True).expand_as(x)),
    "first and last": (lambda x: x[:, 0], lambda x: x[:, -1]),
    "pairs": (lambda x: x[:, :, None].expand(-1, -1, 5, -1), lambda x: x[:, None].expand(-1, 5, -1, -1)),
    "by index": (lambda x: x[:, [0, 2]], lambda x: x[:, [1, 3]]),
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_parts_of_one_value_side_by_side_in_another_order(parts: tuple[Callable[[Tensor], Tensor], ...]) -> None:
    """All of them come from one node, so that the edges do not tell them apart."""
    with pytest.raises(ws.WselError, match=r"out\.weight .*are laid together in another order than in the teacher"):
        ws.plan(pooled(*parts[::-1]), pooled(*parts), X.float())
    assert_transplanted(pooled(*parts[::-1]), pooled(*parts), X)
    assert ws.plan(pooled(*parts), pooled(*parts), X.float()).kept == ()


def test_parts_end_to_end_and_in_turn() -> None:
    parts = PARTS["mean and maximum"]
    with pytest.raises(ws.WselError, match="are built differently"):
        ws.plan(pooled(*parts, woven=True), pooled(*parts), X.float())
    with pytest.raises(ws.WselError, match="are built differently"):
        ws.plan(pooled(*parts), pooled(*parts, woven=True), X.float())


@pytest.mark.parametrize("narrow", [2, 4])
def test_halves_of_one_linear_that_meet_in_a_sum(narrow: int) -> None:
    """Mean and variance of an autoencoder, in either order: told apart by the exponential."""

    def code(first: bool, width: int) -> Code:
        def run(m: Code, x: Tensor) -> Tensor:
            mean, variance = m.both(x).chunk(2, -1)[:: 1 if first else -1]
            return m.out(mean + x[..., :1] * variance.exp())

        return Code(run, both=nn.Linear(4, 2 * width), out=nn.Linear(width, 3))

    student, teacher = code(False, narrow), code(True, 4)
    ws.initialize(student, teacher, X.float())
    (variance, mean), (means, variances) = student.both.weight.chunk(2), teacher.both.weight.chunk(2)
    for own, others in ((mean, means), (variance, variances)):
        assert all(any(torch.equal(row, other) for other in others) for row in own)
    assert_transplanted(code(False, 4), code(True, 4), X)


def sines(x: Tensor, *, cosines_first: bool) -> Tensor:
    steps = x[..., None] * 2.0 ** torch.arange(2, dtype=x.dtype, device=x.device)
    parts = [steps.sin().flatten(-2), steps.cos().flatten(-2)]
    return torch.cat(parts[::-1] if cosines_first else parts, -1)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param(
            lambda x, y: sines(x, cosines_first=True), lambda x, y: sines(x, cosines_first=False), id="sines, cosines"
        ),
        pytest.param(lambda x, y: torch.cat((y, x), -1), lambda x, y: torch.cat((x, y), -1), id="two inputs"),
        pytest.param(
            lambda x, y: torch.cat((x[:, 1:] - x[:, :-1], x[:, 1:]), -1),
            lambda x, y: torch.cat((x[:, 1:], x[:, 1:] - x[:, :-1]), -1),
            id="differences",
        ),
    ],
)
def test_features_made_of_inputs_in_another_order(
    ours: Callable[[Tensor, Tensor], Tensor], theirs: Callable[[Tensor, Tensor], Tensor]
) -> None:
    size = theirs(X, X).shape[-1]

    def code(features: Callable[[Tensor, Tensor], Tensor]) -> Code:
        held = {"enter": nn.Linear(size, 4), "out": nn.Linear(4, 3)}
        return Code(lambda m, x, y: m.out(m.enter(features(x, y)).relu()), **held)

    with pytest.raises(ws.WselError, match=r"enter\.weight .*laid together in another order"):
        ws.plan(code(ours), code(theirs), (X.float(), X.float()))
    assert_transplanted(code(ours), code(theirs), X, X + 1)
    assert ws.plan(code(ours), code(ours), (X.float(), X.float())).kept == ()


def test_an_input_beside_features_of_the_same_size() -> None:
    """Radiance fields read their input again in the middle."""

    def code(order: int) -> Code:
        def run(m: Code, x: Tensor) -> Tensor:
            return m.out(m.again(torch.cat((m.enter(x).relu(), x)[::order], -1)).relu())

        return Code(run, enter=nn.Linear(4, 4), again=nn.Linear(8, 4), out=nn.Linear(4, 3))

    assert_transplanted(code(-1), code(1), X)
    with pytest.raises(ws.WselError, match=r"again\.weight .*laid together in another order"):
        ws.plan(code(-1), code(1), X.float())


def test_operands_of_an_einsum_in_another_order() -> None:
    def code(equation: str, swapped: bool) -> Code:
        def run(m: Code, x: Tensor, y: Tensor) -> Tensor:
            a, b = (m.b(y), m.a(x)) if swapped else (m.a(x), m.b(y))
            return torch.einsum(equation, a, m.w, b)

        return Code(run, a=nn.Linear(4, 4), b=nn.Linear(4, 4), w=(4, 4, 4))

    plain = code("bti,oij,btj->bto", False)
    for other in (code("bti,oij,btj->bto", True), code("bti,ijo,btj->bto", False)):
        assert_transplanted(other, plain, X, X + 1)
        with pytest.raises(ws.WselError):
            ws.plan(other, plain, (X.float(), X.float()))
    assert_transplanted(code("xyk,mkn,xyn->xym", False), plain, X, X + 1)


def test_channels_flattened_before_or_after_positions() -> None:
    """As many channels as rows and columns: sizes do not tell `(c h w)` from `(h w c)`."""

    def code(last: bool) -> Code:
        def run(m: Code, x: Tensor) -> Tensor:
            x = m.stem(x).relu()
            return m.out((x.permute(0, 2, 3, 1) if last else x).flatten(1))

        return Code(run, stem=nn.Conv2d(4, 8, 1), out=nn.Linear(512, 3))

    image = torch.randn(2, 4, 8, 8)
    assert_transplanted(code(True), code(False), image.double())
    with pytest.raises(ws.WselError, match="stand in another order than those of teacher"):
        ws.plan(code(True), code(False), image)


def test_what_reads_them_behind_a_norm_is_not_filled_either() -> None:
    def code(order: int) -> Code:
        def run(m: Code, x: Tensor) -> Tensor:
            x = m.stem(x).relu()
            return m.out(m.norm(torch.cat((x.mean(1), x.amax(1))[::order], -1)))

        return Code(run, stem=nn.Linear(4, 4), norm=nn.LayerNorm(8), out=nn.Linear(8, 3))

    with pytest.raises(ws.WselError, match=r"4 student tensors(?s:.*)norm\.weight(?s:.*)out\.weight"):
        ws.plan(code(-1), code(1), X.float())


def test_heads_before_or_after_their_channels() -> None:
    """Two heads of two channels: sizes do not tell `(heads head_dim)` from `(head_dim heads)`."""

    def code(last: bool) -> Code:
        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (2, 2)).permute(0, 3, 1, 2) if last else x.unflatten(-1, (2, 2)).transpose(1, 2)

        def run(m: Code, x: Tensor) -> Tensor:
            y = F.scaled_dot_product_attention(split(m.q(x)), split(m.k(x)), split(m.v(x)))
            return m.out((y.permute(0, 2, 3, 1) if last else y.transpose(1, 2)).flatten(2))

        return Code(run, **{name: nn.Linear(4, 4) for name in "qkv"}, out=nn.Linear(4, 3))

    assert_transplanted(code(True), code(False), X)
    with pytest.raises(ws.WselError, match="stand in another order than those of teacher"):
        ws.plan(code(True), code(False), X.float())
    assert ws.plan(code(True), code(True), X.float()).kept == ()


def branches(order: str) -> Code:
    """Three branches of equal structure, the second of which reads a pooled image."""

    def run(m: Code, x: Tensor) -> Tensor:
        x = m.stem(x).relu()
        made = {name: getattr(m, name)(F.avg_pool2d(x, 3, 1, 1) if name == "b" else x) for name in order}
        return m.out(torch.cat(list(made.values()), 1))

    return Code(run, stem=nn.Conv2d(4, 4, 1), **{name: nn.Conv2d(4, 4, 1) for name in "abc"}, out=nn.Conv2d(12, 3, 1))


def test_branches_that_are_concatenated_in_another_order() -> None:
    """Each is paired by its place, so neither the branches nor what reads them correspond."""
    image = torch.randn(2, 4, 8, 8)
    assert_transplanted(branches("bac"), branches("abc"), image.double())
    with pytest.raises(ws.WselError, match=r"6 student tensors(?s:.*)keep=\['a.\*', 'b.\*', 'out.\*'\]"):
        ws.plan(branches("bac"), branches("abc"), image)


def test_embeddings_of_columns_in_another_order() -> None:
    columns = torch.tensor([[0, 1, 2], [2, 0, 1]])

    def code(order: str) -> Code:
        def run(m: Code, ids: Tensor) -> Tensor:
            return m.out(torch.cat([getattr(m, name)(ids[:, "abc".index(name)]) for name in order], -1))

        return Code(run, **{name: nn.Embedding(3, 4) for name in "abc"}, out=nn.Linear(12, 3))

    assert_transplanted(code("cba"), code("abc"), columns)
    with pytest.raises(ws.WselError, match="laid together in another order"):
        ws.plan(code("cba"), code("abc"), columns)


def test_codes_of_rows_and_columns_side_by_side() -> None:
    def code(order: int) -> Code:
        def run(m: Code, x: Tensor) -> Tensor:
            rows, columns = m.rows[:, None].expand(-1, 8, -1), m.columns[None].expand(8, -1, -1)
            code = torch.cat((rows, columns)[::order], -1)
            return m.out((m.stem(x) + code.permute(2, 0, 1)).relu())

        return Code(run, stem=nn.Conv2d(4, 4, 1), rows=(8, 2), columns=(8, 2), out=nn.Conv2d(4, 3, 1))

    image = torch.randn(2, 4, 8, 8)
    assert_transplanted(code(-1), code(1), image.double())
    with pytest.raises(ws.WselError, match="laid together in another order"):
        ws.plan(code(-1), code(1), image)


def test_kernels_that_lie_across() -> None:
    """A spectrogram as (time, frequency), and turned: kernels of three by three are turned too."""

    def code(turned: bool) -> Code:
        def run(m: Code, x: Tensor) -> Tensor:
            x = (x.mT if turned else x)[:, None]
            x = m.again(m.stem(x).relu()).relu()
            return m.out((x.mT if turned else x).mean(3).mT)

        held = {"stem": nn.Conv2d(1, 4, 3, padding=1), "again": nn.Conv2d(4, 4, 3, padding=1), "out": nn.Linear(4, 3)}
        return Code(run, **held)

    sound = torch.randn(2, 6, 6)
    assert_transplanted(code(True), code(False), sound.double())
    with pytest.raises(ws.WselError, match=r"stem\.weight"):
        ws.plan(code(True), code(False), sound)
    assert ws.plan(code(True), code(True), sound).kept == ()


@pytest.mark.parametrize("order", [(0, 2, 4, 3, 5, 1), (0, 2, 4, 5, 3, 1)])
def test_patches_by_views_and_by_unfold(order: tuple[int, ...]) -> None:
    """`(p q c)` and `(c p q)`, all of them pinned and of one size."""

    def code(views: bool) -> Code:
        def run(m: Code, x: Tensor) -> Tensor:
            cut = x.unflatten(2, (4, 2)).unflatten(4, (4, 2)).permute(order).flatten(3).flatten(1, 2)
            return m.out(m.enter(cut if views else F.unfold(x, 2, stride=2).mT).relu())

        return Code(run, enter=nn.Linear(16, 4), out=nn.Linear(4, 3))

    image = torch.randn(2, 4, 8, 8)
    for ours, theirs in ((True, False), (False, True)):
        assert_transplanted(code(ours), code(theirs), image.double())
        with pytest.raises(ws.WselError, match="come in different orders"):
            ws.plan(code(ours), code(theirs), image)
    assert ws.plan(code(True), code(True), image).kept == ()


ORDERS = {"(p q c)": ((2, 2, 3), (3, 1, 2)), "(c p q)": ((3, 2, 2), (1, 2, 3)), "(q p c)": ((2, 2, 3), (3, 2, 1))}
"""How a head's outputs are split, and where these factors then stand in the image."""


@pytest.mark.parametrize("ours", ORDERS)
@pytest.mark.parametrize("theirs", ORDERS)
def test_images_laid_out_from_outputs(ours: str, theirs: str) -> None:
    """The last linear of a diffusion transformer gives patches; sizes tell neither rows from columns nor channels."""

    def code(order: str) -> Code:
        sizes, (channel, row, column) = ORDERS[order]

        def run(m: Code, x: Tensor) -> Tensor:
            y = m.out(m.enter(x).relu()).unflatten(1, (2, 2)).unflatten(3, sizes)  # batch, rows, columns, factors
            y = y.permute(0, 2 + channel, 1, 2 + row, 2, 2 + column)
            return y.flatten(4, 5).flatten(2, 3)

        return Code(run, enter=nn.Linear(4, 4), out=nn.Linear(4, 12))

    tokens = torch.randn(2, 4, 4)
    assert_transplanted(code(ours), code(theirs), tokens.double())
    if ours == theirs:
        assert ws.plan(code(ours), code(theirs), tokens).kept == ()
    else:
        with pytest.raises(ws.WselError):
            ws.plan(code(ours), code(theirs), tokens)
