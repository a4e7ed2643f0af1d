"""Students of one block: what stands before, between and after blocks stays where it is, though nothing repeats."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import wsel_graph as ws
from tests.nets import randomize

WORDS = 11


class Attention(nn.Module):
    """Queries of one sequence, keys and values of another, and scores that learned positions add to."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.heads = heads

    def forward(self, x: Tensor, y: Tensor, positions: Tensor | None = None) -> Tensor:
        def split(t: Tensor) -> Tensor:
            return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q, k, v = split(self.q(x)), split(self.k(y)), split(self.v(y))
        scores = q @ k.transpose(-1, -2)
        if positions is not None:  # the same projections, of learned positions
            scores = scores + q @ split(self.k(positions)[None]).transpose(-1, -2)
            scores = scores + split(self.q(positions)[None]) @ k.transpose(-1, -2)
        return self.o((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


def feed_forward(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


class Relative(nn.Module):
    """Norms after sums, and one table of normalised positions that the scores of every block read."""

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.enter, self.mix = nn.Linear(5, width), nn.Linear(6, 6)
        self.positions, self.normed = nn.Embedding(6, width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "attention": Attention(width, heads),
                    "after_attention": nn.LayerNorm(width),
                    "feed": feed_forward(width),
                    "after_feed": nn.LayerNorm(width),
                }
            )
            for _ in range(depth)
        )
        self.out = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        x = x + self.mix(x.transpose(1, 2)).transpose(1, 2)
        positions = self.normed(self.positions.weight)
        for block in self.blocks:
            x = block["after_attention"](x + block["attention"](x, x, positions))
            x = block["after_feed"](x + block["feed"](x))
        return self.out(x)


class Sides(nn.Module):
    """An encoder and a decoder that share their words; decoder blocks attend to both sequences at once."""

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.words, self.scale = nn.Embedding(WORDS, width), nn.Parameter(torch.ones(width))

        def blocks() -> nn.ModuleList:
            return nn.ModuleList(
                nn.ModuleDict(
                    {
                        "norm": nn.LayerNorm(width),
                        "attention": Attention(width, heads),
                        "feed_norm": nn.LayerNorm(width),
                        "feed": feed_forward(width),
                    }
                )
                for _ in range(depth)
            )

        self.encoder, self.encoded = blocks(), nn.LayerNorm(width)
        self.decoder, self.decoded = blocks(), nn.LayerNorm(width)
        self.out = nn.Linear(width, WORDS)

    def forward(self, given: Tensor, wanted: Tensor) -> Tensor:
        x = self.words(given) * self.scale
        for block in self.encoder:
            normed = block["norm"](x)
            x = x + block["attention"](normed, normed)
            x = x + block["feed"](block["feed_norm"](x))
        x, y = self.encoded(x), self.words(wanted) * self.scale
        for block in self.decoder:
            normed = block["norm"](y)
            y = y + block["attention"](normed, torch.cat([normed, x], 1))
            y = y + block["feed"](block["feed_norm"](y))
        return self.out(self.decoded(y))


RELATIVE = torch.randn(2, 6, 5)
SIDES = torch.randint(WORDS, (2, 7)), torch.randint(WORDS, (2, 4))
KINDS = [(Relative, RELATIVE), (Sides, SIDES)]


@pytest.mark.parametrize(("kind", "inputs"), KINDS)
@pytest.mark.parametrize("depths", [(2, 1), (3, 1), (4, 1), (3, 2), (1, 1)])
def test_every_tensor_is_filled_by_the_same_place_of_the_first_blocks(kind, inputs, depths: tuple[int, int]) -> None:
    torch.manual_seed(0)
    teacher, student = randomize(kind(16, 4, depths[0])), kind(8, 2, depths[1])
    plan = ws.plan(student, teacher, inputs)
    assert {copy.student: copy.teacher for copy in plan.copies} == {
        name: name for name, _ in student.named_parameters()
    }
    assert not plan.notes


def last(tmp_path: Path) -> Path:
    (rules := tmp_path / "last.yaml").write_text("version: 1\nlayers:\n  - take: last\n")
    return rules


def test_the_last_block_alone(tmp_path: Path) -> None:
    plan = ws.plan(Sides(8, 2, 1), randomize(Sides(16, 4, 3)), SIDES, rules=last(tmp_path))
    for copy in plan.copies:
        assert copy.teacher == copy.student.replace(".0.", ".2.", 1)


def test_the_block_that_first_reads_a_shared_table_is_of_a_kind_of_its_own(tmp_path: Path) -> None:
    plan = ws.plan(Relative(8, 2, 2), randomize(Relative(16, 4, 4)), RELATIVE, rules=last(tmp_path))
    for copy in plan.copies:
        assert copy.teacher == copy.student.replace("blocks.1.", "blocks.3.")


# -- norms in stages without layers, and names that cross


class Carried(nn.Module):
    """Every block normalises its stream first, and adds to what is normalised."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.enter = nn.Linear(5, width)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"norm": nn.LayerNorm(width), "feed": feed_forward(width)}) for _ in range(depth)
        )
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for block in self.blocks:
            x = block["norm"](x)
            x = x + block["feed"](x)
        return self.out(self.norm(x))


def test_names_that_cross_are_told() -> None:
    """The stream behind the student's last block is what the teacher's next block begins with: its norm is taken."""
    teacher, student = randomize(Carried(16, 4)), Carried(8, 2)
    plan = ws.plan(student, teacher, RELATIVE)
    taken = {copy.student: copy.teacher for copy in plan.copies}
    assert taken["norm.weight"] == "blocks.2.norm.weight"
    assert plan.notes == (
        "structure pairs 2 tensors with teacher tensors of other names, though both models use either name: "
        "norm.weight is filled from blocks.2.norm.weight. If that is not meant, pair them in a rule file, such as "
        'components: [{pair: {student: "norm.weight", teacher: ...}}]',
    )


def test_a_rule_that_pairs_them_settles_it(tmp_path: Path) -> None:
    rules = tmp_path / "pair.yaml"
    rules.write_text('version: 1\ncomponents:\n  - pair: {student: "norm.*", teacher: "norm.*"}\n')
    plan = ws.plan(Carried(8, 2), randomize(Carried(16, 4)), RELATIVE, rules=rules)
    assert {copy.student: copy.teacher for copy in plan.copies}["norm.bias"] == "norm.bias"
    assert not plan.notes


def test_the_same_depth_crosses_nothing() -> None:
    assert not ws.plan(Carried(8, 4), randomize(Carried(16, 4)), RELATIVE).notes


def test_two_names_of_one_tensor_cross_nothing() -> None:
    """The teacher's head is its table of words; the student has one of its own."""

    class Words(nn.Module):
        def __init__(self, width: int, tied: bool) -> None:
            super().__init__()
            self.words, self.out = nn.Embedding(WORDS, width), nn.Linear(width, WORDS, bias=False)
            if tied:
                self.out.weight = self.words.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.tanh(self.words(x)))

    plan = ws.plan(Words(8, False), randomize(Words(16, True)), SIDES[0])
    assert {copy.teacher for copy in plan.copies} == {"words.weight"}
    assert not plan.notes
