"""The component graph: what is a component, what a join, what only an edge, and how fused components come apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wsel_graph as ws
from tests.nets import Language, Transformer
from wsel_graph.matching.components import ComponentGraph, Slot
from wsel_graph.matching.flow import component_graph
from wsel_graph.matching.structure import structure

TOKENS = (2, 5, 4)


class Code(nn.Module):
    """A forward pass written in a test, on parameters given by name."""

    def __init__(self, code: Callable[..., Any], **held: Any) -> None:
        super().__init__()
        for name, value in held.items():
            if isinstance(value, nn.Module):
                self.add_module(name, value)
            else:
                self.register_parameter(name, nn.Parameter(torch.randn(value)))
        self.code = code

    def forward(self, *given: Tensor) -> Any:
        return self.code(self, *given)


def graph_of(model: nn.Module, inputs: Any = TOKENS) -> ComponentGraph:
    return component_graph(ws.trace(model, inputs).captured)


def written(graph: ComponentGraph) -> list[str]:
    """One line per node: its label, its tensors, and its sources by number; tags in brackets."""
    lines = []
    for number, node in enumerate(graph.nodes):
        sources = [f"{e.source}{sorted(e.tags) if e.tags else ''}" for e in node.inputs]
        lines.append(f"{number} {node.label}({', '.join(node.tensors)}) <- {', '.join(sources)}".rstrip(" <-"))
    return lines


def slots(graph: ComponentGraph, tensor: str) -> list[Slot]:
    return [slot for node in graph.nodes for _, slot in node.slots if slot.tensor == tensor]


def rows(graph: ComponentGraph, tensor: str) -> list[tuple[int, ...] | None]:
    """The rows of every part of a tensor, in the order of the parts."""
    return [slot.rows for slot in slots(graph, tensor)]


# -- components


def linear_forms() -> list[Any]:
    forms: dict[str, tuple[Callable[..., Any], dict[str, Any], tuple[int, ...]]] = {
        "linear": (lambda m, x: F.linear(x, m.w, m.b), {"w": (6, 4), "b": (6,)}, (0, 1)),
        "matmul and add": (lambda m, x: x @ m.w + m.b, {"w": (4, 6), "b": (6,)}, (1, 0)),
        "add and matmul": (lambda m, x: m.b + x @ m.w, {"w": (4, 6), "b": (6,)}, (1, 0)),
        "transposed matmul": (lambda m, x: x @ m.w.t() + m.b, {"w": (6, 4), "b": (6,)}, (0, 1)),
        "addmm": (lambda m, x: torch.addmm(m.b, x[0], m.w), {"w": (4, 6), "b": (6,)}, (1, 0)),
        "addmm, transposed": (lambda m, x: torch.addmm(m.b, x[0], m.w.t()), {"w": (6, 4), "b": (6,)}, (0, 1)),
        "1x1 convolution": (lambda m, x: F.conv1d(x.mT, m.w, m.b), {"w": (6, 4, 1), "b": (6,)}, (0, 1, 2)),
        "weight on the left": (lambda m, x: m.w @ x.mT + m.b[:, None], {"w": (6, 4), "b": (6,)}, (0, 1)),
    }
    return [pytest.param(*form, id=name) for name, form in forms.items()]


@pytest.mark.parametrize(("code", "held", "dims"), linear_forms())
def test_every_form_of_a_linear_is_one_component(
    code: Callable[..., Any], held: dict[str, Any], dims: tuple[int, ...]
) -> None:
    graph = graph_of(Code(code, **held))
    assert written(graph) == ["0 linear(w, b)"]
    assert slots(graph, "w")[0].dims == dims
    assert slots(graph, "b")[0].dims == (0,)


def test_a_patch_convolution_is_a_linear_and_others_are_not() -> None:
    def label(**options: Any) -> str:
        return graph_of(nn.Conv2d(4, 6, **options), (1, 4, 8, 8)).nodes[0].label

    assert label(kernel_size=4, stride=4) == "linear"
    assert label(kernel_size=1) == "linear"
    assert label(kernel_size=3, stride=3, padding=1) == "conv"
    assert label(kernel_size=3) == "conv"
    assert label(kernel_size=3, groups=2) == "conv"
    assert graph_of(nn.Conv2d(4, 4, 3, groups=4), (1, 4, 8, 8)).nodes[0].label == "depthwise_conv"
    assert graph_of(nn.ConvTranspose2d(4, 6, 3), (1, 4, 8, 8)).nodes[0].label == "conv_transpose"


def test_norms_hold_their_statistics_and_run_as_one_component() -> None:
    assert written(graph_of(nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 3)))) == [
        "0 norm(0.weight, 0.bias)",
        "1 linear(1.weight, 1.bias) <- 0",
    ]
    batch = graph_of(nn.BatchNorm2d(4), (1, 4, 8, 8))
    assert written(batch) == ["0 batch_norm(weight, bias, running_mean, running_var)"]
    assert batch.unused == ()


def test_a_norm_written_out_is_a_norm() -> None:
    def code(m: Code, x: Tensor) -> Tensor:
        x = m.fc(x)
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True)) * m.w

    assert written(graph_of(Code(code, fc=nn.Linear(4, 4), w=(4,)))) == [
        "0 linear(fc.weight, fc.bias)",
        "1 norm(w) <- 0",
    ]


def test_vectors_scale_and_shift_what_is_no_norm() -> None:
    scaled = Code(lambda m, x: F.relu(m.fc(x)) * m.w + m.b, fc=nn.Linear(4, 4), w=(4,), b=(4,))
    assert written(graph_of(scaled)) == ["0 linear(fc.weight, fc.bias)", "1 scale(w, b) <- 0"]
    shifted = Code(lambda m, x: F.relu(m.fc(x)) + m.b, fc=nn.Linear(4, 4), b=(4,))
    assert written(graph_of(shifted)) == ["0 linear(fc.weight, fc.bias)", "1 shift(b) <- 0"]


def test_a_bias_is_no_bias_where_the_sum_has_other_readers() -> None:
    def code(m: Code, x: Tensor) -> tuple[Tensor, Tensor]:
        y = x @ m.w
        return y + m.b, y.relu()

    assert written(graph_of(Code(code, w=(4, 6), b=(6,)))) == ["0 linear(w)", "1 shift(b) <- 0"]


def test_tables_and_lookups() -> None:
    ids = {"ids": torch.arange(6).reshape(2, 3)}

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places, self.bare = nn.Embedding(7, 4), nn.Embedding(3, 4), nn.Parameter(torch.ones(3, 4))

        def forward(self, ids: Tensor) -> Tensor:
            return self.words(ids) + self.places(torch.arange(ids.shape[1])) + self.bare

    assert written(graph_of(Words(), ids)) == [
        "0 embedding(words.weight)",
        "1 table(places.weight)",
        "2 table(bare)",
        "3 add() <- 0, 1, 2",
    ]


def test_indexing_a_parameter_by_an_input_is_a_lookup() -> None:
    assert written(graph_of(Code(lambda m, ids: m.w[ids], w=(7, 4)), (torch.arange(3),))) == ["0 embedding(w)"]


def test_a_tied_tensor_is_held_by_both_components() -> None:
    graph = graph_of(Language(8, tied=True), {"ids": torch.arange(10).reshape(2, 5)})
    holders = [node.label for node in graph.nodes if "embed.weight" in node.tensors]
    assert holders == ["embedding", "linear"]
    assert "head.weight" not in {tensor for node in graph.nodes for tensor in node.tensors}


def test_what_no_component_holds_is_unused() -> None:
    model = Code(lambda m, x: m.fc(x), fc=nn.Linear(4, 4), spare=(3,))
    assert graph_of(model).unused == ("spare",)


def test_recurrent_layers_are_one_component_each() -> None:
    stacked = graph_of(Code(lambda m, x: m.rnn(x)[0], rnn=nn.LSTM(4, 6, 2, batch_first=True)))
    single = [nn.LSTM(4, 6, batch_first=True), nn.LSTM(6, 6, batch_first=True)]
    apart = graph_of(Code(lambda m, x: m.b(m.a(x)[0])[0], a=single[0], b=single[1]))
    assert [node.label for node in stacked.nodes] == ["recurrent:lstm"] * 2
    assert [node.label for node in apart.nodes] == ["recurrent:lstm"] * 2
    assert [[name for name, _ in node.slots] for node in stacked.nodes] == [
        [name for name, _ in node.slots] for node in apart.nodes
    ]


def test_a_linear_over_positions_is_a_kind_of_its_own() -> None:
    def code(m: Code, image: Tensor) -> Tensor:
        return m.channels(m.tokens(m.patch(image).flatten(2)).mT)

    model = Code(code, patch=nn.Conv2d(3, 4, 2, 2), tokens=nn.Linear(4, 4), channels=nn.Linear(4, 4))
    found = structure(ws.trace(model, (1, 3, 4, 4))).components
    assert [node.label for node in found.nodes] == ["linear", "linear:position", "linear"]


# -- edges and joins


def test_activations_views_and_dropout_are_dissolved_into_edges() -> None:
    def code(m: Code, x: Tensor) -> Tensor:
        y = F.gelu(m.a(x)).transpose(1, 2).reshape(2, 6, 5)
        return m.b(F.dropout(y.permute(0, 2, 1).contiguous(), 0.1, False))

    assert written(graph_of(Code(code, a=nn.Linear(4, 6), b=nn.Linear(6, 3)))) == [
        "0 linear(a.weight, a.bias)",
        "1 linear(b.weight, b.bias) <- 0['act', 'gelu']",
    ]


@pytest.mark.parametrize("act", [F.silu, lambda x: x * torch.sigmoid(x)], ids=["function", "written out"])
def test_an_activation_function_written_out_makes_no_join(act: Callable[[Tensor], Tensor]) -> None:
    graph = graph_of(Code(lambda m, x: m.b(act(m.a(x))), a=nn.Linear(4, 6), b=nn.Linear(6, 3)))
    assert written(graph)[1:] == ["1 linear(b.weight, b.bias) <- 0['act', 'sigmoid']"]


def test_sums_of_sums_are_one_sum() -> None:
    model = Code(lambda m, x: m.a(x) + m.b(x) + m.c(x), **{name: nn.Linear(4, 4) for name in "abc"})
    assert written(graph_of(model))[-1] == "3 add() <- 0, 1, 2"


def test_a_sum_that_somebody_else_reads_stays_a_sum_of_its_own() -> None:
    def code(m: Code, x: Tensor) -> Tensor:
        first = m.a(x) + m.b(x)
        return first + m.c(first)

    assert written(graph_of(Code(code, **{name: nn.Linear(4, 4) for name in "abc"})))[-3:] == [
        "2 add() <- 0, 1",
        "3 linear(c.weight, c.bias) <- 2",
        "4 add() <- 2, 3",
    ]


def test_in_place_operators_are_the_same_as_others() -> None:
    def code(m: Code, x: Tensor) -> Tensor:
        y = m.a(x)
        y += m.b(x)
        y.relu_()
        return m.c(y)

    held = {name: nn.Linear(4, 4) for name in "abc"}
    assert written(graph_of(Code(code, **held))) == written(
        graph_of(Code(lambda m, x: m.c((m.a(x) + m.b(x)).relu()), **held))
    )


def test_a_write_through_a_view_reaches_the_reader_of_the_whole() -> None:
    def code(m: Code, x: Tensor) -> Tensor:
        y = m.a(x)
        out = torch.zeros_like(y)
        out[:, 1:] = m.b(x)[:, 1:]
        return m.c(out)

    graph = graph_of(Code(code, **{name: nn.Linear(4, 4) for name in "abc"}))
    assert written(graph)[-1] == "2 linear(c.weight, c.bias) <- 1"


def test_memory_written_by_two_components_joins_them() -> None:
    def code(m: Code, x: Tensor) -> Tensor:
        y = m.a(x)
        y[:, 2:].add_(m.b(x)[:, 2:])
        return m.c(y)

    graph = graph_of(Code(code, **{name: nn.Linear(4, 4) for name in "abc"}))
    assert [node.label for node in graph.nodes] == ["linear", "linear", "add", "write", "linear"]
    assert [edge.source for edge in graph.nodes[3].inputs] == [0, 2]


def test_results_name_every_output() -> None:
    graph = graph_of(Code(lambda m, x: (m.a(x), x, m.b(x)), a=nn.Linear(4, 4), b=nn.Linear(4, 4)))
    assert [(edge.source, edge.argument) for edge in graph.results] == [(0, "0"), (1, "2")]


def test_attention_is_two_contractions_however_it_is_written() -> None:
    held = {name: nn.Linear(4, 4) for name in "qkvo"}

    def fused(m: Code, x: Tensor) -> Tensor:
        return m.o(F.scaled_dot_product_attention(m.q(x), m.k(x), m.v(x)))

    def plain(m: Code, x: Tensor) -> Tensor:
        return m.o((m.q(x) @ m.k(x).mT / math.sqrt(4)).softmax(-1) @ m.v(x))

    def named(m: Code, x: Tensor) -> Tensor:
        scores = torch.einsum("bqc,bkc->bqk", m.q(x), m.k(x)).softmax(-1)
        return m.o(torch.einsum("bqk,bkc->bqc", scores, m.v(x)))

    graphs = [graph_of(Code(code, **held)) for code in (fused, plain, named)]
    for graph in graphs:
        by_name = {node.tensors[0][0]: number for number, node in enumerate(graph.nodes) if node.slots}
        scores, mixed = (n for n, node in enumerate(graph.nodes) if node.label == "contract")
        assert [e.source for e in graph.nodes[scores].inputs] == [by_name["q"], by_name["k"]]
        assert [e.source for e in graph.nodes[mixed].inputs] == [scores, by_name["v"]]
        assert [e.source for e in graph.nodes[by_name["o"]].inputs] == [mixed]


# -- parts


def halves(m: Code, x: Tensor) -> Tensor:
    gate, up = m.fc(x).chunk(2, -1)
    return m.out(F.silu(gate) * up)


def test_a_fused_gate_is_two_components() -> None:
    graph = graph_of(Code(halves, fc=nn.Linear(4, 6), out=nn.Linear(3, 4)))
    assert written(graph)[:2] == ["0 linear(fc.weight, fc.bias)", "1 linear(fc.weight, fc.bias)"]
    assert rows(graph, "fc.weight") == rows(graph, "fc.bias") == [(0, 1, 2), (3, 4, 5)]
    assert [node.part for node in graph.nodes[:2]] == [(0, 2), (1, 2)]
    product = next(node for node in graph.nodes if node.label == "mul")
    assert [(e.source, "act" in e.tags) for e in product.inputs] == [(0, True), (1, False)]


def test_glu_gates_with_its_second_half() -> None:
    graph = graph_of(Code(lambda m, x: m.out(F.glu(m.fc(x))), fc=nn.Linear(4, 6), out=nn.Linear(3, 4)))
    product = next(node for node in graph.nodes if node.label == "mul")
    assert [(e.source, "act" in e.tags) for e in product.inputs] == [(0, False), (1, True)]
    assert rows(graph, "fc.weight") == [(0, 1, 2), (3, 4, 5)]


def qkv(arrange: Callable[[Tensor], Any], **held: Any) -> ComponentGraph:
    """The graph of attention on a fused linear of 2 heads of 2 channels."""

    def code(m: Code, x: Tensor) -> Tensor:
        q, k, v = arrange(m.fc(x))
        mixed = F.scaled_dot_product_attention(q, k, v)
        return m.out(mixed.transpose(1, 2).flatten(2))

    return graph_of(Code(code, **(held or {"fc": nn.Linear(4, 12), "out": nn.Linear(4, 4)})))


BLOCKS = [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11)]
WOVEN = [(0, 1, 6, 7), (2, 3, 8, 9), (4, 5, 10, 11)]


@pytest.mark.parametrize(
    ("arrange", "expected"),
    [
        pytest.param(lambda y: [t.unflatten(-1, (2, 2)).transpose(1, 2) for t in y.chunk(3, -1)], BLOCKS, id="chunk"),
        pytest.param(lambda y: y.unflatten(-1, (3, 2, 2)).permute(2, 0, 3, 1, 4).unbind(0), BLOCKS, id="timm"),
        pytest.param(
            lambda y: [y[..., i : i + 4].unflatten(-1, (2, 2)).transpose(1, 2) for i in (0, 4, 8)], BLOCKS, id="slices"
        ),
        pytest.param(
            lambda y: [t.transpose(1, 2) for t in y.unflatten(-1, (2, 3, 2)).unbind(-2)], WOVEN, id="(heads 3 head_dim)"
        ),
        pytest.param(
            lambda y: [t.transpose(1, 2) for t in y.unflatten(-1, (2, 6)).split(2, -1)], WOVEN, id="by heads"
        ),
    ],
)  # fmt: skip
def test_fused_queries_keys_values_come_apart(arrange: Callable[[Tensor], Any], expected: list[Any]) -> None:
    graph = qkv(arrange)
    assert rows(graph, "fc.weight") == rows(graph, "fc.bias") == expected
    scores = next(node for node in graph.nodes if node.label == "contract")
    assert [edge.source for edge in scores.inputs] == [0, 1]


def test_a_linear_that_is_read_whole_stays_whole() -> None:
    graph = graph_of(Code(lambda m, x: m.out(m.fc(x)[:, 0]), fc=nn.Linear(4, 6), out=nn.Linear(6, 3)))
    assert rows(graph, "fc.weight") == [None]  # the first token, all features


def test_a_part_that_nobody_reads_is_a_part_of_its_own() -> None:
    graph = graph_of(Code(lambda m, x: m.out(m.fc(x)[..., :4]), fc=nn.Linear(4, 6), out=nn.Linear(4, 3)))
    assert rows(graph, "fc.weight") == [(0, 1, 2, 3), (4, 5)]
    assert graph.consumers[1] == ()


def test_in_proj_weight_of_multihead_attention_comes_apart() -> None:
    class SelfAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mha = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.mha(x, y, y, need_weights=False)[0]

    expected = [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11)]
    same = graph_of(Code(lambda m, x: m.inner(x, x), inner=SelfAttention()))
    cross = graph_of(SelfAttention(), (torch.randn(2, 5, 4), torch.randn(2, 3, 4)))
    for graph, prefix in ((same, "inner.mha."), (cross, "mha.")):
        assert sorted(map(str, rows(graph, f"{prefix}in_proj_weight"))) == sorted(map(str, expected))
        assert sorted(map(str, rows(graph, f"{prefix}in_proj_bias"))) == sorted(map(str, expected))


def test_biases_laid_end_to_end_belong_to_their_parts() -> None:
    def code(m: Code, x: Tensor) -> Tensor:
        y = F.linear(x, m.w, torch.cat((m.bq, torch.zeros_like(m.bv), m.bv)))
        q, k, v = y.chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, v)

    graph = graph_of(Code(code, w=(12, 4), bq=(4,), bv=(4,)))
    assert [node.tensors for node in graph.nodes[:3]] == [("w", "bq"), ("w",), ("w", "bv")]


def test_a_parameter_cut_before_use_gives_parts_too() -> None:
    def code(m: Code, x: Tensor) -> Tensor:
        q, k, v = (F.linear(x, w) for w in m.w.chunk(3))
        return F.scaled_dot_product_attention(q, k, v)

    graph = graph_of(Code(code, w=(12, 4)))
    assert rows(graph, "w") == BLOCKS


def test_the_digraph_has_every_node_and_edge() -> None:
    graph = graph_of(Transformer(depth=1), (2, 5, 7))
    assert graph.digraph.number_of_nodes() == len(graph.nodes)
    pairs = {(edge.source, number) for number, node in enumerate(graph.nodes) for edge in node.inputs}
    assert set(graph.digraph.edges) == pairs
    assert graph.digraph.nodes[0]["label"] == graph.nodes[0].label


def test_one_matrix_of_a_stack() -> None:
    """An expert is one matrix of a stack; the dim that it is selected from comes first, and values stay in place."""

    def code(m: Code, x: Tensor) -> Tensor:
        up, gate = F.linear(x, m.w[1]).chunk(2, -1)
        return F.linear(x, m.v[0].T) + up * gate.sigmoid()

    experts = {"w": (3, 12, 4), "v": (3, 4, 6)}
    slots = [node.slots[0][1] for node in graph_of(Code(code, **experts)).nodes if node.slots]
    assert [(slot.tensor, slot.dims, slot.feature) for slot in slots] == [
        ("w", (0, 1, 2), 1), ("w", (0, 1, 2), 1), ("v", (0, 2, 1), 1),
    ]  # fmt: skip
    student, teacher = Code(code, **experts), Code(code, **experts)
    ws.initialize(student, teacher, (2, 5, 4))
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), teacher.parameters(), strict=True))
