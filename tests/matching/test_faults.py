"""Faults that were found in matching, each as the smallest example: what was wrong in silence, what was refused.

Those that are still wrong, or refused, are marked; a test that passes must lose its mark.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wsel_graph as ws
from tests.matching.families import Kind, Net, Sizes, Spec, Stage, inputs
from tests.matching.test_flow import Code, graph_of, written
from tests.matching.test_properties import Pair, check_truth
from tests.matching.test_segments import UNet
from tests.nets import Transformer
from tests.scrambled import flat
from wsel_graph.coupling.verify import relative_error
from wsel_graph.matching.structure import structure

X = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = X.flip(1)
IMAGE = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def fault(reason: str) -> pytest.MarkDecorator:
    """What is wrong now; the test fails when it is right."""
    return pytest.mark.xfail(strict=True, reason=reason)


def linears(names: str) -> dict[str, nn.Module]:
    return {name: nn.Linear(4, 4) for name in names}


def assert_transplanted(student: nn.Module, teacher: nn.Module, *given: Tensor) -> None:
    """O3: two implementations of one function, under names that mean nothing; right, or refused."""
    torch.manual_seed(0)
    for model in (student, teacher):
        for parameter in model.double().parameters():
            parameter.data = torch.randn(parameter.shape, dtype=torch.float64) / 2
    ours, theirs = flat(student, 1).model, flat(teacher, 2).model
    try:
        result = ws.initialize(ours, theirs, given)
    except ws.WselError:
        return
    assert result.coverage == 1
    with torch.no_grad():
        pairs = zip(_results(theirs(*given)), _results(ours(*given)), strict=True)
        assert max(relative_error(expected, actual) for expected, actual in pairs) < 1e-9


def _results(output: Any) -> tuple[Tensor, ...]:
    return output if isinstance(output, tuple) else (output,)


# -- once wrong in silence: two branches that the graph takes for equal, computed in another order by the student


Branches = Callable[[Code, dict[str, Tensor]], Any]


def in_order(order: str, combine: Branches) -> Callable[..., Any]:
    """Linears on one activation, computed in the given order and then combined."""

    def code(m: Code, x: Tensor) -> Any:
        x = m.stem(x).relu()
        return combine(m, {name: getattr(m, name)(x) for name in order})

    return code


@pytest.mark.parametrize(
    "combine",
    [
        pytest.param(lambda m, v: m.out(v["a"].tanh() * v["b"].sigmoid()), id="two activation functions"),
        pytest.param(lambda m, v: m.out(torch.where(v["a"] > 0, v["a"], v["b"])), id="a choice"),
        pytest.param(lambda m, v: m.out(v["a"] - v["b"]), id="difference"),
        pytest.param(
            lambda m, v: m.out(v["a"] / (v["b"] * v["b"] + 1)),
            id="quotient",
        ),
        pytest.param(lambda m, v: m.out(v["a"] + 2 * v["b"]), id="constant factor"),
        pytest.param(
            lambda m, v: m.out(v["a"][:, :1] + v["b"][:, 1:2]),
            id="other positions",
        ),
        pytest.param(
            lambda m, v: m.out(v["a"] + v["b"].flip(1)),
            id="reversed positions",
        ),
        pytest.param(
            lambda m, v: (v["a"], v["b"], m.out(v["a"] * v["b"])),
            id="two results",
        ),
        pytest.param(lambda m, v: (v["a"].tanh(), m.out(v["a"] * v["b"].exp())), id="results of other use"),
    ],
)
def test_the_order_of_execution_does_not_matter(combine: Branches) -> None:
    student = Code(in_order("ba", combine), stem=nn.Linear(4, 4), **linears("ab"), out=nn.Linear(4, 3))
    teacher = Code(in_order("ab", combine), stem=nn.Linear(4, 4), **linears("ab"), out=nn.Linear(4, 3))
    assert_transplanted(student, teacher, X)


def test_results_of_other_sizes_are_not_exchanged_and_then_kept() -> None:
    """The two heads are exchanged, their sizes differ, so both keep the student's own values as `label` axes."""

    def heads(order: str) -> Code:
        combine = in_order(order, lambda m, v: (v["a"], v["b"]))
        return Code(combine, stem=nn.Linear(4, 4), a=nn.Linear(4, 3), b=nn.Linear(4, 6))

    assert_transplanted(heads("ba"), heads("ab"), X)


