"""What a model is made of, small enough to travel inside a plan: parts, blocks, stages.

A report draws it. Nothing here is needed to apply a plan, and plans are compared without it. Equal blocks are written
down once, so the outline of a thousand blocks is about as long as that of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Held:
    """A parameter or buffer of a part.

    Attributes:
        name: Its name; where it begins with a dot, the path of the block comes before it.
        shape: Its shape.
        axes: Its axes in axis notation; empty where they are not known.
    """

    name: str
    shape: tuple[int, ...]
    axes: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A place where parameters are used, or one where two activations meet.

    Attributes:
        operator: `linear`, `norm`, `add`, `contract`, ...
        module: Path of the module that runs it, written as `Held.name` is; a dot alone for the block's own.
        tensors: What it holds.
        inputs: What it reads: zero-based numbers of parts of the same block; -1, -2, ... are activations from outside
            of the block, numbered in order of first use.
    """

    operator: str
    module: str
    tensors: tuple[Held, ...] = ()
    inputs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """What equal blocks have in common: their parts in order of execution, and which of them are read later on."""

    parts: tuple[Part, ...]
    results: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """One block: the number of its kind, and the path that comes before names that begin with a dot."""

    kind: int
    path: str


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks that follow each other: a stage under its name, or a single block under no name.

    Attributes:
        reads: Zero-based numbers of the earlier sections whose results it reads; -1 is the model's input.
    """

    stage: str
    blocks: tuple[Block, ...]
    reads: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Chain:
    """Why two places, each "name:dim", share a coupled group of this role: the operators between them, in words."""

    role: str
    first: str
    last: str
    links: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outline:
    """One model, in order of execution.

    Attributes:
        model: Name of its class.
        unused: What the forward pass does not use.
        chains: What ties places of coupled groups, each to the place before; for some blocks of every kind.
    """

    model: str
    kinds: tuple[Kind, ...]
    sections: tuple[Section, ...]
    unused: tuple[Held, ...] = ()
    chains: tuple[Chain, ...] = ()

    def tensors(self) -> Iterator[Held]:
        """Everything that the model holds, under full names; what several parts share comes several times.

        >>> kind = Kind((Part("linear", ".fc", (Held(".fc.weight", (2, 4)),), (-1,)),), (0,))
        >>> model = Outline("Net", (kind,), (Section("blocks", (Block(0, "blocks.0"), Block(0, "blocks.1"))),))
        >>> [held.name for held in model.tensors()]
        ['blocks.0.fc.weight', 'blocks.1.fc.weight']
        """
        for block in (block for section in self.sections for block in section.blocks):
            for held in (held for part in self.kinds[block.kind].parts for held in part.tensors):
                yield Held(full_name(block.path, held.name), held.shape, held.axes)
        yield from self.unused


def full_name(path: str, name: str) -> str:
    """A name of a block's part in full; a dot alone is the block.

    >>> full_name("blocks.3", ".fc.weight"), full_name("blocks.3", "shared.weight"), full_name("blocks.3", ".")
    ('blocks.3.fc.weight', 'shared.weight', 'blocks.3')
    """
    if name == ".":
        return path
    return path + name if name.startswith(".") else name
