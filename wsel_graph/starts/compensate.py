"""Compensation: fit the student's selected weights to the teacher's activations, in closed form.

Selection leaves out inputs, so every sum that the student computes lacks terms. Compensation walks the student's graph
in order of execution. At every operator whose weights were selected it solves for the weights that come closest, from
the student's own activations, to what the teacher computes in the selected channels, and goes on with these weights.
Nothing is trained and no label is needed.

The idea is that of reconstruction by least squares after channel pruning (He et al., "Channel Pruning for Accelerating
Very Deep Neural Networks", arXiv:1707.06168, section 3.1), here for any pair of graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wsel_graph.apply.memory import apply_plan
from wsel_graph.capture.inputs import Inputs, normalize_inputs
from wsel_graph.errors import CompensationError
from wsel_graph.notebook import card, table
from wsel_graph.plan import Plan
from wsel_graph.progress import tracked
from wsel_graph.starts.fits import Outcome
from wsel_graph.starts.journal import Journal, digest
from wsel_graph.starts.settings import Aims, Repair, Settings
from wsel_graph.starts.walk import Event, Walk
from wsel_graph.stores.memory import named_tensors

TOLERATED = 1e-6
"""Share by which the error of the results may grow: rounding."""


@dataclass(frozen=True, slots=True)
class Compensation:
    """What a compensation or recalibration did. `print` it.

    Attributes:
        outcomes: One per parameter, in order of the student's execution.
        kept: Parameters that were not fitted, each with the reason.
        results: How far the student's results are from the teacher's on held-out batches, with the selected and with
            the fitted values (squared error over spread); None where they cannot be compared.
        put_back: Whether the fitted results were worse, so that all selected values were put back.
        peak: Most bytes of activations in memory at one time, of both models.
        spilled: Bytes of activations that were written to disk.
    """

    outcomes: tuple[Outcome, ...]
    kept: tuple[tuple[str, str], ...] = ()
    results: tuple[float, float] | None = None
    put_back: bool = False
    peak: int = 0
    spilled: int = 0

    @property
    def fitted(self) -> tuple[str, ...]:
        """The parameters whose values were changed."""
        return () if self.put_back else tuple(outcome.name for outcome in self.outcomes if outcome.fitted)

    def __repr__(self) -> str:
        back = ", put back" if self.put_back else ""
        return f"Compensation({len(self.fitted)} of {len(self.outcomes) + len(self.kept)} parameters fitted{back})"

    def _repr_html_(self) -> str:
        count = len(self.outcomes) + len(self.kept)
        line = f"{len(self.fitted)} of {count} parameters fitted to the teacher's activations"
        if self.results is not None:
            line += "; relative error of the results {:.3g} selected, {:.3g} fitted".format(*self.results)
        if self.put_back:
            line += "; PUT BACK, because that is worse: give more, and more varied, batches"
        rows = [(item.name, f"{item.before:.3g}", f"{item.after:.3g}", item.how) for item in self.outcomes]
        return card(
            "Compensation",
            line,
            table("Parameters", ("name", "error selected", "chosen", "how"), rows),
            table("Not fitted", ("name", "why"), self.kept, folded=True),
        )

    def __str__(self) -> str:
        lines = [f"Fitted {len(self.fitted)} of {len(self.outcomes) + len(self.kept)} parameters on held-out rows"]
        if self.results is not None:
            before, after = self.results
            lines.append(f"Results on held-out batches: relative error {before:.3g} selected, {after:.3g} fitted")
        if self.put_back:
            lines.append(
                "PUT BACK: the fitted results are the worse ones, so the selected values stay. The calibration data is "
                "too little or too uniform for this network: give more, and more varied, batches"
            )
        lines.extend(f"  {outcome}" for outcome in self.outcomes)
        lines.extend(f"  {name}: not fitted: {reason}" for name, reason in self.kept)
        return "\n".join(lines)


def compensate(
    plan: Plan,
    student: nn.Module,
    teacher: nn.Module,
    calibration: Iterable[Any],
    *,
    teacher_calibration: Iterable[Any] | None = None,
    repair: Repair = "last",
    stand_in: bool = True,
    memory: int = 2 << 30,
    rows: int = 16,
    seed: int = 0,
    resume: str | Path | None = None,
    progress: bool | None = None,
) -> Compensation:
    """Apply a plan, then fit what it filled to the teacher's activations. In place; all or nothing.

    Weights of linears, matrix products and convolutions are fitted by ridge regression in float64, norms per channel,
    and batch norm statistics are estimated anew; the rest stays selected. What would be worse on held-out calibration
    rows keeps its selected values, and where the model's results on held-out batches get worse, all selected values are
    put back. Where a plan's rules name tensors to compensate, only those are.

    Every fifth batch is held out: put what is alike (crops of one picture, parts of one text) into one batch, or the
    held-out ones say nothing.

    A fitted start is easily lost: begin training with a small learning rate and a warm-up (`diagnose` recommends one).

    Args:
        plan: The plan for these two models.
        student: The network to initialise.
        teacher: The pretrained network; it is not changed.
        calibration: Batches of inputs, each as `example_inputs`; no labels.
        teacher_calibration: The same batches as the teacher takes them, where that differs.
        repair: Which branches make the student's residual stream right and not only their own output: `last`,
            `always` or `never`.
        stand_in: Whether a student block learns to stand in for the teacher blocks that were skipped after its own.
        memory: Bytes for activations (more go to disk), and for the second moments of one operator.
        rows: Rows to measure per operator, as a multiple of its inputs.
        seed: Of the draw of these rows.
        resume: A folder that keeps every fit, so that an interrupted compensation goes on from there.
        progress: Show a progress bar; by default in a terminal and in a notebook.
    Raises:
        CompensationError: If there are no batches, those of the two models do not correspond, or a setting is odd.
        WselError: If a model cannot run on them, or the plan does not fit. The student is unchanged then.
    """
    settings = Settings(memory, rows, seed=seed, aims=Aims(repair, stand_in))
    batches = _batches(calibration, "calibration")
    others = batches if teacher_calibration is None else _batches(teacher_calibration, "teacher_calibration")
    if len(batches) != len(others):
        raise CompensationError(
            f"{len(batches)} calibration batches for the student, {len(others)} for the teacher: give the same "
            "batches to both, in one order."
        )
    with _all_or_nothing(named_tensors(student), named_tensors(student)):
        apply_plan(plan, student, teacher)
        walk = Walk((student, teacher), (batches, others), settings)
        models = (named_tensors(student), named_tensors(teacher))
        key = "" if resume is None else digest(plan, settings, [*batches, *others], models)
        judged = not any(kept.parameter for kept in plan.kept)  # own values of the student say nothing
        before = walk.error_of_results() if judged else None
        selected = {copy.student: walk.tensors[copy.student].detach().clone() for copy in plan.copies}
        outcomes = walk.run(walk.compensation(plan), Journal(resume, key), _watch("Compensating", progress))
        after = None if before is None else walk.error_of_results()
        worse = before is not None and after is not None and not after <= before * (1 + TOLERATED)
        if worse:
            _restore(walk.tensors, selected)
    results = None if before is None or after is None else (before, after)
    kept = tuple(walk.kept.items())
    return Compensation(tuple(outcomes), kept, results, worse, walk.peak, walk.spilled)


def recalibrate(
    student: nn.Module, calibration: Iterable[Any], *, memory: int = 2 << 30, progress: bool | None = None
) -> Compensation:
    """Estimate the running statistics of all batch norms anew from the student's own activations, in order. In place.

    After selection, activations have other means and variances than the teacher's; nothing else is changed.

    Args:
        student: A network with batch norms.
        calibration: Batches of inputs, each as `example_inputs`; no labels. All of them count.
        memory: Bytes for activations; more go to disk.
        progress: Show a progress bar; by default in a terminal and in a notebook.
    Raises:
        CompensationError: If there are no batches, or no batch norms with running statistics.
    """
    walk = Walk((student,), (_batches(calibration, "calibration"),), Settings(memory, rows=1 << 30, least=1 << 62))
    events = walk.recalibration()
    if not events and not walk.kept:
        raise CompensationError(
            f"{type(student).__name__} has no batch norms with running statistics, so there is nothing to "
            "recalibrate: leave the call out."
        )
    with _all_or_nothing(named_tensors(student), {name for event in events for name in event.fit.names}):
        outcomes = walk.run(events, Journal(None, ""), _watch("Recalibrating", progress))
    return Compensation(tuple(outcomes), tuple(walk.kept.items()), peak=walk.peak, spilled=walk.spilled)


def _batches(given: Iterable[Any], what: str) -> list[Inputs]:
    if isinstance(given, (torch.Tensor, Mapping, str)):
        raise CompensationError(f"{what} is one {type(given).__name__}, not an iterable of batches: put it in a list.")
    batches = [normalize_inputs(batch) for batch in given]
    if not batches:
        raise CompensationError(f"{what} holds no batch: pass an iterable of inputs, such as a list of tensors.")
    return batches


@contextmanager
def _all_or_nothing(tensors: Mapping[str, torch.Tensor], names: Iterable[str]) -> Iterator[None]:
    """Put the values of these tensors back when something fails."""
    before = {name: tensors[name].detach().clone() for name in names if name in tensors}
    try:
        yield
    except BaseException:
        _restore(tensors, before)
        raise


def _restore(tensors: Mapping[str, torch.Tensor], values: Mapping[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, own in values.items():
            tensors[name].copy_(own)


def _watch(title: str, progress: bool | None) -> Callable[[Iterable[Event]], Iterable[Event]]:
    return partial(tracked, title=title, progress=progress)