def test_differential_attention() -> None:
    """The second softmax is subtracted."""

    def attend(m: Code, v: dict[str, Tensor]) -> Tensor:
        first, second = ((v[q] @ v[k].mT).softmax(-1) for q, k in ("qk", "rl"))
        return m.out((first - second / 3) @ v["v"])

    students = [
        Code(in_order(order, attend), stem=nn.Linear(4, 4), **linears("qkrlv"), out=nn.Linear(4, 3))
        for order in ("rlqkv", "qkrlv")
    ]
    assert_transplanted(students[0], students[1], X)


def test_two_inputs_are_told_apart() -> None:
    def towers(order: str) -> Callable[..., Tensor]:
        def code(m: Code, x: Tensor, y: Tensor) -> Tensor:
            given = {"a": x, "b": y}
            found = {name: getattr(m, name)(given[name]) for name in order}
            return m.out((found["a"] + found["b"]).relu())

        return code

    student, teacher = (Code(towers(order), **linears("ab"), out=nn.Linear(4, 3)) for order in ("ba", "ab"))
    assert_transplanted(student, teacher, X, Y + 1)


def dilated(m: Code, x: Tensor) -> Tensor:
    return F.conv2d(x, m.b, padding=2, dilation=2)


def pooled(m: Code, x: Tensor) -> Tensor:
    return F.conv2d(F.avg_pool2d(x, 3, 1, 1), m.b, padding=1)


def turned(m: Code, x: Tensor) -> Tensor:
    return F.conv2d(x.mT, m.b, padding=1)


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(dilated),
        pytest.param(pooled),
        pytest.param(turned),
    ],
)
def test_branches_of_convolutions_that_differ_in_settings(second: Callable[[Code, Tensor], Tensor]) -> None:
    branches = {"a": lambda m, x: F.conv2d(x, m.a, padding=1), "b": second}

    def code(order: str) -> Callable[..., Tensor]:
        def run(m: Code, x: Tensor) -> Tensor:
            x = m.stem(x).relu()
            found = {name: branches[name](m, x) for name in order}
            return m.out((found["a"] + found["b"]).relu())

        return run

    shape = (4, 4, 3, 3)
    student, teacher = (
        Code(code(order), stem=nn.Conv2d(4, 4, 1), a=shape, b=shape, out=nn.Conv2d(4, 2, 1)) for order in ("ba", "ab")
    )
    assert_transplanted(student, teacher, IMAGE)


# -- once wrong in silence: found by a second hunt


def stem_and_out(code: Callable[[Code, Tensor], Tensor], **held: Any) -> Code:
    return Code(lambda m, x: m.out(code(m, m.stem(x).relu()).relu()), stem=nn.Linear(4, 4), **held, out=nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("code", "shape"),
    [
        pytest.param(
            lambda m, x: F.linear(F.linear(x, m.w[0]).relu(), m.w[1]),
            (2, 4, 4),
            id="linears",
        ),
        pytest.param(lambda m, x: (x * m.w[0]).relu() + m.w[1], (2, 4), id="vectors"),
        pytest.param(
            lambda m, x: F.scaled_dot_product_attention(*(F.linear(x, w) for w in m.w.unbind(0))),
            (3, 4, 4),
            id="query, key, value",
        ),
    ],
)
def test_one_network_with_itself_when_parameters_are_stacked(
    code: Callable[[Code, Tensor], Tensor], shape: tuple[int, ...]
) -> None:
    """O1."""
    assert_transplanted(stem_and_out(code, w=shape), stem_and_out(code, w=shape), X)


def tower(m: Code, name: str, x: Tensor) -> Tensor:
    """Two residual blocks between two linears."""
    x = getattr(m, f"{name}0")(x)
    for i in (1, 3):
        x = x + getattr(m, f"{name}{i + 1}")(getattr(m, f"{name}{i}")(x).relu())
    return getattr(m, f"{name}5")(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("combine", "given"),
    [
        pytest.param(lambda m, v: (v["a"] + v["b"]).relu(), (X, Y + 1), id="sum, two inputs"),
        pytest.param(lambda m, v: (v["a"], v["b"]), (X, Y + 1), id="results, two inputs"),
        pytest.param(lambda m, v: v["a"] @ v["b"].mT, (X, Y + 1), id="product, two inputs"),
        pytest.param(lambda m, v: (v["a"], v["b"]), (X,), id="results, one input"),
        pytest.param(lambda m, v: (v["a"] - v["b"]).relu(), (X,), id="difference, one input"),
    ],
)
def test_towers_in_another_order(combine: Branches, given: tuple[Tensor, ...]) -> None:
    """Two towers of equal structure, as in dual encoders, and several blocks in each."""

    def towers(order: str) -> Code:
        def code(m: Code, *given: Tensor) -> Any:
            inputs = {"a": given[0], "b": given[-1]}
            return combine(m, {name: tower(m, name, inputs[name]) for name in order})

        return Code(code, **{f"{name}{i}": nn.Linear(4, 4) for name in "ab" for i in range(6)})

    assert_transplanted(towers("ba"), towers("ab"), *given)


