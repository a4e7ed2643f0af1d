"""Gradients of a student, measured on a copy of it: the model itself runs no backward pass and gets no hooks.

The copy is the module and not its graph, so that autograd sees what it sees in training. It is in evaluation mode:
nothing is dropped out, and batch norms use their running statistics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from wsel_graph.capture.inputs import Inputs
from wsel_graph.capture.replay import Recordings
from wsel_graph.capture.replicate import evaluation_copy
from wsel_graph.capture.results import paired_results
from wsel_graph.capture.returns import at_place
from wsel_graph.capture.trace import open_output, untouched_globals
from wsel_graph.errors import DiagnosisError
from wsel_graph.starts.agreement import Kept, feature_rows
from wsel_graph.starts.sections import Section, tapped

Loss = Callable[[Any], torch.Tensor]
"""From what the student returns to a number."""


@dataclass(frozen=True, slots=True)
class Slope:
    """Gradients at one section.

    Attributes:
        output: Root mean square of the gradient by the section's output; None where no module returns it.
        weights: Root mean square of the gradient by the section's parameters; None where none takes part.
        ratio: Norm of that gradient over the norm of these parameters; None where that is zero.
    """

    output: float | None = None
    weights: float | None = None
    ratio: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Goals:
    """What the default loss compares a student with, on one batch: the teacher's values that are not all zero.

    Attributes:
        features: By section number, the teacher's block output `(positions..., channels)`.
        results: By number of the result, the teacher's result, where the student's has its shape.
    """

    features: Mapping[int, torch.Tensor] = field(default_factory=dict)
    results: Mapping[int, torch.Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.features) + len(self.results)


def goals(cut: Sequence[Section], student: Recordings, teacher: Recordings, batches: tuple[Inputs, Inputs]) -> Goals:
    """The teacher's side of the default loss, on the student's and the teacher's form of one batch."""
    at = {
        place: number
        for place, section in enumerate(cut)
        if section.copied is not None and section.shown is not None
        if (number := tapped(teacher.base, section.copied.teacher)) is not None
    }
    mine, _ = student.find(batches[0])
    program, places = teacher.find(batches[1])
    run = Kept(program, batches[1], at.values(), places)
    for number in sorted(set(at.values())):
        run.advance_past(number)
    features = {place: _goal(cut[place], run.value(number)) for place, number in at.items()}
    features = {place: value for place, value in features.items() if value.any()}  # errors are relative to them
    final = Kept(program, batches[1], program.outputs)
    final.advance()
    theirs = final.results()
    results = {s: theirs[t] for s, t in paired_results(mine.captured, program.captured).items()}
    shapes = [node.meta["value"].shape for node in mine.captured.outputs]
    if len(shapes) != len(theirs):
        return Goals(features)
    alike = (n for n, value in results.items() if value.shape == shapes[n] and value.is_floating_point())
    return Goals(features, {n: results[n] for n in alike if results[n].any()})


