"""A block of the student is filled from one block of the teacher, part by part, whichever blocks are taken.

Networks in which the parts of a block were taken from several blocks, or attention to another sequence from attention
to the own one, in silence. Names say what is right here; the engine does not read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import wsel_graph as ws

METHODS = {"default": (0, 1), "uniform-layers": (0, 2), "last-layers": (2, 3), "mid-layers": (1, 2)}
"""Which of four blocks two are filled from."""


def blocks_of(student: nn.Module, teacher: nn.Module, inputs: object, rules: str, path: str) -> dict[int, set[int]]:
    """For every student block under `path`, the teacher blocks that its tensors come from; all else keeps its name."""
    found: dict[int, set[int]] = {}
    for copy in ws.plan(student, teacher, inputs, rules=rules).copies:
        if not copy.student.startswith(path):
            assert copy.student == copy.teacher
            continue
        (ours, *rest), (theirs, *other) = (name.removeprefix(path).split(".") for name in (copy.student, copy.teacher))
        assert rest == other
        found.setdefault(int(ours), set()).add(int(theirs))
    return found


def each(blocks: Iterable[int]) -> dict[int, set[int]]:
    return {number: {block} for number, block in enumerate(blocks)}


class Attention(nn.Module):
    """Attention with a linear for each part; to the own sequence, or to another."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        source = x if other is None else other
        parts = (self.q(x), self.k(source), self.v(source))
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        return self.o(((q @ k.mT).softmax(-1) @ v).transpose(1, 2).flatten(2))


def mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


class Stack(nn.Module):
    """Blocks on one stream between two linears; what stands behind them is in `tail`."""

    def __init__(self, block: Callable[[int, int], nn.Module], width: int, depth: int, tail: nn.Module) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(5, width), nn.Linear(width, 3)
        self.blocks, self.tail = nn.ModuleList(block(width, number) for number in range(depth)), tail

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.tail(x))


class Macaron(nn.Module):
    """Half a feed-forward part before and after attention."""

    def __init__(self, width: int, number: int) -> None:
        super().__init__()
        self.before, self.attention, self.after = mlp(width), Attention(width), mlp(width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.before(self.norms[0](x)) / 2
        x = x + self.attention(self.norms[1](x))
        return x + self.after(self.norms[2](x)) / 2


class NormBetween(nn.Module):
    """The norm before the feed-forward part is part of the stream; the model ends with a norm too."""

    def __init__(self, width: int, number: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.mlp = Attention(width), mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(x + self.attention(self.first(x)))
        return x + self.mlp(x)


class Scan(nn.Module):
    """Inside of every block a scan writes its steps in place, in two passes that each look like a residual block."""

    def __init__(self, width: int, number: int) -> None:
        super().__init__()
        self.norm, self.enter, self.decay = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        self.skip, self.leave = nn.Parameter(torch.ones(width)), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.enter(self.norm(x))
        decay, state = self.decay(y).sigmoid(), y.clone()
        for start in (0, 1):
            state[:, start + 1 :: 2].add_(decay[:, start + 1 :: 2] * state[:, start:-1:2])
            decay[:, start + 1 :: 2].mul_(decay[:, start:-1:2])
        return x + self.leave(state + self.skip * y)


class Pool(nn.Module):
    """A residual block of its own kind."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.gate = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return x + self.gate(x).softmax(1) * x


@pytest.mark.parametrize("rules", METHODS)
@pytest.mark.parametrize("block", [Macaron, NormBetween, Scan])
def test_parts_of_a_block_come_from_one_block(block: Callable[[int, int], nn.Module], rules: str) -> None:
    student, teacher = (Stack(block, width, depth, Pool(width)) for width, depth in ((8, 2), (16, 4)))
    assert blocks_of(student, teacher, (2, 6, 5), rules, "blocks.") == each(METHODS[rules])


class Translator(nn.Module):
    """Torch's own encoder and decoder; one linear embeds both sequences, so both have one stream."""

    def __init__(self, width: int, depth: int, norm_first: bool) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(5, width), nn.Linear(width, 3)
        form = {"batch_first": True, "norm_first": norm_first}
        self.net = nn.Transformer(width, 2, depth, depth, 2 * width, **form)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.head(self.net(self.embed(source), self.embed(target)))


@pytest.mark.parametrize("rules", METHODS)
@pytest.mark.parametrize("norm_first", [False, True])
def test_attention_to_another_sequence_is_filled_from_its_like(rules: str, norm_first: bool) -> None:
    student, teacher = Translator(8, 2, norm_first), Translator(16, 4, norm_first)
    given = (torch.randn(2, 6, 5), torch.randn(2, 4, 5))
    for side in ("encoder", "decoder"):
        plan = ws.plan(student, teacher, given, rules=rules)
        start = f"net.{side}.layers."
        pairs = [(copy.student, copy.teacher) for copy in plan.copies if copy.student.startswith(start)]
        assert pairs
        for ours, theirs in pairs:
            block = int(ours.removeprefix(start).partition(".")[0])
            assert theirs == ours.replace(f"{start}{block}.", f"{start}{METHODS[rules][block]}.")


class Two(nn.Module):
    """Two sequences of one width, each with blocks of its own, one after the other."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.left, self.right = (Stack(_Pre, width, depth, nn.LayerNorm(width)) for _ in range(2))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.left(a).mean(1) + self.right(b).mean(1)


class _Pre(nn.Module):
    def __init__(self, width: int, number: int) -> None:
        super().__init__()
        self.norm, self.attention, self.other, self.mlp = (
            nn.LayerNorm(width), Attention(width), nn.LayerNorm(width), mlp(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm(x))
        return x + self.mlp(self.other(x))


class Remembering(nn.Module):
    """Scores of attention are added to those of the block before; the first block has none to add."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(5, width), nn.Linear(width, 3)
        self.blocks = nn.ModuleList(_Pre(width, number) for number in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x, before = self.stem(x), None
        for block in self.blocks:
            own, y = block.attention, block.norm(x)
            q, k, v = (part(y).unflatten(-1, (2, -1)).transpose(1, 2) for part in (own.q, own.k, own.v))
            scores = q @ k.mT if before is None else q @ k.mT + before
            x = x + own.o((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
            x, before = x + block.mlp(block.other(x)), scores
        return self.head(F.layer_norm(x, x.shape[-1:]))


def test_blocks_of_two_sequences_stay_apart() -> None:
    given = (torch.randn(2, 6, 5), torch.randn(2, 4, 5))
    plan = ws.plan(Two(8, 2), Two(16, 4), given, rules="uniform-layers")
    for copy in plan.copies:
        assert copy.teacher == copy.student.replace("blocks.1.", "blocks.2.")


def test_what_blocks_hand_on_besides_their_stream_does_not_break_them_up() -> None:
    found = blocks_of(Remembering(8, 2), Remembering(16, 4), (2, 6, 5), "default", "blocks.")
    assert all(len(blocks) == 1 for blocks in found.values())
    assert found[0] == {0}
