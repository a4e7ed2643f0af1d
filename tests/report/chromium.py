"""A headless Chromium driven over its debugging pipe, with nothing but the standard library.

Messages are JSON texts that end in a zero byte: commands on the browser's file descriptor 3, answers and events on 4
(https://chromedevtools.github.io/devtools-protocol/).
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

PATIENCE = 30.0
"""Seconds that a page may take to load."""

KEYS = {"ArrowUp": 38, "ArrowDown": 40, "ArrowLeft": 37, "ArrowRight": 39, "Enter": 13, "Escape": 27, "Tab": 9}


def find() -> str | None:
    """Where a Chromium is, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


class Browser:
    """One browser with one page at a time; `faults` gathers what its console and its policies complain about."""

    def __init__(self, folder: Path) -> None:
        program = find()
        assert program is not None
        commands, self._out = os.pipe()
        answers_end, answers = os.pipe()[::-1]
        options = (
            "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars --no-first-run "
            f"--user-data-dir={folder} --remote-debugging-pipe about:blank"
        )
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec {program} {options} 3<&{commands} 4>&{answers_end}"],
            pass_fds=(commands, answers_end), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(commands)
        os.close(answers_end)
        self._in = os.fdopen(answers, "rb", buffering=0)
        self._numbers, self._held, self._session = itertools.count(1), b"", ""
        self.faults: list[str] = []

    def close(self) -> None:
        """End the browser, and wait for it."""
        self._session = ""
        with suppress(EOFError, OSError):
            self.send("Browser.close")
        self._process.wait(timeout=PATIENCE)
        self._in.close()
        os.close(self._out)

    def send(self, method: str, **given: Any) -> dict[str, Any]:
        """One command, and its result."""
        number = next(self._numbers)
        session = {"sessionId": self._session} if self._session else {}
        os.write(self._out, json.dumps({"id": number, "method": method, "params": given, **session}).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]  # type: ignore[no-any-return]
            if answer.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
                self.faults.append(json.dumps(answer["params"]))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._held:
            more = self._in.read(1 << 16)
            if not more:
                raise EOFError("the browser ended")
            self._held += more
        message, _, self._held = self._held.partition(b"\0")
        return json.loads(message)  # type: ignore[no-any-return]

    # -- pages

    def open(
        self, file: Path, width: int = 1280, height: int = 900, *, dark: bool = False, script: bool = True
    ) -> None:
        """Load a file in a new page of this size, and wait until it is there."""
        self._session = ""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Emulation.setScriptExecutionDisabled", value=not script)
        self.faults.clear()
        self.send("Page.navigate", url=file.as_uri())
        self.until("document.readyState === 'complete' && location.protocol === 'file:'")

    def js(self, code: str) -> Any:
        """The value of a JavaScript expression; promises are waited for."""
        found = self.send("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"]))
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.js(condition):
            if time.monotonic() > end:
                raise TimeoutError(f"never true: {condition}")
            time.sleep(0.02)

    def painted(self) -> None:
        """Wait until what was asked for is on the screen."""
        self.js("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def click(self, selector: str, text: str = "") -> None:
        """A click of the mouse in the middle of the first element of this selector that holds the text."""
        place = self.js(
            "(() => {"
            f"const own = [...document.querySelectorAll({json.dumps(selector)})]"
            f".find(e => e.offsetParent && e.textContent.includes({json.dumps(text)}));"
            "own.scrollIntoView({block: 'center'}); const r = own.getBoundingClientRect();"
            "return [r.left + r.width / 2, r.top + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)
        self.painted()

    def press(self, *keys: str) -> None:
        """Keys by name, or texts to type."""
        for key in keys:
            if key not in KEYS and len(key) > 1:
                self.send("Input.insertText", text=key)
                continue
            given: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": KEYS.get(key, ord(key[0]))}
            text = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 else {}
            self.send("Input.dispatchKeyEvent", type="keyDown", **given, **text)
            self.send("Input.dispatchKeyEvent", type="keyUp", **given)
        self.painted()

    def picture(self, file: Path) -> None:
        """What is on the screen, as a PNG."""
        self.painted()
        file.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))
