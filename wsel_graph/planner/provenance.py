"""What a plan says of where it comes from: the package, both models, and the rules."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import fx

from wsel_graph.capture.trace import Captured
from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.plan.provenance import Architecture, Provenance, RulesUsed, digest, digest_of_parameters
from wsel_graph.selection.model import RuleFile

NO_MEANING = {"at", "source", "path", "version"}
"""Fields of rules that say where something is written, not what."""


def provenance(
    student: ModelGraph, teacher: ModelGraph, rules: RuleFile, source: str, options: Mapping[str, Any]
) -> Provenance:
    """The header of a plan.

    Args:
        source: What the rule file is called.
        options: What was asked for besides rules; None where nothing was.
    """
    asked = {key: _shown(value) for key, value in options.items() if value is not None}
    used = RulesUsed(source, digest(_plain(rules)), asked)
    return Provenance(_version(), architecture(student), architecture(teacher), used)


@cache
def _version() -> str:
    try:
        return importlib.metadata.version("wsel_graph")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return "unknown"


def architecture(model: ModelGraph) -> Architecture:
    """Digests of one model; inputs of another length or number of examples do not change them."""
    captured = model.captured
    parameters = [
        (name, tuple(state.tensor.shape))
        for state in captured.states
        if state.kind == "parameter"
        for name in state.names
    ]
    tensors = [
        [state.kind, list(state.names), list(state.tensor.shape), str(state.tensor.dtype)] for state in captured.states
    ]
    graph = digest([tensors, list(_operators(captured))])
    return Architecture(captured.modules.get("", ""), digest_of_parameters(parameters), graph)


def _operators(captured: Captured) -> Iterator[list[Any]]:
    """Every node of the graph: what it runs, and the numbers of the nodes that it reads."""
    for node in captured.graph.nodes:
        yield [node.op, _target(node), [captured.order[read] for read in node.all_input_nodes]]


def _target(node: fx.Node) -> str:
    """What a node runs, without addresses in memory."""
    if node.op in ("placeholder", "output"):  # their names say nothing
        return ""
    if isinstance(node.target, (str, torch._ops.OpOverload)):
        return str(node.target)
    return f"{getattr(node.target, '__module__', '')}.{getattr(node.target, '__qualname__', '')}"


def _plain(value: Any) -> Any:
    """What rules say, as JSON data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value) if field.name not in NO_MEANING]
        return {"": type(value).__name__, **{name: _plain(getattr(value, name)) for name in fields}}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def _shown(value: Any) -> str:
    """An option as a short text; functions by their names."""
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_shown(item)}" for key, item in value.items())
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text if len(text) <= 200 else f"{text[:160]}... {digest(text)}"
