"""What a rule file says, as frozen data. Every rule knows where it is written.

Rules of one section are in order of priority: the first that matches governs. In `elements` and `values` every key is
looked up separately: the first matching rule that sets the key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from wsel_graph.selection.selector import Selector, any_glob
from wsel_graph.selection.source import Place

Action: TypeAlias = Literal["keep", "pair", "require", "ignore"]
Unmatched: TypeAlias = Literal["error", "keep"]


@dataclass(frozen=True, slots=True)
class Score:
    """The elements, or blocks, of the highest score.

    Attributes:
        by: `l1`, `l2`: the norm over all weights of the teacher that share the element. `activation`, `variance`,
            `regression`: by statistics of its activations. `depth`, for blocks: how much a block changes its stream.
    """

    by: Literal["l1", "l2", "activation", "variance", "regression", "depth"]

    def __str__(self) -> str:
        """As it is written in a rule file."""
        return f"{{score: {self.by}}}"


@dataclass(frozen=True, slots=True)
class LayerRule:
    """Which teacher blocks fill the blocks of a student stage (the paper's first step).

    Attributes:
        stage: Globs over the student's stage name.
        take: `first`, `last`, `middle`, `uniform`, `merge`, zero-based teacher blocks (one per student block), or a
            score.
        source_stage: Globs over the teacher's stage name; None leaves the choice to matching.
    """

    stage: tuple[str, ...]
    take: str | tuple[int, ...] | Score
    source_stage: tuple[str, ...] | None
    at: Place

    def matches(self, stage: str) -> bool:
        """Whether the rule governs the student stage of this name."""
        return any_glob(self.stage, (stage,))

    def draws_from(self, stage: str) -> bool:
        """Whether the rule allows the teacher stage of this name as a source."""
        return self.source_stage is None or any_glob(self.source_stage, (stage,))


@dataclass(frozen=True, slots=True)
class ComponentRule:
    """What happens to the components that `selector` matches (the paper's second step).

    `keep`, `require` and `pair` are about student components, `ignore` is about teacher components.
    `pair` holds the student's and the teacher's name pattern of a forced pairing, and is None for other actions.
    """

    action: Action
    selector: Selector
    pair: tuple[str, str] | None
    at: Place

    def counterpart(self, name: str) -> str | None:
        """The teacher tensor that `pair` names for a student tensor; None when the pattern does not match it.

        Each `*` on the teacher's side stands for the text that the same `*`, counted from the left, matched on the
        student's side. A `*` takes as little text as it can, so `blocks.*.*` splits off the block number.

        >>> at = Place("my.yaml", 1, 1)
        >>> rule = ComponentRule("pair", Selector(), ("enc.*.fc.*", "encoder.layer.*.linear.*"), at)
        >>> rule.counterpart("enc.3.fc.weight")
        'encoder.layer.3.linear.weight'
        """
        if self.pair is None or (texts := captures(self.pair[0], name)) is None:
            return None
        pieces = self.pair[1].split("*")
        return pieces[0] + "".join(text + piece for text, piece in zip(texts, pieces[1:], strict=False))


@dataclass(frozen=True, slots=True)
class TokenMap:
    """Which teacher row every student row of a vocabulary takes.

    Attributes:
        path: The JSON file it was read from.
        pairs: (student token id, teacher token id); student ids that are missing keep the student's own row.
    """

    path: str
    pairs: tuple[tuple[int, int], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Merge:
    """Averages of alike elements in place of a pick; `by` names what makes elements alike."""

    by: Literal["weights", "activation"]

    def __str__(self) -> str:
        return f"{{merge: {self.by}}}"


Take: TypeAlias = str | tuple[int, ...] | TokenMap | Score | Merge
"""`uniform`, `consecutive`, `random`, zero-based teacher elements, a token map, a score, or averages."""


@dataclass(frozen=True, slots=True)
class ElementRule:
    """How elements of the coupled groups that `selector` matches are chosen (the paper's third step).

    A `selector` of None matches every group. A setting of None is not set by this rule.
    """

    selector: Selector | None
    take: Take | None
    seed: int | None
    unit: str | None
    consistent: bool | None
    resize: str | None
    rescale: str | tuple[str, ...] | None
    grow: str | None
    at: Place


@dataclass(frozen=True, slots=True)
class ValueRule:
    """What is done to the values of student components once they are selected (a step after the paper's three).

    A `selector` of None matches every component. A setting of None is not set by this rule.

    Attributes:
        compensate: `none`, or `regression`: weights are fitted so that they make up for the inputs that are left out.
        recalibrate: `none`, or `batch_norm`: running statistics are estimated anew.
    """

    selector: Selector | None
    compensate: str | None
    recalibrate: str | None
    at: Place


@dataclass(frozen=True, slots=True)
class RuleFile:
    """One rule file with everything that it extends, own rules first."""

    layers: tuple[LayerRule, ...]
    components: tuple[ComponentRule, ...]
    elements: tuple[ElementRule, ...]
    unmatched: Unmatched
    source: str
    version: int = 1
    values: tuple[ValueRule, ...] = ()

    def __repr__(self) -> str:
        counts = ((name, len(getattr(self, name))) for name in ("layers", "components", "elements", "values"))
        said = ", ".join(f"{count} {name[:-1]} rule{'s' * (count > 1)}" for name, count in counts if count)
        return f"RuleFile({self.source}: {said or 'no rules'})"

    def _repr_html_(self) -> str:
        from wsel_graph.selection.reading import as_html  # which needs the classes of this module

        return as_html(self)


def captures(pattern: str, name: str) -> tuple[str, ...] | None:
    """The texts that the `*` of a pattern match in a name, each as short as possible; None if it does not match.

    >>> captures("blocks.*.*", "blocks.3.attn.weight")
    ('3', 'attn.weight')
    """
    first, *rest = pattern.split("*")
    if not rest:
        return () if name == pattern else None
    if not name.startswith(first):
        return None
    position, texts = len(first), []
    for piece in rest[:-1]:
        found = name.find(piece, position)
        if found < 0:
            return None
        texts.append(name[position:found])
        position = found + len(piece)
    end = len(name) - len(rest[-1])
    return (*texts, name[position:end]) if end >= position and name.endswith(rest[-1]) else None