@pytest.mark.parametrize(
    "scores",
    [
        pytest.param(lambda q, k: (q @ k.mT).softmax(-1), id="query first"),
        pytest.param(lambda q, k: (k @ q.mT).softmax(-2).mT, id="key first"),
        pytest.param(lambda q, k: (k @ q.mT).mT.softmax(-1), id="key first, turned before"),
        pytest.param(lambda q, k: torch.einsum("bqd,bkd->bkq", q, k).softmax(1).mT, id="einsum"),
    ],
)
def test_queries_and_keys_are_told_apart(scores: Callable[[Tensor, Tensor], Tensor]) -> None:
    def attention(mixed: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Code:
        return stem_and_out(lambda m, x: mixed(m.q(x), m.k(x), m.v(x)), **linears("qkv"))

    teacher = attention(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=1.0))
    assert_transplanted(attention(lambda q, k, v: scores(q, k) @ v), teacher, X)


@pytest.mark.parametrize(
    "inner",
    [
        pytest.param(lambda k, v: (v.mT @ k).mT, id="value first"),
        pytest.param(lambda k, v: torch.einsum("bne,bnd->bed", v, k).mT, id="einsum"),
    ],
)
def test_keys_and_values_are_told_apart(inner: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Linear attention; that a key passes an activation function and a value does not is overruled by the place."""

    def attention(mixed: Callable[[Tensor, Tensor], Tensor]) -> Code:
        return stem_and_out(lambda m, x: m.q(x).sigmoid() @ mixed(m.k(x).sigmoid(), m.v(x)), **linears("qkv"))

    assert_transplanted(attention(inner), attention(lambda k, v: k.mT @ v), X)


@pytest.mark.parametrize(
    ("names", "combine"),
    [
        pytest.param("ab", lambda m, v: m.out(torch.add(v["a"], v["b"], alpha=2)), id="one factor"),
        pytest.param("abc", lambda m, v: m.out(torch.add(v["c"], v["a"] + v["b"], alpha=2)), id="factor of a sum"),
    ],
)
def test_the_factor_in_a_sum(names: str, combine: Branches) -> None:
    student, teacher = (
        Code(in_order(order, combine), stem=nn.Linear(4, 4), **linears(names), out=nn.Linear(4, 3))
        for order in (names[::-1], names)
    )
    assert_transplanted(student, teacher, X)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(lambda t: t[:, None], lambda t: t[None], id="rows and columns"),
        pytest.param(lambda t: t, lambda t: t.flip(0), id="reversed"),
        pytest.param(lambda t: t, lambda t: t[torch.arange(4, -1, -1, device=t.device)], id="reversed by index"),
        pytest.param(lambda t: t, lambda t: t[:1], id="one row"),
        pytest.param(lambda t: t, lambda t: 2 * t, id="factor"),
        pytest.param(torch.tanh, torch.sigmoid, id="activation functions"),
    ],
)
def test_tables_of_one_size_in_another_order(
    first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor]
) -> None:
    """Two codes of positions that are added."""

    def code(order: str) -> Callable[..., Tensor]:
        def run(m: Code, x: Tensor) -> Tensor:
            x = m.stem(x[:, :, None].expand(-1, -1, 5, -1))
            for name in order:
                x = x + (first(m.a) if name == "a" else second(m.b))
            return m.out(x.relu())

        return run

    student, teacher = (
        Code(code(order), stem=nn.Linear(4, 4), a=(5, 4), b=(5, 4), out=nn.Linear(4, 3)) for order in ("ba", "ab")
    )
    assert_transplanted(student, teacher, X)


_SQUARE, _CUBE = {"w": (4, 4)}, {"w": (4, 4, 4)}


@pytest.mark.parametrize(
    ("ours", "theirs", "held"),
    [
        pytest.param(
            lambda m, x: F.linear(x, 2 * (m.b @ m.a) + m.w),
            lambda m, x: F.linear(x, m.w + 2 * (m.b @ m.a)),
            {"w": (4, 4), "a": (4, 4), "b": (4, 4)},
            id="low rank update before the weight",
        ),
        pytest.param(
            lambda m, x: F.linear(x, m.s.sigmoid() * m.w),
            lambda m, x: F.linear(x, m.w * m.s.sigmoid()),
            {"w": (4, 4), "s": (4, 4)},
            id="gate before the weight",
        ),
        pytest.param(lambda m, x: x @ (2 * m.w), lambda m, x: F.linear(x, 2 * m.w), _SQUARE, id="scaled (in, out)"),
        pytest.param(lambda m, x: x @ (1 * m.w), lambda m, x: F.linear(x, m.w), _SQUARE, id="scaled from plain"),
        pytest.param(
            lambda m, x: torch.einsum("bni,iho->bnho", x, m.w).tanh().sum(2),
            lambda m, x: torch.einsum("bni,hoi->bnho", x, m.w).tanh().sum(2),
            _CUBE,
            id="einsum of three axes",
        ),
        pytest.param(
            lambda m, x: (x[:, None] @ m.w).tanh().sum(1),
            lambda m, x: torch.einsum("bni,hio->bhno", x, m.w).tanh().sum(1),
            _CUBE,
            id="batched product and einsum",
        ),
        pytest.param(
            lambda m, x: F.linear(x, m.w),
            lambda m, x: F.linear(x, m.w[torch.tensor([2, 0, 1, 3], device=x.device)]),
            _SQUARE,
            id="rows in another order",
        ),
    ],
)
def test_weights_that_are_computed(
    ours: Callable[[Code, Tensor], Tensor], theirs: Callable[[Code, Tensor], Tensor], held: dict[str, Any]
) -> None:
    assert_transplanted(stem_and_out(ours, **held), stem_and_out(theirs, **held), X)


def test_a_direction_is_no_weight() -> None:
    """The teacher's weight is parametrised, the student's is not: its values are in no teacher tensor."""
    student = stem_and_out(lambda m, x: F.linear(x, m.w), w=(4, 4))
    teacher = stem_and_out(lambda m, x: F.linear(x, m.v / m.v.norm(dim=1, keepdim=True) * m.g), v=(4, 4), g=(4, 1))
    assert_transplanted(student, teacher, X)


def test_the_initial_states_of_a_recurrent_layer() -> None:
    def code(order: str) -> Code:
        def run(m: Code, x: Tensor) -> Tensor:
            x = m.stem(x).relu()
            state = {name: getattr(m, name)(x.mean(1))[None] for name in order}
            return m.out(m.cells(x, (state["h"], state["c"]))[0])

        held = {"stem": nn.Linear(4, 4), **linears("hc"), "out": nn.Linear(4, 3)}
        return Code(run, **held, cells=nn.LSTM(4, 4, batch_first=True))

    assert_transplanted(code("ch"), code("hc"), X)


def test_blocks_that_read_two_memories() -> None:
    """Blocks of a decoder with one product per memory, the second first."""

    def code(order: str) -> Code:
        def run(m: Code, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
            memory = {"a": m.a(x).relu(), "b": m.b(y).relu()}
            z = m.stem(z).relu()
            for i in range(2):
                read = {name: getattr(m, f"q{name}{i}")(z) * getattr(m, f"k{name}{i}")(memory[name]) for name in order}
                z = z + (read["a"] + read["b"]).tanh()
            return m.out(z)

        held = {f"{part}{name}{i}": nn.Linear(4, 4) for part in "qk" for name in "ab" for i in range(2)}
        return Code(run, **linears("ab"), stem=nn.Linear(4, 4), **held, out=nn.Linear(4, 3))

    assert_transplanted(code("ba"), code("ab"), X, Y + 1, X + Y)


# -- once wrong in silence: an einsum's weight is taken to lie (out, in), whatever the equation says


@pytest.mark.parametrize(
    "equation",
    [pytest.param("bni,io->bno"), "bni,oi->bno", pytest.param("io,bni->bno")],
)
def test_the_equation_says_how_a_weight_lies(equation: str) -> None:
    def code(m: Code, x: Tensor) -> Tensor:
        x = m.stem(x).relu()
        given = (m.w, x) if equation.startswith("io") else (x, m.w)
        return m.out(torch.einsum(equation, *given).relu())

    student = Code(code, stem=nn.Linear(4, 4), w=(4, 4), out=nn.Linear(4, 3))
    teacher = Code(
        lambda m, x: m.out(F.linear(m.stem(x).relu(), m.w).relu()), stem=nn.Linear(4, 4), w=(4, 4), out=nn.Linear(4, 3)
    )
    torch.manual_seed(0)
    student, teacher = student.double(), teacher.double()
    ws.initialize(student, teacher, (X,))
    with torch.no_grad():
        assert relative_error(teacher(X), student(X)) < 1e-9


def test_a_fused_einsum_comes_apart() -> None:
    def code(m: Code, x: Tensor) -> Tensor:
        q, k, v = torch.einsum("bni,io->bno", x, m.w).chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, v)

    assert [node.label for node in graph_of(Code(code, w=(4, 12))).nodes].count("linear") == 3


# -- once wrong in silence: equal names decide against what the user asks for


def test_an_ignored_component_is_not_used_by_name_either(tmp_path: Path) -> None:
    rules = 'version: 1\nunmatched: keep\ncomponents:\n  - ignore: {teacher: "blocks.*.fc1.*"}\n'
    (tmp_path / "my.yaml").write_text(rules)
    plan = ws.plan(Transformer(8, 2, 4, depth=1), Transformer(16, 4, 4), (2, 5, 7), rules=tmp_path / "my.yaml")
    assert not any(".fc1." in copy.teacher for copy in plan.copies)


def test_equal_names_do_not_go_against_layer_selection(tmp_path: Path) -> None:
    """The student's only inner block is no stage (see below): refused, not paired by name as if `take` were `first`."""
    (tmp_path / "my.yaml").write_text("version: 1\nlayers:\n  - take: last\n")
    with pytest.raises(ws.WselError, match=r"inner\.0\.weight \[8, 8, 3, 3\]: the teacher has no block"):
        ws.plan(UNet(4, 1), UNet(8, 3), (1, 3, 8, 8), rules=tmp_path / "my.yaml")


def test_the_norm_of_a_post_norm_block_comes_from_the_same_layer_as_the_block(tmp_path: Path) -> None:
    class PostNorm(nn.Module):
        def __init__(self, width: int, depth: int) -> None:
            super().__init__()
            self.enter = nn.Linear(7, width)
            self.fc = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
            self.norm = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
            self.leave = nn.Linear(width, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.enter(x)
            for fc, norm in zip(self.fc, self.norm, strict=True):
                x = norm(x + fc(x).relu())
            return self.leave(x)

    (tmp_path / "my.yaml").write_text("version: 1\nlayers:\n  - take: last\n")
    for depth in (1, 2):
        plan = ws.plan(PostNorm(4, depth), PostNorm(8, 3), (2, 5, 7), rules=tmp_path / "my.yaml")
        taken = {copy.student: copy.teacher for copy in plan.copies}
        for kind, block in itertools.product(("fc", "norm"), range(depth)):
            assert taken[f"{kind}.{block}.weight"] == f"{kind}.{3 - depth + block}.weight"


def test_a_student_with_one_post_norm_block() -> None:
    """The norm behind the only block is the block's, as the teacher's are."""
    layer = (Kind("mlp", post=True),)
    check_truth(Pair(Spec("tokens", (Stage((layer, layer)),)), ((0,),), (3, 4), (None, None)))


def test_one_block_and_the_last_norm_of_a_network_of_pre_norm_blocks() -> None:
    """There the norm behind the only block is not the block's."""

    class PreNorm(nn.Module):
        def __init__(self, width: int, depth: int) -> None:
            super().__init__()
            self.enter, self.last, self.leave = nn.Linear(7, width), nn.LayerNorm(width), nn.Linear(width, 3)
            self.fc = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
            self.norm = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))

        def forward(self, x: Tensor) -> Tensor:
            x = self.enter(x)
            for fc, norm in zip(self.fc, self.norm, strict=True):
                x = x + fc(norm(x)).relu()
            return self.leave(self.last(x))

    taken = {copy.student: copy.teacher for copy in ws.plan(PreNorm(4, 1), PreNorm(8, 3), (2, 5, 7)).copies}
    assert all(ours == theirs for ours, theirs in taken.items())


