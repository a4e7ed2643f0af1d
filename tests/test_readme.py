"""Every Python snippet of the README runs, in order, as one session."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

README = Path(__file__).parent.parent / "README.md"


def test_snippets_run() -> None:
    snippets = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(snippets) >= 3
    session: dict[str, Any] = {}
    for snippet in snippets:
        exec(compile(snippet, str(README), "exec"), session)
    assert session["result"].coverage == 1.0
    assert session["graph"].tensors["qkv.weight"].notation == "(3 heads head_dim) embed"


def test_commands_are_marked_for_ci() -> None:
    text = README.read_text()
    assert re.search(r"<!-- test-command -->\n```sh\n.*tests\.run_all\n```", text, flags=re.DOTALL)
