"""Which teacher channel every channel of the student stands for, found by numbering.

A plan says which elements of a teacher tensor a student tensor takes. Carried out on a tensor that holds, for every
element of the teacher's parameter, the channel that it serves, it says which channel of the teacher's output every
channel of the student's output is to be like, whatever the two layouts are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from wsel_graph.apply.memory import gathered, placed
from wsel_graph.plan import Copy, Indices
from wsel_graph.starts.contractions import Contraction
from wsel_graph.starts.gains import Gain

UNKNOWN = -1


@dataclass(frozen=True, slots=True, eq=False)
class Channels:
    """Teacher channels for some channels of a student's operator.

    Attributes:
        own: The student's channels, zero-based, ascending.
        teacher: The teacher tensor that each comes from, and
        theirs: the channel there, zero-based.
    """

    own: torch.Tensor
    teacher: tuple[str, ...]
    theirs: torch.Tensor


def served(operator: Contraction | Gain, shape: Sequence[int]) -> torch.Tensor:
    """For every element of the operator's parameter, the output channel that it serves; `UNKNOWN` where none.

    Args:
        shape: Of the parameter.
    Returns:
        float64, in the parameter's shape.
    """
    found = torch.full((math.prod(shape),), float(UNKNOWN), dtype=torch.float64, device="cpu")
    if isinstance(operator, Contraction):
        places = operator.form.matrix(operator.weight.numbers)
        channels = torch.arange(places.shape[0] * places.shape[1], dtype=torch.float64, device="cpu").reshape(
            *places.shape[:2], 1
        )
        found[places] = channels.expand(places.shape)
    elif operator.scale is not None:
        found[operator.scale.numbers.reshape(-1)] = torch.arange(
            operator.scale.numbers.numel(), dtype=torch.float64, device="cpu"
        )
    return found.reshape(tuple(shape))


def paired_channels(
    operator: Contraction | Gain, copies: Sequence[Copy], teachers: Mapping[str, Contraction | Gain]
) -> Channels | str:
    """The teacher channel for every channel of a student's operator that the plan fills.

    Args:
        operator: The student's.
        copies: What the plan does to its parameter.
        teachers: The teacher's operators by the tensor that the copies name.
    Returns:
        A text, with the reason, where there is no one answer for a channel.
    """
    found: dict[int, tuple[str, int]] = {}
    for copy in copies:
        numbers = _carried_out(copy, served(teachers[copy.teacher], copy.teacher_shape))
        if isinstance(numbers, str):
            return numbers
        for channel, partner in _by_channel(operator, numbers):
            if partner is None or found.setdefault(channel, (copy.teacher, partner)) != (copy.teacher, partner):
                return "one of its channels draws on several of the teacher's"
    if not found:
        return "the plan fills none of its channels"
    order = sorted(found)
    names, theirs = [found[i][0] for i in order], [found[i][1] for i in order]
    return Channels(
        torch.tensor(order, device="cpu"), tuple(names), torch.tensor(theirs, dtype=torch.int64, device="cpu")
    )


def _carried_out(copy: Copy, numbers: torch.Tensor) -> torch.Tensor | str:
    """The student's parameter, holding numbers in place of values; `UNKNOWN` where the copy writes nothing."""
    resized = {resize.dim: resize.student_size for resize in copy.resize}
    indices: list[Indices] = list(copy.indices)
    for dim, size in resized.items():  # what is resampled serves no channel of its own: any row stands for all
        indices[dim] = tuple(indices[dim][:1]) * size
    # A number is not to be averaged: the mean of channels 0 and 2 is not channel 1. Elements may be added up where all
    # of them serve the same channel, as inputs do; then one stands for all.
    runs = [(mix.dim, own) for mix in copy.mix for own in mix.indices]
    runs.extend((dim, tuple(copy.indices[dim])) for dim in resized)
    if copy.also or any(not _alike(numbers, dim, own) for dim, own in runs):
        return "its channels are averages of the teacher's"
    plain = replace(copy, indices=tuple(indices), resize=(), scale=1.0, mix=())
    target = torch.full(copy.student_shape, float(UNKNOWN), dtype=torch.float64, device="cpu")
    return placed(plain, target, gathered(plain, numbers))


def _alike(numbers: torch.Tensor, dim: int, elements: Sequence[int]) -> bool:
    """Whether some elements of a dim serve the same channels."""
    rows = numbers.index_select(dim, torch.tensor(elements, dtype=torch.int64, device="cpu"))
    return bool((rows == rows.narrow(dim, 0, 1)).all())


def _by_channel(operator: Contraction | Gain, numbers: torch.Tensor) -> list[tuple[int, int | None]]:
    """(own channel, the teacher's) for every channel that is filled; None where its elements disagree."""
    flat = numbers.reshape(-1).to(torch.int64)
    if isinstance(operator, Contraction):
        seen = flat[operator.form.matrix(operator.weight.numbers)].flatten(0, 1)
    elif operator.scale is not None:
        seen = flat[operator.scale.numbers.reshape(-1)].unsqueeze(1)
    else:
        return []
    highest = seen.amax(1)
    agree = ((seen == highest.unsqueeze(1)) | (seen == UNKNOWN)).all(1)
    filled = (highest != UNKNOWN).nonzero().reshape(-1).tolist()
    return [(channel, int(highest[channel]) if bool(agree[channel]) else None) for channel in filled]
