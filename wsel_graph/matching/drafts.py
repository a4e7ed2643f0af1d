"""Nodes while the component graph grows, and how components that are cut apart become one component per part."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import fx

from wsel_graph.capture.recorder import TensorInfo
from wsel_graph.capture.schemas import bind
from wsel_graph.matching.components import LIGHT, ComponentGraph, Edge, Node, Order, Slot, is_weight
from wsel_graph.matching.leaves import Leaf
from wsel_graph.matching.parts import Cut, places_of_parts
from wsel_graph.matching.weights import Weights

COMPUTED = LIGHT | {"linear", "conv"}
"""Components whose parameters are told apart by how the weight is computed from them."""


@dataclass(frozen=True, slots=True)
class DraftEdge:
    """An edge, with the mask of the source's features that flow along it (one byte each; None for all)."""

    source: int
    argument: str
    tags: frozenset[str]
    rows: int | None
    trail: str = ""
    orders: tuple[Order, ...] = ()
    cuts: tuple[Cut, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a component reads of the model's inputs: which one, where parts of it were taken, a hash of all the way."""

    root: str
    cuts: tuple[Cut, ...]
    trail: str


@dataclass(slots=True)
class Draft:
    """A node that may still take a bias, be absorbed by another, or be cut into parts."""

    label: str
    edges: list[DraftEdge]
    slots: list[tuple[str, Leaf]] = field(default_factory=list)
    features: int | None = None  # size of the output feature axis, where it can be cut
    leading: bool = False  # the weight's first dim is that axis (a convolution's), else the last but one
    made: tuple[int, ...] = ()  # dims of an einsum's result that it makes, from the last (-1)
    at: str = ""  # name of the graph node
    module: str = ""
    settings: str = ""
    reads: Reading | None = None
    trail: str = ""
    orders: tuple[Order, ...] = ()
    dead: bool = False
    rivals: dict[str, tuple[str, ...]] = field(default_factory=dict)  # tensors that take part in the same way

    @classmethod
    def holding(cls, label: str, held: Mapping[str, Weights], edges: Iterable[DraftEdge] = ()) -> Draft:
        """A component with these parameters."""
        draft = cls(label, list(edges))
        for slot, weights in held.items():
            draft.hold(slot, weights)
        return draft

    def hold(self, slot: str, weights: Weights) -> None:
        """Hold the parameters of one argument, each under a name that says how it takes part."""
        alike: dict[str, list[Leaf]] = {}
        for i, leaf in enumerate(weights.leaves):
            apart = leaf.path and (len(weights.leaves) > 1 or self.label in COMPUTED)
            name = f"{slot} through {', '.join(leaf.path)}" if apart else slot if i == 0 else f"{slot}{i}"
            alike.setdefault(name, []).append(leaf)
        for name, leaves in alike.items():
            for own, rivals in _told_apart(name, leaves).items():
                names = tuple(leaf.name for leaf in rivals)
                self.rivals |= {leaf.name: names for leaf in rivals if len(rivals) > 1}
                for i, leaf in enumerate(rivals):
                    self.add_slot(own if i == 0 else f"{own} {i}", leaf)

    def add_slot(self, name: str, leaf: Leaf) -> None:
        """Hold one more parameter."""
        self.slots.append((name, leaf))

    @property
    def can_take_bias(self) -> bool:
        """Whether a vector that is added next is its bias."""
        return self.label in ("linear", "conv", "norm", "scale") and all(name != "bias" for name, _ in self.slots)

    def shape_up(self, node: fx.Node) -> None:
        """Settle what the operator's arguments say: the kind of convolution, the order of dims, what may be cut."""
        facts = node.meta["value"]
        if self.label == "conv":
            self._shape_up_convolution(node)
        elif self.label == "linear" and isinstance(facts, TensorInfo):
            self.features = facts.shape[-1]
            if str(node.target).startswith("aten.addmm"):
                self.slots = [(name, _transposed(leaf) if is_weight(name) else leaf) for name, leaf in self.slots]

    def _shape_up_convolution(self, node: fx.Node) -> None:
        bound = bind(node.target, node.args, node.kwargs)
        facts = node.meta["value"]
        weight = self.slots[0][1].shape
        self.settings = f"{weight[2:]} {[bound[name] for name in ('stride', 'padding', 'dilation')]}"
        if bound.get("transposed"):
            self.label = "conv_transpose"
        elif bound["groups"] > 1:
            self.label = "depthwise_conv" if len(weight) > 1 and weight[1] == 1 else "conv"
        else:
            self.features, self.leading = facts.shape[1], True
            patches = list(bound["stride"]) == list(weight[2:]) and not any(bound["padding"])
            if all(size == 1 for size in weight[2:]) or patches:
                self.label = "linear"


def _told_apart(name: str, leaves: Sequence[Leaf]) -> dict[str, list[Leaf]]:
    """Parameters that go through the same operators, by names for all that tells them apart.

    Exchanging those that still share a name leaves what is computed as it is, so that their order may decide.
    """
    kinds, ways = {leaf.kind for leaf in leaves}, {(leaf.kind, leaf.way) for leaf in leaves}
    found: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        own = f"{name} ({leaf.kind})" if len(kinds) > 1 else name
        own += f" [{leaf.way[:8]}]" if len(ways) > len(kinds) else ""
        found.setdefault(own, []).append(leaf)
    return found


def _transposed(leaf: Leaf) -> Leaf:
    return replace(leaf, seen=leaf.seen.mT if leaf.seen is not None and leaf.seen.dim() > 1 else leaf.seen)


# -- finishing


def finish(drafts: Sequence[Draft], results: Sequence[DraftEdge], names: Iterable[str]) -> ComponentGraph:
    """Cut components into parts, drop what was absorbed, and number the rest in order of execution."""
    parts = _all_parts(drafts, results)
    numbers: list[list[int]] = []
    count = 0
    for own in parts:
        numbers.append(list(range(count, count + len(own))))
        count += len(own)

    def reached(given: Iterable[DraftEdge], of: int | None) -> Iterator[tuple[int, DraftEdge, tuple[Cut, ...]]]:
        for edge in given:
            rows = _narrowed(edge.rows, of)
            for number, part in zip(numbers[edge.source], parts[edge.source], strict=True):
                if part is None or rows is None or part & rows:
                    yield number, edge, _cuts(edge, rows if part is None else None, drafts[edge.source])

    cut = [(draft, i, part, len(own)) for draft, own in zip(drafts, parts, strict=True) for i, part in enumerate(own)]
    read = [list(reached(draft.edges, None if draft.slots else part)) for draft, _, part, _ in cut]
    given = list(reached(results, None))
    places = places_of_parts((number, cuts) for found in (*read, given) for number, _, cuts in found)

    read_inputs = (draft.reads for draft in drafts if draft.reads is not None)
    shares = {cuts: place for (_, cuts), place in places_of_parts((-1, own.cuts) for own in read_inputs).items()}

    def edges(found: Iterable[tuple[int, DraftEdge, tuple[Cut, ...]]]) -> tuple[Edge, ...]:
        return tuple(
            Edge(number, edge.argument, edge.tags, edge.trail, edge.orders, places.get((number, cuts)))
            for number, edge, cuts in found
        )

    nodes = tuple(
        Node(
            draft.label, edges(found), _slots(draft, part), draft.at, draft.module, (i, count),
            *_settings(draft, shares), draft.trail, draft.orders,
        )
        for (draft, i, part, count), found in zip(cut, read, strict=True)
    )  # fmt: skip
    used = {tensor for node in nodes for tensor in node.tensors}
    return ComponentGraph(nodes, edges(given), tuple(name for name in names if name not in used))


def _settings(draft: Draft, shares: Mapping[tuple[Cut, ...], int]) -> tuple[str, str]:
    """The settings of a component, and what it reads of the model's inputs."""
    if draft.reads is None:
        return draft.settings, ""
    place = shares.get(draft.reads.cuts)
    read = draft.reads.root + ("" if place is None else f" part {place}")
    exact = read if place is not None else draft.reads.trail
    return f"{draft.settings} {exact}", read


def _cuts(edge: DraftEdge, rows: int | None, source: Draft) -> tuple[Cut, ...]:
    """What an edge takes of a component that stays whole: its first feature, and where it was cut later."""
    if not rows or (source.features is not None and rows == _mask_of(0, source.features)):
        return edge.cuts
    return (("features", (rows & -rows).bit_length() // 8), *edge.cuts)


def _all_parts(drafts: Sequence[Draft], results: Sequence[DraftEdge]) -> list[list[int | None]]:
    """The parts of every draft, readers before what they read: a sum that is cut cuts its operands too."""
    masks: list[set[int | None]] = [set() for _ in drafts]
    for edge in results:
        masks[edge.source].add(edge.rows)
    parts: list[list[int | None]] = [[] for _ in drafts]
    for number in reversed(range(len(drafts))):
        draft = drafts[number]
        if draft.dead:
            continue
        parts[number] = _parts(draft, masks[number])
        for edge in draft.edges:
            wanted = [None] if draft.slots else parts[number]
            masks[edge.source].update(_narrowed(edge.rows, part) for part in wanted)
    return parts


def _narrowed(rows: int | None, part: int | None) -> int | None:
    """The rows of an edge that serve one part of a sum."""
    if rows is None or part is None:
        return rows if part is None else part
    return rows & part


def _parts(draft: Draft, masks: set[int | None]) -> list[int | None]:
    """Masks of the parts into which the readers take a component apart; `[None]` when they do not."""
    if draft.features is None or masks <= {None} or not all(_can_be_cut(leaf) for _, leaf in draft.slots):
        return [None]
    parts = [_mask_of(0, draft.features)]
    for mask in sorted(mask for mask in masks if mask is not None):
        parts = [piece for part in parts for piece in (part & mask, part & ~mask) if piece]
    spans = [_mask_of(*leaf.span) for _, leaf in draft.slots if leaf.span is not None]
    if len(parts) == 1 or not all(part & span in (0, span) for part in parts for span in spans):
        return [None]
    return [*sorted(parts, key=lambda part: part & -part)]


def _can_be_cut(leaf: Leaf) -> bool:
    return leaf.dims() is not None


def _slots(draft: Draft, part: int | None) -> tuple[tuple[str, Slot], ...]:
    if part is None:
        rivals = {leaf.name: draft.rivals.get(leaf.name, ()) for _, leaf in draft.slots}
        made = ((name, _slot(draft, name, leaf, None), leaf.again) for name, leaf in draft.slots)
        return tuple(
            (name, replace(slot, rivals=rivals[slot.tensor], again=again) if rivals[slot.tensor] else slot)
            for name, slot, again in made
        )
    found: list[tuple[str, Slot]] = []
    for name, leaf in draft.slots:
        if leaf.span is None:
            found.append((name, _slot(draft, name, leaf, part)))
        elif part & _mask_of(*leaf.span):
            found.append((name.rstrip("0123456789"), Slot(leaf.name, own_dims(leaf), shape=leaf.shape)))
    return tuple(found)


def _mask_of(start: int, stop: int) -> int:
    return int.from_bytes(b"\x00" * start + b"\x01" * (stop - start), "little")


def _slot(draft: Draft, name: str, leaf: Leaf, part: int | None) -> Slot:
    dims = own_dims(leaf)
    if dims is None and (merges := leaf.merges()) is not None and any(merges):
        merges = tuple(dims for dims in merges if dims)
        return Slot(leaf.name, tuple(itertools.chain(*merges)), shape=leaf.shape, groups=tuple(map(len, merges)))
    at = tuple((dim, leaf.starts()[dim]) for dim in _hidden_dims(leaf)) if dims is not None else ()
    if dims is None or draft.features is None:
        return Slot(leaf.name, dims, shape=leaf.shape, at=at)
    feature = next((i for i in reversed(range(len(dims))) if leaf.shape[dims[i]] >= draft.features), None)
    if is_weight(name) and len(dims) > 1:
        feature = len(_hidden_dims(leaf)) if draft.leading else len(dims) - 2
    if feature is None:
        return Slot(leaf.name, dims, shape=leaf.shape, at=at)
    start = leaf.starts()[dims[feature]]
    rows = range(start, start + draft.features)
    if part is not None:
        flags = part.to_bytes(draft.features, "little")
        rows = tuple(start + i for i, flag in enumerate(flags) if flag)  # type: ignore[assignment]
    whole = len(rows) == leaf.shape[dims[feature]]
    return Slot(leaf.name, dims, feature, None if whole else tuple(rows), leaf.shape, at=at)


def own_dims(leaf: Leaf) -> tuple[int, ...] | None:
    """The tensor's own dims in the order in which the operator sees them; None where views merged or split them.

    Dims that the operator does not see, because one element of them was selected (an expert of a stack), come first.
    """
    seen = leaf.dims()
    if seen is None:
        return None
    if len(seen) != len(leaf.shape):
        return (*_hidden_dims(leaf), *(dim for dim in seen if dim is not None))
    rest = iter([dim for dim in range(len(leaf.shape)) if dim not in seen])
    return tuple(next(rest) if dim is None else dim for dim in seen)


def _hidden_dims(leaf: Leaf) -> list[int]:
    seen = leaf.dims() or ()
    if len(seen) == len(leaf.shape):
        return []
    return [dim for dim, size in enumerate(leaf.shape) if size > 1 and dim not in seen]
