"""The HTML page in a real browser. Skipped where no Chromium is found (Debian: `apt-get install chromium`)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import wsel_graph as ws
from tests.nets import mlp
from tests.report.chromium import Browser, find
from tests.report.pages import HOSTILE, PAIRS, deep_plan, planned, vit

pytestmark = pytest.mark.skipif(find() is None, reason="no Chromium on this machine")

CHOSEN = "document.querySelector('.detailhead h3')?.textContent"
FOCUS = "document.activeElement.textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    own = Browser(tmp_path_factory.mktemp("profile"))
    yield own
    own.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of a transformer of three blocks from one of six."""
    file = tmp_path_factory.mktemp("page") / "start.html"
    ws.report(planned("transformer"), file)
    return file


@pytest.mark.parametrize("name", PAIRS)
def test_pages_load_without_complaint(name: str, browser: Browser, tmp_path: Path) -> None:
    for known in (True, False):
        plan = planned(name) if known else replace(planned(name), outlines=())
        ws.report(plan, tmp_path / "page.html")
        browser.open(tmp_path / "page.html")
        browser.js("document.querySelectorAll('.head').forEach(e => e.click())")
        browser.js("document.querySelectorAll('.block').forEach(e => e.click())")
        browser.js("document.querySelectorAll('button.part').forEach((e, i) => i % 9 || e.click())")
        browser.painted()
        places = browser.js("document.querySelectorAll('button.part').length")
        assert places >= len({copy.student.rpartition(".")[0] for copy in plan.copies})
        assert not browser.faults
        assert "NaN" not in browser.js("document.querySelector('.links').outerHTML")


def test_hostile_names_run_nothing(browser: Browser, tmp_path: Path) -> None:
    ws.report(replace(planned("hostile names"), notes=(HOSTILE,)), tmp_path / "page.html", title=HOSTILE)
    browser.open(tmp_path / "page.html")
    browser.press("/", "script", "Enter")
    assert browser.js(CHOSEN) == HOSTILE
    browser.js("document.querySelectorAll('details').forEach(e => { e.open = true })")
    browser.painted()
    assert browser.js("typeof hacked") == "undefined"
    assert browser.js("document.title") == HOSTILE
    assert not browser.faults