def _goal(section: Section, value: torch.Tensor) -> torch.Tensor:
    feature = section.copied
    if feature is None:  # the caller has seen that there is one
        raise DiagnosisError(f"{section.name} corresponds to no block of the teacher")
    return feature_rows(feature.teacher, feature.indices, value)


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Mean squared difference over the mean square of the second: 0 where equal, 1 for zeros.

    >>> relative_error(torch.zeros(3), torch.ones(3))
    tensor(1.)
    """
    if ours.dtype in (torch.float16, torch.bfloat16):
        ours = ours.float()
    theirs = theirs.reshape(ours.shape).to(ours)
    return (ours - theirs).square().mean() / theirs.square().mean().clamp_min(torch.finfo(ours.dtype).tiny)


class Probe:
    """A copy of a model that runs with gradients.

    Args:
        model: The model; it is not changed.
        cut: Where to look at gradients.
    """

    def __init__(self, model: nn.Module, cut: Sequence[Section]) -> None:
        self._cut = cut
        with torch.inference_mode(False):
            self.model = evaluation_copy(model, torch.clone)
        self.parameters = {
            name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad
        }
        self._start = {name: value.detach().clone() for name, value in self.model.state_dict(keep_vars=True).items()}
        self._goals = Goals()
        self._gradients: dict[int, torch.Tensor] = {}
        self._terms: list[torch.Tensor] = []
        self._calls: dict[str, int] = {}
        modules = {section.shown.module for section in cut if section.shown is not None}
        for path in sorted(modules):
            self.model.get_submodule(path).register_forward_hook(self._hook(path))

    def _hook(self, path: str) -> Callable[..., None]:
        here = [
            (place, section, section.shown)
            for place, section in enumerate(self._cut)
            if section.shown is not None and section.shown.module == path
        ]

        def note(module: nn.Module, args: Any, output: Any) -> None:
            call = self._calls.get(path, 0)
            self._calls[path] = call + 1
            for place, section, shown in here:
                if shown.call == call:
                    self._see(place, section, at_place(output, shown.place))

        return note

    def _see(self, place: int, section: Section, value: torch.Tensor) -> None:
        if value.requires_grad:
            value.register_hook(lambda gradient: self._gradients.update({place: gradient.detach()}))  # type: ignore[no-untyped-call]
        if section.copied is not None and (goal := self._goals.features.get(place)) is not None:
            self._terms.append(relative_error(feature_rows(section.copied.student, section.copied.filled, value), goal))

    def loss(self, inputs: Inputs, goal: Goals, own: Loss | None) -> torch.Tensor:
        """The loss on one batch: the own one where given, else by the goals, else the mean of squared results.

        Raises:
            DiagnosisError: If the own loss is not one number.
        """
        self._goals, self._terms = goal, []
        self._calls.clear()
        self._gradients.clear()
        inputs = inputs.map(lambda tensor: tensor.detach().clone())
        output = self.model(*inputs.args, **inputs.kwargs)
        if own is not None:
            found = own(output)
            if not isinstance(found, torch.Tensor) or found.numel() != 1:
                got = list(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
                raise DiagnosisError(f"loss must return one number as a tensor, got {got}: take the mean")
            return found.reshape(())
        results = [leaf for leaf in pytree.tree_leaves(open_output(output)) if isinstance(leaf, torch.Tensor)]
        terms = [*self._terms, *(relative_error(results[n], value) for n, value in goal.results.items())]
        if not terms:
            terms = [value.square().mean() for value in results if value.is_floating_point()]
        return torch.stack([term.to(terms[0].device) for term in terms]).mean()

    def slopes(self) -> tuple[Slope, ...]:
        """Gradients at all sections, after a backward pass."""
        return tuple(self._slope(place, section) for place, section in enumerate(self._cut))

    def _slope(self, place: int, section: Section) -> Slope:
        held = [self.parameters[name] for name in section.parameters if name in self.parameters]
        moved = [parameter for parameter in held if parameter.grad is not None]
        gradients = [parameter.grad for parameter in moved if parameter.grad is not None]
        norm, count = _norm(gradients), sum(gradient.numel() for gradient in gradients)
        size = _norm([parameter.detach() for parameter in moved])
        output = self._gradients.get(place)
        shown = section.shown is not None
        return Slope(
            (0.0 if shown else None) if output is None else _norm([output]) / math.sqrt(max(1, output.numel())),
            (0.0 if held else None) if not gradients else norm / math.sqrt(count),
            norm / size if gradients and size else None,
        )

    def clear(self) -> None:
        """Drop all gradients."""
        self.model.zero_grad(set_to_none=True)

    def restore(self) -> None:
        """Every tensor as it was in the model."""
        with torch.no_grad():
            for name, value in self.model.state_dict(keep_vars=True).items():
                value.copy_(self._start[name])
        self.clear()


def _norm(tensors: Sequence[torch.Tensor]) -> float:
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in tensors)) if tensors else 0.0


@contextmanager
def with_gradients(seed: int = 0) -> Iterator[None]:
    """Gradients are on whatever the caller has set, and random states are put back."""
    with torch.inference_mode(False), torch.enable_grad(), untouched_globals():
        torch.manual_seed(seed)
        yield
