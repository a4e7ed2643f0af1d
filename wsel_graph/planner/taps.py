"""Which modules show the value that a block passes on.

The end of a block in the component graph is the last node where parameters or activations meet, such as the sum of a
residual block. What its module returns may have gone through an activation function or a view since: such values are
candidates too, each with the words of what it went through, since only values of the same words may be compared.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from torch import fx

from wsel_graph.capture.returns import Returned
from wsel_graph.capture.schemas import bind, written_parameters
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.matching.exits import Exit
from wsel_graph.matching.operators import CUTS, is_layout, is_pointwise_op, name_of


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value that a block passes on, as one module returns it.

    Attributes:
        words: What the value went through since the end of the block.
        rank: How well the module stands for the block; the least is best.
    """

    returned: Returned
    words: tuple[str, ...]
    rank: tuple[int, int]


def candidates(graph: ModelGraph, end: Exit, others: Collection[Exit]) -> list[Candidate] | str:
    """The modules that return what a block passes on, the best first; or why there are none.

    Args:
        end: Where the block ends.
        others: Where the other blocks of the model end.
    """
    found: list[Candidate] = []
    spoilt = ""
    for node, words in _passed_on(graph.node(end.node)):
        shown = [entry for entry in graph.captured.returned_by.get(node.name, ()) if entry.module]
        if shown and (writer := _overwritten_by(graph, node)) is not None:
            spoilt = f"the memory of {node.name}, which {shown[0].module} returns, is written to again by {writer}"
            continue
        found.extend(Candidate(entry, words, _rank(entry.module, end, others)) for entry in shown)
    if not found:
        where = f"graph node {end.node}, made in module {end.module or '(top level)'}"
        return spoilt or f"no module returns the value that the block passes on ({where})"
    return sorted(found, key=lambda candidate: candidate.rank)


def _rank(path: str, end: Exit, others: Collection[Exit]) -> tuple[int, int]:
    """The outermost module around the end of this block alone, then modules around several, then any other."""
    depth = path.count(".")
    if not _inside(end.module, path):
        return 2, 0
    return (1, -depth) if any(_inside(other.module, path) for other in others) else (0, depth)


def _inside(module: str, path: str) -> bool:
    return module == path or module.startswith(f"{path}.")


# -- what a value goes through


def _passed_on(first: fx.Node) -> Iterator[tuple[fx.Node, tuple[str, ...]]]:
    """A node and those that only rearrange its value or compute with it element by element, each with its words."""
    found: dict[fx.Node, tuple[str, ...]] = {first: ()}
    queue = [first]
    for node in queue:
        yield node, found[node]
        for user in node.users:
            if user not in found and user.all_input_nodes == [node] and (word := _word(user)) is not None:
                found[user] = (*found[node], word) if word else found[node]
                queue.append(user)


def _word(node: fx.Node) -> str | None:
    """What a node does to its operand: nothing where it only rearranges it, None where it does more."""
    name = name_of(node.target)
    if node.target is operator.getitem:
        return None if node.args[1] else ""  # the first part of a norm's result is the value, the others statistics
    if name in CUTS:
        return None
    if is_layout(node.target):
        return ""
    if not is_pointwise_op(node.target):
        return None
    constants = [value for value in bind(node.target, node.args, node.kwargs).values() if not _is_operand(value)]
    return f"{name.removesuffix('_')} {constants}"


def _is_operand(value: object) -> bool:
    return isinstance(value, fx.Node) or value is None


# -- memory


def _overwritten_by(graph: ModelGraph, node: fx.Node) -> str | None:
    """The first operator that writes to the memory of a value after it was made."""
    order = graph.captured.order
    seen, queue = {node}, [node]
    for member in queue:
        for other in _sharing(member):
            if other not in seen:
                seen.add(other)
                queue.append(other)
    writers = (other for other in seen if order[other] > order[node] and _writes(other))
    first = min(writers, key=order.__getitem__, default=None)
    return None if first is None else first.name


def _sharing(node: fx.Node) -> Iterator[fx.Node]:
    """The nodes whose results share memory with a node's, next to it in the graph."""
    yield from _viewed(node)
    yield from (user for user in node.users if node in _viewed(user))


def _viewed(node: fx.Node) -> Sequence[fx.Node]:
    """The operands whose memory a node's result shows."""
    if node.target is operator.getitem:
        return node.all_input_nodes
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return ()
    shown = {argument.name for argument in schema.arguments if argument.alias_info is not None}
    if not shown:
        return ()
    bound = bind(node.target, node.args, node.kwargs)
    return [value for name, value in bound.items() if name in shown and isinstance(value, fx.Node)]


def _writes(node: fx.Node) -> bool:
    return node.op == "call_function" and getattr(node.target, "_schema", None) is not None and bool(
        written_parameters(node.target)
    )  # fmt: skip