def test_unfolding_shows_blocks_and_parts(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.js("document.querySelectorAll('.student .block').length") == 0
    browser.click(".student .head", "blocks")
    browser.click(".teacher .head", "blocks")
    assert browser.js("document.querySelectorAll('.student .block').length") == 3
    assert browser.js("document.querySelectorAll('.teacher .block').length") == 6
    assert browser.js("document.querySelectorAll('.teacher .block i.left').length") == 3  # blocks that are left out
    browser.click(".student .block", "1")
    assert browser.js("document.querySelectorAll('.student .parts .joinrow').length") == 4
    browser.click(".student .head", "blocks")
    assert browser.js("document.querySelector('.student .blocks').offsetParent") is None


def test_links_end_at_what_is_matched(browser: Browser, page: Path) -> None:
    """Folded stages: one curve per student block, from the middle of a teacher's line to that of the student's."""
    browser.open(page)
    browser.painted()
    ends = browser.js(
        "[...document.querySelectorAll('.links path')].map(p => p.getAttribute('d').match(/[\\d.]+/g).map(Number))"
    )
    frame = browser.js("document.querySelector('.graph').getBoundingClientRect().top")
    ticks = {
        side: browser.js(
            f"[...document.querySelectorAll('.{side} .ticks rect')]"
            ".map(r => { const b = r.getBoundingClientRect(); return (b.top + b.bottom) / 2 })"
        )
        for side in ("teacher", "student")
    }
    assert len(ends) == 3 + 2  # three blocks, the stem and the head
    drawn = {(numbers[1], numbers[-1]) for numbers in ends}
    for theirs, ours in zip(ticks["teacher"][:3], ticks["student"], strict=True):
        assert any(abs(a + frame - theirs) < 1 and abs(b + frame - ours) < 1 for a, b in drawn)


def test_a_click_on_a_part_tells_where_it_comes_from(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.click(".student .head", "blocks")
    browser.click(".student .block", "1")
    browser.click(".student button.part", "fc1")
    detail = "document.getElementById('detail').innerText"
    assert browser.js(CHOSEN) == "blocks.1.fc1"
    for text in (
        "blocks.1.fc1.weight", "hidden embed", "32 of 64", "16 of 32", "elements 0:32:2", "uniform",
        "default.yaml:6:5", "one index list with", "add in blocks.1", "linear in blocks.1.fc1",
    ):  # fmt: skip
        assert text in browser.js(detail), text
    # A matrix and two strips; the bias is folded.
    assert browser.js("document.querySelectorAll('#detail canvas').length") == 3
    assert browser.js("document.querySelectorAll('.links .hot').length") == 1
    browser.press("Escape")
    assert browser.js(CHOSEN) is None


def test_strips_are_to_scale(browser: Browser, page: Path) -> None:
    """Every second of the teacher's 32 elements: columns of pixels of the upper bar are full or empty in turn."""
    browser.open(page)
    browser.press("/", "blocks.0.fc1.bias", "Enter")
    found = browser.js(
        "(() => { const c = document.querySelector('#detail .dim canvas'), p = c.getContext('2d'), out = [];"
        "for (let i = 0; i < 64; i += 1) {"
        " const d = p.getImageData(Math.floor((i + 0.5) * c.width / 64), 7, 1, 1).data; out.push(d[2] > d[0] + 40) }"
        "return out })()"
    )
    assert found == [True, False] * 32


def test_what_is_resampled_or_averaged_says_so(browser: Browser, tmp_path: Path) -> None:
    text = "document.querySelector('#detail .copy').innerText"
    small, large = vit(8, 1, size=16), vit(16, 1, size=24)
    ws.report(ws.plan(small, large, (1, 3, 16, 16), teacher_inputs=(1, 3, 24, 24)), tmp_path / "page.html")
    browser.open(tmp_path / "page.html")
    browser.press("/", "places", "Enter")
    assert "37 resampled to 17" in browser.js(text)
    assert "6 x 6 -> 4 x 4" in browser.js(text)
    rules = tmp_path / "merge.yaml"
    rules.write_text("version: 1\nextends: default\nelements:\n  - take: {merge: weights}\n")
    ws.report(ws.plan(mlp(16), mlp(32), (1, 4), rules=rules), tmp_path / "page.html")
    browser.open(tmp_path / "page.html")
    browser.press("/", "2.weight", "Enter")
    assert "16 made of 32" in browser.js(text)


def test_search_finds_unfolds_and_chooses(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.press("/", "2 attn.o weight")
    hits = browser.js("[...document.querySelectorAll('#hits li')].map(e => e.innerText.replace(/\\s+/g, ' ').trim())")
    assert hits == ["blocks.2.attn.o.weight student", "blocks.2.attn.o.weight teacher"]
    browser.press("ArrowDown", "Enter")
    assert browser.js(CHOSEN) == "blocks.2.attn.o"
    assert browser.js("document.querySelector('.detailhead .kicker').textContent").startswith("teacher")
    assert browser.js("document.querySelector('.chosen').closest('.cell').classList.contains('teacher')")
    browser.press("/", "no such tensor")
    assert browser.js("document.querySelector('#hits').innerText") == "no tensor has such a name"


def test_keys_alone_are_enough(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.js("document.querySelector('.student button').focus()")
    browser.press("ArrowDown")
    assert browser.js(FOCUS).startswith("blocks")
    browser.press("ArrowRight", "ArrowDown", "ArrowRight", "ArrowDown")
    assert browser.js(FOCUS).startswith("norm1")
    browser.press("Enter")
    assert browser.js(CHOSEN) == "blocks.0.norm1"
    browser.press("Enter")
    assert browser.js("document.activeElement.id") == "detail"
    browser.press("Escape")
    assert browser.js(CHOSEN) is None
    assert browser.js(FOCUS).startswith("norm1")
    browser.press("ArrowUp", "ArrowLeft")
    assert browser.js("document.querySelector('.student .block').getAttribute('aria-expanded')") == "false"
    browser.press("ArrowLeft")
    assert browser.js("document.activeElement.closest('.cell').classList.contains('teacher')")


@pytest.mark.parametrize("dark", [False, True])
def test_colours_follow_the_system_and_the_button(dark: bool, browser: Browser, page: Path) -> None:
    def light() -> bool:
        colour = browser.js("getComputedStyle(document.body).backgroundColor")
        return all(int(part) > 128 for part in colour.strip("rgb()").split(","))

    browser.open(page, dark=dark)
    assert light() is not dark
    browser.click("#theme")
    assert light()
    browser.click("#theme")
    assert not light()
    browser.click("#theme")
    assert light() is not dark


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_is_wider_than_the_screen(width: int, browser: Browser, page: Path) -> None:
    browser.open(page, width, 844)
    browser.press("/", "blocks.0.fc1.weight", "Enter")
    assert browser.js("document.documentElement.scrollWidth") <= width
    assert browser.js("document.getElementById('detail').getBoundingClientRect().right") <= width


def test_without_javascript_there_is_a_table(browser: Browser, page: Path) -> None:
    browser.open(page, script=False)
    assert browser.js("document.querySelectorAll('#tensors tbody tr').length") == len(planned("transformer").copies)
    assert browser.js("document.getElementById('models').offsetParent") is None
    assert browser.js("document.getElementById('find').offsetParent") is None


def test_a_thousand_blocks_stay_smooth(browser: Browser, tmp_path: Path) -> None:
    ws.report(deep_plan(), tmp_path / "deep.html")
    browser.open(tmp_path / "deep.html")
    assert browser.js("performance.getEntriesByType('navigation')[0].domComplete") < 5000
    begin = time.monotonic()
    browser.click(".teacher .head", "blocks")
    browser.click(".student .head", "blocks")
    browser.press("/", "blocks.499.3.weight", "Enter")
    assert browser.js(CHOSEN) == "blocks.499.3"
    assert time.monotonic() - begin < 15
    assert not browser.faults
