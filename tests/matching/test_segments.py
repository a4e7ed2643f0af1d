"""Cutting a component graph into segments, folding segments into stages, and layers of a stage."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wsel_graph as ws
from tests.matching.families import Kind, Net, Sizes, Spec, Stage, inputs
from tests.nets import Transformer
from tests.scrambled import flat
from wsel_graph.matching.layering import Layering, layer_length, layering
from wsel_graph.matching.layers import select_layers
from wsel_graph.matching.pairs import match
from wsel_graph.matching.segments import Item, Segment
from wsel_graph.matching.structure import Structure, structure
from wsel_graph.matching.wishes import Wishes
from wsel_graph.selection import LayerRule, Place

ATTENTION, MLP = Kind("attention"), Kind("mlp")
LAYER = (ATTENTION, MLP)


def structure_of(model: nn.Module, given: Any) -> Structure:
    return structure(ws.trace(model, given))


def family(spec: Spec) -> Structure:
    return structure_of(Net(spec, Sizes(7), None), inputs(spec))


def folded(found: Structure) -> list[int]:
    """For every item, how many segments its stage has; 0 outside of stages."""
    return [len(item.segments) if item.stage else 0 for item in found.items]


def labels(found: Structure, item: Item) -> list[list[str]]:
    return [[found.components.nodes[n].label for n in segment.nodes] for segment in item.segments]


# -- cuts


def test_every_node_is_in_exactly_one_segment() -> None:
    for spec in (
        Spec("words", (Stage((LAYER,) * 2),), decoder=Stage(((ATTENTION, Kind("cross"), MLP),) * 2)),
        Spec("image", (Stage(((Kind("mb", excite=True),),) * 2),) * 2),
        Spec("tokens", (Stage(((Kind("attention", post=True), Kind("mlp", post=True)),) * 2),)),
    ):
        found = family(spec)
        nodes = [node for item in found.items for node in item.nodes]
        assert sorted(nodes) == list(range(len(found.components.nodes)))


def test_pre_norm_blocks_are_cut_between_residual_branches() -> None:
    found = structure_of(Transformer(depth=3), (2, 5, 7))
    assert folded(found) == [0, 6, 0]
    block = labels(found, found.items[1])
    assert block[0] == ["norm", "linear", "linear", "linear", "contract", "contract", "linear", "add"]
    assert block[1] == ["norm", "linear", "linear", "add"]


def test_norms_after_sums_are_light_segments_of_their_stage() -> None:
    post = (Kind("attention", post=True), Kind("mlp", post=True))
    found = family(Spec("tokens", (Stage((post,) * 2),), positions=False, final_norm=False))
    assert folded(found) == [0, 8, 0]
    assert [segment.light for segment in found.items[1].segments] == [False, True] * 4


def test_a_final_norm_after_pre_norm_blocks_is_no_part_of_the_stage() -> None:
    found = family(Spec("tokens", (Stage((LAYER,) * 2),), positions=False))
    assert folded(found) == [0, 4, 0, 0]
    assert labels(found, found.items[2]) == [["norm"]]


def test_a_decoder_is_cut_although_the_memory_stays_alive() -> None:
    decoder = Stage(((ATTENTION, Kind("cross"), MLP),) * 3)
    found = family(Spec("words", (Stage((LAYER,) * 2),), positions=False, decoder=decoder))
    assert [count for count in folded(found) if count] == [4, 9]
    encoder, decoded = (item for item in found.items if item.stage)
    assert len({segment.kind for segment in encoder.segments}) == 2
    assert len({segment.kind for segment in decoded.segments}) == 3


class UNet(nn.Module):
    """Two residual blocks down, two up, each level's skip laid beside what comes back."""

    def __init__(self, width: int, depth: int = 1) -> None:
        super().__init__()
        wide = 2 * width
        self.enter, self.leave = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 2, 1)
        self.down, self.up = nn.Conv2d(width, wide, 2, 2), nn.ConvTranspose2d(wide, width, 2, 2)
        self.merge = nn.Conv2d(2 * width, width, 1)
        self.first, self.inner, self.last = (
            nn.ModuleList(nn.Conv2d(size, size, 3, padding=1) for _ in range(depth)) for size in (width, wide, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.run(self.first, self.enter(x))
        y = self.up(self.run(self.inner, self.down(x)))
        return self.leave(self.run(self.last, self.merge(torch.cat((y, x), 1))))

    def run(self, blocks: nn.ModuleList, x: Tensor) -> Tensor:
        for block in blocks:
            x = x + F.relu(block(x))
        return x


def test_a_skip_across_a_u_net_does_not_hide_its_stages() -> None:
    found = structure_of(UNet(4, depth=2), (1, 3, 8, 8))
    assert [count for count in folded(found) if count] == [2, 2, 2]


def test_a_u_net_is_matched_stage_by_stage() -> None:
    student, teacher = flat(UNet(4, 2), 1), flat(UNet(8, 3), 2)
    plan = ws.plan(student.model, teacher.model, (1, 3, 8, 8))
    found = {student.original[copy.student]: teacher.original[copy.teacher] for copy in plan.copies}
    assert found == {name: name for name, _ in UNet(4, 2).named_parameters()}
    assert [layer.teacher_depth for layer in plan.layers] == [3, 3, 3]


def test_positions_halve_from_level_to_level() -> None:
    found = family(Spec("image", (Stage(((Kind("basic"),),) * 2),) * 3))
    stages = [item for item in found.items if item.stage]
    assert [stage.level for stage in stages] == [0, 2, 4]  # half of the height and half of the width


# -- stages


class Chain(nn.Sequential):
    """Convolutions with norms and activations, pooled between levels."""

    def __init__(self, width: int, *depths: int) -> None:
        parts: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU()]
        for depth in depths:
            for _ in range(depth):
                parts += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            parts.append(nn.MaxPool2d(2))
        super().__init__(*parts, nn.Flatten(), nn.Linear(width * (8 // 2 ** len(depths)) ** 2, 3))


def test_a_chain_of_convolutions_is_a_stage_per_level() -> None:
    found = structure_of(Chain(4, 3, 2), (1, 3, 8, 8))
    assert folded(found) == [0, 6, 4, 0]  # the first convolution reads the image; every norm counts


def test_a_chain_is_matched_level_by_level() -> None:
    student, teacher = Chain(4, 1, 2), Chain(8, 3, 3)
    plan = ws.plan(student, teacher, (1, 3, 8, 8))
    convs = {copy.student: copy.teacher for copy in plan.copies if len(copy.student_shape) == 4}
    assert convs == {
        "0.weight": "0.weight",
        "2.weight": "2.weight",
        "6.weight": "12.weight",
        "9.weight": "15.weight",
    }


def test_stacked_recurrent_layers_are_a_stage() -> None:
    found = family(Spec("series", (Stage(((Kind("gru"),),) * 3),)))
    assert folded(found) == [0, 3, 0]


def test_stages_are_named_by_the_paths_that_their_blocks_share() -> None:
    found = structure_of(UNet(4, depth=2), (1, 3, 8, 8))
    assert list(found.stage_names.values()) == ["first", "inner", "last"]


def test_equal_names_of_stages_get_numbers() -> None:
    found = family(Spec("tokens", (Stage((LAYER,) * 2),) * 3))
    assert list(found.stage_names.values()) == ["stage", "stage#2", "stage#3"]


def test_hybrid_blocks_share_a_stage_and_keep_their_kinds() -> None:
    recurrent = (Kind("recurrent"),)
    spec = Spec("tokens", (Stage((LAYER, LAYER, (*recurrent, MLP), LAYER)),), positions=False)
    stage = next(item for item in family(spec).items if item.stage)
    assert len(stage.segments) == 8
    kinds = [segment.coarse for segment in stage.segments]
    assert kinds[0] == kinds[2] == kinds[6] != kinds[4]
    assert len({kinds[i] for i in (1, 3, 5, 7)}) == 1


def test_blocks_that_differ_in_norms_alone_are_alike_but_not_equal() -> None:
    plain, scaled = (
        next(item for item in family(Spec("tokens", (Stage(((kind,),) * 2),))).items if item.stage).segments[0]
        for kind in (Kind("mlp"), Kind("mlp", scale=True))
    )
    assert plain.coarse == scaled.coarse
    assert plain.kind != scaled.kind


# -- layers


def stage_of(kinds: str, light: str = "") -> Item:
    """A stage with a segment per letter; letters in `light` only rescale."""
    segments = tuple(
        Segment((i,), letter, letter, True, letter in light, frozenset()) for i, letter in enumerate(kinds)
    )
    return Item(segments, stage=True)


@pytest.mark.parametrize(
    ("kinds", "length"),
    [
        pytest.param(["amamam"], 2, id="attention and mlp"),
        pytest.param(["aaaa"], 1, id="one kind"),
        pytest.param(["acmacm"], 3, id="decoder"),
        pytest.param(["amaxam"], 2, id="dense and sparse take turns"),
        pytest.param(["am", "amam"], 2, id="the student has a single layer"),
        pytest.param(["am"], 1, id="no repetition"),
        pytest.param(["aamam"], 1, id="no order"),
        pytest.param(["aamaam"], 3, id="two of a kind in a layer"),
        pytest.param(["fam", "famfam"], 3, id="three of them"),
        pytest.param(["macmmacm"], 4, id="first and last alike"),
        pytest.param(["aamaax"], 1, id="nothing repeats exactly"),
    ],
)
def test_layer_length_is_the_longest_period_whose_places_share_no_kind(kinds: list[str], length: int) -> None:
    assert layer_length(*map(stage_of, kinds)) == length


def test_light_segments_are_told_apart_by_what_they_follow() -> None:
    assert layer_length(stage_of("anmnanmn", light="n")) == 4


def test_one_segment_and_its_norm_are_a_layer_only_where_nothing_longer_repeats() -> None:
    assert layer_length(stage_of("ananmnananmn", light="n")) == 6
    assert layer_length(stage_of("anananmn", light="n")) == 2


@pytest.mark.parametrize(
    ("student", "teacher", "light", "expected"),
    [
        pytest.param("amam", "amamam", "", (2, 0, 0), id="nothing besides layers"),
        pytest.param("xamam", "xamamam", "", (2, 1, 0), id="another first segment"),
        pytest.param("amamx", "amamamx", "", (2, 0, 1), id="another last segment"),
        pytest.param("anmanmnp", "anmanmanmnp", "n", (3, 0, 2), id="a final norm and a pooling block"),
        pytest.param("amx", "amamamx", "", (2, 0, 1), id="the student has a single layer"),
        pytest.param("amamx", "amamamy", "", (1, 0, 0), id="the ends differ"),
        pytest.param("xmama", "ymamama", "", (1, 0, 0), id="one end differs"),
        pytest.param("masamcmasam", "masamcmasamcmasam", "", (6, 5, 0), id="the first layer lacks a part"),
        pytest.param("bmamz", "cmbmamz", "", (2, 0, 1), id="kinds take turns before an end of its own"),
        pytest.param("cncnc", "cncncnc", "n", (2, 0, 1), id="no layer begins with a norm"),
        pytest.param("aaa", "aaaaa", "", (1, 0, 0), id="one kind"),
    ],
)
def test_ends_of_a_stage_are_no_part_of_its_layers(
    student: str, teacher: str, light: str, expected: tuple[int, int, int]
) -> None:
    small, large = stage_of(student, light), stage_of(teacher, light)
    found = layering(small, large)
    assert (found.length, found.lead, found.tail) == expected
    cut = [segment.nodes for layer in found.layers(large) for segment in layer]
    assert sorted([*cut, *(segment.nodes for segment in found.ends(large))]) == [s.nodes for s in large.segments]


def test_layers_are_runs_of_that_length() -> None:
    found = Layering(2).layers(stage_of("amamam"))
    assert [[segment.kind for segment in layer] for layer in found] == [["a", "m"]] * 3


@pytest.mark.parametrize(
    ("method", "teacher", "student", "expected"),
    [
        ("first", 5, 2, [0, 1]),
        ("last", 5, 2, [3, 4]),
        ("middle", 5, 2, [1, 2]),
        ("middle", 6, 2, [2, 3]),
        ("uniform", 6, 3, [0, 2, 4]),
        ("uniform", 5, 2, [0, 4]),
        ([4, 0], 5, 2, [4, 0]),
        ("last", 2, 5, [0, 1]),
    ],
)
def test_select_layers(method: Any, teacher: int, student: int, expected: list[int]) -> None:
    assert select_layers(method, teacher, student, "blocks") == expected


@pytest.mark.parametrize("blocks", [[0], [0, 5], [-1, 0], [0, 1, 2]])
def test_a_list_that_does_not_fit_says_what_would(blocks: list[int]) -> None:
    with pytest.raises(ws.WselError) as caught:
        select_layers(blocks, 5, 2, "enc")
    assert str(caught.value) == (
        f"layers: stage 'enc' has 2 student blocks and 5 teacher blocks of this kind, and the list names {blocks}. "
        "Give one teacher block (0 to 4) per student block."
    )


def test_blocks_on_the_input_itself_are_a_stage() -> None:
    """Their stream is pinned (`input`), and their blocks are chosen as any other's."""

    def encoder(depth: int) -> nn.Module:
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)

    student, teacher = ws.trace(encoder(2), (2, 5, 8)), ws.trace(encoder(5), (2, 5, 8))
    last = LayerRule(("*",), "last", None, Place("x", 1, 1))
    for wishes, block in ((Wishes(), 1), (Wishes(layers=(last,)), 4)):
        found = dict(match(student, teacher, wishes).pieces)
        assert found["layers.1.linear1.weight"][0].teacher.tensor == f"layers.{block}.linear1.weight"
