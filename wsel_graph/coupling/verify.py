"""`verify`: prove the coupled groups on a model's own outputs.

Every free group is permuted at random in all its members, on a fresh float64 copy, and the outputs must stay
what they were (a feature axis of an output is compared in its permuted order). That a permutation of
all groups at once changes nothing shows that the groups are right *and* complete.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from wsel_graph.axes import Atom, positions
from wsel_graph.capture.inputs import Inputs, normalize_inputs
from wsel_graph.capture.replicate import evaluation_copy
from wsel_graph.capture.trace import open_output, untouched_globals
from wsel_graph.coupling.graph import ModelGraph, trace
from wsel_graph.coupling.precision import Double
from wsel_graph.errors import CaptureError
from wsel_graph.notebook import card, lines

TOLERANCE = 1e-9
"""Largest accepted difference, relative to the largest output element, in float64."""

FILL = 1e4
"""What code writes again and again into places that must never win (-1e4, -1e9, ...) is this large or larger."""

ANY_FILL = 1e30
"""No trained network computes a number this large: even a single one is a fill."""

ROUNDING_LIMIT = TOLERANCE / 10
"""A network whose outputs move more than this by rounding alone cannot be judged."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a verification found.

    Attributes:
        ok: Whether the outputs stayed the same within the tolerance.
        max_error: Largest difference of any output element, relative to its output's largest element
            that is no masking constant.
        groups: Number of coupled groups.
        permuted: Number of groups that were permuted.
        free_fraction: Share of parameter elements in tensors with a free or anchored axis.
        unknown_ops: Operators without a propagation rule.
        note: What else the reader must know.
    """

    ok: bool
    max_error: float
    groups: int
    permuted: int
    free_fraction: float
    unknown_ops: tuple[str, ...]
    note: str = ""

    def __str__(self) -> str:
        verdict = "verified" if self.ok else "NOT verified"
        lines = [
            f"{verdict}: {self.permuted} of {self.groups} coupled groups permuted, largest relative error "
            f"{self.max_error:.2g} (limit {TOLERANCE:g}, float64)",
            f"{100 * self.free_fraction:.2f} % of the parameters are in tensors with a free or anchored axis",
        ]
        if self.unknown_ops:
            lines.append(f"operators without a propagation rule (their axes are pinned): {', '.join(self.unknown_ops)}")
        return "\n".join([*lines, self.note] if self.note else lines)

    def _repr_html_(self) -> str:
        verdict, *others = str(self).splitlines()
        return card("Certificate", verdict, lines("Besides", others))


def verify(
    model: nn.Module, example_inputs: Any, *, seed: int = 0, noise: float = 0.05, graph: ModelGraph | None = None
) -> Certificate:
    """Permute every free coupled group at random and compare outputs, in float64. The model is not changed.

    Args:
        model: Any module on a real device.
        example_inputs: A tensor, a tuple, a dict of keyword arguments, or a shape.
        seed: Seed of the permutations and the noise.
        noise: What is added to every parameter of the copy first, as a share of its own spread (absolute where all
            elements are equal): fresh norms, biases and layer scales would hide faults. 0 leaves the values alone.
        graph: The model's graph, when it is at hand.
    Raises:
        WselError: If the model cannot be traced, or does not run in float64.
    """
    graph = graph or trace(model, example_inputs)
    inputs = normalize_inputs(example_inputs).map(_to_double)
    picks = _permutations(graph, seed)
    for level in (noise, 0.0) if noise else (0.0,):
        base = _double_copy(model, level, seed)
        expected = _outputs(evaluation_copy(base, torch.clone), inputs, tolerate=level > 0)
        if not expected:
            continue  # noise left the domain of some operator
        error = _difference(graph, expected, _outputs(permuted_copy(base, graph, picks), inputs), picks)
        rounding = 0.0 if error <= TOLERANCE else _rounding(base, inputs, expected, seed)
        if rounding <= ROUNDING_LIMIT and _finite(expected):
            break
    return Certificate(
        ok=error <= TOLERANCE and _finite(expected),
        max_error=error,
        groups=len(graph.groups),
        permuted=len(picks),
        free_fraction=graph.free_fraction(),
        unknown_ops=tuple(graph.unknown_ops),
        note=_note(rounding, expected, level == noise),
    )


def _note(rounding: float, expected: list[torch.Tensor], as_asked: bool) -> str:
    if not _finite(expected):
        return "the outputs are not finite: nothing can be compared"
    if rounding > ROUNDING_LIMIT:
        return (
            f"inconclusive: rounding every parameter to float64 alone moves the outputs by {rounding:.2g}; "
            "verify with other weights or inputs"
        )
    return "" if as_asked else "the weights were left as they are: with noise the outputs were ill-conditioned"


def _rounding(base: nn.Module, inputs: Inputs, expected: list[torch.Tensor], seed: int) -> float:
    """How far the outputs move when every parameter moves by about one unit of float64 rounding."""
    moved = evaluation_copy(base, torch.clone)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in moved.parameters():
            if parameter.is_floating_point():
                step = torch.randn(parameter.shape, generator=generator, dtype=torch.float64, device="cpu")
                parameter.mul_(1 + torch.finfo(torch.float64).eps * step.to(parameter.device))
    pairs = zip(expected, _outputs(moved, inputs), strict=True)
    return max((relative_error(before, after) for before, after in pairs), default=0.0)


def _to_double(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.double() if tensor.is_floating_point() else tensor.clone()


def _double_copy(model: nn.Module, noise: float, seed: int) -> nn.Module:
    duplicate = evaluation_copy(model, _to_double)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*duplicate.parameters(), *duplicate.buffers()):
            if noise and tensor.is_floating_point():
                _disturb(
                    tensor, noise * torch.randn(tensor.shape, generator=generator, dtype=torch.float64, device="cpu")
                )
    return duplicate


def _disturb(tensor: torch.Tensor, change: torch.Tensor) -> None:
    """Add noise in proportion to a parameter's own spread; scale a buffer, so that variances stay positive."""
    change = change.to(tensor)
    if not isinstance(tensor, nn.Parameter):
        tensor.copy_(tensor * change.exp())
        return
    spread = float(tensor.std()) if tensor.numel() > 1 else 0.0
    tensor.copy_(tensor + change * (spread or 1.0))


