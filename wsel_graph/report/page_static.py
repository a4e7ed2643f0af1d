"""The parts of the HTML page that need no JavaScript: numbers, the coverage bar, and tables. Every text is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import pairwise

from wsel_graph.plan import Choice, Copy, Kept, LayerMap, Plan, describe_indices
from wsel_graph.report.page_counts import FATES, Counts, Stretch

ROWS = 400
"""Most tensors that the table for browsers without JavaScript lists."""

NARROWEST = 0.0004
"""Share of the coverage bar below which neighbours are drawn as one."""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """A table of texts.

    Args:
        numbers: Columns whose cells are aligned to the right.

    >>> table(["a", "n"], [["<b>", "3"]], [1])
    '<div class="wide"><table><thead><tr><th>a</th><th class="n">n</th></tr></thead><tbody>\\n<tr><td>&lt;b&gt;</td><td class="n">3</td></tr></tbody></table></div>'
    """  # noqa: E501
    right = frozenset(numbers)
    head = "".join(_cell("th", name, i in right) for i, name in enumerate(columns))
    body = "".join(
        "\n<tr>" + "".join(_cell("td", text, i in right) for i, text in enumerate(row)) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(tag: str, text: str, right: bool) -> str:
    kind = ' class="n"' if right else ""
    return f"<{tag}{kind}>{escape(text)}</{tag}>"


def section(key: str, title: str, lead: str, body: str) -> str:
    """A titled section; empty without a body."""
    text = f'<p class="lead">{escape(lead)}</p>' if lead else ""
    return f'<section id="{key}"><h2>{escape(title)}</h2>{text}{body}</section>' if body else ""


# -- numbers


def tiles(counts: Counts, plan: Plan) -> str:
    """The numbers at the top."""
    made = [
        ("coverage", counts.percent, "of the student's parameters come from the teacher"),
        ("student", short(counts.total), f"parameters, {short(counts.kept)} of them kept as they were"),
        (
            "teacher",
            short(counts.teacher),
            f"elements, {counts.teacher / max(1, counts.total):.3g} per student parameter",
        ),
        ("blocks", *_block_words(plan.layers)),
        ("coupled groups", f"{len(plan.choices):,}", _group_words(plan.choices)),
    ]
    return "".join(
        f'<div class="tile"><dt>{escape(name)}</dt><dd><b>{escape(value)}</b><span>{escape(words)}</span></dd></div>'
        for name, value, words in made
        if value
    )


def _block_words(layers: Sequence[LayerMap]) -> tuple[str, str]:
    if not layers:
        return "", ""
    count = sum(len(layer.blocks) for layer in layers)
    depth = sum(layer.teacher_depth for layer in layers)
    where = f"in {len(layers)} stages" if len(layers) > 1 else "in one stage"
    return f"{count:,} ← {depth:,}", f"student blocks from teacher blocks, {where}"


def _group_words(choices: Sequence[Choice]) -> str:
    kinds = [choice.status.partition(":")[0] for choice in choices]
    return ", ".join(f"{kinds.count(kind):,} {kind}" for kind in ("free", "anchored", "pinned") if kind in kinds)


def short(count: int) -> str:
    """A number in at most four signs.

    >>> short(950), short(5_717_416), short(124_400_000)
    ('950', '5.7 M', '124 M')
    """
    for factor, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= factor:
            value = count / factor
            return f"{value:.0f} {unit}" if value >= 99.95 else f"{value:.1f} {unit}"
    return str(count)


def coverage_bar(stretches: Sequence[Stretch]) -> str:
    """The student's parameters end to end, to scale, by what became of them."""
    total = sum(stretch.count for stretch in stretches)
    if not total:
        return ""
    parts = "".join(
        f'<i class="{own.fate}" style="flex-grow:{own.count / total:.6f}" title="{escape(_words(own, total), True)}">'
        "</i>"
        for own in _visible(stretches, total)
    )
    sums = {fate: sum(own.count for own in stretches if own.fate == fate) for fate in FATES}
    shares = {fate: f"{100 * count / total:.2f} %" for fate, count in sums.items() if count}
    legend = "".join(
        f'<li><i class="{fate}"></i>{escape(FATES[fate])} <b>{sums[fate]:,}</b> <span>{share}</span></li>'
        for fate, share in shares.items()
    )
    label = escape(", ".join(f"{FATES[fate]}: {share}" for fate, share in shares.items()), True)
    return f'<div class="coverage" role="img" aria-label="{label}">{parts}</div><ul class="legend">{legend}</ul>'


def _visible(stretches: Sequence[Stretch], total: int) -> Iterator[Stretch]:
    """Neighbours of one fate that are too narrow to be seen alone are drawn together."""
    held: Stretch | None = None
    for own in stretches:
        if held is not None and held.fate == own.fate and min(held.count, own.count) < NARROWEST * total:
            label = held.label if held.label.endswith(", ...") else f"{held.label}, ..."
            held = Stretch(label, own.fate, held.count + own.count)
            continue
        if held is not None:
            yield held
        held = own
    if held is not None:
        yield held


def _words(own: Stretch, total: int) -> str:
    return f"{own.label}: {own.count:,} {FATES[own.fate]} ({100 * own.count / total:.2f} %)"


# -- tables


