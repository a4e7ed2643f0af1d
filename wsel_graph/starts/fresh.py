"""A fresh random start of a student's architecture, to compare its start with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from wsel_graph.capture.replicate import evaluation_copy
from wsel_graph.capture.trace import untouched_globals
from wsel_graph.errors import DiagnosisError

Fresh = nn.Module | Callable[[], nn.Module]


def fresh_start(student: nn.Module, fresh: Fresh | None, seed: int) -> nn.Module | str:
    """The given fresh start, or a copy of the student with all its modules reset; a text where that cannot be.

    Args:
        student: Its architecture; not changed.
        fresh: A module, a function that makes one, or None.
        seed: Of its random values, where it is made here.
    Raises:
        DiagnosisError: If what is given is another architecture.
    """
    with untouched_globals(), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        if fresh is None:
            return _reset(student)
        made = fresh if isinstance(fresh, nn.Module) else fresh()
    if not isinstance(made, nn.Module):
        raise DiagnosisError(f"fresh: the function returned {type(made).__name__}, not a module")
    if made is student:
        raise DiagnosisError("fresh is the student itself: pass another module, or a function that makes one")
    _check(student, made)
    return made


def _reset(student: nn.Module) -> nn.Module | str:
    """Random values by the modules' own `reset_parameters`; the reason why not where one with parameters has none."""
    made = evaluation_copy(student, torch.clone)
    for path, module in made.named_modules():
        own = [name for name, value in module._parameters.items() if value is not None]
        if own and not callable(getattr(module, "reset_parameters", None)):
            return (
                f"no fresh start beside it: {path or 'the model itself'} ({type(module).__name__}) holds {own[0]} and "
                "has no reset_parameters; pass fresh=, a function that makes the student anew"
            )
    for module in made.modules():
        if any(value is not None for value in module._parameters.values()):
            module.reset_parameters()  # type: ignore[operator]
    return made


def _check(student: nn.Module, made: nn.Module) -> None:
    ours, theirs = ({name: tuple(value.shape) for name, value in model.named_parameters()} for model in (student, made))
    odd = next((name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)), None)
    if odd is not None:
        words = ["missing" if shape is None else str(list(shape)) for shape in (ours.get(odd), theirs.get(odd))]
        raise DiagnosisError(
            f"fresh is of another architecture: {odd} is {words[1]} there, {words[0]} in the student. Make it as the "
            "student was made"
        )