# -- not the first blocks

TOKENS, MIX = (Kind("mlp"),), (Kind("attention"),)


def test_first_of_single_blocks_that_alternate() -> None:
    """Blocks m a m a m: the student's m a m gets blocks 0, 1, 4, because the last m is a layer of another kind."""
    check_truth(Pair(Spec("tokens", (Stage((TOKENS, MIX, TOKENS, MIX, TOKENS)),)), ((0, 1, 2),), (3, 4), (None, None)))


def test_half_of_the_longer_layer_of_a_hybrid() -> None:
    """Layers a m r l a m r l count as two layers of four blocks, and the student has half of one."""
    one, other = (Kind("attention"), Kind("mlp")), (Kind("recurrent"), Kind("local", gated=True, bias=False))
    stage = Stage((other, one, other, one))
    check_truth(Pair(Spec("tokens", (stage,)), ((0,),), (0, 0), (None, None)))


def test_one_layer_is_filled_from_one_layer() -> None:
    """The teacher's layers also read the input of the first one, between their two parts."""

    def stack(depth: int, reads: bool) -> Code:
        def run(m: Code, x: Tensor) -> Tensor:
            x = start = m.stem(x)
            for i in range(depth):
                layer = {name: getattr(m, f"{name}{i}") for name in ("abcuwrs" if reads else "abcuw")}
                x = x + layer["c"](layer["a"](x) * layer["b"](x).tanh())
                if reads:
                    x = x + layer["r"](x) * layer["s"](start)
                x = x + layer["w"](layer["u"](x).relu())
            return m.out(x)

        names = [f"{name}{i}" for i in range(depth) for name in ("abcuwrs" if reads else "abcuw")]
        return Code(run, stem=nn.Linear(4, 4), **{name: nn.Linear(4, 4) for name in names}, out=nn.Linear(4, 3))

    plan = ws.plan(stack(2, False), stack(3, True), (2, 5, 4))
    names = {(copy.student.split(".")[0], copy.teacher.split(".")[0]) for copy in plan.copies}
    numbers = {(ours[-1], theirs[-1]) for ours, theirs in names if ours[-1].isdigit()}
    assert len(numbers) == 2


