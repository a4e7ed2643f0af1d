"""A plan's outlines: every tensor once, with its axes; stages as in the layer maps, edges as in the graph."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import wsel_graph as ws
from tests.report.pages import PAIRS, deep_plan, planned, traced
from tests.zoo import torchvision_stub
from wsel_graph.matching.structure import structure
from wsel_graph.plan.outline import Block, Kind, Outline, full_name
from wsel_graph.report.by_names import outlines_by_names


def blocks(outline: Outline) -> Iterator[tuple[str, int, Block, Kind]]:
    for section in outline.sections:
        for number, block in enumerate(section.blocks):
            yield section.stage, number, block, outline.kinds[block.kind]


def homes(outline: Outline) -> dict[str, tuple[str, int]]:
    """For every tensor, its stage and block."""
    found: dict[str, tuple[str, int]] = {}
    for stage, number, block, kind in blocks(outline):
        for held in (held for part in kind.parts for held in part.tensors):
            found.setdefault(full_name(block.path, held.name), (stage, number))
    return found


@pytest.mark.parametrize("name", PAIRS)
def test_every_tensor_is_there_with_its_axes(name: str) -> None:
    for graph, outline in zip(traced(name), planned(name).outlines, strict=True):
        held = {own.name: own for own in outline.tensors()}
        assert held.keys() == set(graph.own_names)
        for own in held.values():
            assert (own.shape, own.axes) == (graph.tensors[own.name].shape, graph.tensors[own.name].notation)
        assert outline.model == graph.captured.modules[""]


@pytest.mark.parametrize("name", PAIRS)
def test_stages_are_those_of_the_layer_maps(name: str) -> None:
    plan = planned(name)
    ours, theirs = map(homes, plan.outlines)
    depths = {section.stage: len(section.blocks) for section in plan.outlines[1].sections}
    allowed = {(layer.stage, *pair) for layer in plan.layers for pair in layer.pairs}
    for copy in plan.copies:
        stage, block = ours[copy.student]
        if stage and stage in {layer.stage for layer in plan.layers}:
            assert (stage, block, theirs[copy.teacher][1]) in allowed
    for layer in plan.layers:
        assert layer.teacher_depth in depths.values()


def expected_edges(graph: ws.ModelGraph) -> set[tuple[frozenset[str], frozenset[str]]]:
    """Which components read which, by the tensors that they hold, as far as both hold some."""
    nodes = structure(graph).components.nodes
    return {
        (frozenset(nodes[edge.source].tensors), frozenset(node.tensors))
        for node in nodes
        for edge in node.inputs
        if node.tensors and nodes[edge.source].tensors
    }


@pytest.mark.parametrize("name", PAIRS)
def test_edges_inside_of_blocks_are_those_of_the_graph(name: str) -> None:
    for graph, outline in zip(traced(name), planned(name).outlines, strict=True):
        expected = expected_edges(graph)
        for _, _, block, kind in blocks(outline):
            held = [frozenset(full_name(block.path, own.name) for own in part.tensors) for part in kind.parts]
            for number, part in enumerate(kind.parts):
                assert all(source < number for source in part.inputs)
                inner = {(held[source], held[number]) for source in part.inputs if source >= 0}
                assert {edge for edge in inner if all(edge)} <= expected
            inside = {edge for edge in expected if edge[0] in held and edge[1] in held and edge[0] != edge[1]}
            drawn = {(held[s], held[n]) for n, part in enumerate(kind.parts) for s in part.inputs if s >= 0}
            assert inside <= drawn


def test_a_residual_block_shows_its_stream() -> None:
    outline = planned("transformer").outlines[0]
    stage = next(section for section in outline.sections if section.stage)
    assert (stage.stage, len(stage.blocks)) == ("blocks", 3)
    kind = outline.kinds[stage.blocks[0].kind]
    operators = [part.operator for part in kind.parts]
    first, last = (i for i, operator in enumerate(operators) if operator == "add")
    assert -1 in kind.parts[first].inputs
    assert first in kind.parts[last].inputs
    assert kind.results == (last,)


def test_sections_say_what_they_read() -> None:
    torchvision_stub.install()
    from transformers import T5Config, T5ForConditionalGeneration

    def tiny(width: int) -> ws.ModelGraph:
        config = T5Config(vocab_size=20, d_model=width, d_kv=4, num_heads=2, d_ff=2 * width, num_layers=2)
        ids = torch.zeros(1, 5, dtype=torch.int64)
        return ws.trace(T5ForConditionalGeneration(config), {"input_ids": ids, "decoder_input_ids": ids})

    sections = ws.plan(tiny(8), tiny(16)).outlines[0].sections
    assert [(section.stage or section.blocks[0].path, section.reads) for section in sections] == [
        ("shared", (-1,)),  # tied: the encoder's tokens, the decoder's, and the labels
        ("encoder.block", (0,)),
        ("encoder.final_layer_norm", (1,)),
        ("shared", (-1,)),
        ("decoder.block", (2, 3)),
        ("decoder.final_layer_norm", (4,)),
        ("shared", (5,)),
    ]


def test_a_fused_projection_is_one_part() -> None:
    outline = planned("timm ViT").outlines[0]
    stage = next(section for section in outline.sections if section.stage)
    held = [part.tensors for part in outline.kinds[stage.blocks[0].kind].parts]
    assert sum(any(own.name == ".attn.qkv.weight" for own in tensors) for tensors in held) == 1


@pytest.mark.parametrize("name", ["mlp", "transformer", "tied", "timm ViT"])
def test_chains_tie_places_of_one_group(name: str) -> None:
    graph, plan = traced(name)[0], planned(name)
    assert plan.outlines[0].chains
    for chain in plan.outlines[0].chains:
        places = [(place.rpartition(":")[0], int(place.rpartition(":")[2])) for place in (chain.first, chain.last)]
        groups = [group for group in graph.groups if set(places) <= set(group.members) and group.role == chain.role]
        chains = [graph.explainer.explain(group, *places).chain for group in groups]
        assert chain.links in [tuple(map(str, links)) for links in chains]


def test_a_thousand_blocks_are_written_once() -> None:
    ours, theirs = deep_plan().outlines
    assert [len(section.blocks) for section in theirs.sections] == [1, 1000, 1]
    assert len(theirs.kinds) == len(ours.kinds) == 3
    assert len(ours.chains) < 60


def test_plans_are_compared_without_what_reports_draw() -> None:
    student, teacher = traced("mlp")
    plan, other = planned("mlp"), ws.plan(student, teacher, rules="consecutive")
    assert plan != other
    again = ws.plan(student, teacher, method="uniform")
    assert again == plan
    assert [c.rule for c in again.choices] != [c.rule for c in plan.choices]


@pytest.mark.parametrize("name", PAIRS)
def test_names_alone_fold_too(name: str) -> None:
    plan = planned(name)
    ours, theirs = outlines_by_names(plan)
    assert {own.name for own in ours.tensors()} == {c.student for c in plan.copies} | {k.student for k in plan.kept}
    assert {own.name for own in theirs.tensors()} == {c.teacher for c in plan.copies}
    if name in ("transformer", "timm ViT"):
        assert [len(section.blocks) for section in ours.sections if section.stage] == [
            len(section.blocks) for section in plan.outlines[0].sections if section.stage
        ]
