"""Pictures of the report for the README: `python -m tests.report.pictures examples/report` (needs timm and a Chromium).

Only shapes are read, so no pretrained weights are needed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import wsel_graph as ws
from tests.report.chromium import Browser
from tests.zoo import torchvision_stub

RULES = "version: 1\nextends: default\nlayers:\n  - take: uniform\n"
SIZE = 1280, 740


def example_page(folder: Path) -> Path:
    """A page about a ViT of six blocks and ten classes from ViT-S/16."""
    torchvision_stub.install()
    import timm

    (folder / "uniform.yaml").write_text(RULES)
    student = timm.create_model("vit_tiny_patch16_224", depth=6, num_classes=10)
    teacher = timm.create_model("vit_small_patch16_224")
    plan = ws.plan(student, teacher, (1, 3, 224, 224), rules=folder / "uniform.yaml")
    ws.report(plan, folder / "page.html", title="A small ViT from ViT-S/16")
    return folder / "page.html"


def show_a_block(browser: Browser) -> None:
    """Unfold one block of each side and choose its fused projection."""
    for side, block in (("teacher", "2"), ("student", "1")):
        browser.click(f".{side} .head", "blocks")
        browser.click(f".{side} .block", block)
    browser.click(".student button.part", "attn.qkv")
    browser.js("document.activeElement.blur()")
    browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    browser.js("scrollTo(0, document.querySelector('.coverage').offsetTop - 72)")


def main(folder: Path) -> None:
    """Write `light.png`, `dark.png` and `narrow.png`."""
    with TemporaryDirectory() as scratch:
        page = example_page(Path(scratch))
        browser = Browser(Path(scratch) / "profile")
        for name, dark in (("light", False), ("dark", True)):
            browser.open(page, *SIZE, dark=dark)
            show_a_block(browser)
            browser.picture(folder / f"{name}.png")
        browser.open(page, 390, 844)
        browser.js("scrollTo(0, document.querySelector('.coverage').offsetTop - 70)")
        browser.picture(folder / "narrow.png")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
