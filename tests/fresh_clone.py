"""What a newcomer sees: the README's two commands in a fresh clone and an empty environment, each line with its time.

python -m tests.fresh_clone [--command demo|test ...] [--write]

Run by hand. It clones the last commit of this checkout, so what is not committed is not tried. `--write` makes
`tests/fresh_clone.md` of it. pip is told to be quiet; where its packages come from is the machine's affair, and so is
the time that they take.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = Path(__file__).with_suffix(".md")
SHOWN = 60
"""Lines of the output that the page shows, the last ones."""

INTRO = """# The README's two commands in a fresh clone

Every line with the seconds since `git clone` began; an empty environment, pip quiet, the last {shown} lines of each.
Written by `python -m tests.fresh_clone --write`.

{date}, commit {commit}, Python {python}, {cores} cores; packages came from a cache nearby: add what your network takes
for torch.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="run the README's commands in a fresh clone")
    parser.add_argument("--command", nargs="+", choices=("demo", "test"), default=["demo", "test"])
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    commit = _output("git", "rev-parse", "--short", "HEAD")
    about = {"date": datetime.datetime.now(datetime.UTC).date(), "commit": commit, "shown": SHOWN}
    page = [INTRO.format(**about, python=platform.python_version(), cores=os.cpu_count())]
    failed = False
    for name in options.command:
        with tempfile.TemporaryDirectory() as folder:
            lines, status = _try(name, Path(folder) / "wsel_graph")
        failed |= status != 0
        page.append(_section(name, lines, status))
    if options.write:
        PAGE.write_text("\n".join(page), encoding="utf-8")
    return int(failed)


def command_of(text: str, name: str) -> str:
    """The command that a README marks.

    >>> command_of("<!-- demo-command -->\\n```sh\\npip install this &&\\nrun it\\n```\\n", "demo")
    'pip install this &&\\nrun it'
    """
    found = re.search(rf"<!-- {name}-command -->\n```sh\n(.*?)\n```", text, re.DOTALL)
    if found is None:
        raise SystemExit(f"README.md holds no {name} command")
    return found.group(1)


def _try(name: str, folder: Path) -> tuple[list[tuple[float, str]], int]:
    """Lines with the time of each, and the exit status."""
    started = time.monotonic()
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    command = command_of((folder / "README.md").read_text(encoding="utf-8"), name)
    lines: list[tuple[float, str]] = []
    with subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    ) as process:
        for line in process.stdout or ():
            lines.append((time.monotonic() - started, line.rstrip()))
            print(f"{lines[-1][0]:5.0f} s  {lines[-1][1]}", flush=True)
    lines.append((time.monotonic() - started, f"(exit status {process.returncode})"))
    return lines, process.returncode


def _environment() -> dict[str, str]:
    """This process's, without its virtual environment and with a quiet pip."""
    path = os.pathsep.join(
        part for part in os.environ["PATH"].split(os.pathsep) if Path(part) != Path(sys.prefix) / "bin"
    )
    left_out = ("PYTHONPATH", "VIRTUAL_ENV", "OMP_NUM_THREADS")
    own = {key: value for key, value in os.environ.items() if key not in left_out}
    return own | {"PATH": path, "PIP_QUIET": "2", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def _section(name: str, lines: list[tuple[float, str]], status: int) -> str:
    done = "passed" if status == 0 else "FAILED"
    first = next((seconds for seconds, line in lines if line.startswith("Initialised ")), None)
    student = f"; the first initialised student stood after {first:.0f} s" if first is not None else ""
    shown = "\n".join(f"{seconds:5.0f} s  {line}".rstrip() for seconds, line in lines[-SHOWN:])
    return f"## The {name} command: {done} in {lines[-1][0]:.0f} s{student}\n\n```text\n{shown}\n```\n"


def _output(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
