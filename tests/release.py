"""What a user gets: build wheel and sdist, install the wheel in an empty environment, run examples and commands there.

python -m tests.release [--torch 2.13.0] [--dist FOLDER]

Run by hand before a release, and for every version of torch that is said to work. The examples run from a copy, in a
folder of their own, so that nothing of the checkout is imported. Those that need a model library are left out.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIBRARIES = ("timm", "torchvision", "transformers", "numpy")
NEEDED = ("wsel_graph/py.typed", "wsel_graph/rules/default.yaml", "wsel_graph/cli/main.py")
"""Files that a wheel must hold."""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--torch", default="", help="version; the one of constraints.txt by default")
    parser.add_argument("--dist", type=Path, help="where wheel and sdist go; thrown away by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dist = options.dist or Path(folder) / "dist"
        started = time.monotonic()
        python = _environment(Path(folder) / "env")
        wheel = _build(python, dist)
        _check_wheel(wheel)
        _install(python, wheel, options.torch)
        print(f"== built and installed in {time.monotonic() - started:.0f} s", flush=True)
        failed = _use(python, Path(folder))
    print(f"== {'FAILED: ' + ', '.join(failed) if failed else 'all good'}")
    return 1 if failed else 0


def _environment(folder: Path) -> Path:
    venv.create(folder, with_pip=True)
    return folder / "bin" / "python"


def _pip(python: Path, *arguments: str) -> None:
    subprocess.run([python, "-m", "pip", "install", "--quiet", *arguments], check=True)


def _build(python: Path, dist: Path) -> Path:
    _pip(python, "build")
    subprocess.run([python, "-m", "build", "--outdir", dist, ROOT], check=True, stdout=subprocess.DEVNULL)
    print("built:", *(f"{file.name} ({file.stat().st_size // 1024} KiB)" for file in sorted(dist.iterdir())))
    (wheel,) = dist.glob("*.whl")
    return wheel


def _check_wheel(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    missing = [name for name in NEEDED if name not in names]
    odd = [name for name in names if not name.startswith("wsel_graph")]
    if missing or odd or not any(name.endswith("LICENSE") for name in names):
        raise SystemExit(f"{wheel.name}: missing {missing}, besides {odd}, or no licence")


def _install(python: Path, wheel: Path, version: str) -> None:
    version = version or re.findall(r"^torch==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[0]
    torch = f"torch=={version}"
    _pip(python, torch, "numpy")
    _pip(python, torch, str(wheel))


def _use(python: Path, folder: Path) -> list[str]:
    """Names of the commands and examples that fail."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    program = python.parent / "wsel-graph"
    commands: dict[str, list[str | Path]] = {
        "version": [python, "-c", "import torch, wsel_graph; print('torch', torch.__version__, wsel_graph.__file__)"],
        "help": [program, "--help"],
        "rules": [program, "rules", "check", "paper"],
        "inspect": [program, "inspect", "custom_cnn.py:Block", "--arg", "width=8", "--input", "1x8x4x4"],
    }
    for file in sorted((folder / "examples").glob("*.py")):
        text = file.read_text()
        if not re.search(rf"^(import|from) ({'|'.join(LIBRARIES)})\b", text, re.MULTILINE):
            ranks = ["-m", "torch.distributed.run", "--nproc-per-node", "2"] if "Run it with `torchrun" in text else []
            commands[file.name] = [python, *ranks, file.name]
    own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}  # nothing of the checkout
    failed = []
    for name, command in commands.items():
        start = time.monotonic()
        done = subprocess.run(command, cwd=folder / "examples", env=own, capture_output=True, text=True, check=False)
        print(f"{'ok' if done.returncode == 0 else 'FAILED':7}{name} ({time.monotonic() - start:.1f} s)", flush=True)
        if name == "version":
            print(done.stdout.strip())
            if str(python.parent.parent) not in done.stdout:
                failed.append("the package that was imported is not the wheel's")
        if done.returncode:
            failed.append(name)
            print(done.stderr[-1500:])
    return failed


if __name__ == "__main__":
    sys.exit(main())