def layer_table(layers: Sequence[LayerMap]) -> str:
    """Which teacher block fills which student block."""
    rows = [
        (
            own.stage or "(top level)",
            f"{len(own.blocks)} of {own.teacher_depth}",
            map_words(own),
            own.rule or "default",
            ", ".join("not known" if value is None else f"{value:.2g}" for value in own.influence),
        )
        for own in layers
    ]
    columns = ["stage", "blocks", "student ← teacher, from 0", "rule"]
    influence = any(own.influence for own in layers)
    names = [*columns, "influence of the teacher's blocks"] if influence else columns
    return table(names, [row[: len(names)] for row in rows], [1]) if rows else ""


def map_words(layer: LayerMap) -> str:
    """A layer map in short: runs of blocks that follow teacher blocks in equal steps are one item.

    >>> map_words(LayerMap("", 9, ((0, 0), (1, 1), (2, 2)))), map_words(LayerMap("", 9, ((0, 0), (1, 4), (2, 8))))
    ('0-2 \u2190 0-2', '0-2 \u2190 0-8, every 4th')
    >>> map_words(LayerMap("", 4, ((0, 0), (0, 1), (1, 2), (1, 3))))
    '0 \u2190 0+1, 1 \u2190 2+3'
    """
    runs: list[list[tuple[int, tuple[int, ...]]]] = []
    for own in layer.blocks:
        if runs and _continues([*runs[-1], own]):
            runs[-1].append(own)
        else:
            runs.append([own])
    return ", ".join(map(_run_words, runs))


def _continues(run: Sequence[tuple[int, tuple[int, ...]]]) -> bool:
    """Whether blocks follow each other, each from one teacher block, in equal steps forward."""
    ours, theirs = zip(*run, strict=True)
    steps = {after[0] - before[0] for before, after in pairwise(theirs)}
    return (
        all(after == before + 1 for before, after in pairwise(ours))
        and all(len(own) == 1 for own in theirs)
        and len(steps) == 1
        and min(steps) > 0
    )


def _run_words(run: Sequence[tuple[int, tuple[int, ...]]]) -> str:
    (first, one), (last, other) = run[0], run[-1]
    if len(run) < 3:
        return ", ".join(f"{ours} \u2190 {'+'.join(map(str, theirs))}" for ours, theirs in run)
    step = run[1][1][0] - one[0]
    every = {1: "", 2: ", every 2nd", 3: ", every 3rd"}.get(step, f", every {step}th")
    return f"{first}-{last} \u2190 {one[0]}-{other[0]}{every}"


def group_table(choices: Sequence[Choice]) -> str:
    """Coupled groups; those that make the same choice in the same way stand in one row."""
    alike: dict[tuple[str, int, int, str, str, str], list[Choice]] = {}
    for own in choices:
        key = (own.role, own.teacher_size, own.student_size, own.method, own.status, own.rule)
        alike.setdefault(key, []).append(own)
    rows = [
        (str(len(found)), role, f"{large:,}", f"{small:,}", method, status, _decided(method, rule), found[0].members[0])
        for (role, large, small, method, status, rule), found in alike.items()
    ]
    names = ["groups", "role", "teacher", "student", "elements", "status", "rule", "first place"]
    return table(names, rows, [0, 2, 3]) if rows else ""


def _decided(method: str, rule: str) -> str:
    """What decided: a rule, or what is done without one; about whole axes nothing has to be decided."""
    return rule or ("" if method == "whole" else "built in")


def kept_table(kept: Sequence[Kept]) -> str:
    """What keeps the student's own values, by reason; names unfold."""
    reasons: dict[str, list[Kept]] = {}
    for item in kept:
        reasons.setdefault(item.reason, []).append(item)
    return "".join(
        f'<details class="reason"{" open" if len(own) <= 12 else ""}><summary>{escape(reason)} '
        f"<span>{len(own)} tensor{'s' * (len(own) > 1)}, {sum(math.prod(i.shape) for i in own):,} elements</span>"
        f"</summary><ul>{''.join(f'<li>{_tensor(i.student, i.shape)}</li>' for i in own)}</ul></details>"
        for reason, own in reasons.items()
    )


def _tensor(name: str, shape: Sequence[int]) -> str:
    return f"<code>{escape(name)}</code> <span>{escape(sizes(shape))}</span>"


def sizes(shape: Sequence[int]) -> str:
    """A shape for people."""
    return " \u00d7 ".join(map(str, shape)) or "scalar"


def notes_list(notes: Sequence[str]) -> str:
    """Notes, one an item."""
    return f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>" if notes else ""


def tensor_table(plan: Plan) -> str:
    """Every copy, for browsers without JavaScript; a long plan's are cut."""
    rows = [_copy_row(copy) for copy in plan.copies[:ROWS]]
    left = len(plan.copies) - len(rows)
    more = f"<p>{left:,} further copies are in the plan file.</p>" if left else ""
    return table(["student tensor", "shape", "teacher tensor", "shape", "elements"], rows) + more


def _copy_row(copy: Copy) -> tuple[str, ...]:
    taken = ", ".join(map(describe_indices, copy.indices))
    teachers = " + ".join(source.teacher for source in copy.sources)
    return copy.student, sizes(copy.student_shape), teachers, sizes(copy.teacher_shape), taken
