"""Normalisations in a captured graph, library operators and written out ones: how large they make what they normalise.

Every norm has the form `gain * scale * x / sqrt(Q + extra)`, see `terms`. RMS and layer norms over C elements have
`scale = sqrt(C)` and `extra = C * eps`; a division by the L2 norm has `scale = 1`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import fx

from wsel_graph.axes import Atom, Axis, Concat, Product, atoms, children, product
from wsel_graph.planner import terms
from wsel_graph.planner.operands import Reader, arguments, moves, shape, stays, word
from wsel_graph.planner.terms import Centre, Sum, Term

Selected: TypeAlias = Callable[[Atom], bool]
"""Whether the student takes fewer elements of an atom of either model."""


@dataclass(frozen=True, slots=True)
class Norm:
    """One normalisation over an axis that is selected from.

    Attributes:
        gain: First name of the parameter that its result is multiplied by; None where it has none.
        scale: What stands before `x / sqrt(Q + extra)`.
        extra: The epsilon, as it is added to the sum of squares.
        count: How many elements of the selected axes it is over.
        centred: Whether the mean is subtracted first.
        axes: The axes that it is over.
        node: Name of the graph node.
    """

    gain: str | None
    scale: float
    extra: float
    count: int
    centred: bool
    axes: tuple[Axis, ...]
    node: str


class Norms:
    """The norms of one model.

    Attributes:
        found: In order of execution.
        unknown: Nodes that average over a selected axis and are no part of a norm that was found, with these axes.
    """

    def __init__(self, reader: Reader, selected: Selected) -> None:
        self._reader, self._selected = reader, selected
        self._terms: dict[fx.Node, Term | Centre | tuple[Term, Centre]] = {}
        self._over: dict[Sum, tuple[int, tuple[Axis, ...], str]] = {}  # count, axes and node of every sum of squares
        self._written: dict[fx.Node, Term] = {}  # normalised values, by the last node of each chain
        self._means: dict[fx.Node, tuple[str, tuple[Axis, ...]]] = {}  # means over selected axes, not yet explained
        self._library: list[Norm] = []
        for node in reader.nodes:
            if node.op == "call_function":
                self._read(node)
        gained = {term.total for term in self._written.values() if term.gain is not None}
        written = [term for term in self._written.values() if term.gain is not None or term.total not in gained]
        own = [self._norm(term) for term in written if term.total is not None and self._over[term.total][0] > 1]
        self.found: tuple[Norm, ...] = (*self._library, *dict.fromkeys(own))
        known = {term.total for term in self._written.values()}
        left = [(node, axes) for total, (count, axes, node) in self._over.items() if count > 1 and total not in known]
        self.unknown: tuple[tuple[str, tuple[Axis, ...]], ...] = (*left, *self._means.values())

    def _norm(self, term: Term) -> Norm:
        count, axes, node = self._over[term.total or Sum(term.base, ())]
        gain = str(term.gain.meta["state"]) if isinstance(term.gain, fx.Node) else None
        return Norm(gain, term.factor, term.extra, count, isinstance(term.base, tuple), axes, node)

    # -- reading

    def _read(self, node: fx.Node) -> None:
        if node.target is operator.getitem:
            parts, place = self._terms.get(node.args[0]), node.args[1]  # type: ignore[arg-type]
            if isinstance(parts, tuple) and isinstance(place, int):
                self._terms[node] = parts[place]
            return
        name = word(node)
        if name in _LIBRARY:
            self._read_library(node, name)
        elif stays(node) or (moves(node) and self._passes(node)):
            self._put(node, self._terms.get(node.args[0]))  # type: ignore[arg-type]
        elif (read := _WRITTEN.get(name)) is not None:
            self._put(node, read(self, node, arguments(node)))

    def _put(self, node: fx.Node, term: Term | Centre | tuple[Term, Centre] | None) -> None:
        if term is None:
            return
        self._terms[node] = term
        if isinstance(term, Term) and term.normalised:
            for source in node.all_input_nodes:  # a chain counts by its end, where it does not branch
                if source in self._written and len(source.users) == 1:
                    del self._written[source]
            self._written[node] = term

    def _passes(self, node: fx.Node) -> bool:
        """Whether a change of layout leaves a term what it is: not where single elements of `x` may be summed later."""
        term = self._terms.get(node.args[0])  # type: ignore[arg-type]
        return isinstance(term, Centre) or (isinstance(term, Term) and term.exponent != 0)

    def term(self, value: Any) -> Term | None:
        """What a value is, `x` itself where nothing is known of it."""
        if not isinstance(value, fx.Node):
            return None
        found = self._terms.get(value)
        if value in self._reader.overwritten:
            return Term(object())
        return found if isinstance(found, Term) else Term(value) if found is None else None

    # -- sizes

    def _reduced(self, node: fx.Node, dims: Any) -> tuple[tuple[int, ...], int, int] | None:
        """Dims that are reduced, selected elements and other positions in them."""
        rank = len(shape(node))
        if dims is None or rank == 0:
            return None
        listed = tuple(sorted({dim % rank for dim in (dims if isinstance(dims, (list, tuple)) else (dims,))}))
        axes = self._reader.graph.axes_at(node.name)
        if not listed or len(axes) != rank:
            return None
        count = math.prod(self._count(axes[dim]) for dim in listed)
        return listed, count, math.prod(shape(node)[dim] for dim in listed) // count

    def _count(self, axis: Axis) -> int:
        """Elements of an axis in what is selected from; 1 where nothing is."""
        if isinstance(axis, Product):
            return math.prod(map(self._count, children(axis)))
        if isinstance(axis, Concat):
            return axis.size if any(map(self._selected, atoms(axis))) else 1
        return axis.size if isinstance(axis, Atom) and self._selected(axis) else 1

    def _note(self, term: Term | None, node: fx.Node, source: fx.Node, dims: Sequence[int], count: int) -> Term | None:
        if term is not None and term.total is not None:
            axes = self._reader.graph.axes_at(source.name)
            self._over.setdefault(term.total, (count, tuple(axes[dim] for dim in dims), node.name))
        return term

    # -- library operators

    def _read_library(self, node: fx.Node, name: str) -> None:
        bound = arguments(node)
        source = bound["input"]
        axes = self._reader.graph.axes_at(source.name)
        if name in ("native_group_norm", "group_norm"):
            groups = bound["group"] if name == "native_group_norm" else bound["num_groups"]
            over = [one_group(axes[1], groups)]
        else:
            over = list(axes[len(axes) - len(bound["normalized_shape"]) :])
        gain = self._reader.parameter(bound.get("weight"))
        if gain is None and bound.get("weight") is not None:  # computed from parameters
            over = [None]
        if None in over:
            self._over[Sum(node, ())] = (2, tuple(axes), node.name)
            return
        count = math.prod(self._count(axis) for axis in over if axis is not None)
        eps = bound["eps"] if bound.get("eps") is not None else torch.finfo(source.meta["value"].dtype).eps
        if count > 1:
            self._library.append(
                Norm(
                    None if gain is None else gain.meta["state"], math.sqrt(count), count * eps, count,
                    "rms" not in name, tuple(axis for axis in over if axis is not None), node.name,
                )
            )  # fmt: skip

    # -- written out

    def _mul(self, node: fx.Node, bound: dict[str, Any]) -> Term | None:
        operands = [bound["self"], bound["other"]]
        for one, other in (operands, operands[::-1]):
            term, number = self.term(one), self._reader.number(other)
            if term is not None and number is not None:
                return replace(term, factor=term.factor * number)
            gain = self._reader.parameter(other)
            if term is not None and term.normalised and term.gain is None and gain is not None:
                return replace(term, gain=gain)
        left, right = (self.term(operand) for operand in operands)
        return None if left is None or right is None else terms.times(left, right)

    def _div(self, node: fx.Node, bound: dict[str, Any]) -> Term | None:
        top, bottom = bound["self"], bound["other"]
        if bound.get("rounding_mode") is not None:
            return None
        if (number := self._reader.number(bottom)) is not None:
            term = self.term(top)
            return None if term is None or number == 0 else replace(term, factor=term.factor / number)
        below = self.term(bottom)
        inverse = None if below is None else terms.raised(below, -1.0)
        if inverse is None:
            return None
        if (number := self._reader.number(top)) is not None:
            return replace(inverse, factor=inverse.factor * number)
        term = self.term(top)
        return None if term is None else terms.times(term, inverse)

    def _pow(self, node: fx.Node, bound: dict[str, Any]) -> Term | None:
        term, exponent = self.term(bound["self"]), self._reader.number(bound.get("exponent", 2))
        return None if term is None or exponent is None else terms.raised(term, exponent)

    def _root(self, node: fx.Node, bound: dict[str, Any]) -> Term | None:
        term = self.term(bound["self"])
        return (
            None if term is None else terms.raised(term, {"sqrt": 0.5, "rsqrt": -0.5, "reciprocal": -1.0}[word(node)])
        )

    def _add(self, node: fx.Node, bound: dict[str, Any]) -> Term | None:
        for one, other in ((bound["self"], bound["other"]), (bound["other"], bound["self"])):
            number, term = self._reader.number(other), self.term(one)
            if number is not None and term is not None and bound.get("alpha", 1) == 1:
                return terms.plus(term, number)
        return None

    def _sub(self, node: fx.Node, bound: dict[str, Any]) -> Term | None:
        term, mean = self.term(bound["self"]), self._terms.get(bound["other"])
        if term is None or not isinstance(mean, Centre) or bound.get("alpha", 1) != 1:
            return None
        self._means.pop(bound["other"], None)
        return terms.centred(term, mean)

    def _clamp(self, node: fx.Node, bound: dict[str, Any]) -> Term | None:
        term = self.term(bound["self"])
        lower_only = bound.get("max") is None
        return term if term is not None and term.statistic and lower_only else None  # a guard against 0

    def _mean(self, node: fx.Node, bound: dict[str, Any]) -> Term | Centre | None:
        source, term = bound["self"], self.term(bound["self"])
        reduced = self._reduced(source, bound.get("dim"))
        if term is None or reduced is None:
            return None
        dims, count, positions = reduced
        factor = 1 / count if word(node) == "mean" else positions
        total = terms.summed(term, dims, factor)
        if total is not None or word(node) == "sum":
            return self._note(total, node, source, dims, count)
        if count > 1:
            axes = self._reader.graph.axes_at(source.name)
            self._means[node] = node.name, tuple(axes[dim] for dim in dims)
        return Centre(term.base, term.factor, dims) if term.plain else None

    def _norm_of(self, node: fx.Node, bound: dict[str, Any]) -> Term | None:
        source, term = bound["self"], self.term(bound["self"])
        order = bound.get("ord", bound.get("p"))
        reduced = self._reduced(source, bound.get("dim"))
        if term is None or not term.plain or reduced is None or order not in (None, 2, 2.0):
            return None
        dims, count, positions = reduced
        squares = terms.raised(term, 2)
        total = None if squares is None else terms.summed(squares, dims, positions)
        return self._note(None if total is None else terms.raised(total, 0.5), node, source, dims, count)

    def _var(self, node: fx.Node, bound: dict[str, Any]) -> Term | tuple[Term, Centre] | None:
        source, term = bound["self"], self.term(bound["self"])
        reduced = self._reduced(source, bound.get("dim"))
        if term is None or not term.plain or reduced is None:
            return None
        dims, count, positions = reduced
        correction = bound["correction"] if "correction" in bound else int(bool(bound.get("unbiased", True)))
        free = count * positions - (1 if correction is None else correction)
        if free <= 0:
            return None
        total = terms.variance(term.base, dims, term.factor**2 * positions / free)
        self._note(total, node, source, dims, count)
        if word(node).startswith("std"):
            total = replace(total, factor=total.factor**0.5, exponent=0.5)
        return (total, Centre(term.base, term.factor, dims)) if word(node).endswith("_mean") else total


def one_group(axis: Axis, groups: int) -> Axis | None:
    """The channels of one group; None where a channel axis is not known to be made of so many groups."""
    if groups == 1:
        return axis
    factors = list(children(axis)) if isinstance(axis, Product) else [axis]
    leading = 1
    for number, factor in enumerate(factors):
        leading *= factor.size
        if leading == groups:
            rest = factors[number + 1 :]
            return product(*rest)
    return None


_LIBRARY = frozenset(
    {"native_layer_norm", "layer_norm", "rms_norm", "_fused_rms_norm", "native_group_norm", "group_norm"}
)
_Read: TypeAlias = Callable[[Norms, fx.Node, Any], Term | Centre | tuple[Term, Centre] | None]
_WRITTEN: dict[str, _Read] = {
    "mul": Norms._mul, "div": Norms._div, "true_divide": Norms._div, "pow": Norms._pow, "square": Norms._pow,
    "sqrt": Norms._root, "rsqrt": Norms._root, "reciprocal": Norms._root, "add": Norms._add, "sub": Norms._sub,
    "clamp_min": Norms._clamp, "clamp": Norms._clamp, "mean": Norms._mean, "sum": Norms._mean,
    "linalg_vector_norm": Norms._norm_of, "norm": Norms._norm_of, "var": Norms._var, "std": Norms._var,
    "var_mean": Norms._var, "std_mean": Norms._var,
}  # fmt: skip
