"""Whether a plan was made for these models: what its header says of their parameters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from wsel_graph.errors import PlanError
from wsel_graph.plan import Plan
from wsel_graph.plan.provenance import Architecture, digest_of_parameters
from wsel_graph.stores.memory import named_parameters

LISTED = 5


def check_architectures(plan: Plan, student: object, teacher: object) -> None:
    """Refuse models whose parameters are not those of the models that the plan was made for.

    What the plan itself names is checked without this: here a deeper student is noticed, of which a part would stay as
    it is, and a deeper teacher, of whose blocks the wrong ones would be taken. State dicts and files may hold more
    or less than a model has, and are not compared.

    Raises:
        PlanError: If a module has other parameters; says which of the two.
    """
    if plan.provenance is None:
        return
    for side, model, made_for in (
        ("student", student, plan.provenance.student),
        ("teacher", teacher, plan.provenance.teacher),
    ):
        if isinstance(model, nn.Module):
            _check(plan, side, model, made_for)


def _check(plan: Plan, side: str, model: nn.Module, made_for: Architecture) -> None:
    own = named_parameters(model)
    if digest_of_parameters((name, tuple(tensor.shape)) for name, tensor in own.items()) == made_for.parameters:
        return
    unnamed = _unnamed(plan, own) if side == "student" else []
    listed = f" Parameters that the plan does not name: {', '.join(unnamed[:LISTED])}" if unnamed else ""
    dots = f", and {len(unnamed) - LISTED} more." if len(unnamed) > LISTED else "." if unnamed else ""
    raise PlanError(
        f"the plan was made for another {side}: what it names fits, but the parameters of this {type(model).__name__} "
        f"(their names and shapes, {len(own)} of them) are not those of the {made_for.model} that it was made for."
        f"{listed}{dots} Nothing was changed. Make a plan for this {side}; or, if it is meant, apply "
        "dataclasses.replace(plan, provenance=None)"
    )


def _unnamed(plan: Plan, own: Mapping[str, torch.Tensor]) -> list[str]:
    """Parameters that are neither filled nor kept, under any of their names."""
    named = {copy.student for copy in plan.copies} | {kept.student for kept in plan.kept}
    known = {id(tensor) for name, tensor in own.items() if name in named}
    return [name for name, tensor in own.items() if id(tensor) not in known]
