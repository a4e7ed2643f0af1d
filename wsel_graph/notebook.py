"""What objects show in a notebook: small HTML, everything escaped, no scripts, no files, no colours of its own.

Text and lines take the colour of the page, so a light and a dark page both work. A long table is folded and shows its
first rows; `print` of the same object shows all that there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

ROWS = 12
"""Rows of a table that are shown."""

LETTERS = 160
"""Letters of a cell that are shown."""

_CARD = "font-family:sans-serif;font-size:13px;line-height:1.4;max-width:60em"
_CELL = "text-align:left;vertical-align:top;padding:1px 10px 1px 0;white-space:normal;overflow-wrap:anywhere"
_BAR = "height:6px;max-width:30em;border:1px solid currentColor;margin:4px 0"


def card(title: str, line: str, *parts: str) -> str:
    """A titled block: one line of what matters, then tables and other parts.

    Args:
        title: Escaped here, as `line` is.
        line: One sentence.
        parts: HTML that the other functions of this module made; empty ones are left out.

    >>> card("Plan", "3 < 4").partition(">")[2]
    '<strong>Plan</strong><div>3 &lt; 4</div></div>'
    """
    head = f"<strong>{escape(title)}</strong><div>{escape(line)}</div>"
    return f'<div style="{_CARD}">{head}{"".join(parts)}</div>'


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, folded: bool = False) -> str:
    """A table of which the first rows are shown, with how many more there are; nothing where there is no row.

    Args:
        title: What it holds, with the number of rows behind it.
        columns: Heads; none where all are empty.
        rows: Cells as text, or what `str` makes text of.
        folded: Opens at a click.
    """
    listed = list(rows)
    if not listed:
        return ""
    head = "".join(f'<th style="{_CELL}">{escape(column)}</th>' for column in columns)
    lines = [f"<tr>{head}</tr>"] if any(columns) else []
    for row in listed[:ROWS]:
        lines.append("<tr>" + "".join(f'<td style="{_CELL}">{_short(cell)}</td>' for cell in row) + "</tr>")
    more = len(listed) - ROWS
    after = f"<div>... and {more:,} more</div>" if more > 0 else ""
    body = f'<table style="border-collapse:collapse;font-size:inherit">{"".join(lines)}</table>{after}'
    opened = "" if folded else " open"
    return f"<details{opened}><summary>{escape(title)} ({len(listed):,})</summary>{body}</details>"


def lines(title: str, texts: Iterable[str]) -> str:
    """A list of sentences, as a table of one column."""
    return table(title, ("",), [(text,) for text in texts])


def bar(share: float, what: str) -> str:
    """A horizontal bar.

    Args:
        share: From 0 to 1.
        what: Read aloud in place of the bar.
    """
    width = 100 * min(max(share, 0.0), 1.0)
    filled = f'<div style="width:{width:.1f}%;height:100%;background:currentColor"></div>'
    return f'<div role="img" aria-label="{escape(what)}" style="{_BAR}">{filled}</div>'


def folded(title: str, html: str) -> str:
    """A part that opens at a click."""
    return f"<details><summary>{escape(title)}</summary>{html}</details>"


def _short(cell: object) -> str:
    text = str(cell)
    return escape(text if len(text) <= LETTERS else f"{text[:LETTERS]} ...")
