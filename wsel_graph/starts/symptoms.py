"""Warnings: what is wrong with a start, each with the place, both numbers, and what to do next.

What goes wrong in one block shows in all that come after it: neighbouring blocks with one symptom make one warning,
which names the first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

from wsel_graph.starts.diagnosis import BlockRow, OperatorRow

FAR = 10.0
"""A scale that is so many times the teacher's, or so small a part of it, is worth a warning."""

FAR_ALONE = 100.0
"""By how much a stage may grow or shrink its stream where there is no teacher to tell what is normal."""

DEAD = 0.1
"""Share of a block's rectified units that may be zero everywhere."""

_FIT = "fit the weights to the teacher's activations: ws.compensate(plan, student, teacher, batches)"


def symptoms(
    rows: Sequence[BlockRow], parameters: Sequence[Mapping[str, torch.Tensor]], reached: Sequence[bool]
) -> tuple[str, ...]:
    """All warnings.

    Args:
        rows: In order of execution.
        parameters: Of each row.
        reached: Whether the loss depends on each row, as far as the way it is made says.
    """
    return (
        *_not_finite(rows, parameters),
        *_scales(rows),
        *_operator_scales(rows),
        *_growth(rows),
        *_dead(rows),
        *_gradients(rows, reached),
        *_unexplained(rows),
    )


def _not_finite(rows: Sequence[BlockRow], parameters: Sequence[Mapping[str, torch.Tensor]]) -> Iterator[str]:
    odd = [place for place, row in enumerate(rows) if not math.isfinite(row.student)]
    for place, held in enumerate(parameters):
        for name, value in held.items():
            if bad := int((~torch.isfinite(value)).sum()):
                yield (
                    f"{rows[place].name}: {bad} of {value.numel()} elements of {name} are not finite. Initialise the "
                    "student anew; where they come from the teacher, load its weights again"
                )
    if odd:
        row = rows[odd[0]]
        teacher = "" if row.teacher is None else f", the teacher's is {row.teacher:.3g}"
        yield (
            f"{row.name}{_and_after(len(odd) - 1)}: the output is not finite (scale {row.student}{teacher}). Look at "
            "the parameters of this block and at the inputs, then initialise anew"
        )
    gradient = [row.name for row in rows if row.slope is not None and _odd_slope(row)]
    if gradient and not odd:
        yield (
            f"{gradient[0]}{_and_more(len(gradient) - 1)}: the gradient is not finite though the output is. Look for "
            "roots, logarithms and divisions at zero there, and for the loss itself"
        )


def _odd_slope(row: BlockRow) -> bool:
    slope = row.slope
    return slope is not None and not all(math.isfinite(v) for v in (slope.output, slope.weights) if v is not None)


# -- scales


def _scales(rows: Sequence[BlockRow]) -> Iterator[str]:
    for word, direction in (("larger", 1), ("smaller", -1)):
        for run in _runs(rows, lambda row, direction=direction: _far(row.student, row.teacher) == direction):  # type: ignore[misc]
            first = run[0]
            yield (
                f"{first.name}{_and_after(len(run) - 1)}: activations are far {word} than the teacher's in the same "
                f"channels: scale {first.student:.3g}, the teacher's {first.teacher:.3g}. Look at what was changed "
                f"there after the initialisation, or {_FIT}"
            )


def _operator_scales(rows: Sequence[BlockRow]) -> Iterator[str]:
    for word, direction in (("larger", 1), ("smaller", -1)):
        found = [
            (row, own)
            for row in rows
            if not _far(row.student, row.teacher)
            for own in row.operators
            if _far(own.student, own.teacher) == direction
        ]
        if found:
            row, own = found[0]
            yield (
                f"{row.name}: {own.name} computes values far {word} than the teacher's: scale {own.student:.3g}, the "
                f"teacher's {own.teacher:.3g}{_others(found[1:])}. Look at these weights, or {_FIT}"
            )


