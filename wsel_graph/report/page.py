"""A plan as one self-contained HTML page: no network, no fonts, no library.

Drawing libraries were weighed. What is drawn here is two columns of boxes in order of execution, curves between them,
and inside a block the lanes of a commit graph: a layout in one dimension, which needs no solver. Graph libraries
(elkjs, cytoscape, d3) are 0.3 to 1.5 MB; most draw on a canvas, where text can be neither selected nor searched by the
browser nor reached by keyboard; and all lay out a graph of a thousand blocks anew when one of them unfolds. So boxes
are plain HTML buttons, lanes and curves SVG, index strips canvases, and about 35 kB of script put them there.

Names of tensors are text from elsewhere: Python escapes every one, the script sets text and never markup, and the
page's own policy forbids it to load anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import fields
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from wsel_graph.plan import Plan
from wsel_graph.plan.files import replacing
from wsel_graph.report import page_static as static
from wsel_graph.report.page_counts import Counts, counts, stretches
from wsel_graph.report.page_data import outlines_of, page_data

SCRIPTS = ("model.js", "rails.js", "links.js", "graph.js", "figure.js", "detail.js", "search.js", "main.js")
"""In the order in which they use each other."""


class Outcome(Protocol):
    """What a fit did to one parameter; `starts` has the dataclass."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def before(self) -> float: ...  # noqa: D102
    @property
    def after(self) -> float: ...  # noqa: D102
    @property
    def how(self) -> str: ...  # noqa: D102


class Compensation(Protocol):
    """What a compensation did; `starts` has the dataclass."""

    @property
    def outcomes(self) -> Sequence[Outcome]: ...  # noqa: D102
    @property
    def kept(self) -> Sequence[tuple[str, str]]: ...  # noqa: D102
    @property
    def results(self) -> tuple[float, float] | None: ...  # noqa: D102
    @property
    def put_back(self) -> bool: ...  # noqa: D102
    @property
    def fitted(self) -> Sequence[str]: ...  # noqa: D102


_SLOT = re.compile(r"<!--slot:(\w+)-->")


def write_report(
    plan: Plan,
    path: str | Path,
    *,
    title: str = "",
    compensation: Compensation | None = None,
    unknown_ops: tuple[str, ...] = (),
) -> None:
    """Write the page of a plan; the file is there whole or not at all.

    Raises:
        OSError: If the file cannot be written.
    """
    text = report_page(plan, title=title, compensation=compensation, unknown_ops=unknown_ops)
    with replacing(path) as file:
        file.write_text(text, encoding="utf-8")


def report_page(
    plan: Plan, *, title: str = "", compensation: Compensation | None = None, unknown_ops: tuple[str, ...] = ()
) -> str:
    """The page of a plan as text.

    Args:
        title: What the page is about; the names of the two models' classes without it.
        compensation: What was fitted on calibration data.
        unknown_ops: Operators without a propagation rule in either model.

    >>> page = report_page(Plan((), (), (), ()), title="small <- large")
    >>> "<title>small &lt;- large</title>" in page, " src=" in page
    (True, False)
    """
    found = counts(plan)
    fitted = [] if compensation is None else _fitted(compensation)
    slots = {
        "title": escape(title or _title(plan, found)),
        "style": _asset("report.css"),
        "tiles": static.tiles(found, plan),
        "coverage": static.coverage_bar(stretches(plan)),
        "sections": "".join(_sections(plan, compensation, unknown_ops)),
        "tensors": static.tensor_table(plan),
        "data": _json(page_data(plan, fitted)),
        "script": "\n".join(_asset(name) for name in SCRIPTS),
    }
    return _SLOT.sub(lambda match: slots[match[1]], _asset("report.html"))


def _asset(name: str) -> str:
    return (resources.files("wsel_graph.report") / "assets" / name).read_text(encoding="utf-8")


def _title(plan: Plan, found: Counts) -> str:
    student, teacher = (outline.model for outline in outlines_of(plan)[0])
    sizes = static.short(found.total), static.short(found.teacher)
    return f"{student or 'student'} ({sizes[0]}) from {teacher or 'teacher'} ({sizes[1]})"


def _sections(plan: Plan, compensation: Compensation | None, unknown_ops: tuple[str, ...]) -> list[str]:
    notes = (*(f"{name} has no propagation rule: its axes are taken whole" for name in unknown_ops), *plan.notes)
    return [
        static.section(
            "layers", "Layers", "Which teacher block fills which student block.", static.layer_table(plan.layers)
        ),
        static.section(
            "groups",
            "Coupled groups",
            "Places that share one index list. Equal choices stand in one row.",
            static.group_table(plan.choices),
        ),
        static.section("kept", "Kept", "What keeps the student's own values, and why.", static.kept_table(plan.kept)),
        static.section("fitted", "Compensation", *_compensated(compensation)),
        static.section("notes", "Notes", "", static.notes_list(notes)),
    ]


def _compensated(compensation: Compensation | None) -> tuple[str, str]:
    if compensation is None:
        return "", ""
    words = f"Fitted {len(compensation.fitted)} of {len(compensation.outcomes) + len(compensation.kept)} parameters."
    if compensation.results is not None:
        before, after = compensation.results
        words += f" Relative error of the results on held-out batches: {before:.3g} selected, {after:.3g} fitted."
    if compensation.put_back:
        words += " Put back: the fitted results were the worse ones, so the selected values stay."
    rows = [(own.name, f"{own.before:.3g}", f"{own.after:.3g}", own.how) for own in compensation.outcomes]
    rows += [(name, "", "", f"not fitted: {reason}") for name, reason in compensation.kept]
    return words, static.table(["parameter", "error before", "after", "how"], rows, [1, 2])


def _fitted(compensation: Compensation) -> list[tuple[str, str, bool]]:
    changed = frozenset(compensation.fitted)
    found = [(own.name, str(own).removeprefix(f"{own.name}: "), own.name in changed) for own in compensation.outcomes]
    return found + [(name, f"not fitted: {reason}", False) for name, reason in compensation.kept]


def _json(data: Any) -> str:
    """JSON that may stand in a script element: no `<` can end it, or begin a comment.

    >>> _json(("</script>", 1))
    '["\\\\u003c/script>",1]'
    """
    return json.dumps(data, default=_fields, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}