# -- refused, though it should be found


@fault("a piece with one residual block is not cut again")
def test_a_u_net_with_one_block_per_level() -> None:
    """A piece is cut again only where that shows more than one residual block."""
    student, teacher = flat(UNet(4, 1), 1), flat(UNet(8, 3), 2)
    ws.plan(student.model, teacher.model, (1, 3, 8, 8))


def replaced(net: Net, style: int) -> Net:
    net.style = style
    return net


@pytest.mark.parametrize(
    ("shared", "ours", "theirs", "heads"),
    [
        pytest.param(True, "all", "all", 2, id="grouped queries, both fused"),
        pytest.param(
            True, "all", "all", 1, id="grouped queries, both fused, one",
            marks=fault("an axis of one element has no atom"),
        ),
        pytest.param(False, "woven", "all", 2, id="(heads 3 head_dim) from (3 heads head_dim)"),
        pytest.param(False, "woven", "all", 1, id="(3 head_dim) from (3 heads head_dim)"),
    ],
)  # fmt: skip
def test_a_student_with_one_head(shared: bool, ours: str, theirs: str, heads: int) -> None:
    """An axis of one element is no part of the student's axes, so parts do not correspond any more."""
    spec = Spec("tokens", (Stage(((Kind("attention", shared_kv=shared),),)),))
    sizes, small = Sizes(3), Sizes(4, Sizes(3))
    sizes |= {"s0.attention.heads": 3, "s0.attention.rep": 3, "s0.attention.dim": 4}
    small |= {"s0.attention.heads": heads, "s0.attention.rep": 3 if heads == 1 else 2, "s0.attention.dim": 2}
    net = Net(spec, sizes, None)
    ways = ["separate", "kv", "all"] if shared else ["separate", "kv", "all", "woven"]
    styles = [
        next(seed for seed in range(99) if replaced(net, seed).pick("s0.l0.0 fused", *ways) == how)
        for how in (ours, theirs)
    ]
    student, teacher = Net(spec, small, styles[0], names=1), Net(spec, sizes, styles[1], names=2)
    assert ws.initialize(student, teacher, inputs(spec)).coverage == 1


