"""What a notebook shows, and what `repr` says: short, escaped, self-contained, and the same facts as `print`."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import wsel_graph as ws
from tests.nets import ConvNet, Transformer, mlp, randomize
from wsel_graph import notebook, progress

EVIL = "<img src=x onerror=alert(1)>"
VOID = {"br", "hr", "img", "line", "circle", "rect", "polyline"}


class Page(HTMLParser):
    """Checks that tags close in order; keeps the tags, the attributes and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.tags, self.attributes, self.text = list[str](), set[str](), dict[str, str](), ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name: value or "" for name, value in attrs}
        self.open += [tag]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def evil_mlp(width: int) -> nn.Module:
    """A network in which the name of a module would be a tag if nobody escaped it."""
    model = nn.Sequential(nn.Linear(4, width), nn.ReLU())
    model.add_module(EVIL, nn.Linear(width, 2))
    return model


def _result() -> ws.InitResult:
    return ws.initialize(evil_mlp(4), evil_mlp(8), (8, 4), calibration=[torch.randn(64, 4) for _ in range(5)])


SHOWN: dict[str, Callable[[], Any]] = {
    "ModelGraph": lambda: ws.trace(evil_mlp(8), (1, 4)),
    "CoupledGroup": lambda: ws.trace(evil_mlp(8), (1, 4)).groups[0],
    "Plan": lambda: ws.plan(evil_mlp(4), evil_mlp(8), (1, 4)),
    "InitResult": _result,
    "Certificate": lambda: ws.verify(evil_mlp(8), (1, 4)),
    "Compensation": lambda: _result().compensation,
    "Diagnosis": lambda: ws.diagnose(evil_mlp(4), [torch.randn(8, 4)], fresh=evil_mlp(4)),
    "RuleFile": lambda: ws.load_rules("default"),
}


@pytest.mark.parametrize("kind", SHOWN)
def test_html_is_small_escaped_and_self_contained(kind: str) -> None:
    html = SHOWN[kind]()._repr_html_()
    page = Page(html)
    assert len(html) < 20_000
    assert not page.tags & {"img", "script", "link", "iframe", "style"}
    assert not page.attributes.keys() & {"src", "href", "onerror", "onclick"}
    assert "http" not in html.replace("http://www.w3.org/2000/svg", "")
    if kind not in {"Certificate", "RuleFile"}:
        assert EVIL in page.text.replace(" -> ", " ")  # as text


@pytest.mark.parametrize("kind", [kind for kind in SHOWN if kind != "Diagnosis"])  # whose picture is on white
def test_html_takes_the_colours_of_the_page(kind: str) -> None:
    html = SHOWN[kind]()._repr_html_()
    assert "#" not in html.replace("&#", "")
    assert html.replace("background:currentColor", "").count("background") == 0


@pytest.mark.parametrize("kind", SHOWN)
def test_repr_is_one_short_line(kind: str) -> None:
    shown = repr(SHOWN[kind]())
    assert shown.startswith(f"{kind}(")
    assert "\n" not in shown
    assert len(shown) < 200


def test_html_holds_what_print_holds() -> None:
    student, teacher = Transformer(8, 2, 4, depth=2, labels=3), Transformer(16, 4, 4, depth=4, labels=9)
    result = ws.initialize(student, teacher, (2, 5, 7))
    page = Page(result._repr_html_())
    assert f"{result.initialized:,} of {result.total:,} student parameters" in page.text
    assert page.attributes["aria-label"].startswith("initialised")
    for words in (
        "0<-0, 1<-1",
        "16 -> 8",
        "uniform",
        "label axis of size 3, the teacher's has 9",
        "head.weight, head.bias",
    ):
        assert words in page.text
        assert words in " ".join(str(result).split())
        assert words in str(result.plan)


