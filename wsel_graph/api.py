"""The public verbs: plan, apply, initialize. Student first, everywhere.

YAML and rich are imported by the verbs that need them: who only applies plans does not load them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from wsel_graph import notebook
from wsel_graph.apply.memory import apply_plan
from wsel_graph.apply.sharded import apply_sharded, spread
from wsel_graph.apply.to_files import write_student
from wsel_graph.capture.fake import refuse_fake
from wsel_graph.coupling.graph import ModelGraph, trace
from wsel_graph.coupling.statistics import Statistics
from wsel_graph.errors import PlanError, WselError
from wsel_graph.matching.wishes import Wishes
from wsel_graph.plan import Plan
from wsel_graph.plan.tables import as_html
from wsel_graph.planner.builder import build_plan
from wsel_graph.planner.elements import ElementFunction, Elements, Method
from wsel_graph.planner.provenance import provenance
from wsel_graph.planner.values import Values
from wsel_graph.starts.compensate import Compensation, compensate
from wsel_graph.stores import Teacher, open_source
from wsel_graph.stores.wrapped import without_wrappers

if TYPE_CHECKING:
    from wsel_graph.report.settle import Decisions
    from wsel_graph.selection.rules import RuleFile

Model = nn.Module | ModelGraph


@dataclass(frozen=True, slots=True)
class InitResult:
    """What an initialisation did. `print` it.

    Attributes:
        plan: The plan that was applied.
        coverage: Share of the student's parameter elements that were initialised, from 0 to 1.
        initialized: Number of parameter elements that were initialised.
        total: Number of parameter elements of the student.
        unknown_ops: Operators without a propagation rule in either model.
        compensation: What was fitted on calibration data; None where none was given.
    """

    plan: Plan
    coverage: float
    initialized: int
    total: int
    unknown_ops: tuple[str, ...]
    compensation: Compensation | None = None

    def __str__(self) -> str:
        from wsel_graph.report.text import plan_tables, render

        head = f"Initialised {self._line()}"
        unknown = [f"Operators without a propagation rule: {', '.join(self.unknown_ops)}"] if self.unknown_ops else []
        fitted = [] if self.compensation is None else ["", str(self.compensation)]
        return render(head, *unknown, *plan_tables(self.plan), *fitted)

    def __repr__(self) -> str:
        fitted = "" if self.compensation is None else f", {self.compensation!r}"
        return f"InitResult({self._line()}, {self.plan!r}{fitted})"

    def _line(self) -> str:
        return f"{self.initialized:,} of {self.total:,} student parameters ({100 * self.coverage:.2f} %)"

    def _repr_html_(self) -> str:
        line = f"initialised {self._line()}"
        return notebook.card(
            "InitResult",
            line,
            notebook.bar(self.coverage, line),
            notebook.lines("Operators without a propagation rule", self.unknown_ops),
            *as_html(self.plan),
            "" if self.compensation is None else self.compensation._repr_html_(),
        )


def load_rules(source: str | Path) -> RuleFile:
    """Read a shipped rule file by name (`"default"`), or any file by path.

    Raises:
        SelectionRuleError: If the file is missing, is not YAML, or has keys or values that are not known.
    """
    from wsel_graph.selection.rules import read_rules

    return read_rules(source)


def plan(
    student: Model,
    teacher: Model,
    example_inputs: Any = None,
    *,
    teacher_inputs: Any = None,
    rules: str | Path | RuleFile = "default",
    method: str | ElementFunction | None = None,
    unit: str | None = None,
    consistent: bool | None = None,
    overrides: Mapping[str, Method] | None = None,
    keep: Iterable[str] = (),
    seed: int | None = None,
    statistics: Statistics | None = None,
) -> Plan:
    """Decide which teacher elements every student tensor takes. Shapes only, unless a rule asks for scores.

    Args:
        student: The network to initialise, or its `ModelGraph`.
        teacher: The larger network, or its `ModelGraph`.
        example_inputs: Inputs that both models run on; not needed for a `ModelGraph`.
        teacher_inputs: Inputs for the teacher where they differ.
        rules: Name or path of a selection-rule file.
        method: `uniform`, `consecutive`, `random`, or a function `(teacher_size, student_size) -> elements`.
        unit: `whole` (heads and head channels separately) or `flat` (as one run, like the paper).
        consistent: False draws a fresh list per tensor and dim (an ablation: it breaks the network).
        overrides: Method, list or function for a role (`"heads"`) or a place (`"fc.weight:0"`).
        keep: Glob patterns of student tensors that keep their own values.
        seed: Seed of `random`; 0 when no rule sets it.
        statistics: Of the teacher's activations, for rules that take elements or blocks by them; see `statistics`.
    Raises:
        WselError: If a model cannot be traced or the two do not fit; the text says where and what to do.
    """
    _refuse_same(student, teacher)
    wish = load_rules(rules) if isinstance(rules, (str, Path)) else rules
    shipped = isinstance(rules, str) and not rules.endswith((".yaml", ".yml"))
    source = "" if shipped else wish.source  # a shipped rule that governs nothing is no news
    elements = Elements(method, unit, seed, consistent, dict(overrides or {}), wish.elements, source, statistics)
    ours = _as_graph("student", student, example_inputs)
    theirs = _as_graph("teacher", teacher, example_inputs if teacher_inputs is None else teacher_inputs)
    keep = (keep,) if isinstance(keep, str) else tuple(keep)
    _refuse_unknown(ours, keep)
    if statistics is not None:
        statistics.check(theirs)
    influence = statistics.influence if statistics is not None else {}
    wishes = Wishes(keep, wish.layers, wish.components, wish.unmatched, source, influence)
    made = build_plan(ours, theirs, elements, wishes, Values(wish.values, source))
    options = {
        "method": method, "unit": unit, "consistent": consistent, "overrides": overrides or None, "keep": keep or None,
        "seed": seed, "statistics": None if statistics is None else "given",
    }  # fmt: skip
    name = str(rules) if shipped else Path(wish.source).name
    return replace(made, provenance=provenance(ours, theirs, wish, name, options))


def model_card(made: Plan | InitResult, *, student: str = "This model", teacher: str = "its teacher") -> str:
    """A section for a model card: method, share of the teacher's values, layers, elements, and the plan's digest.

    Args:
        made: The plan that was applied, or what `initialize` gave.
        student: What to call the student.
        teacher: What to call the teacher, such as the name of its repository.
    Returns:
        Markdown that begins with a heading of level two.

    >>> plan_made = plan(nn.Linear(4, 2), nn.Linear(4, 2), (1, 4))
    >>> print(model_card(plan_made).splitlines()[0])
    ## Initialisation
    """
    from wsel_graph.report.card import model_card as written

    if isinstance(made, Plan):
        return written(made, student=student, teacher=teacher)
    fitted = 0 if made.compensation is None else len(made.compensation.fitted)
    return written(made.plan, student=student, teacher=teacher, fitted=fitted)


def statistics(model: nn.Module, batches: Iterable[Any], *, second_moments: bool = False) -> Statistics:
    """What calibration batches show of a teacher: activations of its coupled groups, and what its blocks change.

    Hand the result to `plan` or `initialize`, for rules that take
    `{score: activation}`, `{score: variance}`, `{score: regression}`, or `{score: depth}` for layers. It can be saved
    (`.save(path)`) and loaded (`load_statistics`). The model is not changed.

    Args:
        model: The teacher, with its weights, on the device of the batches.
        batches: Inputs of forward calls, each as `example_inputs` of `plan`; shapes may differ. Every position counts,
            padding too.
        second_moments: Keep the products of all pairs of elements too, for `{score: regression}`: memory and time grow
            with the square of a group's size.
    Raises:
        WselError: If there is no batch, the model cannot be traced, or its activations are not finite.

    >>> teacher = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
    >>> statistics(teacher, [torch.randn(16, 4) for _ in range(3)])
    Statistics(3 coupled groups, 0 stages)
    """
    from wsel_graph.planner.collect import collect

    return collect(model, batches, second_moments=second_moments)


def draft_rules(student: Model, teacher: Model, example_inputs: Any = None, *, teacher_inputs: Any = None) -> str:
    """A complete rule file for two models, with comments: a start for changes.

    For a pair that fits without rules it gives the same plan as the default rules. For one that is refused it holds
    the rules that would settle it, marked CHECK.

    Args:
        student: The network to initialise, or its `ModelGraph`.
        teacher: The larger network, or its `ModelGraph`.
        example_inputs: Inputs that both models run on; not needed for a `ModelGraph`.
        teacher_inputs: Inputs for the teacher where they differ.
    Returns:
        YAML, which `load_rules` reads from a file.
    Raises:
        WselError: If a model cannot be traced.
    """
    from wsel_graph.report.draft import Drafting
    from wsel_graph.report.settle import settle

    _refuse_same(student, teacher)
    ours = _as_graph("student", student, example_inputs)
    theirs = _as_graph("teacher", teacher, example_inputs if teacher_inputs is None else teacher_inputs)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "draft.yaml"

        def attempt(decisions: Decisions) -> tuple[RuleFile, Callable[[], Plan]]:
            file.write_text(Drafting(ours, theirs, decisions, None).text(), encoding="utf-8")
            rules = load_rules(file)
            return rules, lambda: plan(ours, theirs, rules=rules)

        decisions, made = settle(ours, theirs, attempt)
    text = Drafting(ours, theirs, decisions, made).text()
    return text.replace(str(file), "this file").replace(file.name, "this file")


def report(made: Plan | InitResult, path: str | Path, *, title: str = "") -> None:
    """Write one self-contained HTML page about a plan, or about what an initialisation did.

    Both models side by side, folded; which blocks and parts fill which; for every tensor the teacher's rows and
    columns that went into it, drawn to scale, the rule that governed them and why they are coupled; what was kept and
    why. The page loads nothing and works from disk, in the dark, on a phone, and as tables without JavaScript.

    Args:
        made: A plan that was made here or loaded from a file, or the result of `initialize`.
        path: The file to write, `.html`; it is there whole or not at all.
        title: What the page is about; the classes and sizes of the two models without it.
    Raises:
        OSError: If the file cannot be written.

    >>> make = lambda width: nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))
    >>> with TemporaryDirectory() as folder:
    ...     report(plan(make(8), make(32), (1, 4)), Path(folder) / "start.html", title="small from large")
    ...     "<h1>small from large</h1>" in (Path(folder) / "start.html").read_text()
    True
    """
    from wsel_graph.report.page import write_report

    if isinstance(made, Plan):
        write_report(made, path, title=title)
    else:
        write_report(made.plan, path, title=title, compensation=made.compensation, unknown_ops=made.unknown_ops)


def _as_graph(side: str, model: Model, example_inputs: Any) -> ModelGraph:
    if isinstance(model, ModelGraph):
        return model
    try:
        return trace(model, example_inputs)
    except WselError as error:
        raise type(error)(f"{side}: {error}") from error


def _refuse_same(student: object, teacher: object) -> None:
    if student is teacher:
        raise PlanError(
            "student and teacher are the same object: nothing can be initialised from itself. Build a student of "
            "its own"
        )


def _refuse_unknown(student: ModelGraph, keep: Iterable[str]) -> None:
    """A pattern that the user wrote for this student must match something; one from a rule file need not."""
    names = [name for state in student.captured.states for name in state.names]
    for pattern in keep:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, names, n=1, cutoff=0.4)
            hint = f"; near: {near[0]}" if near else ""
            raise PlanError(f"keep: no student tensor matches {pattern!r}{hint}")


def apply(
    plan: Plan,
    student: nn.Module | Mapping[str, torch.Tensor],
    teacher: Teacher,
    *,
    output: str | Path | None = None,
    max_shard_size: int | str | None = None,
    dtype: torch.dtype | None = None,
    group: Any = None,
    check_finite: bool = True,
    progress: bool | None = None,
) -> tuple[Path, ...] | None:
    """Copy what the plan says: into the student, or with `output` into files, while the student stays as it is.

    All checks come first: a failed call leaves the student, or the files, as they were. Of a teacher in files, only the
    rows that the plan selects are read, a few megabytes at a time, where the format allows it. Output files replace
    older ones in one step and are written tensor by tensor: the student may then be on the meta device as far as the
    plan fills it.

    A student that is sharded (`fully_shard`, `parallelize_module`) is filled where it lies: all ranks call this, each
    reads what its own shards need, and when one rank fails, all of them do. See `unfilled` for students that were
    materialised from the meta device.

    Args:
        plan: What to copy, from `plan` or `load_plan`.
        student: A module, or a state dict whose tensors are written to; of the shapes of the plan.
        teacher: A module; a state dict; or the path of a `.safetensors` file, of the index of a sharded checkpoint
            (`.json`), of a pickled file (`.pt`, `.pth`, `.bin`, `.ckpt`; read with `weights_only=True`), or of a folder
            that `torch.distributed.checkpoint` or transformers wrote.
        output: `NAME.safetensors`, or a folder, which becomes a `torch.distributed.checkpoint`. None fills the student.
        max_shard_size: More bytes than that (a number, or a text such as `"5GB"`) are written as several files with an
            index, `NAME.safetensors.index.json`.
        dtype: Of the floating-point tensors that are written; by default those of the student.
        group: For a sharded student, the process group of the ranks that call this; by default those that hold it.
        check_finite: Refuse teacher values that are not finite, or would not be in the student's dtype.
        progress: Show a progress bar; by default in a terminal and in a notebook.
    Returns:
        The files that were written, the index last, or the folder; None without `output`.
    Raises:
        PlanError: If the tensors are not those of the plan, a file is damaged, or a value is not finite.
        OSError: If the files cannot be written.
    """
    _refuse_same(student, teacher)
    refuse_fake(student=student, teacher=teacher)
    needed = {part.teacher for copy in plan.copies for part in copy.sources}
    if output is None:
        if max_shard_size is not None or dtype is not None:
            raise PlanError("max_shard_size and dtype are for files: pass output, or cast the student with student.to")
        if spread(student, teacher):
            held = partial(open_source, teacher, needed) if isinstance(teacher, (str, Path)) else teacher
            apply_sharded(plan, student, held, group)
        else:
            apply_plan(plan, without_wrappers(student), teacher, check_finite=check_finite, progress=progress)
        return None
    options: dict[str, Any] = {"max_shard_size": max_shard_size, "dtype": dtype, "progress": progress}
    source = open_source(teacher, needed)
    try:
        return write_student(plan, student, teacher, source, output, check_finite=check_finite, **options)
    finally:
        source.close()


def initialize(
    student: nn.Module,
    teacher: nn.Module,
    example_inputs: Any,
    *,
    calibration: Iterable[Any] | None = None,
    compensation: Mapping[str, Any] | None = None,
    **options: Any,
) -> InitResult:
    """Initialise a student from a larger teacher, in place.

    The method is weight selection (Xu et al., "Initializing Models with Larger Ones", arXiv:2311.18823): layers, then
    components, then elements are chosen, and copied.

    Args:
        student: The network to initialise.
        teacher: The pretrained network; it is not changed.
        example_inputs: A tensor, tuple, dict of keyword arguments or shape that both models run on.
        calibration: Batches of inputs, without labels: fit the selected weights on them (see `compensate`). Every
            weight that can be is fitted, or only what the rules' `values` name.
        compensation: Options of `compensate`, such as `{"memory": 1 << 30}`.
        options: As for `plan`.
    Returns:
        What was done; print it.
    Raises:
        WselError: If a model cannot be traced or the two do not fit. The student is unchanged then.

    >>> from torch import nn
    >>> make = lambda width: nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))
    >>> result = initialize(make(8), make(32), (1, 4))
    >>> result.coverage
    1.0
    """
    _refuse_same(student, teacher)
    special = options.pop("teacher_inputs", None)
    ours = _as_graph("student", student, example_inputs)
    theirs = _as_graph("teacher", teacher, example_inputs if special is None else special)
    rules = options.pop("rules", "default")
    wish = load_rules(rules) if isinstance(rules, (str, Path)) else rules
    made = plan(ours, theirs, rules=rules, **options)
    nothing_asked = bool(wish.values) and not (made.compensate or made.recalibrate)  # rules that leave all as it is
    if calibration is None or nothing_asked:
        apply_plan(made, student, teacher)
        return summarize(made, ours, theirs)
    fitted = compensate(made, student, teacher, calibration, **(compensation or {}))
    return replace(summarize(made, ours, theirs), compensation=fitted)


def summarize(made: Plan, student: ModelGraph, teacher: ModelGraph) -> InitResult:
    """Coverage of a plan, counted in parameter elements."""
    total = sum(state.tensor.numel() for state in student.captured.states if state.kind == "parameter")
    done = sum(math.prod(copy.target_shape) for copy in made.copies if copy.parameter)
    return InitResult(made, done / max(1, total), done, total, tuple({**student.unknown_ops, **teacher.unknown_ops}))