@pytest.mark.parametrize(
    "norm",
    [
        pytest.param(lambda c: c * torch.rsqrt(c.pow(2).mean(-1, keepdim=True)), id="rsqrt"),
        pytest.param(lambda c: c / c.norm(dim=-1, keepdim=True), id="norm"),
        pytest.param(lambda c: c / torch.sqrt(c.pow(2).mean(-1, keepdim=True)), id="sqrt"),
        pytest.param(lambda c: c / c.pow(2).mean(-1, keepdim=True) ** 0.5, id="power"),
        pytest.param(lambda c: c * c.pow(2).mean(-1, keepdim=True).pow(-0.5), id="negative power"),
    ],
)
def test_norms_written_out(norm: Callable[[Tensor], Tensor]) -> None:
    """Without the tag the component is a `scale`, and the teacher's `nn.RMSNorm` is none."""
    graph = graph_of(Code(lambda m, x: norm(m.fc(x)) * m.w, fc=nn.Linear(4, 4), w=(4,)), (2, 5, 4))
    assert [node.label for node in graph.nodes] == ["linear", "norm"]


# -- once wrong in silence: parameters and buffers that go into one computed weight by the same operators


class Product(nn.Module):
    """A linear whose weight is made of two tensors; names say nothing, and the order of registration differs."""

    def __init__(self, form: str, order: str, width: int = 4, *, mask: bool = False, shared: bool = False) -> None:
        super().__init__()
        self.form, self.order, self.shared = form, order, shared
        self.stem, self.head = nn.Linear(4, width), nn.Linear(width, 3)
        for name in sorted(order, reverse=order != "ab"):
            if mask and name == "b":
                self.register_buffer(name, torch.ones(width, width).tril())
            else:
                self.register_parameter(name, nn.Parameter(torch.randn(width, width)))

    def forward(self, x: Tensor) -> Tensor:
        one, other = (self.shown(name) for name in self.order)
        x = F.linear(self.stem(x), one + other if self.form == "scaled" else one * other)
        return self.head(x + F.linear(x, self.a).sin() if self.shared else x)

    def shown(self, name: str) -> Tensor:
        tensor = getattr(self, name)
        if name == "a":
            return tensor
        match self.form:
            case "turned":
                return tensor.t()
            case "exponential":
                return tensor.exp()
            case "scaled":
                return 2 * tensor
            case "row":
                return tensor[:1]
        return tensor