def test_size_does_not_grow_with_the_model() -> None:
    pairs = [(Transformer(8, 2, 4, depth=depth), Transformer(16, 4, 4, depth=depth)) for depth in (2, 40)]
    plans = [ws.plan(*pair, (1, 3, 7)) for pair in pairs]
    small, large = (len(plan._repr_html_()) for plan in plans)
    assert large < 1.5 * small + 500
    assert len(repr(plans[1])) < 80
    graph = ws.trace(pairs[1][1], (1, 3, 7))
    assert len(graph._repr_html_()) < 20_000
    assert f"... and {len(graph.own_names) - notebook.ROWS} more" in graph._repr_html_()


def test_counts_in_a_graphs_headline() -> None:
    page = Page(ws.trace(ConvNet(8), (1, 3, 8, 8))._repr_html_())
    graph = ws.trace(ConvNet(8), (1, 3, 8, 8))
    free = sum(group.free for group in graph.groups)
    assert f"{len(graph.own_names)} tensors, {len(graph.groups)} coupled groups ({free} free," in page.text


@pytest.mark.parametrize(("share", "width"), [(-1.0, "0.0"), (0.25, "25.0"), (7.0, "100.0")])
def test_bars_stay_inside(share: float, width: str) -> None:
    assert f"width:{width}%" in notebook.bar(share, "share")


def test_an_empty_table_is_left_out() -> None:
    assert notebook.table("Nothing", ("a",), []) == ""


# -- progress


class Cell:
    """A notebook's display: keeps what was drawn."""

    def __init__(self) -> None:
        self.drawn: list[str] = []

    def display(self, html: str, display_id: bool) -> Cell:
        assert display_id
        self.update(html)
        return self

    def update(self, html: str) -> None:
        self.drawn.append(html)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    """As if this process were the kernel of a notebook."""
    made = Cell()
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(HTML=str, display=made.display))
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    return made


def test_a_bar_in_a_notebook(cell: Cell) -> None:
    assert list(progress.tracked(["a", "b"], "Fits <1>")) == ["a", "b"]
    texts = [Page(html).text.strip() for html in cell.drawn]
    assert texts == ["Fits <1>: 0 of 2", "Fits <1>: 1 of 2", "Fits <1>: 2 of 2"]
    assert "width:50.0%" in cell.drawn[1]


def test_items_without_a_length(cell: Cell) -> None:
    assert list(progress.tracked(iter("ab"), "Reading")) == ["a", "b"]
    assert [Page(html).text.strip() for html in cell.drawn] == ["Reading: 0", "Reading: 1", "Reading: 2"]


def test_compensation_shows_its_bar(cell: Cell) -> None:
    student, teacher = mlp(4), randomize(mlp(8))
    ws.initialize(student, teacher, (8, 4), calibration=[torch.randn(64, 4) for _ in range(5)])
    assert any("Compensating: 0 of 3" in html for html in cell.drawn)


class Terminal(io.StringIO):
    """Stderr that somebody looks at."""

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal in place of stderr: called in the test, as pytest puts its own there after the fixtures."""
    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    monkeypatch.setenv("TERM", "xterm")
    return made


def test_a_bar_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    assert list(progress.tracked(range(3), "Counting")) == [0, 1, 2]
    assert "Counting" in shown.getvalue()
    assert "100%" in shown.getvalue()


def test_what_is_quick_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    assert list(progress.tracked(range(3), "Counting")) == [0, 1, 2]
    assert shown.getvalue() == ""


def test_what_is_slow_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    with caplog.at_level("INFO", logger="wsel_graph"):
        assert list(progress.tracked([1, 2], "Counting")) == [1, 2]
    assert caplog.messages[0].startswith("Counting: 2 steps in ")
    assert capsys.readouterr().err == ""  # nobody looks


def test_a_bar_ends_when_its_reader_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    items = iter(progress.tracked([1, 2, 3], "Reading"))
    next(items)
    items.close()  # type: ignore[attr-defined]
    assert "Reading" in shown.getvalue()
    assert sys.stderr is shown  # rich has put it back: nothing goes on drawing
