"""The text of a rule file, and faults that point into it.

Lines and columns are 1-based, as editors count them. A column counts characters, not bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from wsel_graph.errors import SelectionRuleError

MAX_BYTES = 256 * 1024
"""Largest rule file that is read. The largest sensible one, an explicit list of elements per group, is far smaller."""

_HERE = Path(__file__).resolve().parent.parent
FOLDERS = (_HERE / "rules", _HERE.parent / "rules")
"""Where shipped rule files are: inside the installed package, or beside it in a checkout."""

_SHOWN = 100  # characters of a source line that a fault prints
_LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # the line ends of YAML, so that its line numbers are ours


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something is written. `str` gives `file:line:column`, which editors can open."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    @property
    def short(self) -> str:
        """The same, with the file's name alone: for plans, which say the same wherever their rules lay.

        >>> Place("my/rules.yaml", 3, 5).short
        'rules.yaml:3:5'
        """
        return f"{Path(self.file).name}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of one line: 1-based line and column, length in characters (at least 1)."""

    line: int
    column: int
    length: int = 1


@dataclass(frozen=True, slots=True)
class Source:
    """The text of one rule file.

    Attributes:
        file: The path as the user wrote it, for messages.
    """

    file: str
    text: str = field(repr=False)
    lines: tuple[str, ...] = field(repr=False)

    @classmethod
    def of(cls, file: str, text: str) -> Source:
        """A source from text that is already in memory."""
        return cls(file, text, tuple(_LINE_END.split(text)))

    def place(self, span: Span) -> Place:
        """The place where `span` begins."""
        return Place(self.file, span.line, span.column)

    def fault(self, span: Span, message: str, *advice: str) -> str:
        """One fault as text: place and message, the source line with a caret under the span, then advice.

        >>> print(Source.of("my.yaml", "version: 2").fault(Span(1, 10), "version must be 1", "write: version: 1"))
        my.yaml:1:10: version must be 1
            version: 2
                     ^
          write: version: 1
        """
        shown, start, length = self._window(span)
        caret = " " * start + "^" * length
        lines = [f"{self.place(span)}: {message}", f"    {shown}".rstrip(), f"    {caret}", *(f"  {a}" for a in advice)]
        return "\n".join(lines)

    def line(self, number: int) -> str:
        """A line by its 1-based number; empty past the end."""
        return self.lines[number - 1] if 1 <= number <= len(self.lines) else ""

    def _window(self, span: Span) -> tuple[str, int, int]:
        """The part of the line to print, the caret's 0-based start in it, and its length."""
        line = "".join(char if char.isprintable() else " " for char in self.line(span.line))
        start = span.column - 1
        first = 0 if len(line) <= _SHOWN else max(0, min(start - _SHOWN // 3, len(line) - _SHOWN))
        shown = line[first : first + _SHOWN]
        left = max(1, len(shown) - (start - first))
        return shown, start - first, max(1, min(span.length, left))


def read_source(path: Path) -> Source:
    """Read a rule file.

    Raises:
        SelectionRuleError: If the file cannot be read, is too large, or is not UTF-8.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SelectionRuleError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(content) > MAX_BYTES:
        raise SelectionRuleError(
            f"{path}: larger than {MAX_BYTES // 1024} KiB, the most that a rule file may have\n"
            '  write globs such as "blocks.*" in place of long lists of names; long token maps go into a JSON file'
        )
    try:
        return Source.of(str(path), content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise SelectionRuleError(_not_utf8(str(path), content, error)) from None


def _not_utf8(file: str, content: bytes, error: UnicodeDecodeError) -> str:
    text = content.decode("utf-8-sig", errors="replace")
    before = content[: error.start].decode("utf-8-sig", errors="replace")
    lines = _LINE_END.split(before)
    span = Span(len(lines), len(lines[-1]) + 1)
    return Source.of(file, text).fault(
        span, f"byte 0x{content[error.start]:02x} is not UTF-8", "save the file as UTF-8 (your editor's encoding menu)"
    )