@pytest.mark.parametrize("orders", ["ab ab", "ab ba", "ba ab"])
@pytest.mark.parametrize("width", [3, 4])
def test_a_masked_weight_is_not_filled_from_the_mask(orders: str, width: int) -> None:
    small, large = orders.split()
    student = Product("plain", small, width, mask=True)
    teacher = Product("plain", large, 4, mask=True)
    plan = ws.plan(student, teacher, X.float())
    assert {copy.student: copy.teacher for copy in plan.copies if copy.student in "ab"} == {"a": "a", "b": "b"}


@pytest.mark.parametrize("form", ["plain", "turned", "exponential", "scaled", "row"])
def test_the_order_of_the_operands_of_a_computed_weight_does_not_matter(form: str) -> None:
    assert_transplanted(Product(form, "ba"), Product(form, "ab"), X)


def test_tensors_of_a_computed_weight_that_cannot_be_told_apart_are_refused() -> None:
    """Their product is the same either way, but one of them is used elsewhere too."""
    with pytest.raises(ws.WselError, match="take part in one computed weight in the same way"):
        ws.plan(Product("plain", "ba", shared=True), Product("plain", "ab", shared=True), X.float())


def test_sums_of_products_in_another_order() -> None:
    """All go through `mul` and `add`; what they are multiplied by tells them apart."""

    def one(m: Code, x: Tensor) -> Tensor:
        return F.linear(m.stem(x), m.a * m.b + m.c * m.d * m.e)

    def other(m: Code, x: Tensor) -> Tensor:
        return F.linear(m.stem(x), m.e * (m.d * m.c) + m.b * m.a)

    held = dict.fromkeys("abcde", (4, 4))
    assert_transplanted(Code(one, stem=nn.Linear(4, 4), **held), Code(other, stem=nn.Linear(4, 4), **held), X)


# -- once kept as unused: a parameter that is written into a part of a tensor


