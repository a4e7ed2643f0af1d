"""Values that are taken apart: what gives them, how they are cut, who reads the parts; right in any mix, or refused."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import wsel_graph as ws
from wsel_graph.errors import WselError

WIDTH = 8
X = torch.randn(2, 6, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Read = Callable[..., Tensor]


class Code(nn.Module):
    """Modules and parameters, and a function of them."""

    def __init__(self, run: Callable[..., object], **held: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, value in held.items():
            setattr(self, name, value)
        self.run = run

    def forward(self, *x: Tensor) -> object:
        return self.run(self, *x)


def matrix(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape))


def channels_first(*modules: nn.Module) -> nn.Module:
    return Code(lambda m, x: m.inner(x.mT).mT, inner=nn.Sequential(*modules))


def both(combine: Callable[[Tensor, Tensor], Tensor]) -> Callable[[int], nn.Module]:
    def build(n: int) -> nn.Module:
        return Code(lambda m, x: combine(m.a(x), m.b(x.flip(1))), a=nn.Linear(n, 2 * n), b=nn.Linear(n, 2 * n))

    return build


GIVE: dict[str, Callable[[int], nn.Module]] = {
    "linear": lambda n: nn.Linear(n, 2 * n),
    "linear and relu": lambda n: nn.Sequential(nn.Linear(n, 2 * n), nn.ReLU()),
    "linear and softmax": lambda n: nn.Sequential(nn.Linear(n, 2 * n), nn.Softmax(-1)),
    "linear and layer norm": lambda n: nn.Sequential(nn.Linear(n, 2 * n), nn.LayerNorm(2 * n)),
    "linear and PReLU": lambda n: nn.Sequential(nn.Linear(n, 2 * n), nn.PReLU()),
    "weight norm": lambda n: weight_norm(nn.Linear(n, 2 * n)),
    "spectral norm": lambda n: spectral_norm(nn.Linear(n, 2 * n)),
    "low rank added": lambda n: Code(
        lambda m, x: F.linear(x, m.w + m.a @ m.b), w=matrix(2 * n, n), a=matrix(2 * n, 3), b=matrix(3, n)
    ),
    "matmul": lambda n: Code(lambda m, x: x @ m.w, w=matrix(n, 2 * n)),
    "einsum": lambda n: Code(lambda m, x: torch.einsum("btc,cd->btd", x, m.w), w=matrix(n, 2 * n)),
    "bilinear": lambda n: Code(lambda m, x: m.b(x, x.flip(1)), b=nn.Bilinear(n, n, 2 * n)),
    "scan and scale": lambda n: Code(lambda m, x: m.a(x).cumsum(1) * m.d, a=nn.Linear(n, 2 * n), d=matrix(2 * n)),
    "convolution": lambda n: channels_first(nn.Conv1d(n, 2 * n, 3, padding=1)),
    "depthwise": lambda n: channels_first(nn.Conv1d(n, 2 * n, 1), nn.Conv1d(2 * n, 2 * n, 3, padding=1, groups=2 * n)),
    "groups": lambda n: channels_first(nn.Conv1d(n, 2 * n, 3, padding=1, groups=4)),
    "transposed": lambda n: channels_first(nn.ConvTranspose1d(n, 2 * n, 1)),
    "batch norm": lambda n: channels_first(nn.Conv1d(n, 2 * n, 1), nn.BatchNorm1d(2 * n)),
    "group norm": lambda n: channels_first(nn.Conv1d(n, 2 * n, 1), nn.GroupNorm(4, 2 * n)),
    "sum": both(torch.add),
    "product": both(torch.mul),
    "GRU": lambda n: Code(lambda m, x: m.r(x)[0], r=nn.GRU(n, 2 * n, batch_first=True)),
    "LSTM": lambda n: Code(lambda m, x: m.r(x)[0], r=nn.LSTM(n, 2 * n, batch_first=True)),
    "attention": lambda n: Code(
        lambda m, x: F.scaled_dot_product_attention(m.q(x), m.k(x), m.v(x)),
        q=nn.Linear(n, 2 * n), k=nn.Linear(n, 2 * n), v=nn.Linear(n, 2 * n),
    ),
}  # fmt: skip

CUT: dict[str, Callable[[Tensor, int], tuple[Tensor, ...]]] = {
    "chunk": lambda y, n: y.chunk(2, -1),
    "split": lambda y, n: y.split([n, n], -1),
    "slices": lambda y, n: (y[..., :n], y[..., n:]),
    "narrow": lambda y, n: (y.narrow(-1, 0, n), y.narrow(-1, n, n)),
    "unbind": lambda y, n: y.unflatten(-1, (2, n)).unbind(-2),
    "select": lambda y, n: (y.unflatten(-1, (2, n))[..., 0, :], y.unflatten(-1, (2, n))[..., 1, :]),
    "every other": lambda y, n: (y[..., ::2], y[..., 1::2]),
    "by index": lambda y, n: (y.index_select(-1, torch.arange(n)), y.index_select(-1, torch.arange(n, 2 * n))),
}


def one_reader(read: Read) -> Callable[[int], nn.Module]:
    return lambda n: Code(lambda m, a, b: m.out(read(a, b)), out=nn.Linear(n, 3))


def two_readers(read: Read) -> Callable[[int], nn.Module]:
    return lambda n: Code(lambda m, a, b: read(m.one(a), m.two(b)), one=nn.Linear(n, 3), two=nn.Linear(n, 3))


READ: dict[str, Callable[[int], nn.Module]] = {
    "tanh times sigmoid": one_reader(lambda a, b: a.tanh() * b.sigmoid()),
    "times gelu": one_reader(lambda a, b: a * F.gelu(b)),
    "plus relu": one_reader(lambda a, b: a + F.relu(b)),
    "minus": one_reader(lambda a, b: a - b),
    "divided": one_reader(lambda a, b: a / (1 + b.exp())),
    "where": one_reader(lambda a, b: torch.where(a > 0, a, b)),
    "attention": one_reader(lambda a, b: (a @ b.mT).softmax(-1) @ b),
    "side by side": lambda n: Code(
        lambda m, a, b: m.out(torch.cat([a.tanh(), b.sigmoid()], -1)), out=nn.Linear(2 * n, 3)
    ),
    "two linears": two_readers(torch.add),
    "two bent linears": two_readers(lambda a, b: a.tanh() * b.sigmoid()),
    "two norms": lambda n: Code(
        lambda m, a, b: m.out((m.one(a) @ m.two(b).mT).softmax(-1) @ b),
        one=nn.LayerNorm(n), two=nn.LayerNorm(n), out=nn.Linear(n, 3),
    ),
    "results": lambda n: Code(lambda m, a, b: (m.out(a), b.exp()), out=nn.Linear(n, 3)),
}  # fmt: skip


def net(give: str, cut: str, read: str, *, exchanged: bool, width: int = WIDTH) -> nn.Module:
    def run(m: Code, x: Tensor) -> object:
        a, b = CUT[cut](m.give(x), width)
        return m.read(b, a) if exchanged else m.read(a, b)

    made = Code(run, give=GIVE[give](width), read=READ[read](width)).double().eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def largest_difference(one: nn.Module, other: nn.Module, *x: Tensor) -> float:
    def results(model: nn.Module) -> Iterator[Tensor]:
        found = model(*x)
        yield from found if isinstance(found, tuple) else (found,)

    with torch.no_grad():
        return max(float((a - b).abs().max()) for a, b in zip(results(one), results(other), strict=True))


@pytest.mark.parametrize("give", GIVE)
def test_parts_go_where_they_belong(give: str) -> None:
    """A student that takes the parts the other way round is refused, where none of its tensors can hold the values."""
    for cut, read in zip(itertools.cycle(CUT), READ, strict=False):
        torch.manual_seed(0)
        teacher = net(give, cut, read, exchanged=False)
        same = net(give, cut, read, exchanged=False)
        ws.initialize(same, teacher, X)
        assert largest_difference(same, teacher, X) < 1e-9, (cut, read)
        exchanged = net(give, cut, read, exchanged=True)
        try:
            ws.initialize(exchanged, teacher, X)
        except WselError:
            continue
        assert largest_difference(exchanged, teacher, X) < 1e-9, (cut, read)


@pytest.mark.parametrize("read", READ)
def test_every_way_to_cut_shows_the_same_parts(read: str) -> None:
    """Computed weights are not cut into components, so the cuts alone tell."""
    cuts = [cut for cut in CUT if cut not in ("every other", "by index")]
    for one, other in itertools.pairwise([*cuts, cuts[0]]):
        torch.manual_seed(0)
        teacher = net("weight norm", one, read, exchanged=False)
        student = net("weight norm", other, read, exchanged=False)
        ws.initialize(student, teacher, X)
        assert largest_difference(student, teacher, X) < 1e-9, (one, other)


def test_a_narrower_gate() -> None:
    for give in ("weight norm", "depthwise", "batch norm", "scan and scale"):
        torch.manual_seed(0)
        teacher = net(give, "chunk", "times gelu", exchanged=False)
        x = X[..., :WIDTH]
        plan = ws.plan(net(give, "slices", "times gelu", exchanged=False), teacher, x)
        assert not any(kept.parameter for kept in plan.kept)
        with pytest.raises(WselError, match=r"take them in the teacher's order|in another order than in the teacher"):
            ws.plan(net(give, "slices", "times gelu", exchanged=True), teacher, x)


def fused(order: str) -> nn.Module:
    """Queries, keys and values of one linear whose rows are normalised."""

    def run(m: Code, x: Tensor) -> Tensor:
        parts = dict(zip(order, m.qkv(x).chunk(3, -1), strict=True))
        return m.out(F.scaled_dot_product_attention(parts["q"], parts["k"], parts["v"]))

    return Code(run, qkv=weight_norm(nn.Linear(WIDTH, 3 * WIDTH)), out=nn.Linear(WIDTH, 3)).double()


def test_three_parts() -> None:
    for ours, theirs in itertools.product(map("".join, itertools.permutations("qkv")), repeat=2):
        student, teacher = fused(ours), fused(theirs)
        if ours == theirs:
            ws.initialize(student, teacher, X)
            assert largest_difference(student, teacher, X) < 1e-9
        else:
            with pytest.raises(WselError, match=r"qkv\.parametrizations\.weight"):
                ws.plan(student, teacher, X)


# -- parts of the model's input


def halves(cut: str, *, gate: bool, exchanged: bool = False, turned: bool = False) -> nn.Module:
    """Two linears, each of which reads one half of the input."""

    def run(m: Code, x: Tensor) -> Tensor:
        one, other = CUT[cut](x, WIDTH)[:: -1 if exchanged else 1]
        a, b = (m.b(one), m.a(other)) if turned else (m.a(one), m.b(other))
        return m.out(a * b.sigmoid() if gate else a + b)

    parts = {name: nn.Linear(WIDTH, WIDTH) for name in "ab"}
    return Code(run, **parts, out=nn.Linear(WIDTH, 3)).double()


@pytest.mark.parametrize("gate", [True, False])
def test_linears_that_read_halves_of_the_input(gate: bool) -> None:
    x = torch.cat([X, X.flip(1) * 2], -1)
    for cut, other in itertools.product([name for name in CUT if name != "every other"], repeat=2):
        for exchanged, turned in itertools.product((True, False), repeat=2):
            torch.manual_seed(0)
            teacher = halves(cut, gate=gate)
            student = halves(other, gate=gate, exchanged=exchanged, turned=turned)
            try:
                ws.initialize(student, teacher, x)
            except WselError:
                assert (gate, exchanged) == (True, True)  # the value and its gate read other halves
                continue
            assert largest_difference(student, teacher, x) < 1e-9, (cut, other, exchanged, turned)


# -- what a weight goes through

WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda w: w,
    "exponential": lambda w: w.exp(),
    "negative": lambda w: -w,
    "added to one": lambda w: torch.eye(WIDTH, dtype=w.dtype) + w,
    "halved": lambda w: w * 0.5,
    "softmax": lambda w: w.softmax(-1),
    "lower": lambda w: w.tril(),
}


def test_a_weight_that_goes_through_something_is_another_weight() -> None:
    def code(way: str) -> nn.Module:
        held = {"w": matrix(WIDTH, WIDTH), "a": nn.Linear(WIDTH, WIDTH), "out": nn.Linear(WIDTH, 3)}
        return Code(lambda m, x: m.out(F.linear(m.a(x), WAYS[way](m.w))), **held).double()

    for ours, theirs in itertools.product(WAYS, repeat=2):
        if ours == theirs:
            assert ws.plan(code(ours), code(theirs), X).kept == ()
        else:
            with pytest.raises(WselError, match=re.escape("  - w [8, 8]: ")):
                ws.plan(code(ours), code(theirs), X)