def _others(found: Sequence[tuple[BlockRow, OperatorRow]]) -> str:
    names = ", ".join(dict.fromkeys(own.name for _, own in found[:3]))
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"; so do {names}{more}" if found else ""


def _far(ours: float, theirs: float | None) -> int:
    """1 where the first is far larger, -1 where it is far smaller, else 0; 0 for what is not finite."""
    if theirs is None or not math.isfinite(ours) or not math.isfinite(theirs):
        return 0
    return int(ours > FAR * theirs) - int(ours < theirs / FAR)


def _growth(rows: Sequence[BlockRow]) -> Iterator[str]:
    """Stages whose stream grows or shrinks over depth; those with warnings of their scale are passed over."""
    for stage in dict.fromkeys(row.stage for row in rows if row.stage):
        own = [row for row in rows if row.stage == stage]
        first, last = own[0], own[-1]
        if len(own) < 2 or any(_far(row.student, row.teacher) or not math.isfinite(row.student) for row in own):
            continue
        if first.teacher and last.teacher:
            normal, limit = last.teacher / first.teacher, FAR
            beside = f", the teacher's from {first.teacher:.3g} to {last.teacher:.3g}"
        else:
            normal, limit, beside = 1.0, FAR_ALONE, ""
        if not first.student or not last.student:
            continue
        change = last.student / first.student / normal
        if not 1 / limit <= change <= limit:
            yield (
                f"{stage}: activations {'grow' if change > 1 else 'vanish'} over depth, from {first.student:.3g} in "
                f"{first.name} to {last.student:.3g} in {last.name}{beside}. Scale the last weight of every block "
                "down or up, or add norms; a smaller first learning rate and a longer warm-up keep what is there"
            )


# -- units and gradients


def _dead(rows: Sequence[BlockRow]) -> Iterator[str]:
    for row in rows:
        if row.units and row.dead > DEAD * row.units and math.isfinite(row.student):
            yield (
                f"{row.name}: {row.dead} of {row.units} rectified units are zero on all inputs given. They learn "
                "nothing: give more inputs to be sure, then recalibrate the norms (ws.recalibrate) or choose other "
                "elements for this block"
            )


def _gradients(rows: Sequence[BlockRow], reached: Sequence[bool]) -> Iterator[str]:
    stuck = [
        row
        for row, wanted in zip(rows, reached, strict=True)
        if wanted and row.slope is not None and row.slope.weights == 0
    ]
    if stuck:
        row = stuck[0]
        fresh = row.fresh_slope.weights if row.fresh_slope is not None else None
        beside = "" if fresh is None else f", a fresh start's is {fresh:.3g}"
        yield (
            f"{row.name}{_and_more(len(stuck) - 1)}: the gradient by its parameters is 0{beside}: it cannot learn. "
            "Look for zero weights after it, dead units, and detached tensors"
        )


# -- explained variance


def _unexplained(rows: Sequence[BlockRow]) -> Iterator[str]:
    found = [(row, own) for row in rows for own in row.operators if own.explained is not None]
    worse = [(row, own) for row, own in found if own.explained is not None and own.explained < 0]
    if worse:
        row, own = min(worse, key=lambda pair: pair[1].explained or 0.0)
        yield (
            f"{len(worse)} of {len(found)} matched activations have an explained variance below 0: they are farther "
            f"from the teacher's than its mean is. The least is {own.explained:.3g} at {own.name} ({row.name}; scale "
            f"{own.student:.3g}, the teacher's {own.teacher:.3g}), the first at {worse[0][1].name}. To begin nearer, "
            f"{_FIT}"
        )


# -- words


def _runs(rows: Sequence[BlockRow], ill: Callable[[BlockRow], bool]) -> Iterator[list[BlockRow]]:
    run: list[BlockRow] = []
    for row in rows:
        if ill(row):
            run.append(row)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _and_after(count: int) -> str:
    return "" if not count else f" and the {'one' if count == 1 else count} after it"


def _and_more(count: int) -> str:
    return "" if not count else f" and {count} more"
