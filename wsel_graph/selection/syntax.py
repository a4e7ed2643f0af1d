"""YAML syntax faults, said for people who write rule files.

The parser's own words name its internals ("expected <block end>, but found '-'"). The faults that people make are
few; each has an entry here that says what to write.
"""

from __future__ import annotations

import re

import yaml

from wsel_graph.selection.source import Source, Span

_KNOWN: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    # (pattern over the parser's "context; problem", message, advice)
    (r"character '\\t'", "a tab; YAML is indented by spaces", ("replace the tab by spaces",)),
    (r"scanning an alias", "`*` begins an alias in YAML", ('quote the glob: "*head*"',)),
    (r"scanning an anchor", "`&` begins an anchor in YAML", ("quote the text",)),
    (r"character '@'", "a text cannot begin with '@' unless it is quoted", ("quote the text",)),
    (r"character '`'", "a text cannot begin with a backquote unless it is quoted", ("quote the text",)),
    (r"character '%'", "a text cannot begin with '%' unless it is quoted", ("quote the text",)),
    (r"mapping values are not allowed", "a ':' where no key can stand",
     ("indent the line like its neighbours, or quote a text that holds ': '",)),
    (r"quoted scalar; found unexpected end", "this quote is never closed", ("add the closing quote",)),
    (r"quoted scalar; found unexpected document", "this quote is never closed", ("add the closing quote",)),
    (r"quoted scalar; (?:found unknown escape|expected escape)", "an unknown escape in double quotes",
     ("use single quotes, in which a backslash is only a backslash",)),
    (r"node; expected the node content, but found '<stream end>'", "the file ends inside '[' or '{'",
     ("add the closing ']' or '}'",)),
    (r"node; expected the node content", "no value where one is needed", ("write a value, or remove a comma",)),
    (r"expected <block end>, but found '[\]}]'", "this bracket closes nothing", ("remove it, or add its opening one",)),
    (r"flow sequence; ", "this '[' is not closed, or a comma is missing in it", ("write: [a, b]",)),
    (r"flow mapping; ", "this '{' is not closed, or a comma is missing in it", ("write: {key: value, key: value}",)),
    (r"simple key; could not find expected ':'", "this line has no ':'",
     ("write: key: value, and check that its indent is that of its neighbours",)),
    (r"block (?:mapping|collection); ", "this line does not fit the lines above it",
     ("give all keys of one mapping, and all dashes of one list, the same indent",)),
    (r"sequence entries are not allowed", "a '- ' where no list can stand",
     ("put the '- ' on a line of its own below the key",)),
    (r"block scalar", "a text over several lines", ("write the text on one line",)),
    (r"scanning a tag|tag handle", "`!` begins a tag in YAML", ("quote the text",)),
)  # fmt: skip

_AT_CONTEXT = ("this quote", "this '['", "this '{'", "`*` begins", "`&` begins", "this line has no")
"""Messages about where something began, not where the parser gave up."""


def explain_syntax(source: Source, error: yaml.YAMLError) -> str:
    """The fault as text, with the source line, a caret and advice."""
    if isinstance(error, yaml.reader.ReaderError):
        return _character(source, error)
    if not isinstance(error, yaml.MarkedYAMLError) or (error.problem_mark or error.context_mark) is None:
        return f"{source.file}: not valid YAML: {error}"
    said = f"{error.context or ''}; {error.problem or ''}"
    for pattern, message, advice in _KNOWN:
        if re.search(pattern, said):
            began = message.startswith(_AT_CONTEXT) and error.context_mark is not None
            mark = error.context_mark if began else error.problem_mark
            return source.fault(_span(source, mark), message, *advice)
    return source.fault(_span(source, error.problem_mark or error.context_mark), f"not valid YAML: {error.problem}")


def _span(source: Source, mark: yaml.Mark | None) -> Span:
    """The span of a mark; of the last text when the mark is past it, where there is nothing to see."""
    if mark is None:
        return Span(1, 1)
    if any(line.strip() for line in source.lines[mark.line :]):
        return Span(mark.line + 1, mark.column + 1)
    last = max((number for number, line in enumerate(source.lines, 1) if line.strip()), default=1)
    return Span(last, max(1, len(source.line(last).rstrip())))


def _character(source: Source, error: yaml.reader.ReaderError) -> str:
    before = Source.of("", source.text[: error.position]).lines
    code = error.character if isinstance(error.character, int) else ord(error.character)
    span = Span(len(before), len(before[-1]) + 1)
    return source.fault(span, f"the character U+{code:04X} cannot stand in a rule file", "delete the character")
