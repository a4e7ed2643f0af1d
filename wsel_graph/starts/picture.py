"""A diagnosis as one self-contained SVG: a chart of scales above, bars of explained variance below."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from wsel_graph.errors import DiagnosisError
from wsel_graph.plan.files import replacing
from wsel_graph.starts.diagnosis import BlockRow, Diagnosis

_LEFT, _TOP, _HEIGHT, _GAP = 100, 50, 180, 50
_STEP, _LEAST_WIDTH = 42, 420
_SIDES = (("student", "#1f6fb4"), ("teacher", "#444444"), ("fresh", "#d98218"))
_LETTER = 4.5
"""Height of one letter of a name that is written at 45 degrees, on average."""

_LOWEST = -1.0
"""Explained variances below this are drawn as this, with their number."""


def write(found: Diagnosis, path: Path) -> None:
    """Write the picture; the file is there whole or not at all.

    Raises:
        DiagnosisError: If the name ends in anything but `.svg`.
    """
    if path.suffix.lower() != ".svg":
        raise DiagnosisError(f"{path.name}: the picture is an SVG; give a name that ends in .svg")
    with replacing(path) as target:
        Path(target).write_text(svg(found), encoding="utf-8")


def svg(found: Diagnosis) -> str:
    """The picture as text: one `circle` per scale, one `rect` of class `explained` per explained variance."""
    rows = found.blocks
    width = _LEFT + max(_LEAST_WIDTH, _STEP * len(rows)) + 30
    below = 40 + _LETTER * max((len(row.name) for row in rows), default=0)
    height = round(_TOP + 2 * _HEIGHT + _GAP + below)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11" fill="#222222">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *_scales(rows, width),
        *_explained(rows, width),
        *_names(rows),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _x(place: int) -> float:
    return _LEFT + _STEP * (place + 0.5)


# -- scales


def _scales(rows: Sequence[BlockRow], width: int) -> Iterator[str]:
    values = {name: [getattr(row, name) for row in rows] for name, _ in _SIDES}
    drawn = [value for side in values.values() for value in side if _drawable(value)]
    low = math.floor(math.log10(min(drawn, default=1.0)))
    high = max(low + 1, math.ceil(math.log10(max(drawn, default=10.0))))
    yield _text(_LEFT, 18, "Scale of activations (root mean square)", bold=True)
    yield from _legend({name for name, side in values.items() if any(map(_drawable, side))})
    for power in range(low, high + 1, max(1, (high - low) // 6)):
        yield from _line(_level(power, low, high), width, f"1e{power}")
    for name, color in _SIDES:
        points = [
            (_x(place), _level(math.log10(value), low, high))
            for place, value in enumerate(values[name])
            if _drawable(value)
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        if points:
            yield f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>'
        yield from (f'<circle class="{name}" cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in points)


def _drawable(value: float | None) -> bool:
    """Whether a scale has a place on a logarithmic axis."""
    return value is not None and math.isfinite(value) and value > 0


def _level(power: float, low: int, high: int) -> float:
    return _TOP + _HEIGHT * (high - power) / (high - low)


def _legend(names: set[str]) -> Iterator[str]:
    x = _LEFT
    for name, color in _SIDES:
        if name in names:
            yield f'<line x1="{x}" y1="33" x2="{x + 16}" y2="33" stroke="{color}" stroke-width="3"/>'
            yield _text(x + 21, 37, name)
            x += 90


# -- explained variance


def _explained(rows: Sequence[BlockRow], width: int) -> Iterator[str]:
    top = _TOP + _HEIGHT + _GAP
    yield _text(_LEFT, top - 14, "Explained variance: block output (blue), median of its operators (grey)", bold=True)
    for value in (1.0, 0.0, _LOWEST):
        yield from _line(_share(value, top), width, f"{value:g}")
    for place, row in enumerate(rows):
        for share, shift, color in ((row.explained, -13, "#1f6fb4"), (row.median, 1, "#9a9a9a")):
            if share is not None and math.isfinite(share):
                yield from _bar(_x(place) + shift, share, top, color)


def _bar(x: float, value: float, top: int, color: str) -> Iterator[str]:
    ends = sorted((_share(0.0, top), _share(max(value, _LOWEST), top)))
    yield (
        f'<rect class="explained" x="{x:.1f}" y="{ends[0]:.1f}" width="12" height="{ends[1] - ends[0]:.1f}" '
        f'fill="{color}"><title>{value:.3g}</title></rect>'
    )
    if value < _LOWEST:
        yield _text(x, ends[1] + 10, f"{value:.2g}", size=8)


def _share(value: float, top: int) -> float:
    return top + _HEIGHT * (1 - value) / (1 - _LOWEST)


# -- marks


def _names(rows: Sequence[BlockRow]) -> Iterator[str]:
    y = _TOP + 2 * _HEIGHT + _GAP + 22
    for place, row in enumerate(rows):
        yield (
            f'<text class="block" x="{_x(place):.1f}" y="{y}" text-anchor="end" '
            f'transform="rotate(-45 {_x(place):.1f} {y})">{escape(row.name)}</text>'
        )


def _line(y: float, width: int, label: str) -> Iterator[str]:
    yield f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{width - 20}" y2="{y:.1f}" stroke="#dddddd"/>'
    yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'


def _text(x: float, y: float, text: str, *, bold: bool = False, size: int = 11) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}"{weight}>{escape(text)}</text>'