def _permutations(graph: ModelGraph, seed: int) -> dict[Atom, list[int]]:
    """A random order for every free group, and for groups anchored only because an output shows them."""
    generator = torch.Generator().manual_seed(seed + 1)
    movable = [g for g in graph.groups if g.pinned is None and g.anchored in (None, "output")]
    return {group.atom: torch.randperm(group.size, generator=generator, device="cpu").tolist() for group in movable}


def permuted_copy(model: nn.Module, graph: ModelGraph, picks: Mapping[Atom, list[int]]) -> nn.Module:
    """A copy of `model` in which every atom of `picks` takes the given order in all its members."""
    duplicate = evaluation_copy(model, torch.clone)
    tensors = dict(duplicate.named_parameters()) | dict(duplicate.named_buffers())
    with torch.no_grad():
        for name in {tensor.name for tensor in graph.tensors.values()}:
            for dim, axis in enumerate(graph.tensors[name].axes):
                order = positions(axis, picks)
                if not isinstance(order, range):
                    target = tensors[name]
                    target.copy_(target.index_select(dim, torch.tensor(order, device=target.device)))
    return duplicate


def _outputs(model: nn.Module, inputs: Inputs, tolerate: bool = False) -> list[torch.Tensor]:
    """Run a model that nobody uses afterwards: what its forward pass caches must not reach the next copy.

    Gives no outputs when the model raises and that is tolerated.
    """
    fresh = inputs.map(torch.clone)
    try:
        with torch.no_grad(), untouched_globals(), Double():
            torch.manual_seed(0)
            output = model(*fresh.args, **fresh.kwargs)
    except Exception as error:
        if tolerate:
            return []
        raise CaptureError(
            f"{type(model).__name__} does not run in float64 ({type(error).__name__}: {str(error).strip()[:300]}), so "
            "its groups cannot be verified. Check that it has no operator that is made for another dtype."
        ) from error
    return [leaf for leaf in pytree.tree_leaves(open_output(output)) if isinstance(leaf, torch.Tensor)]


def _finite(outputs: list[torch.Tensor]) -> bool:
    return all(bool(torch.isfinite(output).all()) for output in outputs if output.is_floating_point())


def _difference(
    graph: ModelGraph, expected: list[torch.Tensor], actual: list[torch.Tensor], picks: Mapping[Atom, list[int]]
) -> float:
    worst = 0.0
    for axes, before, after in zip(graph.outputs, expected, actual, strict=True):
        for dim, axis in enumerate(axes):
            order = positions(axis, picks)
            if not isinstance(order, range):
                before = before.index_select(dim, torch.tensor(order, device=before.device))
        worst = max(worst, relative_error(before, after))
    return worst


def relative_error(expected: torch.Tensor, actual: torch.Tensor) -> float:
    """Largest absolute difference over the largest absolute expected value; infinite for different shapes.

    Masked places that are filled with huge constants are compared, but say nothing of the size of the others: beside
    the lowest float every difference would be small.

    >>> lowest = torch.finfo(torch.float64).min
    >>> relative_error(torch.tensor([2.0, lowest]).double(), torch.tensor([3.0, lowest]).double())
    0.5
    """
    if expected.shape != actual.shape:
        return math.inf
    if expected.numel() == 0:
        return 0.0
    if not (expected.is_floating_point() or expected.is_complex()):
        return 0.0 if torch.equal(expected, actual) else math.inf
    same_special = torch.equal(torch.isfinite(expected), torch.isfinite(actual))
    expected, actual = (torch.nan_to_num(t, 0.0, 0.0, 0.0) for t in (expected, actual))
    return float((expected - actual).abs().max()) / _scale(expected.abs()) if same_special else math.inf


def _scale(sizes: torch.Tensor) -> float:
    """The largest of the absolute values that are no fills; of all of them where nothing else is left."""
    if float(sizes.max()) >= FILL:
        values, counts = sizes.unique(return_counts=True)
        computed = values[(values < FILL) | ((counts == 1) & (values < ANY_FILL))]
        sizes = computed if computed.numel() else sizes
    return float(sizes.max()) or 1.0