@pytest.mark.parametrize("first", ["token", "stream"])
def test_a_token_that_is_written_into_zeros(first: str) -> None:
    def code(m: Code, x: Tensor) -> Tensor:
        x = m.stem(x)
        result = x.new_zeros(len(x), x.shape[1] + 1, x.shape[2])
        if first == "token":
            result[:, :1] = m.token.expand(len(x), -1, -1)
        result[:, 1:] = x
        if first == "stream":
            result[:, :1] = m.token.expand(len(x), -1, -1)
        return m.out(result)

    student, teacher = (Code(code, stem=nn.Linear(4, 4), token=(1, 1, 4), out=nn.Linear(4, 3)) for _ in "st")
    assert ws.plan(student, teacher, X.float()).kept == ()
    assert_transplanted(student, teacher, X)


def test_two_tokens_that_are_written_into_zeros() -> None:
    def code(order: str) -> Callable[..., Tensor]:
        def run(m: Code, x: Tensor) -> Tensor:
            x = m.stem(x)
            result = x.new_zeros(len(x), 2, x.shape[2])
            for name in order:
                result[:, "ab".index(name)] = getattr(m, name)
            return m.out(result.flatten(1)) + m.back(x).sum(1)

        return run

    def held() -> dict[str, Any]:
        return {"stem": nn.Linear(4, 4), "a": (4,), "b": (4,), "out": nn.Linear(8, 3), "back": nn.Linear(4, 3)}

    assert_transplanted(Code(code("ba"), **held()), Code(code("ab"), **held()), X)


def test_a_weight_that_is_written_part_by_part() -> None:
    """The second part took the place of the first, and its parameter was kept as unused."""

    def code(m: Code, x: Tensor) -> Tensor:
        weight = torch.zeros(4, 4).to(m.a)
        weight[:2] = m.a[:2]
        weight[2:, :3] += m.b[2:, :3]
        return F.linear(m.stem(x), weight)

    student, teacher = (Code(code, stem=nn.Linear(4, 4), a=(4, 4), b=(4, 4)) for _ in "st")
    plan = ws.plan(student, teacher, X.float())
    assert plan.kept == ()
    assert {copy.student: copy.teacher for copy in plan.copies if copy.student in "ab"} == {"a": "a", "b": "b"}


# -- small


def test_what_a_copy_overwrites_is_no_operand() -> None:
    def code(m: Code, x: Tensor) -> Tensor:
        y = m.a(x).clone()
        y.copy_(m.b(x))
        return m.c(y)

    assert written(graph_of(Code(code, **linears("abc"))))[-1] == "2 linear(c.weight, c.bias) <- 1"


def test_a_stage_of_one_block_has_the_name_of_the_stage() -> None:
    """It is called `blocks.0`, so that `stage: blocks` governs students of two blocks and more."""
    found = structure(ws.trace(Transformer(depth=1), (2, 5, 7)))
    assert list(found.stage_names.values()) == ["blocks"]


def test_the_default_rules_leave_no_notes() -> None:
    """A user who wrote no rules is told that a shipped rule matches nothing."""
    student, teacher = (nn.Sequential(nn.Linear(4, width), nn.Linear(width, 3)) for width in (4, 8))
    assert ws.plan(student, teacher, (1, 4)).notes == ()


class Tasks(nn.Module):
    """A head for every task, and a dictionary of results; the heads are registered in another order than returned."""

    def __init__(self, *names: str, plain: bool = False) -> None:
        super().__init__()
        self.names, self.plain = names, plain
        self.body, self.heads = nn.Linear(5, 8), nn.ModuleDict({name: nn.Linear(8, 4) for name in sorted(names)})

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor] | tuple[torch.Tensor, ...]:
        y = self.body(x).relu()
        found = {name: self.heads[name](y) for name in self.names}
        return tuple(found.values()) if self.plain else found


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        (("age", "size"), ("size", "age")),
        (("age",), ("size", "age")),
        (("size", "age"), ("kind", "age", "size")),
        (("size", "hue"), ("age", "size")),  # hue takes what is left
    ],
)
def test_results_of_a_dictionary_correspond_by_their_keys(student: tuple[str, ...], teacher: tuple[str, ...]) -> None:
    plan = ws.plan(Tasks(*student), Tasks(*teacher), (2, 5))
    taken = {copy.student: copy.teacher for copy in plan.copies}
    expected = {name: name.replace("hue", "age") for name in Tasks(*student).state_dict()}
    assert taken == expected


def test_results_without_keys_correspond_by_their_order() -> None:
    plan = ws.plan(Tasks("age", "size", plain=True), Tasks("size", "age"), (2, 5))
    assert {copy.student: copy.teacher for copy in plan.copies}["heads.age.weight"] == "heads.size.weight"
