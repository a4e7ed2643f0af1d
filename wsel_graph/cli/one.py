"""Commands on one model: `inspect` and `verify`."""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from typing import Any

from rich.console import RenderableType
from torch import nn

from wsel_graph.capture.trace import State
from wsel_graph.cli.inputs import HOW, parse_inputs
from wsel_graph.cli.models import Named, read_arguments
from wsel_graph.cli.show import Answer, some, table, working
from wsel_graph.coupling.graph import ModelGraph, trace
from wsel_graph.coupling.groups import CoupledGroup
from wsel_graph.coupling.verify import verify
from wsel_graph.errors import ExampleInputsError, WselError
from wsel_graph.report.text import groups_table


def run_inspect(options: argparse.Namespace) -> Answer:
    """Trace a model; show its tensors with their axes, its coupled groups, and what is not known about it."""
    model, inputs = _model(options)
    graph = traced(model, inputs, options.model)
    return Answer(_inspect_document(options.model, graph), _inspect_parts(options.model, graph))


def run_verify(options: argparse.Namespace) -> Answer:
    """Prove the coupled groups of a model on its own outputs; exit code 1 when that fails."""
    model, inputs = _model(options)
    graph = traced(model, inputs, options.model)
    with working(f"permuting the groups of {options.model} in float64"):
        certificate = verify(model, inputs, seed=options.seed, graph=graph)
    parts = [*([groups_table(graph.groups)] if options.groups else []), str(certificate)]
    return Answer(dataclasses.asdict(certificate), parts, 0 if certificate.ok else 1)


def _model(options: argparse.Namespace) -> tuple[nn.Module, Any]:
    given = parse_inputs(options.input)
    named = Named(options.model, read_arguments(options.arg))
    with working(f"building {options.model}"):
        model = named.build(options.seed)
    inputs = given or named.inputs(model)
    if inputs is None:
        raise ExampleInputsError(f"the inputs of {options.model} are not known: {HOW}")
    return model, inputs


def traced(model: nn.Module, inputs: Any, name: str) -> ModelGraph:
    """The graph of a model; errors say which model it was."""
    try:
        with working(f"tracing {name}"):
            return trace(model, inputs)
    except WselError as error:
        error.add_note(f"while tracing {name}")
        raise


def _inspect_document(name: str, graph: ModelGraph) -> dict[str, Any]:
    states = {state.name: state for state in graph.captured.states}
    tensors = [
        {
            "name": own,
            "names": list(states[own].names),
            "kind": states[own].kind,
            "dtype": str(states[own].tensor.dtype).removeprefix("torch."),
            "shape": list(graph.tensors[own].shape),
            "axes": graph.tensors[own].notation,
            "use": str(graph.uses[own]) if own in graph.uses else None,
        }
        for own in graph.own_names
    ]
    groups = [
        {
            "size": group.size,
            "role": group.role,
            "free": group.free,
            "pinned": group.pinned,
            "anchored": group.anchored,
            "marked_at": group.marked_at or None,
            "members": [{"tensor": tensor, "dim": dim} for tensor, dim in group.members],
        }
        for group in graph.groups
    ]
    return {
        "model": name,
        "parameters": _parameters(graph),
        "free_fraction": graph.free_fraction(),
        "tensors": tensors,
        "groups": groups,
        "other_tensors": _others(graph),
        "unknown_ops": dict(graph.unknown_ops),
    }


def _inspect_parts(name: str, graph: ModelGraph) -> list[RenderableType | str]:
    states = {state.name: state for state in graph.captured.states}
    rows = [
        (own, "x".join(map(str, axes.shape)) or "scalar", axes.notation, _remark(states[own], own in graph.uses))
        for own, axes in ((own, graph.tensors[own]) for own in graph.own_names)
    ]
    parts: list[RenderableType | str] = [
        _headline(name, graph),
        table("Tensors", ("name", "shape", "axes", "remark"), rows),
        table("Coupled groups", ("size", "role", "status", "marked at", "members"), map(_group_row, graph.groups)),
    ]
    if others := _others(graph):
        parts.append(f"\nNever selected from (integers, and buffers of constants): {', '.join(others)}")
    for operator, stub in graph.unknown_ops.items():
        parts.append(f"\n{operator} has no propagation rule: its axes are pinned. This would teach it:\n{stub}")
    return parts


def _headline(name: str, graph: ModelGraph) -> str:
    counted = Counter("free" if group.free else "pinned" if group.pinned else "anchored" for group in graph.groups)
    kinds = ", ".join(f"{counted[status]} {status}" for status in ("free", "anchored", "pinned"))
    tensors = sum(state.kind == "parameter" for state in graph.captured.states)
    return (
        f"{name}: {_parameters(graph):,} parameters in {tensors} tensors, {len(graph.groups)} coupled groups "
        f"({kinds}); {100 * graph.free_fraction():.2f} % of the parameters can be selected from"
    )


def _remark(state: State, used: bool) -> str:
    remarks = ["buffer"] if state.kind == "buffer" else []
    if len(state.names) > 1:
        remarks.append(f"also {some(state.names[1:])}")
    if not used:
        remarks.append("not used by the forward pass")
    return ", ".join(remarks)


def _group_row(group: CoupledGroup) -> tuple[str, ...]:
    members = some(f"{name}:{dim}" for name, dim in group.members)
    return str(group.size), group.role, group.status, group.marked_at, f"{len(group.members)}: {members}"


def _parameters(graph: ModelGraph) -> int:
    return sum(state.tensor.numel() for state in graph.captured.states if state.kind == "parameter")


def _others(graph: ModelGraph) -> list[str]:
    return [state.name for state in graph.captured.states if state.name not in graph.tensors]
